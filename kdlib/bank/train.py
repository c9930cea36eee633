"""`train_bank`: one expression, a grid, seeds; every student of the grid, trained and kept."""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from kdlib.bank.axes import axes_and_seeds, check_axes, seed_sets, structural_axes
from kdlib.bank.cache import bank_file, bank_key, diverged, find_bank, hashable, store_bank
from kdlib.bank.fast import fast
from kdlib.bank.group import Engine, Group, Outcome
from kdlib.bank.planning import (
    check_engine,
    choose_engine,
    exact_precision,
    make_group,
    networks_to_begin_from,
)
from kdlib.bank.reference import reference
from kdlib.bank.register import Register, Watch
from kdlib.bank.result import Bank
from kdlib.bank.sequential import sequential
from kdlib.data import Examples, Stream
from kdlib.device import keep_freed_memory, pick, within_quota
from kdlib.objectives import HardLabels, Number, Objective, TeacherTable, formula
from kdlib.training.answering import check_readable, check_taught
from kdlib.training.checking import (
    check_countable,
    check_teachers,
    check_unseen,
    domain_rules,
)
from kdlib.training.optimisers import Maker, Schedule, check_maker
from kdlib.training.settings import Settings
from kdlib.training.students import check_layers

ENGINES: dict[str, Engine] = {"fast": fast, "reference": reference, "sequential": sequential}


@within_quota()
def train_bank(
    objective: Objective | Callable[..., Objective] | None = None,
    *,
    student: nn.Module | Callable[..., nn.Module],
    examples: Examples | Callable[..., Examples],
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | Sequence[int] = 5,
    evaluate: Mapping[str, Examples],
    epochs: int = 10,
    lr: float | Mapping[str, Number] | Callable[..., Any] = 1e-2,
    batch: int = 128,
    order_seed: int = 0,
    weight_decay: float = 0.0,
    clip: float | None = None,
    optimizer: Maker | None = None,
    schedule: Schedule = "one-cycle",
    precision: str = "fp32",
    engine: str = "auto",
    device: str | torch.device | None = None,
    start: Callable[[int], nn.Module] | None = None,
    cache: bool = True,
    watch: Watch | None = None,
) -> Bank:
    """Trains a student for every cell of the grid and every seed, and keeps their answers.

    `objective` is an expression, or a function of axes that is called with symbols:
    `train_bank(lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T),
    student=mlp(784, 32, 10), examples=train, grid={"T": [1, 4], "alpha": [0.5, 0.9]},
    evaluate={"test": test})`. Numbers that only the objective asks for are trained together; an
    axis that changes the structure (asked for by `student` or `examples`, named like a setting
    such as "epochs", or with values that are no numbers) makes one group per value.
    A seed draws the initial weights; the order of batches is shared, so that
    `fit(student, …, seed=s, order_seed=o)` reproduces any cell (but not the reference engine's
    dropout, which is drawn for all students at once).
    objective, student, examples and lr may be functions of `seed`, too, for a teacher or a draw of
    labels of its own for each seed: `lambda seed: SoftTargets(tables[seed], T=4)`. Each seed's
    students then make a group.
    A student with weights that belong to no layer must come as a function that builds it,
    `student=lambda: vit_b_16()`: each seed then decides what the build draws (`models.built`).
    lr: one rate, or one for each group of weights as in `fit`, or a function of axes that gives
    either: `lr=lambda scale: {"head": 1e-2, "": 1e-2 * scale}`.
    optimizer: as in `fit`; such students are trained one by one ("sequential").
    start: seed -> a network of the student's build, whose weights the student of that seed begins
    from in place of drawn ones; it stays as it is, and a cell equals `fit(copy, …, seed=None)`.
    evaluate: split -> examples to answer; those without labels have answers, but no errors.
    engine: "fast", "reference", "sequential", or "auto"; "sequential" trains convolutional
    students side by side, a process a thread (Linux).
    precision: "fp32", "bf16" (fast and sequential engines), or "auto": bf16 in the fast path where
    the hardware has it. device: None stays where the examples are; teachers are expected there.
    Initial weights and orders are drawn on the CPU, and answers and students come back to it.
    cache: read and write the bank under a hash of all that decides it; one with classes or
    functions of your own in its networks or terms is not kept, since their code may change.
    watch(done, errors): called before the first epoch and after each with the share that is done
    and, for each split, error % (*axes, seeds), nan where no student is yet; False after an epoch
    (after a student, in the sequential engine) ends the training there, and the bank, which no
    cache keeps, holds what there is. Ctrl-C keeps nothing. A student that diverges has answers of
    nan, costs a warning, and its bank is not kept.
    Raises ValueError, before training, for an axis that nothing asks for, an empty axis, a value or
    seed given twice, examples to answer that are none or of another size, or a cell that cannot be
    trained.
    """
    keep_freed_memory()
    axes, seeds = axes_and_seeds(grid, seeds)
    objective = HardLabels() if objective is None else objective
    settings = Settings(epochs, lr, batch, order_seed, weight_decay, schedule, precision, clip)
    check_axes(axes, seeds, objective, student, examples, lr, evaluate, engine, ENGINES)
    start = networks_to_begin_from(start, seeds)
    structural = structural_axes(axes, student, examples)
    symbolic = [name for name in axes if name not in structural]
    shape = (*(len(values) for values in axes.values()), len(seeds))
    places = torch.arange(math.prod(shape)).view(shape)
    tables: dict[nn.Module, TeacherTable] = {}

    corners = itertools.product(*(range(len(axes[name])) for name in structural))
    together = seed_sets(seeds, objective, student, examples, lr)
    groups = []
    for corner, (some, seed) in itertools.product(corners, together):
        where = dict(zip(structural, corner, strict=True))
        state = {name: axes[name][i] for name, i in where.items()} | seed
        group = make_group(
            objective, student, examples, axes, symbolic, seeds[some], state, settings, start
        )
        for split, unseen in evaluate.items():
            check_unseen(f"evaluate[{split!r}]", unseen, group.examples)
            check_readable(f"evaluate[{split!r}]", group.build(), unseen)
            check_countable(f"evaluate[{split!r}]", unseen, group.classes)
        group = group if device is None else group.to(pick(device))
        check_teachers(group.objective, group.examples.device)
        check_taught(group.build(), group.examples, group.objective)
        check_maker(optimizer, group.build(), group.settings)
        per_domain, balanced = domain_rules(group.build(), group.examples, None, None)
        check_layers(
            group.build(), group.examples, group.settings, per_domain=per_domain, balanced=balanced
        )
        group.places = places[(*(where.get(name, slice(None)) for name in axes), some)].flatten()
        group.tables, group.optimizer = tables, optimizer
        groups.append(group)
    if len(counts := {group.classes for group in groups}) > 1:
        raise ValueError(
            f"students answer for {', '.join(map(str, sorted(counts)))} classes; a bank keeps the "
            "answers of all in one table: give all of them the same outputs"
        )
    for group in groups:
        group.engine = engine if engine != "auto" else choose_engine(group)
    for group in groups:
        check_engine(group)
        exact = exact_precision(precision, group.engine, group.examples.device)
        group.settings = replace(group.settings, precision=exact)

    outcome = path = None
    data = [*evaluate.values(), *(group.examples for group in groups)]
    if cache and hashable(groups) and not any(isinstance(part, Stream) for part in data):
        path = bank_file(bank_key(axes, seeds, groups, evaluate))
        outcome = None if path is None else find_bank(path)
    cached = outcome is not None
    if outcome is None:
        outcome = _train(groups, Register(shape, groups, evaluate, watch))
        if not outcome.stopped and not _diverges(outcome) and path is not None:
            store_bank(path, outcome)
    return Bank(
        axes=axes,
        seeds=seeds,
        logits={split: z.view(*shape, *z.shape[1:]) for split, z in outcome.logits.items()},
        labels={split: unseen.y.cpu() for split, unseen in evaluate.items()},
        losses=outcome.losses.view(*shape, -1),
        weights=outcome.weights,
        engine="+".join(dict.fromkeys(group.engine for group in groups)),
        seconds=outcome.seconds,
        student=student,
        formula=str(groups[0].objective),
        cached=cached,
        objective=groups[0].objective if _one_objective(groups) else None,
    )


