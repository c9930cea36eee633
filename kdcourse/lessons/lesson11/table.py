"""Trains what page 11 shows but has no minute for, and stores it beside: table.json.

On the common ground: 3,500 MNIST digits, a cnn(16) teacher with jitter, mlp(784, 100, 10) students
with 560 steps of 128 images, T = 4. A draw is a choice of labels with a teacher and students of its
own seed; the teacher of n labels per class sees these labels alone, in as many steps as the
course's teacher has (440). Scored on MNIST's 10,000 test images. Kinds of rows:

curve: ways to use n labels per class · set: transfer sets, answered by the same teachers; those
named "of the labels" are made from the n labelled images alone · share: transfer sets of a few
unlabelled images, filled up · capacity: widths of students, all labels, two lengths of training ·
draw: classes balanced or not · task: a second task for the same body.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.lessons.lesson11 import transfer
from kdcourse.pages import tables
from kdlib import metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, jitter, load
from kdlib.models import initialise, mlp, predict
from kdlib.objectives import HardLabels, Objective, SoftTargets, tabulate
from kdlib.training import fit

COUNTS = (1, 2, 5, 10, 20, 100, 350)
DRAWS, THREE = range(5), range(3)
PROBED = (20, 350)  # where rivals are asked, all of them at the first
SET_COUNTS = (1, 5, 20, 350)
SETS = ("own", "own, moved", *transfer.OF_LABELS, "other digits")
WIDTHS = (3, 6, 8, 12, 25, 100)
TINY = (6, 8)  # trained for longer, too
SHARES = (0, 350, 1000)
TURN = 60.0  # degrees


@cache
def digits() -> tuple[Examples, Examples]:
    """The course's training images, and MNIST's test images."""
    return load("mnist5k").train, load("mnist").test


@cache
def labelled(n: int, draw: int) -> Examples:
    return digits()[0].per_class(n, seed=draw)


@cache
def teacher(n: int, draw: int, moved: bool = True) -> nn.Module:
    """The honest teacher: it knows n labels per class. moved: with jitter."""
    return transfer.teacher(labelled(n, draw), seed=draw, moved=moved)


def fresh() -> nn.Module:
    return mlp(784, mnist.WIDTH, 10)


def trained(
    examples: Examples, draw: int, objective: Objective | None = None, *,
    steps: int = mnist.STEPS, moved: bool = False,
) -> nn.Module:  # fmt: skip
    """A student of this draw's seed. moved: with jitter of its own."""
    network = fresh()
    augment = jitter(2) if moved else None
    epochs = mnist.epochs(examples, steps)
    fit(network, examples, objective, seed=draw, epochs=epochs, precision="fp32", augment=augment)
    return network


def distilled(teacher: nn.Module, images: Examples, draw: int) -> nn.Module:
    """A student that sees these images with the teacher's answers, and no label."""
    soft = SoftTargets(tabulate(teacher, images), mnist.T)
    return trained(images.unlabelled(), draw, soft)


def answers(network: nn.Module) -> Tensor:
    return predict(network, digits()[1]).argmax(-1)


# ---- ways to use n labels per class -------------------------------------------------------------


def same_images(n: int, draw: int) -> nn.Module:
    images = labelled(n, draw)
    soft = SoftTargets(tabulate(teacher(n, draw), images), mnist.T)
    return trained(images, draw, (1 - mnist.ALPHA) * HardLabels() + mnist.ALPHA * soft)


def images(name: str, n: int, draw: int) -> Examples:
    """The transfer set of this name, without labels."""
    return transfer.images(name, digits()[0], labelled(n, draw), seed=draw)


@cache
def by_set(name: str, n: int, draw: int) -> nn.Module:
    """The student of the honest teacher and this transfer set."""
    return distilled(teacher(n, draw), images(name, n, draw), draw)


def by_own_kind(n: int, draw: int) -> nn.Module:
    """The teacher is the label-only student with jitter: an mlp(784, 100, 10) as well."""
    peer = trained(labelled(n, draw), draw, moved=True)
    return distilled(peer, digits()[0], draw)


def leak(n: int, draw: int) -> nn.Module:
    """The teacher has seen all labels."""
    return distilled(teacher(350, draw), digits()[0], draw)


