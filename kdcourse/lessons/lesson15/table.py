"""Trains what the clinic shows but has no minute for, and stores it beside: table.json.

Kinds of rows, all scored on MNIST's 10,000 test images, each seed with its own draw of labels:
mistake: a patient of the first ward (200 labelled images, AdamW, 60 epochs) · loss: mistakes in the
loss under two optimisers (all 3,500 images, soft targets alone, 8 epochs) · room A, room B: two
programs and their repairs · used: what the teacher brings with and without unlabelled images.
"harm" is a mistake's error minus the right program's, in points, with its 95 % interval.
"""

import multiprocessing
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.lessons.lesson15 import mistakes, rooms
from kdcourse.lessons.lesson15.mistakes import MISTAKES, asked
from kdcourse.pages import tables
from kdlib import metrics
from kdlib.data import Examples, load
from kdlib.models import predict
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit

SEEDS = range(5)
PROCESSES = 3
LOSS = (
    "right", "no T²", 'reduction="mean"', 'reduction="sum"', "KL turned round", "no logarithm",
    "softmax twice, teacher", "T on the teacher only", "T on the student only",
    "MSE of probabilities",
)  # fmt: skip
RIGHT = {"right": "", "right, dropout": "dropout", "right, jitter": "jitter"}
RUNGS = ("labelled images only", "and all others unlabelled")


class Cell(NamedTuple):
    """One kind of student; each of its seeds is trained by itself."""

    kind: str
    name: str
    how: str = ""


class Trained(NamedTuple):
    """What is kept of one student."""

    wrong: np.ndarray
    numbers: dict[str, float]


def cells() -> list[Cell]:
    """Every row of the table, in order."""
    wards = [Cell("mistake", name) for name in (*RIGHT, *MISTAKES)]
    two = [Cell("loss", name, optimiser) for optimiser in ("AdamW", "SGD") for name in LOSS]
    used = [Cell("used", rung, how) for rung in RUNGS for how in ("never used", "right")]
    steps = [Cell("room", name, room) for room in ("A", "B") for name in getattr(rooms, room)]
    return [*wards, *two, *used, *steps]


@cache
def ground() -> tuple[Examples, Examples, nn.Module, Tensor, Tensor]:
    """Training images, MNIST's test images, the teacher and its answers on both."""
    train, big = load("mnist5k").train, load("mnist").test
    teacher = mnist.teacher(train)
    return train, big, teacher, predict(teacher, train), predict(teacher, big)


def student_of(cell: Cell, seed: int) -> tuple[nn.Module, Examples]:
    """The student of a row, and the images that its training error is of."""
    train, _, teacher, answers, _ = ground()
    few = train.per_class(20, seed=seed)
    name = None if cell.name.startswith("right") else cell.name
    if cell.kind == "mistake":
        beside = RIGHT.get(cell.name, "")
        return mistakes.train(name, teacher, few, seed=seed, beside=beside).student, few
    if cell.kind == "loss":
        patient = mistakes.train(
            name, teacher, train, seed=seed, epochs=8, optimiser=cell.how, alpha=1.0,
            answers=answers,
        )  # fmt: skip
        return patient.student, train
    if cell.kind == "room":
        return getattr(rooms, cell.how)[cell.name](seed), train
    right = cell.how == "right"
    rest = train[~torch.isin(train.ids, few.ids)].unlabelled()
    images = few + rest if right and cell.name == RUNGS[1] else few
    soft = 0.1 * HardLabels() + 0.9 * SoftTargets(tabulate(teacher, images), mnist.T)
    run = fit(
        mistakes.new_student(None, seed), images, soft if right else HardLabels(),
        epochs=mnist.epochs(images), order_seed=seed, precision="fp32",
    )  # fmt: skip
    return run.network, few


def trained(place: tuple[Cell, int]) -> Trained:
    torch.set_num_threads(1)
    student, own = student_of(*place)
    _, big, _, _, z_t = ground()
    z = asked(student, big)
    numbers = mistakes.scores(z, big.y, z_t)
    lost = asked(student, own).argmax(-1) != own.y
    numbers["training error %"] = 100 * float(lost.double().mean())
    return Trained((z.argmax(-1) != big.y).numpy(), numbers)


def ends(a: Tensor, b: Tensor) -> list[float]:
    """What b saves against a: mean, low, high."""
    interval = metrics.difference(a, b)
    return [round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)]


def rows() -> Iterator[dict[str, Any]]:
    """Trains everything, then compares."""
    places = [(cell, seed) for cell in cells() for seed in SEEDS]
    ground()
    rooms.answers_of_a(True)  # here, so that no two processes train the same teacher
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        found = dict(zip(places, pool.imap(trained, places, chunksize=1), strict=True))
    wrong = {
        cell: torch.from_numpy(np.stack([found[cell, seed].wrong for seed in SEEDS]))
        for cell in cells()
    }
    before: Cell | None = None
    for cell in cells():
        numbers = [found[cell, seed].numbers for seed in SEEDS]
        row: dict[str, Any] = {cell.kind: cell.name, "how": cell.how}
        row["errors"] = [round(one["test error %"], 2) for one in numbers]
        for name in ("training error %", "NLL", "confidence", "agreement %"):
            row[name] = [round(one[name], 3) for one in numbers]
        if cell.kind == "room":
            first = Cell("room", "as printed", cell.how)
            if cell != first and before is not None:
                row["saves against the step before"] = ends(wrong[before], wrong[cell])
                row["saves against the first"] = ends(wrong[first], wrong[cell])
        elif cell.kind == "used":
            if cell.how == "right" and before is not None:
                row["saves"] = ends(wrong[before], wrong[cell])
        elif not cell.name.startswith("right"):
            beside = MISTAKES[cell.name].beside if cell.kind == "mistake" else ""
            own = Cell(cell.kind, f"right, {beside}" if beside else "right", cell.how)
            row["harm"] = ends(wrong[cell], wrong[own])
        before = cell
        yield row
    big, z_t = ground()[1], ground()[4]
    for softmax in (False, True):
        z = predict(rooms.teacher_of_a(softmax), big)
        about = {name: round(value, 3) for name, value in mistakes.scores(z, big.y, z_t).items()}
        yield {"teacher of room A": "softmax" if softmax else "logits", **about}


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, list(rows()))


if __name__ == "__main__":
    main()
