"""Nearest neighbours of an image in three feature spaces: teacher, label-only, with the term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import DASHES, MARKERS

ROWS = {"teacher": "teacher", "alone": "label-only student", "taught": "{term} student"}
GAP = 4  # empty pixels between two images of a strip


class Neighbours(Explorer):
    """Slide the weight of a feature term; see whom an image lies next to.

    images: (N, H, W), uint8 or floats in [0, 1]. labels: (N,). teacher, alone: (N, width) features.
    taught: weight → (N, width), one student for each weight; widths may differ between spaces.
    errors: weight → (seeds,) error % on n images. queries: places of the images to ask about, which
    the slider counts from 1.
    term: the feature term's name in the formula.
    Neighbours are by cosine, the image itself left out.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        *,
        teacher: Any,
        alone: Any,
        taught: Mapping[float, Any],
        errors: Mapping[float, Any],
        n: int,
        queries: Sequence[int],
        k: int = 5,
        term: str = "feature term",
        title: str = "Whom an image lies next to",
    ) -> None:
        self._images, self._y, self._n = np.asarray(images), np.asarray(labels), n
        count = len(self._y)
        spaces: dict[str, Any] = {"teacher": teacher, "alone": alone}
        spaces |= {f"w{w}": features for w, features in taught.items()}
        sizes = {len(np.asarray(space)) for space in spaces.values()} | {len(self._images)}
        if self._images.ndim != 3 or sizes != {count}:
            raise ValueError(
                f"images have shape {self._images.shape}, labels {self._y.shape}, features "
                f"{sorted(sizes)} rows; expected (N, H, W) and N of each"
            )
        if set(errors) != set(taught):
            raise ValueError(f"errors at {list(errors)}, students at {list(taught)}; give both")
        if not queries or not 1 <= k < count or not all(0 <= q < count for q in queries):
            raise ValueError(f"queries {list(queries)} and k={k} with {count} images; choose fewer")
        self._term, self._queries = term, [int(q) for q in queries]
        self._k, self._weights = k, [float(w) for w in taught]
        near: dict[str, np.ndarray] = {name: nearest(space, k) for name, space in spaces.items()}
        self._fixed = {name: near[name] for name in ("teacher", "alone")}
        self._taught = {float(w): near[f"w{w}"] for w in taught}
        self._shared = {w: shared(found, near["teacher"]) for w, found in self._taught.items()}
        self._shared_alone = shared(near["alone"], near["teacher"])
        self._errors = [np.asarray(errors[w], dtype=float) for w in taught]
        middle = self._weights[len(self._weights) // 2]
        super().__init__(
            controls={"w": self._weights, "query": list(range(1, len(queries) + 1))},
            start={"w": middle},
            situations={
                "no feature term": {"w": self._weights[0]},
                "a heavy one": {"w": self._weights[-1]},
            },
            notes={"w": "weight of the feature term", "query": f"of {len(queries)} test images"},
            title=title,
            height=350,
        )

    @staticmethod
    def telling(before: Any, after: Any, teacher: Any, *, count: int = 8, k: int = 5) -> list[int]:
        """The images whose neighbours become the teacher's most from one space to another."""
        theirs = nearest(teacher, k)
        gain = shared(nearest(after, k), theirs) - shared(nearest(before, k), theirs)
        return [int(place) for place in np.argsort(-gain, kind="stable")[:count]]

    def found(self, state: State) -> dict[str, np.ndarray]:
        """Row → the k nearest images, nearest first, (k,)."""
        rows = {**self._fixed, "taught": self._taught[state["w"]]}
        return {name: rows[name][self._query(state)] for name in ROWS}

    def _query(self, state: State) -> int:
        return self._queries[state["query"] - 1]

    # ---- the picture -------------------------------------------------------------------------

    def setup(self, figure: Figure) -> None:
        grid = figure.add_gridspec(1, 2, width_ratios=[1.55, 1])
        strip, side = figure.add_subplot(grid[0, 0]), grid[0, 1].subgridspec(2, 1)
        height, width = self._images.shape[1:]
        self._step, self._down = width + GAP, height + 16
        full = (self._k + 1) * self._step + GAP
        strip.set(xlim=(0, full), ylim=(3 * self._down, -8))
        strip.set_axis_off()
        blank = np.zeros((height, full - 2 * GAP), self._images.dtype)
        bright = 255 if self._images.dtype == np.uint8 else 1
        self._strips, self._frames, self._notes = {}, {}, {}
        for r, (row, said) in enumerate(ROWS.items()):
            top = r * self._down
            place = (GAP, full - GAP, top + height, top)
            ink: Any = {"cmap": "gray_r", "vmin": 0, "vmax": bright, "interpolation": "nearest"}
            self._strips[row] = strip.imshow(blank, extent=place, animated=True, zorder=2, **ink)
            style: dict[str, Any] = {
                "fontsize": 8.5,
                "va": "bottom",
                "color": self.look(row, text=True)["color"],
            }
            strip.text(GAP, top - 1, said.format(term=self._term), **style)
            look = {**self.look(row, text=True), "fontsize": 8.5, "va": "bottom", "ha": "right"}
            self._notes[row] = strip.text(full - GAP, top - 1, "", **look)
            self._frames[row] = [
                strip.add_patch(self._frame(GAP + (j + 1) * self._step - 1.5, top))
                for j in range(self._k)
            ]
        strip.set(xlim=(0, full), ylim=(3 * self._down, -8), aspect="auto")
        self._sides(figure.add_subplot(side[0]), figure.add_subplot(side[1]))

    def _frame(self, left: float, top: float) -> Rectangle:
        height, width = self._images.shape[1:]
        look = self.look("label")
        look["edgecolor"] = look.pop("color")
        place = ((left, top - 0.5), width + 3, height + 1)
        return Rectangle(*place, fill=False, linewidth=1.8, **look)

    def _sides(self, upper: Any, lower: Any) -> None:
        """Above: how many neighbours are the teacher's; below: the error; along the weights."""
        where = np.arange(len(self._weights))
        lines = [100 * self._shared[w].mean() for w in self._weights]
        alone = 100 * self._shared_alone.mean()
        look: dict[str, Any] = {
            "taught": {"color": self.look("taught")["color"], "linestyle": DASHES["taught"]}
        }
        look["alone"] = {"color": self.look("alone")["color"], "linestyle": DASHES["alone"]}
        upper.plot(where, lines, **look["taught"])
        upper.axhline(alone, **look["alone"])
        ink: Any = {
            "fontsize": 8,
            "va": "top",
            "ha": "right",
            "color": self.look("alone", text=True)["color"],
        }
        upper.text(where[-1], 0.94 * alone, "label-only", **ink)
        upper.set(ylim=(0, 1.25 * max(*lines, alone, 1)))
        upper.locator_params(axis="y", nbins=4)
        upper.set_title("% of neighbours shared", fontsize=8.5)
        mean = [float(one.mean()) for one in self._errors]
        lower.plot(where, mean, **look["taught"])
        for k, one in enumerate(self._errors):
            dots: dict[str, Any] = {"markersize": 3, "alpha": 0.4, "color": look["taught"]["color"]}
            lower.plot([k] * len(one), one, MARKERS["taught"], **dots)
        lower.set_ylim(0, 1.15 * max(float(one.max()) for one in self._errors) or 1)
        lower.locator_params(axis="y", nbins=4)
        lower.set_title(f"error % on {self._n:,} images", fontsize=8.5)
        for axis in (upper, lower):
            axis.set_xticks(where, [written(w) for w in self._weights])
        upper.tick_params(labelbottom=False)
        lower.set_xlabel("w")
        self._now = []
        for axis, values in ((upper, lines), (lower, mean)):
            here = axis.plot([], [], MARKERS["taught"], markersize=8, **self.look("taught"))[0]
            twin = axis.plot(
                [], [], MARKERS["taught"], markersize=8, **self.look("taught", ghost=True)
            )[0]
            self._now.append((here, twin, values))

    def move(self, state: State, ghost: bool) -> None:
        place = self._weights.index(state["w"])
        for here, twin, values in self._now:
            (twin if ghost else here).set_data([place], [values[place]])
        if ghost:
            return
        query = self._query(state)
        theirs = self._fixed["teacher"][query]
        for row, found in self.found(state).items():
            self._strips[row].set_data(self._strip([query, *found]))
            for frame, one in zip(self._frames[row], found, strict=True):
                frame.set_visible(bool(self._y[one] != self._y[query]))
            common = len(set(found) & set(theirs))
            self._notes[row].set_text("" if row == "teacher" else f"{common} of {self._k} shared")

    def _strip(self, places: Sequence[int]) -> np.ndarray:
        space = np.zeros((self._images.shape[1], GAP), self._images.dtype)
        parts = [part for place in places for part in (self._images[place], space)]
        return np.concatenate(parts[:-1], axis=1)

    def sentence(self, state: State) -> str:
        found, query = self.found(state), self._query(state)
        same = {row: int((self._y[near] == self._y[query]).sum()) for row, near in found.items()}
        common = len(set(found["taught"]) & set(found["teacher"]))
        over = 100 * self._shared[state["w"]].mean()
        error = float(self._errors[self._weights.index(state["w"])].mean())
        return (
            f"Query {state['query']}, a {self._y[query]}: of its {self._k} nearest images, "
            f"{same['teacher']} are {self._y[query]}s for the teacher, {same['alone']} for the "
            f"label-only student, {same['taught']} for the {self._term} student, which shares "
            f"{common} with the teacher. Over all images: {over:.0f} % shared, error {error:.1f} %."
        )

    def formula(self, state: State) -> str:
        w = self.symbol(written(state["w"]), "taught")
        return f"loss = CE + w · {self._term}, w = {w}"


def nearest(features: Any, k: int) -> np.ndarray:
    """The k nearest by cosine of each row, the row itself left out: (N, width) → (N, k)."""
    rows = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    rows = rows - rows.mean(0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    like = rows @ rows.T
    np.fill_diagonal(like, -np.inf)
    return np.argsort(-like, axis=1, kind="stable")[:, :k]


def shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of each row's neighbours that both have: (N, k) twice → (N,)."""
    return (a[:, :, None] == b[:, None, :]).any(2).mean(1)
