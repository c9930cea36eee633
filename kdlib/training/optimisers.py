"""The course's optimiser and schedule; `fit` and every bank engine use these."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from kdlib.arguments import finite
from kdlib.objectives import Learner, Number, Scalar
from kdlib.objectives.symbols import value
from kdlib.source import raised_here
from kdlib.training.capture import graph_maker
from kdlib.training.settings import Settings, in_words


def parameter_groups(learner: Learner, lr: Number | Mapping[str, Number]) -> list[dict[str, Any]]:
    """AdamW's groups: a weight belongs to the longest beginning of its name that `lr` holds.

    Names are the student's; what the objective owns goes with "". A rate may be an expression of
    progress.
    """
    if not isinstance(lr, Mapping):
        return [{"params": list(learner.parameters()), "lr": lr}]
    weights = dict(learner.named_parameters())
    groups = named_groups(weights, lr)
    return [{"params": [weights[n] for n in names], "lr": lr[b]} for b, names in groups.items()]


def plain_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups as an optimiser takes them: 1 where some rates are expressions of progress."""
    moving = any(isinstance(group["lr"], Scalar) for group in groups)
    if not moving:
        return groups
    return [{**group, "lr": 1.0, "rate": place} for place, group in enumerate(groups)]


def named_groups(names: Iterable[str], lr: Mapping[str, Any]) -> dict[str, list[str]]:
    """Beginning of a name in `lr` -> the learner's weights that it is the longest fit of.

    Raises ValueError for a weight that no beginning fits, and a beginning that fits no weight.
    """
    groups: dict[str, list[str]] = {start: [] for start in lr}
    for name in names:
        own = name.removeprefix("student.") if name.startswith("student.") else ""
        fitting = [b for b in lr if own == b or own.startswith(f"{b}." * bool(b))]
        if not fitting:
            raise ValueError(
                f"lr={in_words(lr)} has no learning rate for {own or name!r}; add '' for all others"
            )
        groups[max(fitting, key=len)].append(name)
    empty = [start for start, members in groups.items() if start and not members]
    if empty:
        raise ValueError(
            f"no weight's name begins with {empty[0]!r}; check the names in lr={in_words(lr)}"
        )
    return {start: members for start, members in groups.items() if members}


Maker = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
"""Groups of weights, each with its "params" and "lr", -> the optimiser that moves them."""


def made(maker: Maker | None, groups: list[dict[str, Any]], decay: float) -> torch.optim.Optimizer:
    """AdamW, or what `maker` makes of the groups; ValueError where that is no optimiser."""
    if maker is None:
        return adamw(groups, decay)
    optimizer: Any = maker(groups)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"optimizer made a {type(optimizer).__name__}; expected a torch.optim.Optimizer: "
            "lambda groups: torch.optim.SGD(groups, momentum=0.9)"
        )
    return optimizer


