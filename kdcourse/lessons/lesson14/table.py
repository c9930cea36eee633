"""Makes `table.json`: what students learn from noise, by what they imitate and where they begin.

A teacher for each seed, mlp(784, 128, 128, 30), 3,500 images of MNIST-5k, ten epochs; students see
8,192 noise images for twelve epochs (or as many steps), unless their row says otherwise. Scored by
the ten class outputs on MNIST's 10,000 test images. Rows with "row" hold the digits that are right,
by seed ("a class is largest of 30": where one of the classes is); rows with "of" a difference of
two, paired by seed and image; rows with "kl" the KL on all noise. About six minutes of one core.
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
def compared(name: str, seeds: range = SEEDS, epochs: int = starts.EPOCHS) -> Bank:
    """The page's students: ten auxiliary outputs, this start."""
    where: dict[str, Any] = {"seeds": seeds, "epochs": epochs}
    return starts.imitate(teacher, noise(), AUXILIARY, STARTS[name], digits()[1], **where)


def students(
    start: starts.Start, which: range = AUXILIARY, seeds: range = FIVE, *,
    images: Examples | None = None, by: starts.Start = teacher, **more: Any,
) -> Tensor:  # fmt: skip
    """Students of other kinds."""
    shown, test = images or noise(), digits()[1]
    return starts.wrong(starts.imitate(by, shown, which, start, test, seeds=seeds, **more))


@cache
def misled() -> Bank:
    """Teachers of shuffled labels."""
    return starts.taught(FIVE, starts.mislabelled(digits()[0]), digits()[1])


# ---- what the reader moves ----------------------------------------------------------------------


def moves() -> Rows:
    """Auxiliary outputs, start, epochs. (With m = 1 no weight moves; a test holds it.)"""
    for name, start in STARTS.items():
        begun = starts.untrained(start, digits()[1], SEEDS)
        yield f"{name}, untrained", begun
        for epochs in LENGTHS:
            yield grid(name, 1, epochs), begun
            for m in MS[1:]:
                if (m, epochs) == (M, starts.EPOCHS):
                    wrong = starts.wrong(compared(name))
                else:
                    wrong = students(start, starts.auxiliary(m), SEEDS, epochs=epochs)
                yield grid(name, m, epochs), wrong


# ---- rivals -------------------------------------------------------------------------------------


def begun_elsewhere() -> Rows:
    """Other ways to begin, and the outputs that say something."""
    yield "other, class outputs", students(starts.other, CLASSES, SEEDS)
    yield "same, class outputs", students(starts.drawn, CLASSES, SEEDS)
    yield "other, all 30 outputs", students(starts.other, range(starts.OUTPUTS))
    joined = starts.joined
    heads: starts.Start = lambda seed: joined(starts.other(seed), starts.drawn(seed))  # noqa: E731
    hidden: starts.Start = lambda seed: joined(starts.drawn(seed), starts.other(seed))  # noqa: E731
    yield "same head, other hidden layers", students(heads, seeds=SEEDS)
    yield "same hidden layers, other head", students(hidden, seeds=SEEDS)
    yield "other, hidden units matched", students(starts.aligned)
    for rho in RHOS:
        yield f"correlated {rho:g}", students(partial(starts.near, rho=rho))
    yield f"other, {LONG} epochs", starts.wrong(compared("other", FIVE, LONG))
    yield "same, answers shuffled", students(starts.drawn, shuffle=True)
    yield "same, teacher of shuffled labels", students(starts.drawn, by=starts.of(misled()))
    for name, bank in {"teacher": teachers(), **{n: compared(n) for n in STARTS}}.items():
        yield f"a class is largest of 30: {name}", bank.logits["test"].argmax(-1) >= starts.CLASSES


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
    one_class = {s: (c := said(s, CLASSES)) == c.mode().values for s in FIVE}
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
    nets = {name: starts.of(compared(name)) for name in STARTS} | {"teacher": teacher}
    untaught = {"an untrained teacher": starts.drawn, "shuffled labels": starts.of(misled())}
    for words, by in untaught.items():
        null = starts.imitate(by, noise(), AUXILIARY, starts.other, test, seeds=FIVE)
        nets[f"other, of {words}"] = starts.of(null)
    nets |= {f"{name}, untrained": start for name, start in STARTS.items()}
    for name, net in nets.items():
        yield f"new head: {name}", torch.stack([starts.probe(net(s), train, test) for s in FIVE])


def settings() -> Rows:
    """Other images, another initialisation, another normalisation, teachers that trained longer."""
    train, test = digits()
    for words in ("digits", *KINDS):
        images = train.unlabelled() if words == "digits" else starts.images(words, train)
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
        yield f"same, {words}", students(start, by=starts.of(bank))
        yield f"other, {words}", students(partial(starts.shifted, start), by=starts.of(bank))


def distances() -> Iterator[dict[str, Any]]:
    """KL of students and teachers on all noise, and that of one answer for all images."""
    nets: dict[str, starts.Start | None] = {f"{n}, untrained": s for n, s in STARTS.items()}
    nets |= {name: starts.of(compared(name)) for name in STARTS}
    nets |= {
        f"other, {LONG} epochs": starts.of(compared("other", FIVE, LONG)),
        "one answer for all": None,
    }
    for name, net in nets.items():
        kl = [starts.apart(teacher(s), net(s) if net else None, noise(), AUXILIARY) for s in FIVE]
        yield {"kl": name, "by seed": [round(value, 5) for value in kl]}


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
    yield from distances()


def _ends(of: Any) -> list[float]:
    return [round(value, 3) for value in (of.mean, of.low, of.high)]


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, rows())


if __name__ == "__main__":
    main()
