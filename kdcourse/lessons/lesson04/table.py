"""What 1,000 test images cannot resolve, and what a page has no minute for: table.json.

The build runs it whenever the stored table is not of this very file and library. Rows `width` are
scored on MNIST's 10,000 test images, with seeds from 10 on: the page's own students have the seeds
before them. Rows `fold` are cross-validation: 3 folds of the training images, each with a teacher
that never saw it, seeds 20 to 22; the test images have no part in them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kdcourse.ground import mnist
from kdcourse.pages import tables
from kdlib.bank import Bank, train_bank
from kdlib.data import Examples, load
from kdlib.losses import logit_mse
from kdlib.metrics import Interval, interval
from kdlib.models import mlp, predict
from kdlib.objectives import HardLabels, Objective, SoftTargets, TeacherTable, tabulate

TEMPERATURES, ALPHAS, WIDTHS = [1.0, 2.0, 4.0, 8.0, 20.0], [0.5, 0.9], [8, 32, 100]
SEEDS, CV_SEEDS, FOLDS = range(10, 20), range(20, 23), 3
PATIENCE = [10, 20, 100]  # epochs


def ends(values: Interval) -> list[float]:
    return [round(value, 3) for value in (values.mean, values.low, values.high)]


def points(bank: Bank, split: str = "big", **cell: Any) -> Tensor:
    """100 where an answer is wrong, (seeds, images), of one cell."""
    return 100.0 * bank.select(**cell).wrong(split).double()


def taught(table: TeacherTable, T: Any, alpha: Any) -> Objective:
    return (1 - alpha) * HardLabels() + alpha * SoftTargets(table, T)


def widths(train: Examples, big: Examples) -> Iterator[dict[str, Any]]:
    """Errors, and points that they save against the label-only student of the same width."""
    teacher = mnist.teacher(train)
    table, answers = tabulate(teacher, train), predict(teacher, big)
    grid, costs = {"T": TEMPERATURES, "alpha": ALPHAS}, {}
    for width in WIDTHS:
        how: dict[str, Any] = {"student": mlp(784, width, 10), "examples": train, "seeds": SEEDS}
        how |= {"evaluate": {"big": big}, "epochs": mnist.epochs(train), "cache": False}
        labels = train_bank(**how)
        bank = train_bank(lambda T, alpha: taught(table, T, alpha), grid=grid, **how)
        alone = points(labels)
        yield cell(width, 0.0, None, alone, alone, labels, answers)
        for alpha in ALPHAS:
            for T in TEMPERATURES:
                students = bank.select(T=T, alpha=alpha)
                yield cell(width, alpha, T, alone, points(students), students, answers)
        hot, habit = points(bank, T=20.0, alpha=0.9), points(bank, T=4.0, alpha=0.9)
        yield {"what": "T = 4 against T = 20", "width": width, "saves": ends(interval(hot - habit))}
        costs[width] = hot - alone
    for small, wide in ((8, 100), (8, 32), (32, 100)):
        more = ends(interval(costs[small] - costs[wide]))
        yield {"what": "cost of T = 20", "widths": [small, wide], "more": more}
    yield from patience(train, table, big)


def cell(
    width: int, alpha: float, T: float | None, alone: Tensor, own: Tensor, bank: Bank, z_t: Tensor
) -> dict[str, Any]:
    z_s = bank.logits["big"].flatten(0, -2)
    apart = float(logit_mse(z_s, z_t.repeat(len(bank.seeds), 1)))
    row = {"what": "width", "width": width, "alpha": alpha, "T": T}
    row["errors"] = [round(float(error), 2) for error in own.mean(1)]
    row["distance"] = round(apart, 2)
    return row | ({"saves": ends(interval(alone - own))} if alpha else {})


def patience(train: Examples, table: TeacherTable, big: Examples) -> Iterator[dict[str, Any]]:
    """8 units, T = 20: trained for shorter and for longer than the rest."""
    how: dict[str, Any] = {"student": mlp(784, 8, 10), "examples": train, "seeds": SEEDS}
    how |= {"evaluate": {"big": big}, "cache": False}
    for epochs in PATIENCE:
        alone = points(train_bank(epochs=epochs, **how))
        own = points(train_bank(taught(table, 20.0, 0.9), epochs=epochs, **how))
        row = {"what": "patience", "epochs": epochs, "saves": ends(interval(alone - own))}
        pairs = {"label-only": alone, "distilled": own}
        yield row | {name: [round(float(e), 2) for e in z.mean(1)] for name, z in pairs.items()}


def folds(train: Examples) -> Iterator[dict[str, Any]]:
    """Held-out errors of each setting, one number a fold; 100 units."""
    grid = {"T": TEMPERATURES, "alpha": ALPHAS}
    wrong: dict[tuple[float, float | None], list[Tensor]] = {}
    for rest, out in train.folds(FOLDS):
        table = tabulate(mnist.teacher(rest), rest)
        how: dict[str, Any] = {"student": mlp(784, mnist.WIDTH, 10), "examples": rest}
        how |= {"seeds": CV_SEEDS, "evaluate": {"out": out}, "cache": False}
        how["epochs"] = mnist.epochs(rest)
        wrong.setdefault((0.0, None), []).append(points(train_bank(**how), "out"))
        bank = train_bank(lambda T, alpha, t=table: taught(t, T, alpha), grid=grid, **how)
        for alpha in ALPHAS:
            for T in TEMPERATURES:
                one = points(bank, "out", T=T, alpha=alpha)
                wrong.setdefault((alpha, T), []).append(one)
    alone = torch.cat(wrong[0.0, None], -1)
    for (weight, heat), parts in wrong.items():
        row = {"what": "fold", "width": mnist.WIDTH, "alpha": weight, "T": heat}
        row["errors"] = [round(float(one.mean()), 3) for one in parts]
        yield row | {"saves": ends(interval(alone - torch.cat(parts, -1)))}
    every = torch.stack([torch.cat(parts, -1) for name, parts in wrong.items() if name[0]])
    yield {"what": "fold, all settings", "saves": ends(interval(alone - every.mean(0)))}


def main() -> None:
    torch.set_num_threads(1)
    train, big = load("mnist5k").train, load("mnist").test
    tables.write(__file__, [*widths(train, big), *folds(train)])


if __name__ == "__main__":
    main()
