"""What should move when a trained network meets other images, by how many labels there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import DASHES, MARKERS, error_axis
from kdlib.metrics import mean_intervals

LABELS, MOVES = "labels per class", "what moves"


class FrozenParts(Explorer):
    """Slide the labels per class, and which part of the network moves.

    labels: per class, ascending. kinds: names of what moves. errors: (labels, kinds, draws) test
    error %. anew: (labels, draws), the same network trained from scratch. as_is: error
    % of the network that nobody changed. n: test images. parts: names of the network's parts from
    input to output; moved: (labels, kinds, parts), how far each moved, in % of its own length.
    """

    def __init__(
        self,
        labels: Sequence[int],
        kinds: Sequence[str],
        errors: Any,
        *,
        anew: Any,
        as_is: float,
        n: int,
        parts: Sequence[str],
        moved: Any,
        start: dict[str, Any] | None = None,
        situations: dict[str, dict[str, Any]] | None = None,
        title: str = "How much of a trained network should move?",
    ) -> None:
        self._labels, self._kinds, self._parts = list(labels), list(kinds), list(parts)
        self._errors, self._anew, self._far = (
            np.asarray(table, dtype=float) for table in (errors, anew, moved)
        )
        grid = (len(self._labels), len(self._kinds))
        draws = self._errors.shape[-1] if self._errors.ndim else 0
        wanted = {"errors": (*grid, draws), "anew": (grid[0], draws), "moved": (*grid, len(parts))}
        given: dict[str, Any] = {"errors": self._errors, "anew": self._anew, "moved": self._far}
        for name, shape in wanted.items():
            if given[name].shape != shape:
                raise ValueError(f"{name} has shape {given[name].shape}; expected {shape}")
        self._as_is, self._n = float(as_is), n
        super().__init__(
            controls={LABELS: self._labels, MOVES: self._kinds},
            start=start,
            situations=situations,
            notes={LABELS: "of the new images", MOVES: "while the rest is held still"},
            title=title,
        )

    def _here(self, state: State) -> tuple[int, int]:
        return self._labels.index(state[LABELS]), self._kinds.index(state[MOVES])

    def setup(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        self._setup_errors(left)
        self._setup_moved(right)

    def _setup_errors(self, axis: Axes) -> None:
        top = max(self._errors.max(), self._anew.max(), self._as_is)
        axis.set_ylim(0, 1.08 * top)
        axis.set_xscale("log")
        axis.set_xlim(self._labels[0] / 1.25, self._labels[-1] * 1.25)
        axis.set_xticks(self._labels, [str(count) for count in self._labels])
        axis.set_xticks([], minor=True)
        axis.set_xlabel(LABELS)
        error_axis(axis, self._n)
        mean, low, high = mean_intervals(self._anew)
        alone, teacher = self.look("alone"), self.look("teacher")
        for look in (alone, teacher):  # these never move
            del look["animated"], look["gid"]
        axis.plot(self._labels, mean, linestyle=DASHES["alone"], **alone)
        if np.isfinite(low).all():
            band = {**alone, "alpha": 0.13, "linewidth": 0, "zorder": 1}
            axis.fill_between(self._labels, low, high, **band)
        axis.axhline(self._as_is, linestyle=DASHES["teacher"], linewidth=1.2, **teacher)
        ink: dict[str, Any] = {"fontsize": 8.5, "va": "bottom"}
        for k, (role, said) in enumerate(
            (
                ("taught", "what you choose"),
                ("alone", "from scratch"),
                ("teacher", "source network"),
            )
        ):
            colour = self.look(role, text=True)["color"]
            axis.text(0.33 * k, 1.02, said, color=colour, transform=axis.transAxes, **ink)
        self._now = axis.axvline(1, color="#D0D0D0", linewidth=1, zorder=1, animated=True)
        self._lines: dict[bool, Any] = {}
        self._marks: dict[bool, Any] = {}
        for ghost in (True, False):
            look = self.look("taught", ghost=ghost)
            self._lines[ghost] = axis.plot([], [], linestyle=DASHES["taught"], **look)[0]
            self._marks[ghost] = axis.plot([], [], MARKERS["taught"], markersize=8, **look)[0]
        faint = {**self.look("taught"), "alpha": 0.45}
        self._dots = axis.plot([], [], MARKERS["taught"], markersize=3.4, **faint)[0]
        self._bounds = LineCollection([], linewidths=1.2, **self.look("taught"))
        axis.add_collection(self._bounds, autolim=False)

    def _setup_moved(self, axis: Axes) -> None:
        places = range(len(self._parts))
        axis.set_xlim(-0.5, len(self._parts) - 0.5)
        axis.set_yscale("symlog", linthresh=10, linscale=0.7)  # a head goes a hundred times as far
        top = max(1000.0, 1.3 * float(self._far.max()))
        axis.set_ylim(-0.6, top)
        axis.set_yticks([0, 10, 100, 1000], ["0", "10", "100", "1,000"])
        axis.set_xticks(places, self._parts)
        axis.set_ylabel("moved, % of its own length", fontsize=8.5)
        self._bars: dict[bool, Any] = {}
        self._tops: dict[bool, Any] = {}
        for ghost in (True, False):
            look = self.look("extra", ghost=ghost)
            bars = LineCollection([], linewidths=10 if ghost else 6, **look)
            axis.add_collection(bars, autolim=False)
            self._bars[ghost] = bars
            self._tops[ghost] = axis.plot([], [], MARKERS["extra"], markersize=6, **look)[0]

    def move(self, state: State, ghost: bool) -> None:
        count, kind = self._here(state)
        mean, low, high = mean_intervals(self._errors[:, kind])
        self._lines[ghost].set_data(self._labels, mean)
        self._marks[ghost].set_data([state[LABELS]], [mean[count]])
        moved = self._far[count, kind]
        places = np.arange(len(moved))
        ends = np.stack([places, 0 * moved, places, moved], axis=1).reshape(-1, 2, 2)
        self._bars[ghost].set_segments(list(ends))
        self._tops[ghost].set_data(places, moved)
        if ghost:
            return
        self._now.set_xdata([state[LABELS]] * 2)
        draws = self._errors[:, kind]
        self._dots.set_data(np.repeat(self._labels, draws.shape[1]), draws.ravel())
        bounds = np.stack([self._labels, low, self._labels, high], axis=1).reshape(-1, 2, 2)
        self._bounds.set_segments([] if np.isnan(low).any() else list(bounds))

    def sentence(self, state: State) -> str:
        count, kind = self._here(state)
        draws, anew = self._errors[count, kind], self._anew[count]
        many = "image" if state[LABELS] == 1 else "images"
        labels = f"With {written(state[LABELS])} labelled {many} per class"
        said = f"{labels}, what moves being {state[MOVES]}, {self._images(draws)} are wrong"
        mean, low, high = (float(value) * self._n / 100 for value in mean_intervals(draws - anew))
        than = f"trained from scratch: {self._images(anew)}"
        if np.isnan(low):
            return f"{said}; {than}."
        if low <= 0 <= high:
            return f"{said}; {than}: these draws do not resolve the difference."
        which = "fewer" if mean < 0 else "more"
        return f"{said}; {than}. From the trained start there are {abs(mean):.0f} {which} errors."

    def _images(self, percent: np.ndarray) -> str:
        mean = float(percent.mean())
        return f"{mean * self._n / 100:.0f} of {self._n:,} images ({mean:.1f} %)"
