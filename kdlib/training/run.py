"""What a training leaves behind: the network, its history, and why it ended."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor, nn

from kdlib import metrics
from kdlib.data import Examples
from kdlib.models import evaluating, predict

VALIDATION = "validation"


@dataclass(repr=False)
class Run:
    """What training left behind: the network (in eval mode) and one row of history per epoch.

    kept: the epoch whose weights the network has; None: the last.
    """

    network: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    precision: str = "fp32"
    kept: int | None = None

    def __repr__(self) -> str:
        kind = type(self.network).__name__
        return f"Run({kind} after {len(self.history)} epochs{', interrupted' * self.interrupted})"

    def to_frame(self) -> pd.DataFrame:
        """The history: epoch, loss, each named term (unweighted), and the validation's number."""
        return pd.DataFrame(self.history)

    def logits(self, examples: Examples) -> Tensor:
        """(N, classes) in eval mode."""
        return predict(self.network, examples)

    def error(self, examples: Examples) -> float:
        """Wrong answers in percent; ValueError for examples without labels, answers of nan.

        Of sequences, the mean over them of each one's share of wrong tokens.
        """
        return float(metrics.error_percent(self.logits(examples), examples.y))


class Diverged(ValueError):
    """The loss is no finite number any more; `run` holds the epochs before, and the network."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


def row_of(
    run: Run,
    steps: list[dict[str, Tensor]],
    validate: Examples | None,
    size: int,
    regression: bool = False,
) -> dict[str, float]:
    """One row of history; the only place where numbers are read off the device.

    steps: loss and terms of each step of the epoch · size: how many examples are asked at a time.
    Raises Diverged where one of them is nan or infinite.
    """
    epoch = len(run.history) + 1
    columns = {name: torch.stack([step[name].float() for step in steps]) for name in steps[0]}
    row = {"epoch": epoch} | {name: float(column.mean()) for name, column in columns.items()}
    if not all(map(math.isfinite, row.values())):
        raise Diverged(_what_diverged(epoch, columns), run)
    if validate is not None:
        with evaluating(run.network):  # back in train() afterwards
            outputs = predict(run.network, validate, size=size)
            name, number = metrics.score(outputs, validate, regression=regression)
        row[f"{VALIDATION} {name}"] = float(number)
    return row


def validated(row: dict[str, float]) -> float:
    """The number by which this epoch was validated; less is better."""
    return next(number for name, number in row.items() if name.startswith(VALIDATION))


def _what_diverged(epoch: int, columns: dict[str, Tensor]) -> str:
    """The first step and its first terms that are no finite numbers, and what helps."""
    first = min(step for column in columns.values() for step in _bad(column))
    names = [name for name, column in columns.items() if first in _bad(column)]
    terms = [name for name in names if name != "loss"] or names
    said = " and ".join(f"{name} is {float(columns[name][first]):g}" for name in terms)
    cure = "train with a smaller lr, or with clip=1"
    if epoch == 1 and first == 0:
        cure = "nothing was learned yet, so look at what the student and its teacher answer"
    steps = len(columns["loss"])
    return f"training diverged in epoch {epoch}, step {first + 1} of {steps}: {said}; {cure}"


def _bad(column: Tensor) -> Iterator[int]:
    yield from (~column.isfinite()).nonzero()[:, 0].tolist()