def _diverges(outcome: Outcome) -> bool:
    """Whether a student's weights are no numbers any more; a warning says so."""
    count = diverged(outcome)
    if count:
        warnings.warn(
            f"{count} of {len(outcome.weights)} students diverged: bank.losses says which and "
            "when, their answers are no numbers, and the bank is not kept; take smaller rates, or "
            "clip=1, for these cells, or leave them out",
            stacklevel=5,
        )
    return bool(count)


def _one_objective(groups: list[Group]) -> bool:
    """Whether all students share one: that of a seed, or of an axis, is not that of all."""
    first = groups[0].objective
    same = {formula(group.objective) for group in groups}
    return len(same) == 1 and all(g.objective.teachers() == first.teachers() for g in groups)


def _train(groups: list[Group], register: Register) -> Outcome:
    started = time.perf_counter()
    with register:
        for group in groups:
            try:
                trained = ENGINES[group.engine](group, register)
            except RuntimeError as error:
                no_rule = "vmap" in str(error) or "Batching rule" in str(error)
                if group.engine == "reference" and no_rule:
                    raise ValueError(_not_together(group, error)) from error
                raise
            register.enter(group, trained)
            if register.stopped:
                break
    return register.outcome(time.perf_counter() - started)


def _not_together(group: Group, error: RuntimeError) -> str:
    kind, why = type(group.build()).__name__, str(error).strip().splitlines()[0]
    return (
        f"the reference engine trains all students in one vmap, which {kind} "
        f"does not allow ({why}); use engine='sequential', which trains them one by one"
    )
