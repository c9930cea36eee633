"""What stands round every picture that moves: sliders, formula, sentence, and what a page keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets

from kdcourse.explorers.canvas import Canvas
from kdcourse.explorers.controls import Controls, State, written
from kdcourse.figures import INKS, role_named
from kdlib.objectives import Objective, formula_parts

WIDTH = 700  # pixels of the picture


class Frame(ipywidgets.VBox):
    """Sliders over `self._controls` above a formula, the picture of `self._canvas` and a sentence.

    A subclass makes the two, then calls `_fill` with the state that the sliders begin at.
    """

    title: str
    _controls: Controls
    _canvas: Canvas

    @staticmethod
    def symbol(text: str, role: str | None = None) -> str:
        """A symbol or a value for a formula, bold, in the colour its role has in the picture."""
        colour = f"color:{INKS[role_named(role)]}" if role else ""
        return f'<b style="{colour}">{escape(text)}</b>'

    @classmethod
    def loss(cls, objective: Objective | None, state: Mapping[str, Any]) -> str:
        """`loss = (1 − alpha) · CE + … = 0.1 · CE + …` as HTML, the state's values bold.

        Empty where there is no objective; what the state says of other things does not appear.
        """
        if objective is None:
            return ""
        sides = []
        for values in ({}, state):
            parts = formula_parts(objective, values)
            sides.append("".join(cls.symbol(t) if known else escape(t) for t, known in parts))
        return "loss = " + " = ".join(dict.fromkeys(sides))

    def _fill(
        self,
        state: State,
        *,
        height: int,
        notes: Mapping[str, str] | None = None,
        above: Sequence[ipywidgets.Widget] = (),
        below: Sequence[ipywidgets.Widget] = (),
    ) -> None:
        """Make the widgets; `above` stands above the sliders, `below` under them."""
        words = f"{max(map(len, self._controls.axes)) + 1}ch"
        notes = notes or {}
        self._sliders = {
            name: ipywidgets.SelectionSlider(
                options=[(written(value), value) for value in values],
                value=state[name],
                description=name,
                tooltip=f"{name} {notes.get(name, '')}".strip(),
                continuous_update=True,
                style={"description_width": words},
                layout={"width": "420px"},
            )
            for name, values in self._controls.axes.items()
        }
        rows = []
        for name, slider in self._sliders.items():
            slider.add_class("kdlib-control")
            rows.append(ipywidgets.HBox([slider, ipywidgets.Label(notes.get(name, ""))]))
        # no tooltip: ipywidgets 8.1's ImageView fails on one
        self.picture = ipywidgets.Image(format="png", width=WIDTH, height=height)
        self._formula, self.readout = ipywidgets.HTML(), ipywidgets.HTML()
        self.picture.add_class("kdlib-picture")
        self.readout.add_class("kdlib-readout")
        super().__init__([*above, *rows, *below, self._formula, self.picture, self.readout])

    def close(self) -> None:
        """Closes all that it is made of: ipywidgets keeps every widget that was not closed."""
        left, seen = [self], set()
        while left:
            widget = left.pop()
            if widget.comm is None or widget in seen:
                continue
            seen.add(widget)
            left += getattr(widget, "children", ())
            looks = [name for name in ("layout", "style") if widget.has_trait(name)]
            left += [getattr(widget, name) for name in looks]
        for widget in seen - {self}:
            widget.unobserve_all()
            widget.close()
        super().close()

    def _write(self, formula: str) -> None:
        self._formula.value = f'<div style="font-size:15px;line-height:1.5">{formula}</div>'

    def _say(self, text: str, *, problem: bool = False) -> None:
        role = "alert" if problem else "status"
        ink = f"color:{INKS['alone']};" if problem else ""
        style = f"{ink}max-width:{WIDTH}px;line-height:1.45;font-size:14px"
        self.readout.value = f'<div role="{role}" style="{style}">{escape(text)}</div>'

    def _stored(self, text: str, alt: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Live view, the picture as painted for where no kernel runs, text that nbval compares."""
        data = dict(super()._repr_mimebundle_(**options) or {})
        data["text/plain"] = text
        data["image/png"] = self._canvas.small_png()
        return data, {"image/png": {"alt": alt}}
