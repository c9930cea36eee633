"""The first slider of the course: what temperature does to one image's class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written

TEMPERATURES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 50.0)


class SoftenedLogits(Explorer):
    """Bars of softmax(z / T) for one image.

    logits: (N, C). labels: (N,), -1 = no label. images: (N, 1, H, W) or (N, H, W). Tensors or
    arrays, on the CPU. T: temperatures of the slider, all > 0. names: of the C classes.
    who: whose logits they are, as the sentence names them.
    """

    def __init__(
        self,
        logits: Any,
        labels: Any,
        images: Any,
        *,
        T: Sequence[float] = TEMPERATURES,
        names: Sequence[str] | None = None,
        who: str = "the teacher",
        title: str = "Softened answers of the teacher",
    ) -> None:
        self._logits = np.asarray(logits, dtype=float)
        self._labels = np.asarray(labels)
        pixels = np.asarray(images)
        self._images = pixels[:, 0] if pixels.ndim == 4 else pixels
        if self._logits.ndim != 2 or len(self._logits) == 0:
            raise ValueError(f"logits must have shape (N, C), not {self._logits.shape}")
        if not len(self._logits) == len(self._labels) == len(self._images):
            raise ValueError(
                f"logits, labels and images must be of the same N, not {len(self._logits)}, "
                f"{len(self._labels)} and {len(self._images)}"
            )
        try:
            temperatures = [float(value) for value in T]
        except TypeError:
            raise ValueError(f"T={T!r}: expected the slider's temperatures: [1, 2, 4]") from None
        if not all(0 < value < float("inf") for value in temperatures):
            raise ValueError(f"every temperature must be a finite number > 0, not {temperatures}")
        self._classes = self._logits.shape[1]
        given = names if names is not None else range(self._classes)
        self._names = [str(name) for name in given]
        if len(self._names) != self._classes:
            raise ValueError(f"{self._classes} classes need as many names, not {len(self._names)}")
        self._who = who
        ends = (min(temperatures), max(temperatures))
        named = [t for t in sorted({1.0, 4.0, 20.0, *ends}) if t in temperatures]
        situations = {f"T = {t:g}": {"T": t} for t in named}
        super().__init__(
            controls={"T": temperatures, "image": range(len(self._logits))},
            start={"T": 1.0} if 1.0 in temperatures else {},
            situations=situations,
            notes={"T": "temperature"},
            title=title,
            height=290,
        )

    def probabilities(self, state: State) -> np.ndarray:
        """softmax(z / T) of the state's image, (C,)."""
        scaled = self._logits[state["image"]] / state["T"]
        exponentials = np.exp(scaled - scaled.max())
        return np.asarray(exponentials / exponentials.sum())

    def setup(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1, 3.2])
        left.set_axis_off()
        brightest = float(self._images.max()) or 1.0
        self._picture = left.imshow(
            self._images[0], cmap="gray_r", vmin=0, vmax=brightest, animated=True
        )
        classes = range(self._classes)
        # The ghost is wider than the bar, so it shows whether it was higher or lower.
        self._bars = {
            ghost: right.bar(classes, 0, 0.9 - 0.28 * (not ghost), **self._bar_look(ghost))
            for ghost in (True, False)
        }
        style = {**self.look("teacher", text=True), "ha": "center", "va": "bottom", "fontsize": 8}
        self._numbers = [right.text(0, 0, "", **style) for _ in range(min(3, self._classes))]
        right.set(ylim=(0, 1.08), yticks=[0, 0.25, 0.5, 0.75, 1], xlabel="class")
        right.set_ylabel("p_T, probability")
        right.set_xticks(classes, self._names)
        right.tick_params(axis="x", length=0)

    def _bar_look(self, ghost: bool) -> dict[str, Any]:
        look = self.look("teacher", ghost=ghost)
        return {**look, "color": "#D9D9D9"} if ghost else look

    def move(self, state: State, ghost: bool) -> None:
        probabilities = self.probabilities(state)
        for bar, height in zip(self._bars[ghost], probabilities, strict=True):
            bar.set_height(height)
        if ghost:
            return
        self._picture.set_data(self._images[state["image"]])
        highest = np.argsort(-probabilities)[: len(self._numbers)]
        for text, k in zip(self._numbers, highest, strict=True):
            text.set_position((k, probabilities[k] + 0.015))
            text.set_text(_percent(probabilities[k]))

    def sentence(self, state: State) -> str:
        probabilities = self.probabilities(state)
        first, *others = np.argsort(-probabilities)[:3]
        label = int(self._labels[state["image"]])
        known = " (the label)" if first == label else f" (the label is {self._name(label)})"
        rest = " and ".join(f"{_percent(probabilities[k])} to {self._names[k]}" for k in others)
        positive = probabilities[probabilities > 0]
        entropy = -(positive * np.log(positive)).sum()
        return (
            f"At T = {written(state['T'])} {self._who} gives {_percent(probabilities[first])} to "
            f"{self._names[first]}{known if label >= 0 else ''}, {rest}; the entropy is "
            f"{entropy:.2f} of at most {np.log(self._classes):.2f} nats."
        )

    def _name(self, label: int) -> str:
        return self._names[label] if 0 <= label < self._classes else "unknown"

    def formula(self, state: State) -> str:
        T = self.symbol(written(state["T"]))
        p = self.symbol("p_T", "teacher")
        return f"{p} = softmax(z_t / T) = softmax(z_t / {T})"


def _percent(share: float) -> str:
    if share < 0.0005:
        return "< 0.1 %"
    if 0.9995 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"
