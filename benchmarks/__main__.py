"""Side by side with peers, on the same work, in one table.

python -m benchmarks [--quick] [--course] [--out benchmarks/results]

Contenders of a row take turns, one thread each unless they say otherwise, people's own loops in a
process of their own; a cell is the median of the rounds, scaled from the steps that were timed to
the whole work. Prints a table, writes JSON and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks import contenders, explorers, foreign, gpu, growth, networks, profiles, tutorial
from benchmarks.contenders import Contender, Entries, Stopwatch, Taken
from benchmarks.elsewhere import elsewhere
from benchmarks.page import Cell, page_of
from benchmarks.work import STUDENTS, Work, full, machine, small
from kdcourse.headless import results_folder
from kdlib.device import has_bf16, threads
from kdlib.metrics import interval
from kdlib.models import cnn

STARTED = time.perf_counter()


def compare(work: Work, entries: Entries, rounds: int, students: int) -> list[Cell]:
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
        cell.times = cell.seconds / cells[-1].seconds
        cell.times_cpu = cell.cpu / cells[-1].cpu
    return cells


def by_threads(make: Callable[[int], Contender], name: str, steps: int) -> Entries:
    """One thread, and as many as there are."""
    many = {} if threads() == 1 else {f"{name}, {threads()} threads": (make(threads()), steps)}
    return {name: (make(1), steps), **many}


def students(work: Work, rounds: int, quick: bool) -> list[Cell]:
    """64 students of 784-32-10."""
    peer = None if quick else contenders.TorchDistill(work)
    entries: Entries = {
        "PyTorch tutorial's loop": (elsewhere(contenders.tutorial, work), 50),
        "sequential, cached logits": (elsewhere(contenders.sequential, work), 50),
        "torch.func vmap (our reference engine)": (contenders.bank(work, "reference", "fp32"), 20),
        "our bank, fp32": (contenders.bank(work, "fast", "fp32"), 50),
    }
    if peer is not None:
        entries = {"torchdistill 1.1.5": (peer, 50), **entries}
    best = "bf16" if has_bf16() else "fp32"
    name = f"our bank, {best}"
    entries |= by_threads(lambda n: contenders.bank(work, "fast", best, n), name, 50)
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
    best = "bf16" if has_bf16() else "fp32"
    ours = by_threads(lambda n: networks.fitted(ten, networks.big, best, False, n), "fit", 10)
    plain = elsewhere(networks.plain_teacher, ten)
    return compare(ten, {"plain loop, fp32": (plain, 10), **ours}, rounds, 1)


def convolutional(work: Work, rounds: int) -> list[Cell]:
    """A cnn(8) student of a cnn(32) teacher, ten epochs."""
    name = "convolutional student, 10 epochs of 60k"
    theirs = Work(name, work.examples, 256, 10, 32, cnn(32).eval())
    as_fit_leaves_it = cnn(32).eval().to(memory_format=torch.channels_last)
    ours = Work(name, work.examples, 256, 10, 32, as_fit_leaves_it)
    fits = by_threads(
        lambda n: networks.fitted(ours, lambda: cnn(8), "auto", True, n),
        "fit, teacher asked once",
        20,
    )
    default = elsewhere(networks.default_student, theirs)
    entries = {"default loop, teacher in each step": (default, 10)}
    return compare(ours, {**entries, **fits}, rounds, 1)


def good_teacher(seeds: int) -> list[Cell]:
    """A convolutional teacher of about 99 %, where MNIST is at hand."""
    try:
        taken, errors = networks.one_epoch(seeds, threads())
    except (OSError, ValueError) as error:
        print(f"  left out: {error}", file=sys.stderr)
        return []
    wall, cpu = (statistics.median(one[i] for one in taken) for i in (0, 1))
    found = interval(errors)
    name = f"quick convolutions on MNIST 60k, 1 epoch: test error {found:.2f} %, {seeds} seeds"
    said = "fit" if threads() == 1 else f"fit, {threads()} threads"
    return [Cell(name, said, wall, cpu, 0.0, 0)]


def five_trainings(rounds: int) -> list[Cell]:
    """The official tutorial's teacher and its four students."""
    work = tutorial.work()
    ours = by_threads(lambda n: tutorial.ours(work, n), "fit", 10)
    theirs = {"the tutorial's loops": (elsewhere(tutorial.theirs, work), 4)}  # of each of the five
    return compare(work, {**theirs, **ours}, min(rounds, 3), 1)


