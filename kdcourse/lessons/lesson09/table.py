"""Makes `table.json`: the small students' rows of the domain table, and the controls beside them.

Seeds 10 to 19 in fold A and 10 to 14 in fold B. Rows with "way" stand in the domain table; rows
with "control" answer what else could explain a difference, on this page or in its notes.
Run by `course.py build 09`; about a quarter of an hour of one core.
"""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import nn

from kdcourse.ground import domains
from kdcourse.pages import tables
from kdlib.adaptation import InformationMaximization, adabn, freeze, unfreeze
from kdlib.data import Examples, jitter
from kdlib.models import cnn, initialise, mlp, normalises, predict
from kdlib.objectives import HardLabels, Objective, SoftTargets, TeacherTable, tabulate
from kdlib.training import fit

SEEDS = {"A": range(10, 20), "B": range(10, 15)}
STUDENTS = {"cnn(4)": lambda: cnn(4), "mlp(6)": lambda: mlp(256, 6, 10)}
T, LAM = 2.0, 0.9  # fixed beforehand: nothing may be tuned on the target


@cache
def images(fold: str) -> domains.Domains:
    """The images of a fold."""
    return domains.domains(fold)


# ---- teachers -----------------------------------------------------------------------------------


def shot(network: nn.Module, target: Examples, seed: int) -> nn.Module:
    """SHOT-IM of the big network, from AdaBN: head frozen, 4 epochs, statistics of the target."""
    moved = freeze(adabn(copy.deepcopy(network), target), "head")
    how: dict[str, Any] = {"epochs": 4, "batch": 128, "lr": 1e-2, "augment": jitter(1)}
    fit(moved, target, InformationMaximization(), order_seed=seed, precision="fp32", **how)
    return adabn(unfreeze(moved, ""), target)


def teachers(fold: str, seed: int) -> dict[str, nn.Module]:
    """The source network as it is, after AdaBN, and after SHOT-IM."""
    here = images(fold)
    plain, target = domains.source_network(here.source, seed=seed), here.target.unlabelled()
    normed = adabn(copy.deepcopy(plain), target)
    return {"source": plain, "AdaBN": normed, "SHOT-IM": shot(plain, target, seed)}


# ---- students -----------------------------------------------------------------------------------


def finished(network: nn.Module, target: Examples) -> nn.Module:
    """With the target's BatchNorm statistics; a network that has none stays as it is."""
    return adabn(network, target) if normalises(network) else network


def trained(
    kind: str, examples: Examples, seed: int, objective: Objective | None = None, **how: Any
) -> nn.Module:
    """A student of this seed: 20 epochs, batch 128, lr 0.01."""
    how = {"epochs": 20, "batch": 128, "lr": 1e-2, "precision": "fp32", **how}
    network = initialise(STUDENTS[kind](), seed)
    return fit(network, examples, objective or HardLabels(), order_seed=seed, **how).network


@cache
def source_only(kind: str, seed: int) -> nn.Module:
    """The student that has seen all labelled source images and nothing else."""
    return trained(kind, images("A").source, seed)  # the same source in both folds


def taught(table: TeacherTable, lam: float = LAM) -> Objective:
    """The loss of the page."""
    return (1 - lam) * HardLabels() + lam * SoftTargets(table, T)


def adapts_itself(
    network: nn.Module, target: Examples, seed: int, *, epochs: int = 12, lr: float = 3e-3
) -> nn.Module:
    """SHOT-IM of the small network: head frozen."""
    moved = freeze(finished(copy.deepcopy(network), target), "head")
    how: dict[str, Any] = {"epochs": epochs, "batch": 128, "lr": lr, "precision": "fp32"}
    fit(moved, target, InformationMaximization(), order_seed=seed, **how)
    return finished(unfreeze(moved, ""), target)


