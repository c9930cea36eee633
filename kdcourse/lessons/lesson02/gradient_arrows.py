"""Where a step of descent pushes each logit of one image: the two answers, and what is between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written

TEMPERATURES = (0.5, 1.0, 2.0, 4.0, 8.0, 20.0)
GONE = 0.005  # an arrow shorter than this is too short to be seen


class GradientArrows(Explorer):
    """Bars of p_T and q_T, and alpha · T · (p_T - q_T): minus the gradient of soft targets.

    z_s, z_t: (N, C), the student's and the teacher's logits. images: (N, 1, H, W) or (N, H, W).
    T: temperatures, all > 0. steps: how many positions there are on the straight way from z_s
    (step 0) to z_t (step 1), at least 2. alpha: weight of the soft targets, in (0, 1].
    """

    def __init__(
        self,
        z_s: Any,
        z_t: Any,
        images: Any,
        *,
        T: Sequence[float] = TEMPERATURES,
        steps: int = 11,
        alpha: float = 0.9,
        names: Sequence[str] | None = None,
        title: str = "Where the teacher pushes each logit",
    ) -> None:
        self._z_s, self._z_t = np.asarray(z_s, dtype=float), np.asarray(z_t, dtype=float)
        pixels = np.asarray(images)
        self._images = pixels[:, 0] if pixels.ndim == 4 else pixels
        if self._z_s.ndim != 2 or self._z_s.shape != self._z_t.shape or not len(self._z_s):
            raise ValueError(
                f"logits of student and teacher must both have shape (N, C), not "
                f"{self._z_s.shape} and {self._z_t.shape}"
            )
        if len(self._images) != len(self._z_s):
            raise ValueError(f"{len(self._z_s)} logits need as many images: {len(self._images)}")
        temperatures = [float(value) for value in T]
        if not all(0 < value < float("inf") for value in temperatures):
            raise ValueError(f"every temperature must be a finite number > 0, not {temperatures}")
        if steps < 2:
            raise ValueError(f"steps={steps}: the way from z_s to z_t has at least 2 positions")
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha={alpha}: expected a weight above 0 and up to 1")
        self._alpha, self._classes = alpha, self._z_s.shape[1]
        given = names if names is not None else range(self._classes)
        self._names = [str(name) for name in given]
        if len(self._names) != self._classes:
            raise ValueError(f"{self._classes} classes need as many names, not {len(self._names)}")
        way = [round(k / (steps - 1), 3) for k in range(steps)]
        self._longest = max(
            float(np.abs(self.push({"image": k, "step": 0.0, "T": t})).max())
            for k in range(len(self._z_s))
            for t in temperatures
        )
        open_at = min(temperatures, key=lambda t: abs(t - 2))  # where the bars can be told apart
        super().__init__(
            controls={"step": way, "T": temperatures, "image": range(len(self._z_s))},
            start={"step": 0.0, "T": open_at},
            situations={
                "the student": {"step": 0.0},
                "half way": {"step": way[len(way) // 2]},
                "the teacher": {"step": 1.0},
            },
            notes={"step": "from z_s (0) to z_t (1)", "T": "temperature"},
            title=title,
            height=380,
        )

    def logits(self, state: State) -> np.ndarray:
        """The student's logits at this step of the way, (C,)."""
        k, step = state["image"], state["step"]
        return np.asarray((1 - step) * self._z_s[k] + step * self._z_t[k])

    def answers(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """p_T and q_T, (C,) each."""
        T = state["T"]
        return _softmax(self._z_t[state["image"]] / T), _softmax(self.logits(state) / T)

    def push(self, state: State) -> np.ndarray:
        """alpha · T · (p_T - q_T), (C,): minus the gradient, so the way in which a step goes."""
        p, q = self.answers(state)
        return np.asarray(self._alpha * state["T"] * (p - q))

    def setup(self, figure: Figure) -> None:
        grid = figure.add_gridspec(2, 2, width_ratios=[1, 3.6], height_ratios=[1.25, 1])
        picture = figure.add_subplot(grid[:, 0])
        picture.set_axis_off()
        brightest = float(self._images.max()) or 1.0
        self._picture = picture.imshow(
            self._images[0], cmap="gray_r", vmin=0, vmax=brightest, animated=True
        )
        upper, lower = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        classes = np.arange(self._classes)
        self._bars = {
            role: upper.bar(classes + shift, 0, 0.37, **self.look(role))
            for role, shift in (("teacher", -0.2), ("taught", 0.2))
        }
        faint = {**self.look("taught", ghost=True), "color": "#D9D9D9"}
        self._ghost_bars = upper.bar(classes + 0.2, 0, 0.45, **faint)
        upper.set(ylim=(0, 1.05), yticks=[0, 0.5, 1], ylabel="probability")
        for k, (role, said) in enumerate((("teacher", "p_T, teacher"), ("taught", "q_T, student"))):
            ink = self.look(role, text=True)["color"]
            spot: State = {
                "transform": upper.transAxes,
                "ha": "right",
                "va": "top",
                "fontsize": 8.5,
            }
            upper.text(1.0, 1.0 - 0.13 * k, said, color=ink, **spot)
        room = 1.2 * max(self._longest, GONE)
        lower.set(ylim=(-room, room), ylabel="push on the logit", xlabel="class")
        lower.axhline(0, color="#666666", linewidth=0.8)
        for axis in (upper, lower):
            axis.set_xlim(-0.6, self._classes - 0.4)
            axis.set_xticks(classes, self._names)
            axis.tick_params(axis="x", length=0)
        self._shafts, self._tips = {}, {}
        for ghost in (True, False):
            look = self.look("extra", ghost=ghost)
            shafts = LineCollection([], linewidths=2.5, **look)
            self._shafts[ghost] = shafts
            lower.add_collection(shafts, autolim=False)
            self._tips[ghost] = [
                lower.plot([], [], mark, markersize=7, markeredgewidth=0, linestyle="", **look)[0]
                for mark in ("^", "v")
            ]

    def move(self, state: State, ghost: bool) -> None:
        p, q = self.answers(state)
        arrows = self.push(state)
        # The ghost stands a little to the left, or the arrow above would cover it.
        at = np.arange(self._classes) - 0.16 * ghost
        self._shafts[ghost].set_segments(
            [[(x, 0), (x, y)] for x, y in zip(at, arrows, strict=True) if abs(y) >= GONE]
        )
        for tip, side in zip(self._tips[ghost], (1, -1), strict=True):
            here = side * arrows >= GONE
            tip.set_data(at[here], arrows[here])
        if ghost:
            for bar, height in zip(self._ghost_bars, q, strict=True):
                bar.set_height(height)
            return
        self._picture.set_data(self._images[state["image"]])
        for role, heights in (("teacher", p), ("taught", q)):
            for bar, height in zip(self._bars[role], heights, strict=True):
                bar.set_height(height)

    def sentence(self, state: State) -> str:
        arrows = self.push(state)
        where = f"At T = {written(state['T'])}, step {written(state['step'])}"
        if np.abs(arrows).max() < GONE:
            return f"{where}, the student says what the teacher says, and every arrow is gone."
        up, down = int(arrows.argmax()), int(arrows.argmin())
        return (
            f"{where}, the arrows are {np.abs(arrows).sum():.2f} long in all and sum to zero: "
            f"a step raises the logit of class {self._names[up]} most ({arrows[up]:+.2f}) and "
            f"lowers that of {self._names[down]} most ({arrows[down]:+.2f})."
        )

    def formula(self, state: State) -> str:
        alpha, T = self.symbol(written(self._alpha)), self.symbol(written(state["T"]))
        p, q = self.symbol("p_T", "teacher"), self.symbol("q_T", "taught")
        arrow = self.symbol("arrow", "extra")
        return f"{arrow} = alpha · T · ({p} − {q}) = {alpha} · {T} · ({p} − {q})"


def _softmax(z: np.ndarray) -> np.ndarray:
    exponentials = np.exp(z - z.max())
    return np.asarray(exponentials / exponentials.sum())
