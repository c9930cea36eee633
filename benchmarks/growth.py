"""How the fp32 bank's cost grows with students, width, images a step, and processes side by side.

python -m benchmarks.growth  # one process of `by_processes`: trains when it hears a line
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks.contenders import Stopwatch, thinned
from kdcourse.figures import figure
from kdlib.bank import train_bank
from kdlib.data import Examples, load
from kdlib.models import cnn, mlp
from kdlib.objectives import HardLabels, SoftTargets, TeacherTable, tabulate

WORK = 400  # steps times students of a short measurement, about


def by_students() -> list[tuple[int, float]]:
    """(students, milliseconds a step and student)"""
    return [(count, _cost(count, 32, 128)) for count in (1, 4, 16, 64, 256, 1024)]


def by_width() -> list[tuple[int, float]]:
    """(hidden units, milliseconds a step and student)"""
    return [(width, _cost(64, width, 128)) for width in (8, 16, 32, 64, 128)]


def by_batch() -> list[tuple[int, float]]:
    """(images a step, milliseconds a step and student)"""
    return [(batch, _cost(64, 32, batch)) for batch in (32, 128, 512)]


def by_processes(most: int) -> list[tuple[int, float]]:
    """(processes of 64 students each, milliseconds by the clock a step and student of all)"""
    return [(count, _beside(count)) for count in (1, *([most] if most > 1 else []))]


def convolutional(most: int) -> list[tuple[str, float]]:
    """(how 8 students are trained, milliseconds by the clock a step and student); fp32."""
    found = [("one after another", _conv_cost("sequential")), ("vmap", _conv_cost("reference"))]
    if most > 1:  # as many threads are as many processes
        found.append((f"side by side in {most} processes", _conv_cost("sequential", most)))
    return found


def _beside(count: int) -> float:
    words = [sys.executable, "-m", "benchmarks.growth"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [
        subprocess.Popen(words, cwd=Path(__file__).parents[1], **pipes) for _ in range(count)
    ]
    for child in children:
        child.stdout.readline()  # it is ready
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    costs = [float(child.communicate()[0]) for child in children]
    return max(costs) / count


def _cost(students: int, width: int, batch: int, *, clock: bool = False) -> float:
    """Of a step more: what a bank's start takes (1.5 ms a student, about) is left out."""
    few = min(16, max(4, WORK // students))

    def taken(steps: int) -> float:
        network = mlp(784, width, 10)
        watches = [_train(network, students, batch, steps, "fast") for _ in range(3)]
        return _median(watches, clock=clock)

    return (taken(3 * few) - taken(few)) / (2 * few) / students


def _conv_cost(engine: str, threads: int = 1) -> float:
    _train(cnn(8), 1, 128, 4, engine, threads)  # the first steps of a shape choose kernels
    watches = [_train(cnn(8), 8, 128, 12, engine, threads) for _ in range(3)]
    return _median(watches, clock=True) / (12 * 8)


def _train(
    student: nn.Module, students: int, batch: int, steps: int, engine: str, threads: int = 1
) -> Stopwatch:
    (examples, table), watch = _answered(steps * batch), Stopwatch()
    with watch.running(threads):
        train_bank(
            0.5 * HardLabels() + 0.5 * SoftTargets(table, 4), student=student, examples=examples,
            seeds=students, epochs=1, batch=batch, engine=engine, evaluate={}, cache=False,
        )  # fmt: skip
    return watch


@functools.cache
def _answered(count: int) -> tuple[Examples, TeacherTable]:
    examples = thinned(load("mnist5k").train, count)
    return examples, tabulate(cnn(4).eval(), examples)


def _median(watches: list[Stopwatch], *, clock: bool) -> float:
    """Milliseconds."""
    return 1000 * sorted(watch.wall if clock else watch.cpu for watch in watches)[len(watches) // 2]


def plot(costs: dict[str, list[tuple[int, float]]], path: Path) -> None:
    picture, axes = figure(height=2.6, panels=len(costs))
    for axis, (name, points) in zip(axes, costs.items(), strict=True):
        axis.loglog(*zip(*points, strict=True), marker="o")
        x, y = zip(*points, strict=True)
        axis.set_xticks(x, [str(value) for value in x])
        axis.set_xticks([], minor=True)
        heights = sorted({round(min(y), 2), round(sum(y) / len(y), 2), round(max(y), 2)})
        axis.set_yticks(heights, [f"{value:g}" for value in heights])
        axis.set_yticks([], minor=True)
        axis.set(xlabel=name, title="")
    axes[0].set_ylabel("ms a step and student")
    picture.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    torch.set_num_threads(1)
    _train(mlp(784, 32, 10), 64, 128, 4, "fast")
    print("ready", flush=True)
    sys.stdin.readline()
    print(_cost(64, 32, 128, clock=True))