def decay_groups(groups: list[dict[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    """Each group in two: matrices and kernels, which decay, and vectors (biases, scales and shifts
    of normalisation), which do not.

    For an optimiser of one's own:
    `fit(…, optimizer=lambda groups: torch.optim.AdamW(decay_groups(groups, 0.05)))`.
    """
    if not (finite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay={weight_decay!r}: expected a finite number of at least 0")
    parts = []
    for group in groups:
        for decay, kept in ((weight_decay, True), (0.0, False)):
            weights = [weight for weight in group["params"] if (weight.dim() > 1) == kept]
            if weights:
                parts.append({**group, "params": weights, "weight_decay": decay})
    return parts


def check_maker(maker: Any, student: torch.nn.Module, settings: Settings) -> None:
    """Raises ValueError for what makes no optimiser, or one whose decay is asked for twice."""
    if maker is None:
        return
    if not callable(maker) or isinstance(maker, type | torch.optim.Optimizer):
        kind = f"of type {type(maker).__name__}"
        if isinstance(maker, type):
            kind = f"the class {maker.__name__}"
        raise ValueError(
            f"optimizer is {kind}; expected a function of groups of weights: "
            "lambda groups: torch.optim.SGD(groups, momentum=0.9)"
        )
    if settings.weight_decay:
        raise ValueError(
            f"weight_decay={settings.weight_decay:g} is AdamW's; give it to the optimiser that you "
            "make, and leave it out here"
        )
    named = {f"student.{name}": weight for name, weight in student.named_parameters()}
    copies = {name: torch.nn.Parameter(torch.zeros_like(weight)) for name, weight in named.items()}
    lr = settings.lr if isinstance(settings.lr, Mapping) else {"": settings.lr}
    groups = [
        {"params": [copies[name] for name in names], "lr": lr[start]}
        for start, names in named_groups(copies, lr).items()
    ]
    for copy in copies.values():
        copy.grad = torch.zeros_like(copy)
    try:
        optimizer = made(maker, plain_groups(groups), 0.0)
        optimizer.step()
    except Exception as error:
        if raised_here(error):
            raise
        raise ValueError(
            f"the optimizer fails on the student's weights ({str(error).splitlines()[0]}); fit "
            "calls step() once a batch, on all weights and without a closure: choose another"
        ) from error
    _check_made(optimizer, list(copies.values()), groups)


def _check_made(
    optimizer: torch.optim.Optimizer, weights: list[Any], groups: list[dict[str, Any]]
) -> None:
    """Raises ValueError unless it moves each weight once, at the rates of the groups."""
    held = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    if sorted(held) != sorted(map(id, weights)):
        raise ValueError(
            f"the optimizer holds {len(set(held) & set(map(id, weights)))} of the student's "
            f"{len(weights)} weights; give it all groups that it is called with"
        )
    default = inspect.signature(type(optimizer)).parameters.get("lr")
    rates = [group["lr"] for group in groups]
    given = optimizer.defaults.get("lr")
    if default is not None and given not in (default.default, *rates) and given != 1.0:
        raise ValueError(
            f"the optimizer was made with lr={given:g}, and the groups bring rates of their own "
            f"({', '.join(map(str, rates))}); give lr={given:g} to fit, and leave it out there"
        )
    if any(isinstance(rate, Scalar) for rate in rates) and not all(
        "rate" in group for group in optimizer.param_groups
    ):
        raise ValueError(
            "rates that change with progress are those of the groups; let the optimizer keep what "
            "a group holds besides its weights: {**group, 'params': …}"
        )


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What it was asked for, group by group, its rates and what a device decides left out."""
    left_out = {"params", "lr", "initial_lr", "capturable"}
    return [
        {k: v for k, v in group.items() if k not in left_out} for group in optimizer.param_groups
    ]


def adamw(groups: Any, weight_decay: float, lr: float = 1e-2) -> torch.optim.Optimizer:
    """AdamW in one fused pass; its rates are tensors where steps are recorded."""
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
    rates_for_recording(optimizer)
    return optimizer


def rates_for_recording(optimizer: torch.optim.Optimizer) -> None:
    """Rates as tensors beside the weights where steps are recorded, as plain numbers elsewhere.

    To be called again after `load_state_dict`, which brings what the file's device wanted.
    """
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["capturable"] = graph_maker(device) is not None
        rate = float(group["lr"])
        group["lr"] = torch.tensor(rate, device=device) if group["capturable"] else rate


Schedule = str | Callable[[float], float]
"""A name, or progress (0 to 1) -> the factor on every rate that is taken there."""


def schedule_of(
    optimizer: torch.optim.Optimizer,
    steps: int,
    schedule: Schedule = "one-cycle",
    rates: Sequence[Number] = (),
) -> torch.optim.lr_scheduler.LRScheduler:
    """How rates go over these steps.

    "one-cycle": up to each group's rate over the first 30 % of the steps, down to nearly 0;
    "cosine": down to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts);
    "constant"; or a function of progress. rates: those of the groups, where some are expressions of
    progress; then they decide.
    """
    lr_scheduler = torch.optim.lr_scheduler
    if any(isinstance(rate, Scalar) for rate in rates):
        own = [rates[group.get("rate", 0)] for group in optimizer.param_groups]
        return lr_scheduler.LambdaLR(optimizer, [_course(rate, steps) for rate in own])
    if schedule == "constant":
        return lr_scheduler.ConstantLR(optimizer, 1.0)
    if schedule == "cosine":
        schedule = half_cosine
    if callable(schedule):
        factor = schedule
        return lr_scheduler.LambdaLR(optimizer, lambda step: float(factor(min(step / steps, 1.0))))
    tops = [float(group["lr"]) for group in optimizer.param_groups]
    return lr_scheduler.OneCycleLR(optimizer, tops, total_steps=steps + 1, cycle_momentum=False)


def half_cosine(progress: float) -> float:
    """1 at the beginning, 0 at the end."""
    return (1 + math.cos(math.pi * progress)) / 2


def _course(rate: Number, steps: int) -> Callable[[int], float]:
    """step -> the rate that is taken there."""
    return lambda step: float(value(rate, {"progress": min(step / steps, 1.0)}))