WAYS: dict[str, Callable[[int, int], nn.Module]] = {
    "label-only": lambda n, draw: trained(labelled(n, draw), draw),
    "label-only, jitter": lambda n, draw: trained(labelled(n, draw), draw, moved=True),
    "same images": same_images,
    "transfer set": lambda n, draw: by_set("own", n, draw),
}
BOTH: dict[str, Callable[[int, int], nn.Module]] = {
    "label-only, jitter, 4 × steps": lambda n, draw: trained(
        labelled(n, draw), draw, steps=4 * mnist.STEPS, moved=True
    ),
    "transfer set, moved": lambda n, draw: by_set("own, moved", n, draw),
}
RIVALS: dict[str, Callable[[int, int], nn.Module]] = {
    "label-only, 4 × steps": lambda n, draw: trained(
        labelled(n, draw), draw, steps=4 * mnist.STEPS
    ),
    "transfer set, teacher without jitter": lambda n, draw: distilled(
        teacher(n, draw, False), digits()[0], draw
    ),
    "transfer set, an mlp as teacher": by_own_kind,
    "transfer set, leak": leak,
}


def ends(interval: metrics.Interval) -> list[float]:
    """Mean, low and high, rounded."""
    return [round(end, 3) for end in (interval.mean, interval.low, interval.high)]


def errors(wrong: Tensor) -> list[float]:
    return [round(error, 2) for error in (100 * wrong.double().mean(-1)).tolist()]


def ways(n: int) -> Iterator[dict[str, Any]]:
    """Errors of each draw, the share on which the student differs from its teacher, and gains."""
    y = digits()[1].y
    said = torch.stack([answers(teacher(n, draw)) for draw in DRAWS])
    yield {"curve": "teacher", "n": n, "errors": errors(said != y)}
    wrong: dict[str, Tensor] = {}
    chosen = WAYS | (BOTH if n in PROBED else {}) | (RIVALS if n == PROBED[0] else {})
    for name, way in chosen.items():
        replies = torch.stack([answers(way(n, draw)) for draw in DRAWS])
        wrong[name] = replies != y
        row: dict[str, Any] = {"curve": name, "n": n, "errors": errors(wrong[name])}
        row["disagreement"] = errors(replies != said)
        for base in ("label-only", "label-only, jitter", "transfer set"):
            if base in wrong and base != name:
                row[f"saves against {base}"] = ends(metrics.difference(wrong[base], wrong[name]))
        yield row


# ---- transfer sets ------------------------------------------------------------------------------


def sets(n: int) -> Iterator[dict[str, Any]]:
    """Errors of each draw, and what the teacher's answers to the set tell without a label."""
    y = digits()[1].y
    for name in SETS:
        wrong, signs = [], []
        for draw in THREE:
            wrong.append(answers(by_set(name, n, draw)) != y)
            z_t = predict(teacher(n, draw), images(name, n, draw)[: transfer.COUNT])
            signs.append(transfer.signs(z_t))
        row: dict[str, Any] = {"set": name, "n": n, "errors": errors(torch.stack(wrong))}
        yield row | {sign: [round(s[sign], 3) for s in signs] for sign in signs[0]}


def shares() -> Iterator[dict[str, Any]]:
    """3,500 images, so many of them unlabelled digits, the rest something else: n = 20."""
    n, y = 20, digits()[1].y
    fills = {"nothing": None, **{name: name for name in ("moved", "noise")}}
    for fill, name in fills.items():
        for own in (*SHARES, 3500):
            if (own == 0 and name is None) or (own == 3500 and name is not None):
                continue
            wrong = []
            for draw in THREE:
                order = torch.randperm(3500, generator=torch.Generator().manual_seed(draw))
                part = digits()[0][order[:own]].unlabelled()
                if name is not None:
                    rest = images(
                        "noise" if name == "noise" else f"{name}, of the labels", n, draw
                    )[: 3500 - own]
                    part = rest if own == 0 else part + rest
                wrong.append(answers(distilled(teacher(n, draw), part, draw)) != y)
            yield {"share": fill, "own": own, "errors": errors(torch.stack(wrong))}


# ---- capacity, draws, tasks ---------------------------------------------------------------------


