"""Milliseconds that an explorer takes to redraw, PNG included, in the kernel, on one thread.

python -m benchmarks.explorers
"""

from __future__ import annotations

import io
import statistics
import time

import numpy as np
from matplotlib.figure import Figure

from kdlib.explorers import BankExplorer, Explorer, SoftenedLogits

BUDGET = 10.0


class ThreePanels(Explorer):
    """The heaviest picture the course draws: three panels of lines with ghosts, 700 × 320 px."""

    def __init__(self) -> None:
        self._curves = np.random.default_rng(0).random((20, 3, 3, 12))
        super().__init__(controls={"T": range(20)}, title="Three panels of three lines")

    def setup(self, figure: Figure) -> None:
        self._lines = {
            ghost: [
                axis.plot(range(12), range(12), marker="o", **self.look(role, ghost=ghost))[0]
                for axis in axes
                for role in ("teacher", "alone", "taught")
            ]
            for axes in [figure.subplots(1, 3)]
            for ghost in (True, False)
        }
        for axis in figure.axes:
            axis.set_ylim(0, 1)

    def move(self, state: dict[str, int], ghost: bool) -> None:
        curves = self._curves[state["T"]].reshape(9, 12)
        for line, curve in zip(self._lines[ghost], curves, strict=True):
            line.set_ydata(curve)

    def sentence(self, state: dict[str, int]) -> str:
        return f"Random lines number {state['T']}."


def examples() -> list[Explorer]:
    rng = np.random.default_rng(0)
    axes = {"T": [1, 2, 4, 8, 20], "alpha": [0.1, 0.5, 0.9], "width": [8, 16, 32]}
    bank = BankExplorer(
        axes,
        8 + rng.normal(size=(5, 3, 3, 5)),
        n=1000,
        alone=9 + rng.normal(size=(3, 5)),
        second={"with T²": rng.random((5, 3, 3)), "without": rng.random((5, 3, 3))},
        second_name="gradient norm",
    )
    logits = 4 * rng.normal(size=(20, 10))
    softened = SoftenedLogits(logits, logits.argmax(1), rng.random((20, 28, 28)))
    return [ThreePanels(), bank, softened]


def milliseconds(explorer: Explorer, repeats: int = 60) -> tuple[list[float], list[float]]:
    """By the clock, and by the processor: on a busy machine only the second is the explorer's."""
    states = list(explorer.states())
    clock, processor = [], []
    for k in range(repeats):
        now, before = states[(k + 1) % len(states)], states[k % len(states)]
        start, start_busy = time.perf_counter(), time.thread_time()
        explorer.draw(now, before)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.thread_time() - start_busy))
    return clock, processor


def rebuilt(state: int) -> bytes:
    """What `interact` with pyplot does at each move: a new figure, drawn and encoded whole."""
    from matplotlib import pyplot

    curves = np.random.default_rng(state).random((9, 12))
    picture, axes = pyplot.subplots(1, 3, figsize=(7, 3.2))
    for curve, axis in zip(curves, [*axes] * 3, strict=True):
        axis.plot(curve, marker="o")
    picture.tight_layout()
    png = io.BytesIO()
    picture.savefig(png, dpi=100)
    pyplot.close(picture)
    return png.getvalue()


def measured() -> dict[str, dict[str, float]]:
    """name -> median ms by the clock and by the processor, and the clock's 95th percentile."""
    found = {type(one).__name__: _summary(*milliseconds(one)) for one in examples()}
    clock, processor = [], []
    for state in range(8):
        start, busy = time.perf_counter(), time.thread_time()
        rebuilt(state)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.thread_time() - busy))
    return {**found, "a new pyplot figure, as interact does": _summary(clock, processor)}


def _summary(clock: list[float], processor: list[float]) -> dict[str, float]:
    medians = {"ms": statistics.median(clock), "cpu ms": statistics.median(processor)}
    return {**medians, "p95 ms": statistics.quantiles(clock, n=20, method="inclusive")[-1]}


if __name__ == "__main__":
    for name, one in measured().items():
        word = "within" if one["cpu ms"] <= BUDGET else "over"
        print(
            f"{name:38} {one['ms']:6.1f} ms, of which {one['cpu ms']:6.1f} ms on the processor "
            f"({word} {BUDGET:g} ms)"
        )
