"""Chains of helpers: each student teaches the next, seed by seed."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from kdlib.bank.axes import arguments, axes_and_seeds
from kdlib.bank.result import Bank
from kdlib.bank.train import train_bank
from kdlib.data import Examples
from kdlib.models import parameter_count
from kdlib.objectives import Objective, TeacherTable, tabulate


def ladder(
    teacher: nn.Module | TeacherTable,
    rungs: Sequence[nn.Module],
    *,
    objective: Callable[..., Objective],
    examples: Any,
    evaluate: Mapping[str, Examples],
    seeds: int | Sequence[int] = 5,
    **settings: Any,
) -> list[Bank]:
    """Trains each rung under the one above, and the first under the teacher; a bank for each.

    rungs: students, the last at the bottom (teacher assistants, Mirzadeh et al. 2020): the student
    of a seed is taught by the helper of that seed. objective: teacher -> what a rung descends,
    `lambda teacher: SoftTargets(teacher, T=4)`. examples, and each of `settings` (those of
    `train_bank`), are the same for all rungs, or a list with one for each; examples may be a
    function of the seed. A rung with more weights than its teacher is trained, and warned of.
    Raises ValueError for no rung, and for a list of another length.
    """
    if isinstance(rungs, nn.Module) or not rungs:
        raise ValueError("rungs is no list of students; give at least one: [helper, student]")
    if arguments(objective) == [] or isinstance(objective, Objective):
        raise ValueError(
            "objective is no function of a teacher; give one: lambda teacher: SoftTargets(teacher, "
            "T=4)"
        )
    chosen = axes_and_seeds(None, seeds)[1]
    each = {"examples": examples, **settings}
    for name, value in each.items():
        if isinstance(value, list) and len(value) != len(rungs):
            raise ValueError(f"{len(value)} {name} for {len(rungs)} rungs; give one, or one each")
    above: dict[int, nn.Module | TeacherTable] = dict.fromkeys(chosen, teacher)
    weights = parameter_count(teacher) if isinstance(teacher, nn.Module) else None
    banks: list[Bank] = []
    for number, rung in enumerate(rungs):
        if weights is not None and parameter_count(rung) > weights:
            warnings.warn(
                f"rung {number} has {parameter_count(rung):,} weights and its teacher {weights:,}; "
                "it is trained all the same",
                stacklevel=2,
            )
        weights = parameter_count(rung)
        of_rung = {k: v[number] if isinstance(v, list) else v for k, v in each.items()}
        images = {
            seed: of_rung["examples"](seed)
            if callable(of_rung["examples"])
            else of_rung["examples"]
            for seed in chosen
        }
        tables = {seed: _table(above[seed], images[seed]) for seed in chosen}
        banks.append(
            train_bank(
                lambda seed, tables=tables: objective(tables[seed]),
                student=rung,
                seeds=chosen,
                evaluate=evaluate,
                **(of_rung | {"examples": lambda seed, images=images: images[seed]}),
            )
        )
        above = {seed: banks[-1].network(seed=seed) for seed in chosen}
    return banks


def _table(teacher: nn.Module | TeacherTable, images: Examples) -> nn.Module | TeacherTable:
    return tabulate(teacher, images) if isinstance(teacher, nn.Module) else teacher
