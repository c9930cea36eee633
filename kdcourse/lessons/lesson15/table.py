"""Trains what the clinic shows but has no minute for, and stores it beside: table.json.

Kinds of rows, all scored on MNIST's 10,000 test images, each seed with its own draw of labels:
mistake: a patient of the first ward (200 labelled images, AdamW, 60 epochs) · loss: mistakes in the
loss under two optimisers (all 3,500 images, soft targets alone, 8 epochs) · room A, room B: two
programs and their repairs · used: what the teacher brings with and without unlabelled images.
"harm" is a mistake's error minus the right program's, in points, with its 95 % interval.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.lessons.lesson15 import mistakes, rooms
from kdcourse.lessons.lesson15.mistakes import MISTAKES, asked
from kdcourse.pages import tables
from kdlib import metrics
from kdlib.data import load
from kdlib.models import predict
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit

SEEDS = range(5)
LOSS = (
    None, "no T²", 'reduction="mean"', 'reduction="sum"', "KL turned round", "no logarithm",
    "softmax twice, teacher", "T on the teacher only", "T on the student only",
    "MSE of probabilities",
)  # fmt: skip
BIG = load("mnist").test
TRAIN = load("mnist5k").train


def scored(students: list[nn.Module], z_t: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Which images each gets wrong, (seeds, images), and the means of what else one sees."""
    logits = [asked(student, BIG) for student in students]
    wrong = torch.stack([z.argmax(-1) != BIG.y for z in logits])
    each = [mistakes.scores(z, BIG.y, z_t) for z in logits]
    row: dict[str, Any] = {"errors": [round(one["test error %"], 2) for one in each]}
    for name in ("NLL", "confidence", "agreement %"):
        row[name] = [round(one[name], 3) for one in each]
    return wrong, row


def ends(interval: metrics.Interval) -> list[float]:
    return [round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)]


def wards(teacher: nn.Module, z_t: Tensor) -> Iterator[dict[str, Any]]:
    """Every mistake on 200 labelled images, under AdamW, beside its right program."""
    draws = [TRAIN.per_class(20, seed=seed) for seed in SEEDS]
    right: dict[str, Tensor] = {}
    runs = [(None, beside) for beside in ("", "dropout", "jitter")]
    for name, beside in [*runs, *((name, one.beside) for name, one in MISTAKES.items())]:
        ill = [
            mistakes.train(name, teacher, draw, seed=seed, beside=beside)
            for seed, draw in zip(SEEDS, draws, strict=True)
        ]
        wrong, row = scored([one.student for one in ill], z_t)
        own = [asked(one.student, draw) for one, draw in zip(ill, draws, strict=True)]
        lost = [
            float((z.argmax(-1) != d.y).double().mean()) for z, d in zip(own, draws, strict=True)
        ]
        row["training error %"] = [round(100 * one, 2) for one in lost]
        row["steps"] = ill[0].steps
        if name is None:
            right[beside] = wrong
        else:
            row["harm"] = ends(metrics.difference(wrong, right[beside]))
        yield {"mistake": name or "right", "beside": beside, **row}


def two_optimisers(teacher: nn.Module, z_t: Tensor) -> Iterator[dict[str, Any]]:
    """The mistakes of the loss with nothing but the loss: all images, alpha = 1."""
    answers = predict(teacher, TRAIN)
    for optimiser in ("AdamW", "SGD"):
        right = None
        for name in LOSS:
            ill = [
                mistakes.train(
                    name, teacher, TRAIN, seed=seed, epochs=8, optimiser=optimiser, alpha=1.0,
                    answers=answers,
                ).student
                for seed in SEEDS
            ]  # fmt: skip
            wrong, row = scored(ill, z_t)
            if right is None:
                right = wrong
            else:
                row["harm"] = ends(metrics.difference(wrong, right))
            yield {"loss": name or "right", "optimiser": optimiser, **row}


def repairs(z_t: Tensor) -> Iterator[dict[str, Any]]:
    """The two programs; each step's gain over the one before, and over the first."""
    for room, steps in (("A", rooms.A), ("B", rooms.B)):
        first = before = None
        for name, step in steps.items():
            students = [step(seed) for seed in SEEDS]
            wrong, row = scored(students, z_t)
            own = [asked(one, TRAIN).argmax(-1) != TRAIN.y for one in students]
            row["training error %"] = [round(100 * float(w.double().mean()), 2) for w in own]
            if before is not None and first is not None:
                row["saves against the step before"] = ends(metrics.difference(before, wrong))
                row["saves against the first"] = ends(metrics.difference(first, wrong))
            first = wrong if first is None else first
            before = wrong
            yield {"room": room, "step": name, **row}
    for softmax in (False, True):
        network = rooms.teacher_of_a(softmax)
        yield {"teacher of room A": "softmax" if softmax else "logits", **scored([network], z_t)[1]}


def used(teacher: nn.Module, z_t: Tensor) -> Iterator[dict[str, Any]]:
    """20 labels per class: does it matter that the teacher is never used?"""
    for rung in ("labelled images only", "and all others unlabelled"):
        wrong: dict[str, Tensor] = {}
        for name in ("labels", "right"):
            students = []
            for seed in SEEDS:
                few = TRAIN.per_class(20, seed=seed)
                rest = TRAIN[~torch.isin(TRAIN.ids, few.ids)].unlabelled()
                images = few + rest if rung.startswith("and") and name == "right" else few
                table = tabulate(teacher, images)
                soft = 0.1 * HardLabels() + 0.9 * SoftTargets(table, mnist.T)
                objective = soft if name == "right" else HardLabels()
                epochs = mnist.epochs(images)
                run = fit(
                    mistakes.new_student(None, seed), images, objective, epochs=epochs,
                    order_seed=seed, precision="fp32",
                )  # fmt: skip
                students.append(run.network)
            wrong[name], row = scored(students, z_t)
            if name == "labels":
                yield {"used": rung, "program": "the teacher is never used", **row}
            else:
                row["saves"] = ends(metrics.difference(wrong["labels"], wrong["right"]))
                yield {"used": rung, "program": "right", **row}


def main() -> None:
    torch.set_num_threads(1)
    teacher = mnist.teacher(TRAIN)
    z_t = predict(teacher, BIG)
    rows = [*wards(teacher, z_t), *two_optimisers(teacher, z_t), *used(teacher, z_t), *repairs(z_t)]
    tables.write(__file__, rows)


if __name__ == "__main__":
    main()