def course() -> list[Cell]:
    """All notebooks with default parameters, in kernels, nothing cached."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, watch.running():
        quiet = {**os.environ, "KDLIB_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "kdcourse", "run", "--all", "--out", f"{folder}/runs"]
        subprocess.run(words, check=True, env=quiet, stdout=subprocess.DEVNULL)
    name = f"the whole course, {threads()} notebooks at a time"
    return [Cell(name, "run --all", watch.wall, watch.cpu, 0.0, 0)]


def profiled(sixty: Work, five: Work) -> dict[str, dict[str, float]]:
    """What kinds of operators our own rows spend their time in."""
    best = "bf16" if has_bf16() else "fp32"
    ten = Work("", sixty.examples, 512, 10, 32, sixty.teacher)
    conv = Work("", sixty.examples, 256, 10, 32, cnn(32).eval())
    one = Work("", sixty.examples, 64, 1, 16, sixty.teacher)
    ours: Entries = {
        f"bank, {best}, {sixty.name}": (contenders.bank(sixty, "fast", best), 50),
        f"bank, {best}, {five.name}": (contenders.bank(five, "fast", best), 100),
        "fit, 784-1200-1200-10": (networks.fitted(ten, networks.big, best, taught=False), 20),
        "fit, convolutional student": (networks.fitted(conv, lambda: cnn(8), "auto", True), 40),
        "fit, quick convolutions": (networks.fitted(one, networks.quick, "auto", False), 40),
        "fit, the tutorial's five trainings": (tutorial.ours(tutorial.work()), 10),
    }
    return {name: profiles.shares(run, steps) for name, (run, steps) in ours.items()}


def limits(sixty: Work, five: Work) -> dict[str, float]:
    """How fast the bank's products run, and what they alone cost at that rate."""
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16() else {})
    found = {f"{name}, 10⁹ operations a second": profiles.peak(kinds[name]) for name in kinds}
    for work in (sixty, five):
        for name, kind in kinds.items():
            found[f"the bank's products alone, {name}, {work.name}, s"] = profiles.floor(work, kind)
    return found


def costs() -> dict[str, list[tuple[int, float]]]:
    """Milliseconds a step and student of the fp32 bank, by students, width and batch."""
    by = {"students": growth.by_students(), "width": growth.by_width()}
    return by | {"images a step": growth.by_batch()}


def on_gpu(sixty: Work, five: Work, rounds: int) -> list[Cell]:
    """The rows of a GPU, where there is one."""
    if not gpu.here():
        return []
    cells = []
    for row, entries, count in gpu.rows(sixty, five):
        for name in [name for name in entries if name.endswith("compiled")]:
            try:
                entries[name][0](2)
            except RuntimeError as error:  # Triton and a compiler are not on every machine
                print(f"  left out: {name} ({error})", file=sys.stderr)
                del entries[name]
        cells += compare(row, entries, rounds, count)
    return cells


def _say(what: str) -> None:
    print(f"{what} (after {time.perf_counter() - STARTED:.0f} s)", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="two rounds, and no torchdistill among the 64 students"
    )
    parser.add_argument("--course", action="store_true", help="run all notebooks, too (minutes)")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: expected 1 or more")
    try:  # now, and not after the half hour that it takes to measure
        results_folder(given.out)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    rounds = 2 if given.quick else given.rounds
    here, sixty, five = machine(), full(), small()
    cells: list[Cell] = []
    for name, rows in {
        sixty.name: lambda: students(sixty, rounds, given.quick),
        five.name: lambda: students(five, rounds, given.quick),
        "teacher": lambda: teachers(sixty, rounds),
        "convolutional student": lambda: convolutional(sixty, rounds),
        "good teacher": lambda: good_teacher(3 if given.quick else 10),
        "tutorial": lambda: five_trainings(rounds),
        "networks of torchvision": lambda: compare(*foreign.row(), rounds, 1),
        "GPU": lambda: on_gpu(sixty, five, rounds),
        **({"course": course} if given.course else {}),
    }.items():
        _say(name)
        cells += rows()
    _say("profiles, sliders, growth")
    where, roofs = profiled(sixty, five), limits(sixty, five)
    sliders = explorers.measured()
    grown, beside = costs(), growth.by_processes(threads())
    beside_conv = growth.convolutional(threads())
    record = {"machine": here, "cells": [asdict(c) for c in cells], "sliders": sliders}
    record |= {"profiles": where, "limits": roofs, "growth": grown, "processes": beside}
    record |= {"convolutional": beside_conv}
    text = json.dumps(record, indent=1)
    (given.out / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    page = page_of(here, cells, sliders, where, roofs, beside, beside_conv)
    (given.out / "benchmarks.md").write_text(page, encoding="utf-8")
    growth.plot(grown, given.out / "growth.png")
    print(page)


if __name__ == "__main__":
    main()