def self_training(network: nn.Module, target: Examples, seed: int) -> nn.Module:
    """Balanced self-training: three rounds on its own most confident answers, alike per class."""
    begin = finished(copy.deepcopy(network), target)
    how: dict[str, Any] = {"epochs": 4, "batch": 128, "lr": 3e-3, "augment": jitter(1)}
    moved = begin
    for turn in range(3):
        confidence, answers = predict(moved, target).softmax(-1).max(-1)
        share = int(len(target) / 10 * (0.4 + 0.3 * turn))
        keep = torch.zeros(len(target), dtype=torch.bool)
        for digit in range(10):
            places = (answers == digit).nonzero().flatten()
            keep[places[confidence[places].argsort(descending=True)[:share]]] = True
        moved = copy.deepcopy(begin)
        chosen = target.labelled_as(torch.where(keep, answers, -1))[keep]
        fit(moved, chosen, order_seed=seed + turn, precision="fp32", **how)
        moved = finished(moved, target)
    return moved


def students(
    kind: str, fold: str, seed: int, masters: dict[str, nn.Module]
) -> Iterator[tuple[str, str, nn.Module]]:
    """("way" or "control", name, network) of one kind of student."""
    here = images(fold)
    target = here.target.unlabelled()
    both = here.source[:1000].as_domain(0) + target
    answers = {name: tabulate(master, both) for name, master in masters.items()}

    def pupil(table: TeacherTable, **how: Any) -> nn.Module:
        return finished(trained(kind, both, seed, taught(table), **how), target)

    alone = source_only(kind, seed)
    itself = adapts_itself(alone, target, seed)
    yield "way", "source only", alone
    yield "way", "adapts itself", itself
    pupils = {name: pupil(table) for name, table in answers.items()}
    for name, network in pupils.items():
        yield "way", f"taught by the {name} teacher", network
    distilled = trained(kind, here.source, seed, taught(tabulate(masters["source"], here.source)))
    yield "way", "distil, then adapt", adapts_itself(distilled, target, seed)
    yield "way", "taught, then adapts itself", adapts_itself(pupils["SHOT-IM"], target, seed)
    yield "way", "oracle", trained(kind, here.target, seed, epochs=80, batch=64)

    if normalises(alone):
        yield "control", "AdaBN", finished(copy.deepcopy(alone), target)
    bare = trained(kind, both, seed, HardLabels())
    yield "control", "labels of the same images only", finished(bare, target)
    for lr in (1e-3, 1e-2):
        moved = adapts_itself(alone, target, seed, lr=lr)
        yield "control", f"adapts itself, lr {lr:g}", moved
    yield "control", "adapts itself, 36 epochs", adapts_itself(alone, target, seed, epochs=36)
    yield "control", "self-training, balanced", self_training(alone, target, seed)
    yield "control", "taught by its adapted self", pupil(tabulate(itself, both))
    yield "control", "taught, 32 epochs", pupil(answers["SHOT-IM"], epochs=32)
    at_home = torch.where(
        both.domain[:, None] == 0, answers["source"].logits, answers["SHOT-IM"].logits
    )
    split = answers["SHOT-IM"].answering(at_home, "each at home")
    yield "control", "each at home", pupil(split)
    there = trained(kind, target, seed, SoftTargets(tabulate(masters["SHOT-IM"], target), T))
    yield "control", "target images only", finished(there, target)


def rows() -> Iterator[dict[str, Any]]:
    """All rows, a seed and a fold at a time."""
    for fold, seeds in SEEDS.items():
        here = images(fold)
        for seed in seeds:
            masters = teachers(fold, seed)
            for name, master in masters.items():
                yield named("control", f"teacher: {name}", fold, seed, master, here)
            for kind in STUDENTS:
                for key, name, network in students(kind, fold, seed, masters):
                    yield named(key, f"{kind}: {name}", fold, seed, network, here)


def named(
    key: str, name: str, fold: str, seed: int, network: nn.Module, here: domains.Domains
) -> dict[str, Any]:
    """A row of the domain table, or of the controls, which that table does not show."""
    row = domains.row(name, fold, seed, network, here)
    del row["way"]
    return {key: name, **row}


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, rows())


if __name__ == "__main__":
    main()
