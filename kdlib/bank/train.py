"""`train_bank`: one expression, a grid, seeds; every student of the grid, trained and kept."""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.bank.axes import axes_and_seeds, check_axes, structural_axes
from kdlib.bank.cache import bank_key, hashable, keep, read
from kdlib.bank.engines import Answer, Group, Settings, Trained, reference, sequential
from kdlib.bank.fast import fast, matches
from kdlib.bank.groups import choose, exact_precision, make_group, teacher_tables
from kdlib.bank.result import Bank, missed
from kdlib.data import Examples, cache_root
from kdlib.device import pick, within_quota
from kdlib.objectives import HardLabels, Objective, TeacherTable
from kdlib.training import quiet
from kdlib.training.settings import check_teachers, check_unseen, plain

Watch = Callable[[float, dict[str, Tensor]], Any]
ENGINES: dict[str, Callable[[Group], Trained]] = {
    "fast": fast,
    "reference": reference,
    "sequential": sequential,
}


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
    lr: float = 1e-2,
    batch: int = 128,
    order_seed: int = 0,
    weight_decay: float = 0.0,
    schedule: str = "one-cycle",
    precision: str = "fp32",
    engine: str = "auto",
    device: str | torch.device | None = None,
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
    cache keeps, holds what there is. Ctrl-C keeps nothing.
    Raises ValueError, before training, for an axis that nothing asks for, an empty axis, a value or
    seed given twice, examples to answer that are none or of another size, or a cell that cannot be
    trained.
    """
    axes, seeds = axes_and_seeds(grid, seeds)
    objective = HardLabels() if objective is None else objective
    epochs, lr, batch = plain(epochs), plain(lr), plain(batch)
    order_seed, weight_decay = plain(order_seed), plain(weight_decay)
    settings = Settings(epochs, lr, batch, order_seed, weight_decay, schedule, precision)
    check_axes(axes, seeds, objective, student, examples, evaluate, engine, ENGINES)
    structural = structural_axes(axes, student, examples)
    symbolic = [name for name in axes if name not in structural]

    groups = []
    for values in itertools.product(*(axes[name] for name in structural)):
        state = dict(zip(structural, values, strict=True))
        group = make_group(objective, student, examples, axes, symbolic, seeds, state, settings)
        for split, unseen in evaluate.items():
            check_unseen(f"evaluate[{split!r}]", unseen, group.examples)
        group = group if device is None else group.to(pick(device))
        check_teachers(group.objective, group.examples.device)
        groups.append((state, group))
    chosen = [engine if engine != "auto" else choose(group) for _, group in groups]
    for (_, group), one in zip(groups, chosen, strict=True):
        if one == "fast" and not matches(group.objective, group.build(), group.examples):
            raise ValueError(
                f"the fast engine trains mlp(…) students without dropout under HardLabels and "
                f"SoftTargets, not {type(group.build()).__name__} under {group.objective}; "
                "use engine='auto'"
            )
        if one == "reference" and group.objective.one_by_one:
            raise ValueError(
                f"the reference engine trains students together, which {group.objective} does not "
                "allow; use engine='auto' or 'sequential'"
            )
        exact = exact_precision(precision, one, group.examples.device)
        group.settings = replace(group.settings, precision=exact)
    shape = (*(len(values) for values in axes.values()), len(seeds))
    known = path = None
    if cache and hashable(groups):
        key = bank_key(axes, seeds, groups, chosen, evaluate)
        path = cache_root() / "banks" / f"{key}.pt"
        known = read(path)
    if known is None:
        known = _train(axes, symbolic, seeds, groups, chosen, evaluate, watch)
        if path is not None and not known.pop("stopped"):
            keep(path, known)
    return Bank(
        axes,
        seeds,
        {
            split: logits.view(*shape, *logits.shape[1:])
            for split, logits in known["logits"].items()
        },
        {split: one.y for split, one in evaluate.items()},
        known["losses"].view(*shape, -1),
        known["weights"],
        "+".join(dict.fromkeys(chosen)),
        known["seconds"],
        student,
        str(groups[0][1].objective),
        "cached" in known,
    )


def _train(
    axes: dict[str, list[Any]], symbolic: list[str], seeds: list[int],
    groups: list[tuple[dict[str, Any], Group]], chosen: list[str], evaluate: Mapping[str, Examples],
    watch: Watch | None,
) -> dict[str, Any]:  # fmt: skip
    started = time.perf_counter()
    shape = (*(len(values) for values in axes.values()), len(seeds))
    places = torch.arange(math.prod(shape)).view(shape)
    whole: list[Any] = [slice(None)]
    corners = itertools.product(  # each group's place among the axes, in the order of the groups
        *(whole if name in symbolic else range(len(values)) for name, values in axes.items())
    )
    students = places.numel()
    weights: list[Any] = [None] * students
    losses = torch.full((students, max(g.settings.epochs for _, g in groups)), torch.nan)
    logits: dict[str, Tensor] = {}
    tables: dict[nn.Module, TeacherTable] = {}
    fits = (
        len(g.seeds) if e == "sequential" else 1 for (_, g), e in zip(groups, chosen, strict=True)
    )
    total = sum(n * g.settings.epochs for n, (_, g) in zip(fits, groups, strict=True))
    ticks, stopped = 0, False

    def answered(answer: Answer, where: Tensor) -> None:
        for split, examples in evaluate.items():
            said = answer(examples).cpu()
            every = logits.setdefault(split, said.new_full((students, *said.shape[1:]), torch.nan))
            every[where] = said

    silent = quiet() or watch is not None  # who watches has a bar of their own
    with tqdm(total=total, delay=1, leave=False, disable=silent) as bar:
        for at, (_, group), engine in zip(corners, groups, chosen, strict=True):
            where = places[at].flatten()

            def tick(answer: Answer | None, epochs: int, where: Tensor = where) -> bool:
                nonlocal ticks, stopped
                ticks += epochs  # a bar that is not shown does not count
                bar.update(epochs)
                if watch is not None:
                    if answer is not None:
                        answered(answer, where)
                    errors = {s: _errors(z, evaluate[s].y, shape) for s, z in logits.items()}
                    stopped = watch(ticks / total, errors) is False or stopped
                return not stopped

            group.tables = tables = teacher_tables(group, tables)
            group.tick = tick
            trained = ENGINES[engine](group)
            answered(trained.answer, where)
            for i, at in enumerate(where.tolist()):
                weights[at] = trained.weights[i]
                losses[at, : trained.losses.shape[1]] = trained.losses[i]
            if stopped:
                break
    seconds = time.perf_counter() - started
    known = {"logits": logits, "losses": losses, "weights": weights, "seconds": seconds}
    return {**known, "stopped": stopped}


def _errors(logits: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Error % (*axes, seeds), nan for students that have not answered, and without labels."""
    if bool((y < 0).any()):
        return torch.full(shape, torch.nan, dtype=torch.float64)
    return (100 * missed(logits, y).mean(-1)).view(shape)
