"""One shift, more or less of it: distances against their null bands, and the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import GHOST

LEAST, MOST = 0.1, 300.0  # of the axis: times the band's upper edge


class Severity(Explorer):
    """Dots: each distance as a multiple of its null band's upper edge. Line: errors over levels.

    images: (shifts, levels, k, H, W), floats or uint8. distances: name → (shifts, levels). edges:
    name → upper edge of its null band, > 0. errors: (shifts, levels), percent of n images.
    """

    def __init__(
        self,
        shifts: Sequence[str],
        levels: Sequence[float],
        images: Any,
        distances: Mapping[str, Any],
        edges: Mapping[str, float],
        errors: Any,
        *,
        n: int,
        start: Mapping[str, Any] | None = None,
        title: str = "More and more of a shift",
    ) -> None:
        self._shifts, self._levels, self._n = list(shifts), [float(v) for v in levels], n
        shape = (len(self._shifts), len(self._levels))
        tables = {name: np.asarray(values, dtype=float) for name, values in distances.items()}
        self._errors, self._images = np.asarray(errors, dtype=float), np.asarray(images)
        shapes = {name: table.shape for name, table in tables.items()}
        shapes |= {"errors": self._errors.shape, "images": self._images.shape[:2]}
        wrong = [name for name, found in shapes.items() if found != shape]
        if wrong or self._images.ndim != 5:
            raise ValueError(
                f"{wrong[0] if wrong else 'images'} must begin with (shifts, levels) = {shape}, "
                f"not {shapes[wrong[0]] if wrong else self._images.shape}"
            )
        if set(edges) != set(tables) or not all(edge > 0 for edge in edges.values()):
            raise ValueError("edges needs a number above 0 for each distance, and no others")
        self._times = {name: tables[name] / edges[name] for name in tables}
        super().__init__(
            controls={"shift": self._shifts, "level": self._levels},
            start=start,
            situations={"none": {"level": self._levels[0]}, "all": {"level": self._levels[-1]}},
            notes={"shift": "what changes in the images", "level": "how much of it"},
            title=title,
            height=340,
        )

    def _at(self, state: State) -> tuple[int, int]:
        return self._shifts.index(state["shift"]), self._levels.index(state["level"])

    def setup(self, figure: Figure) -> None:
        left, middle, right = figure.subplots(1, 3, width_ratios=[0.45, 1.5, 1])
        left.set_axis_off()
        brightest = 255 if self._images.dtype == np.uint8 else 1
        column = self._column(0, 0)
        ink = {"cmap": "gray_r", "vmin": 0, "vmax": brightest, "interpolation": "nearest"}
        self._picture = left.imshow(column, animated=True, **ink)
        names = list(self._times)
        middle.set_xscale("log")
        middle.set(xlim=(LEAST, MOST), ylim=(len(names) - 0.4, -0.6))
        middle.set_xlabel("times its null band's edge")
        middle.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        middle.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        middle.set_xticks([], minor=True)
        middle.axvspan(LEAST, 1, color=GHOST, alpha=0.25, linewidth=0)
        middle.axvline(1, color=GHOST, linewidth=1)
        middle.grid(False)
        self._dots = {
            ghost: middle.plot([], [], "D", markersize=8, **self._dot_look(ghost))[0]
            for ghost in (True, False)
        }
        right.set(xlim=(min(self._levels) - 0.03, max(self._levels) + 0.03))
        right.set(ylim=(0, max(1.0, 1.08 * self._errors.max())), xlabel="level")
        right.set_ylabel(f"the network's error % (of {self._n:,})", fontsize=8.5)
        self._line, self._spot = {}, {}
        for ghost in (True, False):
            look = self.look("alone", ghost=ghost)
            self._line[ghost] = right.plot([], [], linestyle="--", marker=".", **look)[0]
            self._spot[ghost] = right.plot([], [], "s", markersize=8, **look)[0]

    def _column(self, shift: int, level: int) -> np.ndarray:
        """The images above one another, two empty rows between them."""
        gap = ((0, 2), (0, 0))
        return np.concatenate([np.pad(image, gap) for image in self._images[shift, level]])

    def _dot_look(self, ghost: bool) -> dict[str, Any]:
        look = self.look("teacher", ghost=ghost)
        return {**look, "color": "#D9D9D9"} if ghost else look

    def move(self, state: State, ghost: bool) -> None:
        shift, level = self._at(state)
        times = [np.clip(each[shift, level], LEAST * 1.1, MOST) for each in self._times.values()]
        self._dots[ghost].set_data(times, range(len(times)))
        self._line[ghost].set_data(self._levels, self._errors[shift])
        self._spot[ghost].set_data([self._levels[level]], [self._errors[shift, level]])
        if not ghost:
            self._picture.set_data(self._column(shift, level))

    def sentence(self, state: State) -> str:
        at = self._at(state)
        above = [name for name, times in self._times.items() if times[at] > 1]
        head = f"{state['shift']} at level {written(state['level'])}: "
        if not above:
            seen = "no distance leaves its null band"
        else:
            furthest = max(above, key=lambda name: self._times[name][at])
            seen = (
                f"{len(above)} of {len(self._times)} distances are above their null bands, "
                f"{furthest.replace('_', ' ')} the furthest ({self._times[furthest][at]:.3g} times "
                "its edge)"
            )
        return (
            f"{head}{seen}; the network's error is {self._errors[at]:.1f} % of {self._n:,} images."
        )