def capacity() -> Iterator[dict[str, Any]]:
    """The course's teacher, all labels; T and steps by width."""
    train, test = digits()
    soft = tabulate(mnist.teacher(train), train)
    for factor in (1, 4):
        for width in WIDTHS:
            if factor == 4 and width not in TINY:
                continue
            bank = train_bank(
                lambda alpha, T: (1 - alpha) * HardLabels() + alpha * SoftTargets(soft, T),
                student=mlp(784, width, 10),
                examples=train,
                grid={"alpha": [0.0, mnist.ALPHA], "T": [1.0, mnist.T]},
                seeds=3,
                evaluate={"test": test},
                epochs=20 * factor,
                cache=False,
            )
            wrong = bank.wrong("test")
            row: dict[str, Any] = {"capacity": width, "steps": 560 * factor}
            row["weights"] = 785 * width + 10 * (width + 1)
            row["errors"] = {"label-only": errors(wrong[0, 0])}
            for place, T in enumerate((1, 4)):
                row["errors"][f"T = {T}"] = errors(wrong[1, place])
                row[f"T = {T} saves"] = ends(metrics.difference(wrong[0, 0], wrong[1, place]))
            yield row


def balance() -> Iterator[dict[str, Any]]:
    """As many labels, n of each class or drawn from all images: the label-only student."""
    train, y = digits()[0], digits()[1].y
    for n in (1, 20):
        wrong: dict[str, list[Tensor]] = {"balanced": [], "at random": []}
        missing = []
        for draw in DRAWS:
            order = torch.randperm(3500, generator=torch.Generator().manual_seed(draw))
            chance = train[order[: 10 * n]]
            missing.append(10 - len(chance.y.unique()))
            wrong["balanced"].append(answers(trained(labelled(n, draw), draw)) != y)
            wrong["at random"].append(answers(trained(chance, draw)) != y)
        a, b = (torch.stack(part) for part in wrong.values())
        row: dict[str, Any] = {"draw": n, "balanced": errors(a), "at random": errors(b)}
        yield row | {"classes missing": missing, "balanced saves": ends(metrics.difference(b, a))}


TASKS = {  # name -> images whose angle is shown, and whether it is the right one
    "class alone": ("labelled", True),
    "class, angle of the labelled images": ("labelled", True),
    "class, angle of all images": ("all", True),
    "class, wrong angle of all images": ("all", False),
}


def tasks() -> Iterator[dict[str, Any]]:
    """Digits turned by up to 60 degrees: class labels for a few, the angle for these or for all.

    Half of each batch has labels wherever all images are seen.
    """
    train, test = digits()
    turned, angles = transfer.turned(train, TURN, seed=0)
    turned_test, _ = transfer.turned(test, TURN, seed=1)
    for n in (20,):
        wrong: dict[str, Tensor] = {}
        for name, (seen, true) in TASKS.items():
            replies = []
            for draw in THREE:
                network = initialise(transfer.TwoHeads(), draw)
                images = known = turned[torch.isin(train.ids, labelled(n, draw).ids)]
                if seen == "all":
                    again = known[torch.arange(len(train)) % len(known)]
                    images = turned.unlabelled() + again
                shuffle = torch.Generator().manual_seed(draw)
                order = torch.randperm(len(angles), generator=shuffle)
                weight = 0.0 if name == "class alone" else 1.0
                objective = transfer.two_tasks(turned, angles if true else angles[order], weight)
                epochs = mnist.epochs(images)
                fit(network, images, objective, seed=draw, epochs=epochs, precision="fp32")
                replies.append(predict(network, turned_test).argmax(-1))
            wrong[name] = torch.stack(replies) != test.y
            row: dict[str, Any] = {"task": name, "n": n, "errors": errors(wrong[name])}
            if name != "class alone":
                gain = metrics.difference(wrong["class alone"], wrong[name])
                row["saves against class alone"] = ends(gain)
            yield row


def of_labels(n: int) -> list[dict[str, Any]]:
    """All rows with n labelled images per class."""
    return [*ways(n), *(sets(n) if n in SET_COUNTS else [])]


def rest() -> list[dict[str, Any]]:
    return [*shares(), *capacity(), *balance(), *tasks()]


def main() -> None:
    with ProcessPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = [pool.submit(of_labels, n) for n in reversed(COUNTS)]
        parts.append(pool.submit(rest))
        tables.write(__file__, [row for part in parts for row in part.result()])


if __name__ == "__main__":
    main()
