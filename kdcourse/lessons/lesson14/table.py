"""Makes `table.json`: what students learn from noise, by what they imitate and where they begin.

A teacher for each seed, mlp(784, 128, 128, 30), 3,500 images of MNIST-5k, ten epochs; students see
8,192 noise images for twelve epochs (or as many steps), unless their row says otherwise. Scored by
the ten class outputs on MNIST's 10,000 test images. Rows with "row" hold the digits that are right,
by seed; rows with "of" hold a difference of two, paired by seed and image. Run by
`course.py build 14`; about five minutes of one core.
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.lessons.lesson14 import starts
from kdcourse.lessons.lesson14.pairs import (
    COUNTS,
    FIRST,
    FIVE,
    KINDS,
    LATE,
    LENGTHS,
    LONG,
    MS,
    PAIRS,
    RHOS,
    SEEDS,
    SETTINGS,
    M,
    grid,
)
from kdcourse.pages import tables
from kdlib.bank import Bank, train_bank
from kdlib.data import Examples, load
from kdlib.metrics import difference, interval
from kdlib.models import predict
from kdlib.objectives import HardLabels, outputs

STARTS: dict[str, starts.Start] = {"same": starts.drawn, "other": starts.other}
CLASSES, AUXILIARY = range(starts.CLASSES), starts.auxiliary(M)

Rows = Iterator[tuple[str, Tensor]]
"""Name, which test digits are wrong: (seeds, images)."""


@cache
def digits() -> tuple[Examples, Examples]:
    return load("mnist5k").train, load("mnist").test


@cache
def noise() -> Examples:
    return starts.noise(digits()[0])


@cache
def teachers() -> Bank:
    return starts.taught(SEEDS, *digits())


def teacher(seed: int) -> nn.Module:
    return teachers().network(seed=seed)


@cache
def compared(name: str) -> Bank:
    """The page's students: ten auxiliary outputs, twelve epochs, this start."""
    return starts.imitate(teacher, noise(), AUXILIARY, STARTS[name], digits()[1], seeds=SEEDS)


def students(
    start: starts.Start, which: range = AUXILIARY, seeds: range = FIVE, *,
    images: Examples | None = None, epochs: int = starts.EPOCHS, by: starts.Start = teacher,
) -> Tensor:  # fmt: skip
    """Students of other kinds."""
    shown, test = images or noise(), digits()[1]
    return starts.wrong(starts.imitate(by, shown, which, start, test, seeds=seeds, epochs=epochs))


# ---- what the reader moves ----------------------------------------------------------------------


def untrained(start: starts.Start) -> Tensor:
    """Students before training; and after it, where m = 1: the softmax of one output is 1.

    So their loss is 0 whatever the output is, and no weight moves (a test holds it).
    """
    test = digits()[1]
    answers = [predict(start(s), test)[:, : starts.CLASSES].argmax(1) for s in SEEDS]
    return torch.stack(answers) != test.y


def moves() -> Rows:
    """Auxiliary outputs, start, epochs."""
    for name, start in STARTS.items():
        begun = untrained(start)
        yield f"{name}, untrained", begun
        for epochs in LENGTHS:
            yield grid(name, 1, epochs), begun[: len(FIVE)]
            for m in MS[1:]:
                page = (m, epochs) == (M, starts.EPOCHS)
                part = starts.auxiliary(m)
                wrong = (
                    starts.wrong(compared(name)) if page else students(start, part, epochs=epochs)
                )
                yield grid(name, m, epochs), wrong


# ---- rivals -------------------------------------------------------------------------------------


def begun_elsewhere() -> Rows:
    """Other ways to begin, and the outputs that say something."""
    yield "other, class outputs", students(starts.other, CLASSES, SEEDS)
    yield "same, class outputs", students(starts.drawn, CLASSES)
    yield "other, all 30 outputs", students(starts.other, range(starts.OUTPUTS))
    joined = starts.joined
    heads: starts.Start = lambda seed: joined(starts.other(seed), starts.drawn(seed))  # noqa: E731
    hidden: starts.Start = lambda seed: joined(starts.drawn(seed), starts.other(seed))  # noqa: E731
    yield "same head, other hidden layers", students(heads, seeds=SEEDS)
    yield "same hidden layers, other head", students(hidden, seeds=SEEDS)
    yield "other, hidden units matched", students(starts.aligned)
    for rho in RHOS:
        yield f"correlated {rho:g}", students(partial(starts.near, rho=rho))
    yield f"other, {LONG} epochs", students(starts.other, epochs=LONG)


