"""Makes `table.json`: what each way of making a network smaller costs in errors.

Five teachers mlp(784, 300, 100, 10), each compressed in every way; 3,500 images of MNIST-5k train,
MNIST's 10,000 test images decide. Rows with "row" hold a way's errors by seed, rows with "of" a
difference of two ways. Run by `course.py build 12`; about five minutes of one core.
"""

import copy
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.ground.keeping import kept
from kdcourse.lessons.lesson12.pairs import AMOUNTS, ATTACKED, LONG, PAIRS, SHORT
from kdcourse.pages import tables
from kdlib.compression import factorise, nonzero, prune, quantise, rounded, smaller
from kdlib.data import Examples, jitter, load
from kdlib.metrics import difference, interval
from kdlib.models import MLP, cnn, inherit, initialise, mlp, predict
from kdlib.objectives import (
    HardLabels,
    Objective,
    ParameterKL,
    ParameterL2,
    SoftTargets,
    TeacherTable,
    tabulate,
)
from kdlib.training import fit

SEEDS = range(5)
BEFORE = 40  # epochs of the teacher
DISTILLED = (8, 16, 32, 100)
NARROW = (784, 100, 50, 10)
EPSILON = 0.05  # of a pixel's range


# ---- what is trained ----------------------------------------------------------------------------


def teacher_of(train: Examples, seed: int, epochs: int = BEFORE) -> nn.Module:
    """The network to compress: mlp(784, 300, 100, 10), images moved by up to two pixels."""
    network = initialise(mlp(784, 300, 100, 10), seed)

    def training(network: nn.Module) -> None:
        how: dict[str, Any] = {"epochs": epochs, "precision": "fp32", "augment": jitter(2)}
        fit(network, train, order_seed=seed, **how)

    return kept(network, training, train.fingerprint, epochs, seed, "compress me")


def soft(table: TeacherTable) -> Objective:
    """The loss of the common ground."""
    return (1 - mnist.ALPHA) * HardLabels() + mnist.ALPHA * SoftTargets(table, mnist.T)


def recovered(
    network: nn.Module, train: Examples, objective: Objective, epochs: int, seed: int, **how: Any
) -> nn.Module:
    """A copy, trained on from its weights: 28 steps of 128 images in an epoch."""
    again = copy.deepcopy(network)
    fit(again, train, objective, epochs=epochs, order_seed=seed, precision="fp32", **how)
    return again


def scratch(
    network: nn.Module, train: Examples, objective: Objective, epochs: int, seed: int, **how: Any
) -> nn.Module:
    """The same training from weights that the seed draws."""
    return recovered(initialise(network, seed), train, objective, epochs, seed, **how)


# ---- the ways -----------------------------------------------------------------------------------


