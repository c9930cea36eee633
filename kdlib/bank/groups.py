"""The students that are trained together: their group, its engine, precision and tables."""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from kdlib.bank.engines import Group, Settings
from kdlib.bank.fast import matches
from kdlib.bank.result import arguments
from kdlib.device import check_precision, has_bf16
from kdlib.objectives import Objective, Symbol, TeacherTable, tabulate
from kdlib.training.settings import check_answers, check_parts, check_settings, plain


def make_group(
    objective: Any, student: Any, examples: Any, axes: dict[str, list[Any]], symbolic: list[str],
    seeds: list[int], state: dict[str, Any], settings: Settings,
) -> Group:  # fmt: skip
    """The students that share a structure: all cells of the symbolic axes, times seeds."""
    formula = objective
    if callable(objective) and not isinstance(objective, Objective | nn.Module):
        formula = objective(**{n: state.get(n, Symbol(n)) for n in arguments(objective)})
    own = examples
    if callable(examples):
        own = examples(**{name: state[name] for name in arguments(examples)})
    changed = {name: plain(value) for name, value in state.items() if name in asdict(settings)}
    settings = replace(settings, **changed)
    if isinstance(settings.lr, Mapping):
        raise ValueError(
            f"lr={settings.lr!r}: a bank trains all weights at one rate; give a number, "
            "or train each student with fit(…)"
        )
    checked = ("epochs", "lr", "batch", "schedule", "weight_decay", "order_seed")
    check_settings(**{name: getattr(settings, name) for name in checked})

    def build() -> nn.Module:
        if isinstance(student, nn.Module) or not callable(student):
            return copy.deepcopy(student)
        made = student(**{name: state[name] for name in arguments(student)})
        return copy.deepcopy(made)  # it may be one network each time

    network = build()
    check_parts(network, own, formula)
    cells = list(itertools.product(*(axes[name] for name in symbolic)))
    for cell in cells:
        formula.check(own, dict(zip(symbolic, cell, strict=True)))
    check_answers(network, own)
    dtype = next(network.parameters()).dtype
    bindings = {
        name: torch.tensor([c[i] for c in cells for _ in seeds], dtype=dtype, device=own.device)
        for i, name in enumerate(symbolic)
    }
    all_seeds = [seed for _ in cells for seed in seeds]
    return Group(formula, build, own, all_seeds, bindings, settings, {}, lambda *_: True)


def choose(group: Group) -> str:
    """The engine for "auto": the fast one where it can, fits one by one where vmap cannot."""
    network = group.build()
    if matches(group.objective, network, group.examples):
        return "fast"
    convolutional = any(isinstance(module, nn.Conv2d) for module in network.modules())
    on_cpu = group.examples.device.type == "cpu"
    alone = (convolutional and on_cpu) or group.objective.one_by_one
    return "sequential" if alone else "reference"


def exact_precision(precision: str, engine: str, device: torch.device) -> str:
    """ "fp32" or "bf16" for what was asked; raises ValueError where the engine cannot."""
    check_precision(precision)
    if precision == "bf16" and engine == "reference":
        raise ValueError("the reference engine runs in fp32; use precision='auto' or 'fp32'")
    if precision == "auto":
        return "bf16" if engine == "fast" and has_bf16(device) else "fp32"
    return precision


def teacher_tables(
    group: Group, known: dict[nn.Module, TeacherTable]
) -> dict[nn.Module, TeacherTable]:
    """Each teacher's answers to this group's examples, asked for once."""
    taps = group.objective.teacher_taps()
    for teacher in group.objective.teachers():
        if isinstance(teacher, nn.Module) and not taps.get(teacher):
            table = known.get(teacher)
            if table is None or table.find(group.examples.ids) is None:
                known[teacher] = tabulate(teacher, group.examples)
    return known
