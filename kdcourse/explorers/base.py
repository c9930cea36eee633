"""What every explorer does: sliders over values that exist, one picture, one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from kdcourse.explorers.canvas import GHOST_MARK, Canvas
from kdcourse.explorers.controls import Controls, State
from kdcourse.explorers.frame import WIDTH, Frame
from kdcourse.figures import COLOURS, GHOST, INKS, role_named


class Explorer(Frame):
    """A picture over at most three sliders. A lesson's explorer fills in four methods:

    - `setup(figure)`: make axes with fixed limits, and the artists that will move, with
      `**self.look(role)` (or `animated=True`); their grey twins with `ghost=True`.
    - `move(state, ghost)`: put the artists (or the twins) where this state has them.
    - `sentence(state)`: one sentence that says what the picture shows.
    - `formula(state)`: HTML, the formula with the live value of each symbol (may be left out).

    controls: name → values, in the field's words. start: the first state (what is left out takes
    the first value). situations: name → the values it sets, shown as buttons. title: stands in
    the picture, at most 60 characters. notes: control → a few words beside its slider.
    height: pixels of the picture. Set what the hooks need before calling `super().__init__`.
    """

    def __init__(
        self,
        *,
        controls: Mapping[str, Any],
        title: str,
        start: Mapping[str, Any] | None = None,
        situations: Mapping[str, Mapping[str, Any]] | None = None,
        notes: Mapping[str, str] | None = None,
        height: int = 320,
    ) -> None:
        if not 0 < len(title) <= 60:
            raise ValueError(f"a title has 1 to 60 characters, not {len(title)}: {title!r}")
        self.title = title
        self._controls = Controls(controls)
        self._shown = self._controls.state(start or {}, base=self._controls.first())
        self._previous: State | None = None
        self._holding = False
        self.situations = {
            name: {key: self._controls.state(aim, base=self._shown)[key] for key in aim}
            for name, aim in (situations or {}).items()
        }
        self._canvas = Canvas(self.setup, self._move_both, title=title, width=WIDTH, height=height)
        self._build(notes or {}, height)
        self._show(self._shown)

    # What a lesson fills in ---------------------------------------------------------------

    def setup(self, figure: Figure) -> None:
        """Make axes and artists, once."""
        raise NotImplementedError(f"{type(self).__name__} needs setup(self, figure)")

    def move(self, state: State, ghost: bool) -> None:
        """Move the artists, or with ghost their grey twins, to where the state has them."""
        raise NotImplementedError(f"{type(self).__name__} needs move(self, state, ghost)")

    def sentence(self, state: State) -> str:
        """Say what the picture shows: read-out, and alt text of the saved page."""
        raise NotImplementedError(f"{type(self).__name__} needs sentence(self, state)")

    def formula(self, state: State) -> str:
        """The formula with this state's values, as HTML."""
        return ""

    @staticmethod
    def look(role: str, *, ghost: bool = False, text: bool = False) -> dict[str, Any]:
        """Options of an artist that moves: its role's colour, or the ghost's grey beneath it."""
        colour = (INKS if text else COLOURS)[role_named(role)]
        return {
            "color": GHOST if ghost else colour,
            "zorder": 2 if ghost else 3,
            "gid": GHOST_MARK if ghost else "live",
            "animated": True,
        }

    # What a reader or a test does ---------------------------------------------------------

    @property
    def state(self) -> State:
        """The values that the sliders stand at."""
        return dict(self._shown)

    def set(self, **state: Any) -> None:
        """Move some or all sliders, with one redraw. Unknown names and values: ValueError."""
        asked = self._controls.state(state, base=self._shown)
        self._holding = True
        try:
            for name, slider in self._sliders.items():
                slider.value = asked[name]
        finally:
            self._holding = False
        self._show(asked)

    def states(self) -> Iterator[State]:
        """Every state there is, the last control moving fastest."""
        return self._controls.states()

    def draw(self, state: Mapping[str, Any], previous: Mapping[str, Any] | None = None) -> bytes:
        """Draw a state, with another as its grey ghost if given, and return the PNG."""
        now = self._controls.state(state)
        self._paint(now, None if previous is None else self._controls.state(previous))
        return self._canvas.quick_png()

    def sweep(self) -> int:
        """Draw every state; return how many there are. Raises RuntimeError at the first that fails.

        A state fails if a hook raises, if it has no sentence, or if its picture equals another's
        (the browser would not notice the change). At the first and the last state the quick
        redraw is compared with a whole one: they differ if something that moves is not animated.
        """
        states = list(self.states())
        pictures: set[bytes] = set()
        for k, state in enumerate(states):
            where = Controls.sentence(state)
            try:
                picture = self.draw(state, previous=states[k - 1] if k else None)
                sentence = self.sentence(state).strip()
                self.formula(state)
            except Exception as error:
                raise RuntimeError(f"{self.title} fails at {where}: {error!r}") from error
            if not sentence:
                raise RuntimeError(f"{self.title} has no sentence at {where}")
            if picture in pictures:
                raise RuntimeError(f"{self.title} shows at {where} a picture it has shown before")
            pictures.add(picture)
            if k in (0, len(states) - 1) and not self._same_when_drawn_whole(where):
                raise RuntimeError(
                    f"{self.title} at {where}: an artist moved that is not animated; "
                    "make it with **self.look(role) or animated=True"
                )
        return len(states)

    # How it works -------------------------------------------------------------------------

    def _paint(self, state: State, previous: State | None) -> None:
        if previous is not None:
            self.move(previous, True)
        self.move(state, False)
        self._canvas.paint(Controls.sentence(state), ghost=previous is not None)

    def _move_both(self) -> None:
        self.move(self._shown, True)
        self.move(self._shown, False)

    def _same_when_drawn_whole(self, heading: str) -> bool:
        self._canvas.paint(heading, ghost=False)
        quick = self._canvas.pixels()
        self._canvas.refresh()
        self._canvas.paint(heading, ghost=False)
        return bool((quick == self._canvas.pixels()).all())

    def _show(self, state: State) -> None:
        previous = self._shown if state != self._shown else self._previous
        try:
            picture = self.draw(state, previous)
            formula, sentence = self.formula(state), self.sentence(state)
        except Exception as error:
            # ipywidgets would only log it: the reader has to see why nothing moved.
            self._say(
                f"This state could not be drawn ({Controls.sentence(state)}): "
                f"{type(error).__name__}: {error}",
                problem=True,
            )
            raise
        self._shown, self._previous = state, previous
        self.picture.value = picture
        self._write(formula)
        self._say(sentence)

    def _moved(self, _: Any) -> None:
        if not self._holding:
            self._show({name: slider.value for name, slider in self._sliders.items()})

    def _build(self, notes: Mapping[str, str], height: int) -> None:
        for name in notes:
            if name not in self._controls.axes:
                raise ValueError(f"a note for {name!r}, but the controls are {self._controls.axes}")
        buttons = [self._button(name, aim) for name, aim in self.situations.items()]
        above = [ipywidgets.HBox(buttons, layout={"flex_flow": "row wrap"})] if buttons else []
        self._fill(self._shown, height=height, notes=notes, above=above)
        for slider in self._sliders.values():
            slider.observe(self._moved, names="value")
        self.add_class("kdlib-explorer")

    def _button(self, name: str, aim: Mapping[str, Any]) -> ipywidgets.Button:
        button = ipywidgets.Button(
            description=name,
            tooltip=f"set {Controls.sentence(aim)}",
            layout={"width": "auto", "min_width": "64px"},
        )
        button.on_click(lambda _: self.set(**aim))
        return button

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._paint(self._shown, self._previous)
        text = f"Explorer: {self.title} (controls: {', '.join(self._controls.axes)})"
        return self._stored(text, self.sentence(self._shown), **options)