def first_answers() -> Rows:
    """The teacher shows its first answer alone, as a label, and no probability."""
    for words, start, which in (
        (FIRST, starts.drawn, AUXILIARY),
        ("other, class outputs, first answer only", starts.other, CLASSES),
    ):
        images = {seed: noise().labelled_as(said(seed, which)) for seed in FIVE}
        bank = train_bank(
            outputs(which, HardLabels()), student=starts.network(), start=start, seeds=FIVE,
            examples=lambda seed, images=images: images[seed], evaluate={"test": digits()[1]},
            epochs=starts.EPOCHS, **starts.HOW,
        )  # fmt: skip
        yield words, starts.wrong(bank)


def said(seed: int, which: range) -> Tensor:
    """A teacher's first answers to the noise among these outputs."""
    return predict(teacher(seed), noise())[:, list(which)].argmax(1)


def filtered(start: starts.Start, kept: dict[int, Tensor]) -> Tensor:
    """Students of a part of the noise, in as many steps."""
    wrong = []
    for seed, where in kept.items():
        epochs = round(starts.EPOCHS * len(where) / int(where.sum()))
        seeds = range(seed, seed + 1)
        wrong.append(students(start, seeds=seeds, images=noise()[where], epochs=epochs))
    return torch.cat(wrong)


def fewer() -> Rows:
    """Only noise that the teacher calls its most frequent class; as few images; fewer images."""
    answers = {seed: said(seed, CLASSES) for seed in FIVE}
    one_class = {seed: answer == answer.mode().values for seed, answer in answers.items()}
    for name, start in STARTS.items():
        yield f"{name}, one class of noise", filtered(start, one_class)
    place = torch.arange(len(noise()))
    as_few = {seed: place < int(where.sum()) for seed, where in one_class.items()}
    yield "same, as few images of noise", filtered(starts.drawn, as_few)
    for count in COUNTS:
        few = dict.fromkeys(FIVE, place < count)
        yield f"same, {count} images of noise", filtered(starts.drawn, few)


def new_heads() -> Rows:
    """A new head on the hidden layers: do those of another start hold more than before?"""
    train, test = digits()
    null = starts.imitate(starts.drawn, noise(), AUXILIARY, starts.other, test, seeds=FIVE)
    nets = {name: of(compared(name)) for name in STARTS} | {"teacher": teacher}
    nets |= {"other, of an untrained teacher": of(null)}
    nets |= {f"{name}, untrained": start for name, start in STARTS.items()}
    for name, net in nets.items():
        yield f"new head: {name}", torch.stack([starts.probe(net(s), train, test) for s in FIVE])


def settings() -> Rows:
    """Other images, another initialisation, another normalisation, teachers that trained longer."""
    train, test = digits()
    shown = {"digits": train.unlabelled()} | {kind: starts.images(kind, train) for kind in KINDS}
    for words, images in shown.items():
        for name, start in STARTS.items():
            if ("dark" in words or "digits" in words) or name == "same":
                epochs = round(starts.EPOCHS * (starts.COUNT // 128) / (len(images) // 128))
                yield f"{name}, {words}", students(start, images=images, epochs=epochs)
    for words, start, epochs in zip(
        SETTINGS,
        (starts.default, starts.uncentred, starts.drawn),
        (starts.BEFORE, starts.BEFORE, LATE),
        strict=True,
    ):
        bank = starts.taught(FIVE, train, test, start, epochs)
        yield f"teacher: {words}", starts.wrong(bank)
        yield f"same, {words}", students(start, by=of(bank))
        yield f"other, {words}", students(partial(starts.shifted, start), by=of(bank))


def of(bank: Bank) -> starts.Start:
    """Seed → this bank's network."""
    return lambda seed: bank.network(seed=seed)


# ---- what is stored -----------------------------------------------------------------------------


def rows() -> Iterator[dict[str, Any]]:
    """All rows: digits that are right, then differences."""
    wrong = {"teacher": starts.wrong(teachers())}
    for part in (moves(), begun_elsewhere(), first_answers(), fewer(), new_heads(), settings()):
        wrong |= dict(part)
    for name, missed in wrong.items():
        right = 100 * (~missed).double()
        seeds = [round(value, 2) for value in right.mean(1).tolist()]
        yield {"row": name, "right": seeds, "interval": _ends(interval(right))}
    for first, second in PAIRS:
        count = min(len(wrong[first]), len(wrong[second]))
        more = difference(wrong[second][:count], wrong[first][:count])
        yield {"of": [first, second], "more": _ends(more)}


def _ends(of: Any) -> list[float]:
    return [round(value, 3) for value in (of.mean, of.low, of.high)]


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, rows())


if __name__ == "__main__":
    main()
