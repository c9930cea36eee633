"""Trains what the page shows but has no minute for, and stores it beside: table.json.

The domain task of pages 06 to 09: a source network meets a few labelled images of other writers.
First each way gets its learning rate, for few labels and for many, on 200 spare images of fold A
with seeds 0 and 1 (rows "tried"). Then the rows of the domain table, seeds 10 to 19 in fold A and
10 to 14 in fold B (rows "way": 1 and 10 labels per class, so 10 and 100 in all), what the page
compares them with (rows "other"), and what is held still by labels per class (rows "still").
A seed changes the source network, the order of batches and which images are labelled.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.ground import domains
from kdcourse.pages import tables
from kdlib import adaptation, losses, metrics
from kdlib.data import Examples, jitter
from kdlib.models import cnn, initialise, predict
from kdlib.objectives import HardLabels, Objective, SoftTargets, TeacherTable, Term, tabulate
from kdlib.objectives.step import Step
from kdlib.training import fit

STAGES = ("stage1", "stage2", "stage3")
PARTS = (*STAGES, "head")
STEPS, OLD, T = 60, 500, 2.0
SEEDS = {"A": range(10, 20), "B": range(10, 15)}
COUNTS = (1, 3, 10, 30)
STILL: dict[str, tuple[str, ...]] = {
    "head only": STAGES,
    "front only": ("stage2", "stage3", "head"),
    "stage 3 and head": STAGES[:2],
    "all": (),
}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
HEAD_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True, repr=False)
class OldTeacher(Term):
    """Soft targets of the old network, on images of the old domain alone."""

    teacher: TeacherTable
    T: float = T

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        z_s, z_t = step.observation.logits, step.teacher(self.teacher).logits
        return losses.soft_targets(z_s, z_t, self.T, where=step.batch.domain == 0)


def tuned(
    start: nn.Module,
    examples: Examples,
    *,
    seed: int,
    lr: float,
    still: tuple[str, ...] = (),
    objective: Objective | None = None,
) -> nn.Module:
    """A copy of the start after 60 steps; two domains share each batch, 32 images of each."""
    network = adaptation.freeze(copy.deepcopy(start), *still)
    mixed = len(examples.domains) > 1
    batch = 64 if mixed else 32
    epochs = max(1, round(STEPS / len(examples.order(batch, balanced=mixed))))
    how: dict[str, Any] = {"epochs": epochs, "batch": batch, "lr": lr, "order_seed": seed}
    how |= {"augment": jitter(1), "precision": "fp32", "forward": "joint", "balanced": mixed}
    fit(network, examples, objective, **how)
    return adaptation.unfreeze(network, "")


Way = Callable[[nn.Module, domains.Domains, Examples, int, float], nn.Module]


def _still(kind: str) -> Way:
    def way(
        base: nn.Module, here: domains.Domains, few: Examples, seed: int, lr: float
    ) -> nn.Module:
        return tuned(base, few, seed=seed, lr=lr, still=STILL[kind])

    return way


def _from_scratch(
    base: nn.Module, here: domains.Domains, few: Examples, seed: int, lr: float
) -> nn.Module:
    return tuned(initialise(cnn(16), seed), few, seed=seed, lr=lr)


def _rehearsal(
    base: nn.Module, here: domains.Domains, few: Examples, seed: int, lr: float
) -> nn.Module:
    return tuned(base, few + here.source[:OLD], seed=seed, lr=lr)


def _old_teacher(
    base: nn.Module, here: domains.Domains, few: Examples, seed: int, lr: float
) -> nn.Module:
    old = here.source[:OLD].unlabelled()
    lesson = HardLabels() + OldTeacher(tabulate(base, old))
    return tuned(base, few + old, seed=seed, lr=lr, objective=lesson)


def _lwf(base: nn.Module, here: domains.Domains, few: Examples, seed: int, lr: float) -> nn.Module:
    lesson = HardLabels() + SoftTargets(tabulate(base, few), T)
    return tuned(base, few, seed=seed, lr=lr, objective=lesson)


def _adabn_then_head(
    base: nn.Module, here: domains.Domains, few: Examples, seed: int, lr: float
) -> nn.Module:
    moved = adaptation.adabn(copy.deepcopy(base), here.target.unlabelled())
    return tuned(moved, few, seed=seed, lr=lr, still=STAGES)


WAYS: dict[str, Way] = {
    "from scratch": _from_scratch,
    **{kind: _still(kind) for kind in STILL},
    "all + rehearsal": _rehearsal,
    "all + old teacher": _old_teacher,
    "LwF": _lwf,
    "AdaBN, then head only": _adabn_then_head,
}
ROWS = ("from scratch", "head only", "all", "all + rehearsal", "all + old teacher", "LwF")


def amount(count: int) -> str:
    return "few" if count < 10 else "many"


def error(network: nn.Module, examples: Examples) -> float:
    wrong = metrics.wrong(predict(network, examples), examples.y)
    return 100 * float(wrong.double().mean())


def choosing(here: domains.Domains) -> Iterator[dict[str, Any]]:
    """Mean error % on the spare images, for each way, amount of labels and learning rate."""
    for count in (1, 10):
        for name, way in WAYS.items():
            tried = {}
            for lr in HEAD_RATES if "head only" in name else RATES:
                errors = []
                for seed in (0, 1):
                    base = domains.source_network(here.source, seed=seed)
                    few = here.target.per_class(count, seed=seed)
                    errors.append(error(way(base, here, few, seed, lr), here.spare))
                tried[f"{lr:g}"] = sum(errors) / len(errors)
            yield {"tried": name, "labels": amount(count), "errors": tried}


def looked(base: nn.Module, few: Examples) -> nn.Module:
    """The network after it has looked at the labelled images only, in train mode: no step."""
    return adaptation.adabn(copy.deepcopy(base), few.unlabelled())


def away(network: nn.Module, start: nn.Module) -> list[float]:
    """How far each part has moved from the start, in % of its length there."""
    far = []
    for part in PARTS:
        pairs = zip(
            network.get_submodule(part).parameters(),
            start.get_submodule(part).parameters(),
            strict=True,
        )
        squares = [(float((w - b).square().sum()), float(b.square().sum())) for w, b in pairs]
        gone, whole = map(sum, zip(*squares, strict=True))
        far.append(round(100 * (gone / whole) ** 0.5, 1))
    return far


def cells(
    fold: str, seed: int, here: domains.Domains, rates: dict[tuple[str, str], float]
) -> Iterator[dict[str, Any]]:
    """All rows of one seed in one fold."""
    base = domains.source_network(here.source, seed=seed)
    for count in COUNTS:
        few = here.target.per_class(count, seed=seed)
        for name, way in WAYS.items():
            in_table, in_study = count in (1, 10), fold == "A" and name in (*STILL, "from scratch")
            if not in_table and not in_study:
                continue
            lr = rates[name, amount(count)]
            network = way(base, here, few, seed, lr)
            stored = f"{10 * count} labels: {name}"
            if in_table:
                made = domains.row(stored, fold, seed, network, here, lr=lr)
                yield made if name in ROWS else {"other": made.pop("way"), **made}
            if in_table and name == "all":
                back = adaptation.adabn(copy.deepcopy(network), here.source)
                made = domains.row(f"{stored}, source statistics", fold, seed, back, here)
                yield {"other": made.pop("way"), **made}
            if in_study:
                with torch.no_grad():
                    moved = away(network, base) if name != "from scratch" else []
                score = round(error(network, here.target_test), 2)
                yield {"still": name, "labels": count, "seed": seed, "error": score, "moved": moved}
        if count in (1, 10):
            made = domains.row(
                f"{10 * count} labels: looked at", fold, seed, looked(base, few), here
            )
            yield {"other": made.pop("way"), **made}


def main() -> None:
    torch.set_num_threads(1)
    here = {fold: domains.domains(fold) for fold in domains.FOLDS}
    tried = list(choosing(here["A"]))
    rates = {
        (row["tried"], row["labels"]): float(min(row["errors"], key=row["errors"].get))
        for row in tried
    }
    rows = [
        row
        for fold, seeds in SEEDS.items()
        for seed in seeds
        for row in cells(fold, seed, here[fold], rates)
    ]
    tables.write(__file__, [*tried, *rows])


if __name__ == "__main__":
    main()
