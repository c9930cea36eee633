"""What 1,000 test images cannot resolve, and what a page has no minute for: table.json.

The build runs it whenever the stored table is not of this very file and library. All students are
scored on MNIST's 10,000 test images. The biases by share and on validation are chosen on the
validation images, the bias on test, as in Hinton et al. 2015, on the 10,000.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kdcourse.ground import mnist
from kdcourse.pages import tables
from kdlib.bank import Bank, train_bank
from kdlib.data import Examples, load
from kdlib.losses import class_mean_logits
from kdlib.metrics import Interval, interval
from kdlib.models import mlp, predict
from kdlib.objectives import HardLabels, Objective, SoftTargets, TeacherTable, tabulate

MISSING, SEEDS = 3, 10
BIASES = torch.arange(-120, 401) / 10
PAIR = [7, 8]
T, ALPHA = mnist.T, mnist.ALPHA


def parted(z: Tensor, classes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """z (N, C) -> the bias from which these classes win, and what is answered below and above it.

    Below: the best other class. Above: the best of these classes. (N,) each.
    """
    rivals, own = z.clone(), torch.full_like(z, -torch.inf)
    rivals[:, classes] = -torch.inf
    own[:, classes] = z[:, classes]
    return rivals.amax(1) - own.amax(1), rivals.argmax(1), own.argmax(1)


def answered(z: Tensor, classes: list[int], bias: float) -> Tensor:
    margin, below, above = parted(z, classes)
    return torch.where(margin < bias, above, below)


def by_share(z: Tensor, classes: list[int]) -> float:
    """The bias at which these classes have their tenths of the answers."""
    return float(parted(z, classes)[0].quantile(len(classes) / 10))


def by_errors(z: Tensor, y: Tensor, classes: list[int]) -> float:
    """The bias with the fewest errors, the middle one of a tie."""
    margin, below, above = parted(z, classes)
    moved = margin < BIASES[:, None]  # (biases, N)
    errors = torch.where(moved, above != y, below != y).sum(1)
    ties = BIASES[errors == errors.min()]
    return float(ties[len(ties) // 2])


def ends(values: Interval) -> list[float]:
    return [round(value, 3) for value in (values.mean, values.low, values.high)]


class Scored:
    """Students' answers to the 10,000 under each rule: rule -> logits (seeds, N, C)."""

    def __init__(self, bank: Bank, y: Tensor, y_validation: Tensor, classes: list[int]) -> None:
        z, seen = bank.logits["big"], bank.logits["validation"]
        chosen = {
            "as trained": [0.0] * len(z),
            "by share": [by_share(one, classes) for one in seen],
            "on validation": [by_errors(one, y_validation, classes) for one in seen],
            "on test": [by_errors(one, y, classes) for one in z],
        }
        self.y, self.classes, self.biases = y, classes, chosen
        self.answers = {
            rule: torch.stack(
                [answered(one, classes, bias) for one, bias in zip(z, biases, strict=True)]
            )
            for rule, biases in chosen.items()
        }

    def right(self, rule: str) -> Tensor:
        """100 where an image of the missing class is answered right: (seeds, images)."""
        return 100.0 * (self.answers[rule] == MISSING)[:, self.y == MISSING].double()

    def wrong(self, rule: str) -> Tensor:
        return 100.0 * (self.answers[rule] != self.y).double()

    def rows(self, setting: str, way: str) -> Iterator[dict[str, Any]]:
        for rule, biases in self.biases.items():
            row = {"setting": setting, "way": way, "rule": rule, "seeds": len(biases)}
            row["bias"] = round(sum(biases) / len(biases), 2)
            row["errors"] = ends(interval(self.wrong(rule)))
            if self.classes == [MISSING]:
                row["right"] = ends(interval(self.right(rule)))
            if rule != "as trained":
                row["saves"] = ends(interval(self.wrong("as trained") - self.wrong(rule)))
            yield row


def means(table: TeacherTable, train: Examples, T: float) -> TeacherTable:
    """The mean answer of each class in place of the answer to each image."""
    return table.answering(class_mean_logits(table.logits, train.y, T), "class means")


def mixed(table: TeacherTable, T: float, alpha: float = ALPHA) -> Objective:
    return (1 - alpha) * HardLabels() + alpha * SoftTargets(table, T)


def our_images(big: Examples) -> Iterator[dict[str, Any]]:
    """The common ground: 3,500 images, a student of 100 units, ten seeds."""
    train, validation, _ = load("mnist5k")
    table = tabulate(mnist.teacher(train), train)
    transfer, pair = train.without([MISSING]), train.only(PAIR)
    how: dict[str, Any] = {"student": mlp(784, mnist.WIDTH, 10), "seeds": SEEDS, "cache": False}
    how["evaluate"] = {"validation": validation, "big": big}

    def score(objective: Objective, examples: Examples, classes: list[int]) -> Scored:
        steps = mnist.epochs(examples)
        bank = train_bank(objective, examples=examples, epochs=steps, **how)
        return Scored(bank, big.y, validation.y, classes)

    ways: dict[str, Objective] = {
        "label-only": HardLabels(),
        "class means": mixed(means(table, train, T), T),
        "T = 1": mixed(table, 1.0),
        "T = 4": mixed(table, T),
        "T = 20": mixed(table, 20.0),
        "T = 4, no labels": mixed(table, T, 1.0),
    }
    scored = {way: score(objective, transfer, [MISSING]) for way, objective in ways.items()}
    for way, students in scored.items():
        yield from students.rows("3,500 images", way)
        if way != "T = 4":
            for rule in ("as trained", "by share"):
                more = interval(scored["T = 4"].right(rule) - students.right(rule))
                about = {"setting": "T = 4 against", "way": way, "rule": rule}
                yield about | {"right": ends(more)}
    for way, objective in {"label-only": HardLabels(), "T = 4": mixed(table, T)}.items():
        yield from score(objective, pair, PAIR).rows("only 7s and 8s", way)


def all_images(big: Examples) -> Iterator[dict[str, Any]]:
    """All of MNIST's training images but the threes: our student, and the paper's at T = 20."""
    train, validation, _ = load("mnist")
    teacher = mnist.teacher(train, epochs=3)
    wrong = 100.0 * (predict(teacher, big).argmax(1) != big.y).double()
    yield {"setting": "55,000 images", "way": "teacher", "errors": round(float(wrong.mean()), 2)}
    table, transfer = tabulate(teacher, train), train.without([MISSING])
    recipes = {
        "784-100, T = 4": (mlp(784, mnist.WIDTH, 10), mixed(table, T), 5),
        "784-800-800, T = 20": (mlp(784, 800, 800, 10), mixed(table, 20.0, 1.0), 2),
    }
    for way, (student, objective, seeds) in recipes.items():
        how: dict[str, Any] = {"student": student, "seeds": seeds, "epochs": 6, "cache": False}
        how["evaluate"] = {"validation": validation, "big": big}
        bank = train_bank(objective, examples=transfer, **how)
        yield from Scored(bank, big.y, validation.y, [MISSING]).rows("55,000 images", way)


def main() -> None:
    torch.set_num_threads(1)
    big = load("mnist").test
    tables.write(__file__, [*our_images(big), *all_images(big)])


if __name__ == "__main__":
    main()
