"""What a reader waits for: redraws in the kernel, there and back, the live bank; on one thread.

python -m benchmarks.explorers
"""

from __future__ import annotations

import io
import os
import statistics
import time
from typing import Any

import numpy as np
import torch
from jupyter_client.manager import start_new_kernel
from matplotlib.figure import Figure

from benchmarks.work import ALPHAS, SEEDS, TEMPERATURES, small
from kdcourse.explorers import BankExplorer, Explorer, LiveBank, SoftenedLogits
from kdlib.bank import Bank, train_bank
from kdlib.models import mlp
from kdlib.objectives import HardLabels, SoftTargets, Symbol, tabulate


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
    T, alpha, shape = Symbol("T"), Symbol("alpha"), (5, 3, 3, 5)
    student = mlp(784, 8, 10)
    untrained = Bank(
        axes, list(range(5)), {"test": torch.from_numpy(rng.normal(size=(*shape, 1000, 10)))},
        {"test": torch.from_numpy(rng.integers(0, 10, 1000))}, torch.zeros(*shape, 1),
        [None] * 225, "fast", 0.0, student,
        objective=(1 - alpha) * HardLabels() + alpha * SoftTargets(student, T),
    )  # fmt: skip
    bank = BankExplorer(
        untrained,
        alone=90 + rng.normal(size=(3, 5)),
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


def there_and_back(repeats: int = 60) -> list[float]:
    """From the page's message that a slider moved to the picture that comes back, without a page.

    The kernel is one of its own, and the messages are those of JupyterLab; what the browser adds
    is left out.
    """
    manager, client = start_new_kernel(env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        code = "from benchmarks.explorers import examples; bank = examples()[1]"
        client.execute_interactive(code, timeout=120)
        ask = "print(bank._sliders['T'].model_id, bank.picture.model_id)"
        said: list[str] = []
        client.execute_interactive(
            ask, timeout=60, output_hook=lambda m: said.append(m["content"].get("text", ""))
        )
        slider, picture = "".join(said).split()
        return [_moved(client, slider, picture, k % 5) for k in range(1, repeats + 1)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _moved(client: Any, slider: str, picture: str, index: int) -> float:
    data = {"method": "update", "state": {"index": index}, "buffer_paths": []}
    content = {"comm_id": slider, "data": data}
    start = time.perf_counter()
    client.shell_channel.send(client.session.msg("comm_msg", content))
    passed, idle = 0.0, False
    while not idle or not passed:
        message = client.get_iopub_msg(timeout=10)
        said = message["content"]
        if said.get("comm_id") == picture and message["buffers"]:
            passed = 1000 * (time.perf_counter() - start)
        idle = idle or said.get("execution_state") == "idle"
    return passed


def live(width: int, epochs: int, repeats: int) -> tuple[list[float], list[float]]:
    """Milliseconds from "Train" to the first picture of a live bank, and to the end of it."""
    work = small(width)
    table = tabulate(work.teacher, work.examples)

    def train(watch: Any, width: int, epochs: int) -> Any:
        return train_bank(
            lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(table, T),
            student=mlp(784, width, 10),
            examples=work.examples,
            evaluate={"test": work.examples[:1000]},
            grid={"T": TEMPERATURES, "alpha": ALPHAS},
            seeds=SEEDS,
            batch=work.batch,
            epochs=epochs,
            precision="auto",
            cache=False,
            watch=watch,
        )

    axes = {"T": TEMPERATURES, "alpha": ALPHAS}
    bank = LiveBank(train, choices={"width": [width], "epochs": [epochs]}, axes=axes, n=1000)
    shown: list[float] = []
    bank.picture.observe(lambda _: shown.append(time.perf_counter()), names="value")
    first, last = [], []
    for k in range(repeats + 1):
        shown.clear()
        start = time.perf_counter()
        bank.start()
        bank.wait()
        if k:  # the first press in a process imports and allocates
            first.append(1000 * (shown[0] - start))
            last.append(1000 * (shown[-1] - start))
    return first, last


def measured() -> dict[str, dict[str, float]]:
    """name -> median ms by the clock and, where it is known, by the processor; 95th percentile."""
    found = {type(one).__name__: _summary(*milliseconds(one)) for one in examples()}
    found["BankExplorer, there and back"] = _summary(there_and_back())
    clock, processor = [], []
    rebuilt(0)  # pyplot is imported once
    for state in range(8):
        start, busy = time.perf_counter(), time.thread_time()
        rebuilt(state)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.thread_time() - busy))
    found["a new pyplot figure, as interact does"] = _summary(clock, processor)
    for width, epochs in ((8, 5), (32, 10)):
        first, last = live(width, epochs, 5)
        name = f"64 live students of 784-{width}-10 × {epochs} epochs"
        found[f"{name}, first curves"] = _summary(first)
        found[f"{name}, all"] = _summary(last)
    return found


def _summary(clock: list[float], processor: list[float] | None = None) -> dict[str, float]:
    said = {"ms": statistics.median(clock)}
    if processor:
        said["cpu ms"] = statistics.median(processor)
    return {**said, "p95 ms": statistics.quantiles(clock, n=20, method="inclusive")[-1]}


if __name__ == "__main__":
    for name, one in measured().items():
        print(f"{name:60} {one['ms']:7.1f} ms, 95 % within {one['p95 ms']:7.1f} ms")
