"""Side by side with peers, on the same work, in one table.

python -m benchmarks [--quick] [--out benchmarks/results]

Contenders of a row take turns, one thread each; a cell is the median of the rounds, scaled from the
steps that were timed to the whole work. Prints a table, writes JSON and a plot.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks import contenders, explorers, networks
from benchmarks.contenders import Taken
from benchmarks.work import STUDENTS, Work, full, machine, small
from kdlib.device import has_bf16
from kdlib.models import cnn

Contender = Callable[[int], Taken]


@dataclass
class Cell:
    """One contender at one work. seconds, cpu: for the whole work; steps: timed in each round."""

    work: str
    contender: str
    seconds: float
    cpu: float
    spread: float
    steps: int
    ratio: float = 1.0


def compare(
    work: Work, entries: dict[str, tuple[Contender, int]], rounds: int, students: int
) -> list[Cell]:
    """All contenders in turn, `rounds` times; the last is what the others are compared with."""
    taken: dict[str, list[Taken]] = {name: [] for name in entries}
    for _, (contender, _) in entries.items():
        contender(2)  # first steps fault pages in and fill caches
    for _ in range(rounds):
        for name, (contender, steps) in entries.items():
            taken[name].append(contender(steps))
    cells = []
    for name, (_, steps) in entries.items():
        scale = [work.steps / steps * students / at_once for _, _, at_once in taken[name]]
        wall = [s * one[0] for s, one in zip(scale, taken[name], strict=True)]
        cpu = statistics.median(s * one[1] for s, one in zip(scale, taken[name], strict=True))
        spread = (max(wall) - min(wall)) / statistics.median(wall)
        cells.append(Cell(work.name, name, statistics.median(wall), cpu, spread, steps))
        print(f"  {name:38} {cells[-1].seconds:9.2f} s", file=sys.stderr, flush=True)
    for cell in cells:
        cell.ratio = cell.cpu / cells[-1].cpu
    return cells


def students(work: Work, rounds: int, quick: bool) -> list[Cell]:
    """64 students of 784-32-10."""
    peer = None if quick else contenders.TorchDistill(work)
    entries: dict[str, tuple[Contender, int]] = {
        "PyTorch tutorial's loop": (contenders.tutorial(work), 50),
        "sequential, cached logits": (contenders.sequential(work), 50),
        "torch.func vmap (our reference engine)": (contenders.bank(work, "reference", "fp32"), 20),
        "our bank, fp32": (contenders.bank(work, "fast", "fp32"), 50),
    }
    if peer is not None:
        entries = {"torchdistill 1.1.5": (peer, 50), **entries}
    if has_bf16():
        entries["our bank, bf16"] = (contenders.bank(work, "fast", "bf16"), 50)
    try:
        return compare(work, entries, rounds, STUDENTS)
    finally:
        if peer is not None:
            peer.close()


def teachers(work: Work, rounds: int) -> list[Cell]:
    """784-1200-1200-10, ten epochs."""
    ten = Work(
        "teacher 784-1200-1200-10, 10 epochs of 60k", work.examples, 512, 10, 32, work.teacher
    )
    fitted = networks.fitted(ten, networks.big, "bf16" if has_bf16() else "fp32", taught=False)
    entries = {"plain loop, fp32": (networks.plain_teacher(ten), 10), "fit": (fitted, 10)}
    return compare(ten, entries, rounds, 1)


def convolutional(work: Work, rounds: int) -> list[Cell]:
    """A cnn(8) student of a cnn(32) teacher, one epoch of 60k."""
    teacher = cnn(32).eval()
    one = Work("convolutional student, 1 epoch of 60k", work.examples, 256, 1, 32, teacher)
    fitted = networks.fitted(one, lambda: cnn(8), "auto", taught=True)
    entries = {"default loop, teacher in each step": (networks.default_student(one), 8)}
    return compare(one, {**entries, "fit, teacher asked once": (fitted, 8)}, rounds, 1)


def growth() -> dict[str, list[tuple[int, float]]]:
    """Milliseconds a step and student of the fp32 bank, by students, width and batch."""
    from benchmarks.growth import by_batch, by_students, by_width

    return {"students": by_students(), "width": by_width(), "images a step": by_batch()}


def table(cells: list[Cell]) -> str:
    lines = ["| work | contender | seconds | CPU seconds | times ours |", "|---|---|---|---|---|"]
    for cell in cells:
        note = "" if cell.ratio == 1 else f"{cell.ratio:.1f}"
        lines.append(
            f"| {cell.work} | {cell.contender} | {cell.seconds:.1f} | {cell.cpu:.1f} | {note} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="no torchdistill, two rounds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 2 if given.quick else given.rounds
    here, sixty, five = machine(), full(), small()
    cells: list[Cell] = []
    for name, rows in {
        sixty.name: lambda: students(sixty, rounds, given.quick),
        five.name: lambda: students(five, rounds, given.quick),
        "teacher": lambda: teachers(sixty, rounds),
        "convolutional student": lambda: convolutional(sixty, rounds),
    }.items():
        print(name, file=sys.stderr, flush=True)
        cells += rows()
    sliders = explorers.measured()
    costs = growth()
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": here, "cells": [asdict(c) for c in cells], "sliders": sliders}
    text = json.dumps({**record, "growth": costs}, indent=1)
    (given.out / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    page = page_of(here, cells, sliders)
    (given.out / "benchmarks.md").write_text(page, encoding="utf-8")
    from benchmarks.growth import plot

    plot(costs, given.out / "growth.png")
    print(page)


def page_of(here: dict, cells: list[Cell], sliders: dict[str, dict[str, float]]) -> str:
    words = ", ".join(f"{key} {value}" for key, value in here.items())
    lines = ["# Measured", "", f"On: {words}.", "", table(cells), ""]
    lines += ["*times ours*: CPU seconds over those of the last row of the same work. All rows but"]
    lines += ["the slider's are scaled from the steps timed in each round (see benchmarks.json)."]
    lines += [
        "CUDA and MPS: not measured.",
        "",
        "| a slider's redraw | ms | CPU ms |",
        "|---|---|---|",
    ]
    for name, one in sliders.items():
        lines.append(f"| {name} | {one['ms']:.1f} | {one['cpu ms']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
