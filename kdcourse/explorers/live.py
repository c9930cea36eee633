"""A bank that trains in front of the reader: choose, press Train, watch the curves come down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from kdcourse.explorers.canvas import Canvas
from kdcourse.explorers.controls import Controls, State, written
from kdcourse.explorers.error_table import scale_along
from kdcourse.explorers.frame import WIDTH, Frame
from kdcourse.figures import COLOURS, INKS, error_axis
from kdlib.objectives import Objective, Symbol

LIGHT = 0.35  # how pale the line of the smallest value is


class LiveBank(Frame):
    """Trains a bank at the press of a button and draws it as it trains.

    train(watch, **state) -> Bank: the page's `train_bank` with these choices, `watch=watch`,
    `cache=False`, evaluated on "test".
    choices: name → values, 1 to 3 sliders. axes: the two axes of its bank, {"T": […], "alpha":
    […]}: the first is drawn along, the second has a line for each value. n: test images.
    objective: that of its students, or a function of the axes, for the formula until there is a
    bank, which has its own.
    Training runs in a thread of its own, so the page stays awake; Stop keeps what there is.
    `bank`: the last one trained, or None. `wait()`: until training has ended.
    """

    def __init__(
        self,
        train: Callable[..., Any],
        *,
        choices: Mapping[str, Sequence[Any]],
        axes: Mapping[str, Sequence[float]],
        n: int,
        objective: Objective | Callable[..., Objective] | None = None,
        start: Mapping[str, Any] | None = None,
        title: str = "Train this bank again",
        highest: float = 40.0,
    ) -> None:
        if len(axes) != 2:
            raise ValueError(f"a live bank has two axes, not {len(axes)}: {list(axes)}")
        self.title = title
        self.bank: Any = None
        self._train, self._n, self._highest = train, n, highest
        self._axes = {name: [float(value) for value in values] for name, values in axes.items()}
        self._controls = Controls(choices)
        first = self._controls.state(start or {}, base=self._controls.first())
        self._errors = np.full([len(values) for values in self._axes.values()], np.nan)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._canvas = Canvas(self._setup, self._move, title=title, width=WIDTH, height=300)
        self._build(first)
        if objective is not None and not isinstance(objective, Objective):
            objective = objective(**{name: Symbol(name) for name in self._axes})
        self._write(self.loss(objective, {}))
        self._show("", "Press Train: nothing here is stored, these students do not exist yet.")

    @property
    def state(self) -> State:
        """The choices as the sliders have them."""
        return {name: slider.value for name, slider in self._sliders.items()}

    @property
    def training(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """What the button Train does."""
        if self.training:
            return
        self._stop.clear()
        self._button_train.disabled, self._button_stop.disabled = True, False
        self._thread = threading.Thread(target=self._run, args=(self.state,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What the button Stop does: training ends after the epoch at hand."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Until training has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, state: State) -> None:
        begun = time.perf_counter()
        heading = Controls.sentence(state)
        students = int(np.prod(self._errors.shape))

        def watch(done: float, errors: Mapping[str, Any]) -> bool:
            seeds = errors["test"]  # (*axes, seeds)
            self._errors = seeds.mean(-1).numpy()
            passed = time.perf_counter() - begun
            count = students * seeds.shape[-1]
            self._bar.value = done
            self._show(
                f"{heading}, {100 * done:.0f} % trained",
                f"{count} students, {100 * done:.0f} % trained after {passed:.1f} s; "
                f"the best cell has {self._best()}.",
            )
            return not self._stop.is_set()

        try:
            bank = self._train(watch, **state)
            self.bank = bank
            self._write(self.loss(bank.objective, {}))
            passed = time.perf_counter() - begun
            end = "stopped" if self._stop.is_set() else "trained"
            self._show(
                f"{heading}, {passed:.1f} s, {end}",
                f"{len(bank.weights)} students {end} in {passed:.1f} s by the "
                f"{bank.engine} engine; the best cell has {self._best()}: the best of "
                f"{students} on the images that choose it, so it flatters.",
            )
        except Exception as error:  # a thread's traceback would end in a log nobody reads
            words = f"This bank could not be trained: {type(error).__name__}: {error}"
            self._say(words, problem=True)
        finally:
            self._button_train.disabled, self._button_stop.disabled = False, True

    def _best(self) -> str:
        if np.isnan(self._errors).all():
            return "no answers yet"
        at = np.unravel_index(np.nanargmin(self._errors), self._errors.shape)
        state = {name: self._axes[name][i] for name, i in zip(self._axes, at, strict=True)}
        return f"{self._errors[at]:.1f} % errors ({Controls.sentence(state)})"

    def _setup(self, figure: Figure) -> None:
        axis = figure.subplots()
        (along, x), (name, values) = self._axes.items()
        scale_along(axis, np.asarray(x), along)
        axis.set_ylim(0, self._highest)
        error_axis(axis, self._n)
        self._lines: list[tuple[Any, Any]] = []
        colour = COLOURS["taught"]
        for value, alpha in zip(values, np.linspace(LIGHT, 1, len(values)), strict=True):
            label = f"{name} = {written(value)}"
            line = axis.plot([], [], marker="o", color=colour, alpha=alpha, animated=True)[0]
            style: State = {
                "fontsize": 8.5,
                "color": INKS["taught"],
                "va": "center",
                "animated": True,
            }
            self._lines.append((line, axis.text(x[-1], 0, f"  {label}", **style)))
        right = axis.get_xlim()
        axis.set_xlim(right[0], right[1] * 1.5 if axis.get_xscale() == "log" else right[1] * 1.2)

    def _move(self) -> None:
        x = next(iter(self._axes.values()))
        heights = self._errors[-1]
        order = np.argsort(np.argsort(np.nan_to_num(heights, nan=0.0)))
        gap = self._highest / 17  # labels keep apart, in the order of their lines
        half = (len(self._lines) - 1) / 2 * gap
        middle = float(np.nanmean(heights)) if not np.isnan(heights).all() else np.nan
        middle = float(np.clip(middle, gap + half, self._highest - gap - half))
        for k, (line, label) in enumerate(self._lines):
            line.set_data(x, np.minimum(self._errors[:, k], self._highest))
            label.set_y(middle - half + order[k] * gap)
            label.set_visible(bool(np.isfinite(heights[k])))

    def _show(self, heading: str, words: str) -> None:
        self._move()
        self._canvas.paint(heading, ghost=False)
        self.picture.value = self._canvas.quick_png()
        self._words = words
        self._say(words)

    def _build(self, first: State) -> None:
        self._button_train = ipywidgets.Button(description="Train", button_style="primary")
        self._button_stop = ipywidgets.Button(description="Stop", disabled=True)
        self._bar = ipywidgets.FloatProgress(value=0.0, max=1.0, layout={"width": "200px"})
        self._button_train.on_click(lambda _: self.start())
        self._button_stop.on_click(lambda _: self.stop())
        row = ipywidgets.HBox([self._button_train, self._button_stop, self._bar])
        self._fill(first, height=300, below=[row])
        self.add_class("kdlib-live")

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._canvas.paint("", ghost=False)
        text = f"Live bank: {self.title} (choices: {', '.join(self._controls.axes)})"
        return self._stored(text, self._words, **options)
