"""When to say "I don't know": coverage against error, with the network's reliability beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import GHOST, MARKERS
from kdlib import metrics

THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999)
FEWEST = 0.05  # share answered below which the error curve is a matter of single images


class Abstention(Explorer):
    """A network answers where its confidence reaches the threshold, and abstains elsewhere.

    logits: name of the network → (N, C). labels: (N,). thresholds: of the slider, in [0, 1].
    bins: of the reliability diagram, of equal mass.
    """

    def __init__(
        self,
        logits: Mapping[str, Any],
        labels: Any,
        *,
        thresholds: Sequence[float] = THRESHOLDS,
        bins: int = 10,
        start: Mapping[str, Any] | None = None,
        title: str = "Answer, or abstain",
    ) -> None:
        if not logits:
            raise ValueError("no network to explore; give name -> logits (N, C)")
        steps = [float(value) for value in thresholds]
        if not all(0 <= value <= 1 for value in steps):
            raise ValueError(f"a threshold is a confidence in [0, 1]; got {steps}")
        y = torch.as_tensor(labels).cpu()
        self._count = len(y)
        self._curves: dict[str, tuple[np.ndarray, ...]] = {}
        self._bins: dict[str, tuple[np.ndarray, ...]] = {}
        for name, given in logits.items():
            z = torch.as_tensor(given).cpu()
            if z.dim() != 2:
                raise ValueError(f"logits of {name!r} must have shape (N, C), not {tuple(z.shape)}")
            self._curves[name] = tuple(part.numpy() for part in metrics.coverage_error(z, y))
            self._bins[name] = tuple(part.numpy() for part in metrics.reliability(z, y, bins=bins))
        super().__init__(
            controls={"network": list(logits), "threshold": steps},
            start=start,
            situations={"never abstain": {"threshold": min(steps)}}
            | {f"threshold {t:g}": {"threshold": t} for t in (0.9, 0.99) if t in steps},
            notes={"threshold": "least confidence for an answer"},
            title=title,
            height=330,
        )

    def answered(self, state: State) -> tuple[int, int]:
        """How many images get an answer, and how many of these answers are wrong."""
        sure, _, errors = self._curves[state["network"]]
        count = int((sure >= state["threshold"]).sum())
        return count, round(float(errors[count - 1]) * count / 100) if count else 0

    def setup(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        start = max(1, round(FEWEST * self._count)) - 1
        highest = max(float(errors[start:].max()) for *_, errors in self._curves.values())
        left.set(xlim=(0, 103), ylim=(-0.04 * highest, 1.08 * highest or 1))
        left.set(xlabel="coverage: % of images answered", ylabel="error % among the answered")
        lowest = min(float(min(a.min(), b.min())) for a, b in self._bins.values())
        low = max(0.0, np.floor(10 * lowest) / 10)
        right.plot([low, 1], [low, 1], color=GHOST, linewidth=1)
        right.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel="confidence", ylabel="accuracy")
        self._start, self._low = start, low
        dots = {"linestyle": "none", "marker": MARKERS["teacher"]}
        self._line, self._spot, self._calibrated = {}, {}, {}
        for ghost in (True, False):
            look = self.look("teacher", ghost=ghost)
            self._line[ghost] = left.plot([], [], **look)[0]
            self._spot[ghost] = left.plot([], [], markersize=8, **dots, **look)[0]
            self._calibrated[ghost] = right.plot([], [], marker=".", **look)[0]
        silent = {**self.look("alone"), "alpha": 0.12, "linewidth": 0, "zorder": 1}
        self._silent = right.axvspan(low, low, **silent)
        words = {**self.look("alone", text=True), "fontsize": 8.5, "va": "bottom", "ha": "left"}
        self._word = right.text(low + 0.02 * (1 - low), low + 0.03 * (1 - low), "", **words)

    def move(self, state: State, ghost: bool) -> None:
        _, coverage, errors = self._curves[state["network"]]
        self._line[ghost].set_data(100 * coverage[self._start :], errors[self._start :])
        count, wrong = self.answered(state)
        at = ([100 * count / self._count], [100 * wrong / count]) if count else ([], [])
        self._spot[ghost].set_data(*at)
        self._calibrated[ghost].set_data(*self._bins[state["network"]])
        if not ghost:
            self._silent.set_width(max(0.0, state["threshold"] - self._low))
            self._word.set_text("abstains" if state["threshold"] > self._low else "")

    def sentence(self, state: State) -> str:
        count, wrong = self.answered(state)
        head = f"At a threshold of {written(state['threshold'])} the network {state['network']!r}"
        if not count:
            return f"{head} answers none of {self._count:,} images."
        _, _, errors = self._curves[state["network"]]
        return (
            f"{head} answers {count:,} of {self._count:,} images and {wrong} of these answers "
            f"{'is' if wrong == 1 else 'are'} wrong ({100 * wrong / count:.1f} %); with an answer "
            f"to every image it would be {errors[-1]:.1f} %."
        )

    def formula(self, state: State) -> str:
        threshold = self.symbol(written(state["threshold"]), "alone")
        return f"answer where max<sub>c</sub> {self.symbol('p(c)', 'teacher')} ≥ {threshold}"