def one_shots(teacher: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """The teacher, compressed and not trained since. The head stays whole."""
    found = {f"pruned {100 * amount:g} %": prune(teacher, amount) for amount in AMOUNTS}
    found |= {f"channels {100 * a:g} %": smaller(teacher, a, x) for a in (0.8, 0.9)}
    return found | {"rank 16": factorise(teacher, rank=16, layers="stage1.0")}


def compressed(train: Examples, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Name, network: everything that this seed's teacher becomes."""
    teacher, x = teacher_of(train, seed), train[:2].batch().x
    answers = tabulate(teacher, train)
    yield "teacher", teacher
    yield "teacher, int8", quantise(teacher, train[:500])
    yield "teacher, dynamic int8", quantise(teacher)
    results = {}
    for name, network in one_shots(teacher, x).items():
        yield f"{name}: one shot", network
        for epochs in (SHORT, LONG):
            for words, objective in (("labels", HardLabels()), ("soft targets", soft(answers))):
                key = f"{name}: {words}, {epochs} epochs"
                results[key] = recovered(network, train, objective, epochs, seed)
                yield key, results[key]
    for width in DISTILLED:
        student = scratch(mlp(784, width, 10), train, soft(answers), LONG, seed)
        results[f"mlp({width})"] = student
        yield f"mlp({width}): distilled", student
    yield "mlp(100): label-only", scratch(mlp(784, 100, 10), train, HardLabels(), LONG, seed)
    thin = results["channels 80 %: soft targets, 20 epochs"]
    for name in ("mlp(32)", "mlp(100)"):
        yield f"{name}, int8", quantise(results[name], train[:500])
    yield "channels 80 %, int8", quantise(thin, train[:500])
    yield "mlp(32): label-only", scratch(mlp(784, 32, 10), train, HardLabels(), LONG, seed)
    yield from orders(train, seed, teacher, results["mlp(100)"])
    yield from controls(train, seed, one_shots(teacher, x), answers)
    yield from by_weights(train, seed, teacher)


def orders(
    train: Examples, seed: int, teacher: nn.Module, student: nn.Module
) -> Iterator[tuple[str, nn.Module]]:
    """Prune and distil, in either order, to equally many weights that are not 0."""
    answers = tabulate(teacher, train)
    pruned = recovered(prune(teacher, 0.95), train, soft(answers), 2 * LONG, seed)
    yield "prune 95 %, then distil into it, 40 epochs", pruned
    left = (nonzero(pruned) - 1110) / 78400  # of the student's first layer
    thin = prune(student, 1 - left)
    again = recovered(thin, train, soft(answers), LONG, seed)
    yield "distil into mlp(100), prune, distil again", again
    how = soft(tabulate(recovered(prune(teacher, 0.95), train, HardLabels(), LONG, seed), train))
    yield "mlp(16): taught by the pruned teacher", scratch(mlp(784, 16, 10), train, how, LONG, seed)


def controls(
    train: Examples, seed: int, shots: dict[str, nn.Module], answers: TeacherTable
) -> Iterator[tuple[str, nn.Module]]:
    """Rivals: the same shape from drawn weights for as many epochs; recovery with jitter."""
    total, moved = BEFORE + LONG, {"augment": jitter(2)}
    sizes = cast(MLP, shots["channels 80 %"]).sizes
    for words, objective, how in (
        ("soft targets", soft(answers), {}),
        ("labels and jitter", HardLabels(), moved),
    ):
        new = scratch(mlp(*sizes), train, objective, total, seed, **how)
        yield f"channels 80 %, drawn anew: {words}, {total} epochs", new
    for name in ("pruned 90 %", "channels 80 %"):
        network = recovered(shots[name], train, HardLabels(), LONG, seed, **moved)
        yield f"{name}: labels and jitter, {LONG} epochs", network
    for bits in (4, 3, 2, 1):
        coarse = rounded(teacher_of(train, seed), bits)
        yield f"{bits} bits: one shot", coarse
        if bits < 3:
            yield (
                f"{bits} bits: labels, 20 epochs",
                recovered(coarse, train, HardLabels(), LONG, seed),
            )


def by_weights(train: Examples, seed: int, teacher: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Parameter distillation: 20 labels of each digit; the teacher's weights, or its answers."""
    few = train.per_class(20, seed=seed)
    how: dict[str, Any] = {"seed": seed, "epochs": mnist.epochs(few)}
    ground = HardLabels()
    for words, objective in (
        ("label-only", ground),
        ("KL of weights, gaussian", ground + ParameterKL(teacher)),
        ("soft targets", soft(tabulate(teacher, few))),
    ):
        yield f"narrow: {words}", scratch(mlp(*NARROW), few, objective, **how)
    heir = initialise(mlp(*NARROW), seed)
    inherit(heir, teacher, shrink=True)
    yield "narrow: begins from the teacher's weights, by SVD", recovered(heir, few, ground, **how)
    for words, objective in (
        ("label-only", ground),
        ("KL of weights, energy", ground + ParameterKL(teacher, "energy")),
        ("distance of weights, 0.01", ground + 0.01 * ParameterL2(teacher)),
    ):
        yield f"as wide: {words}", scratch(mlp(784, 300, 100, 10), few, objective, **how)


def fooled(network: nn.Module, test: Examples, through: nn.Module) -> Tensor:
    """FGSM: each pixel moved by EPSILON so that the loss of `through` rises; which go wrong."""
    x = test.batch().x.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(through(x), test.y, reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    moved = (x + EPSILON * slope.sign()).clamp(0, 1).detach()
    return predict(network, moved).argmax(1) != test.y


def convolutional(train: Examples, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Another architecture, compressed or not."""
    wide = mnist.teacher(train, seed=seed)
    yield "cnn(16)", wide
    yield "cnn(16), int8", quantise(wide, train[:500])
    small = initialise(cnn(4), seed)
    how: dict[str, Any] = {"epochs": LONG, "precision": "fp32", "augment": jitter(2)}
    fit(small, train, order_seed=seed, **how)
    yield "cnn(4)", small


# ---- what is stored -----------------------------------------------------------------------------


@cache
def answered() -> dict[str, Tensor]:
    """Name → (seeds, images): which of MNIST's 10,000 test images are answered wrong."""
    train, test = load("mnist5k").train, load("mnist").test
    wrong: dict[str, list[Tensor]] = {}
    for seed in SEEDS:
        made = dict(chain(compressed(train, seed), convolutional(train, seed)))
        for name, network in made.items():
            wrong.setdefault(name, []).append(predict(network, test).argmax(1) != test.y)
        for name in ATTACKED:
            for words, through in (("FGSM", made[name]), ("FGSM from teacher", made["teacher"])):
                found = fooled(made[name], test, through)
                wrong.setdefault(f"{words}: {name}", []).append(found)
    return {name: torch.stack(rows) for name, rows in wrong.items()}


def rows() -> Iterator[dict[str, Any]]:
    """All rows: errors, then differences."""
    wrong = answered()
    for name, answers in wrong.items():
        error = 100 * answers.double()
        seeds = [round(value, 3) for value in error.mean(1).tolist()]
        yield {"row": name, "errors": seeds, "error": _ends(interval(error))}
    for first, second in PAIRS:
        yield {"of": [first, second], "saved": _ends(difference(wrong[first], wrong[second]))}


def _ends(of: Any) -> list[float]:
    return [round(value, 4) for value in (of.mean, of.low, of.high)]


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, rows())


if __name__ == "__main__":
    main()
