"""The course's optimiser and schedule; `fit` and every bank engine use these."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from kdlib.objectives import Learner, Number, Scalar
from kdlib.objectives.symbols import value
from kdlib.training.capture import graph_maker
from kdlib.training.settings import in_words


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
    return [{**group, "lr": 1.0 if moving else group["lr"]} for group in groups]


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


def one_cycle(
    optimizer: torch.optim.Optimizer,
    steps: int,
    schedule: str = "one-cycle",
    rates: Sequence[Number] = (),
) -> torch.optim.lr_scheduler.LRScheduler:
    """Up to each group's rate over the first 30 % of the steps, down to nearly 0; or constant.

    rates: those of the groups, where some are expressions of progress; then they decide.
    """
    if any(isinstance(rate, Scalar) for rate in rates):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, [_course(r, steps) for r in rates])
    if schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    tops = [float(group["lr"]) for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, tops, total_steps=steps + 1, cycle_momentum=False
    )


def _course(rate: Number, steps: int) -> Callable[[int], float]:
    """step -> the rate that is taken there."""
    return lambda step: float(value(rate, {"progress": min(step / steps, 1.0)}))
