"""A trained bank: every student's answers, ready for a slider."""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kdlib import metrics
from kdlib.bank.axes import arguments
from kdlib.data.errors import share_wrong
from kdlib.data.numeric import check_scored
from kdlib.models import lazy
from kdlib.objectives import Objective


@dataclass
class Bank:
    """Answers and weights of students over named axes and seeds.

    axes: name -> values · seeds · logits: split -> (*axes, seeds, N, classes) ·
    labels: split -> (N,) · losses: (*axes, seeds, last epoch), mean training loss of each epoch,
    nan beyond a student's last · engine: which one trained it ("fast", "reference", "sequential") ·
    objective: with the axes that it asks for as symbols; None where an axis changes its formula.
    """

    axes: dict[str, list[Any]]
    seeds: list[int]
    logits: dict[str, Tensor]
    labels: dict[str, Tensor]
    losses: Tensor
    weights: list[dict[str, Tensor] | None]
    engine: str
    seconds: float
    student: nn.Module | Callable[..., nn.Module] = field(repr=False)
    formula: str = ""
    cached: bool = False
    objective: Objective | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        axes = " × ".join(f"{len(values)} {name}" for name, values in self.axes.items())
        origin = "read from the cache" if self.cached else "trained"
        return f"Bank({axes} × {len(self.seeds)} seeds of {self.formula}; {self.engine}, {origin})"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*(len(values) for values in self.axes.values()), len(self.seeds))

    def index(self, **state: Any) -> tuple[int | slice, ...]:
        """Where a state lies in `shape`; axes that are not named stay whole.

        Raises ValueError for a name or value that the bank does not have.
        """
        axes = self.axes | {"seed": self.seeds}
        for name, value in state.items():
            if name not in axes:
                raise ValueError(f"the bank has no axis {name!r}; it has {', '.join(axes)}")
            if value not in axes[name]:
                raise ValueError(f"the bank has no {name}={value!r}; it has {axes[name]}")
        return tuple(
            values.index(state[name]) if name in state else slice(None)
            for name, values in axes.items()
        )

    def select(self, **state: Any) -> "Bank":
        """The bank with these axes fixed and gone; a fixed seed stays as an axis of one."""
        seeds = [state["seed"]] if "seed" in state else self.seeds
        index = tuple(
            slice(i, i + 1) if isinstance(i, int) and position == len(self.axes) else i
            for position, i in enumerate(self.index(**state))
        )
        flat = np.arange(len(self.weights)).reshape(self.shape)[index]
        return replace(
            self,
            axes={name: values for name, values in self.axes.items() if name not in state},
            seeds=seeds,
            logits={split: logits[index] for split, logits in self.logits.items()},
            losses=self.losses[index],
            weights=[self.weights[i] for i in np.ravel(flat)],
            student=_partial(self.student, state),
            objective=self.objective and self.objective.substitute(state),
        )

    def wrong(self, split: str = "test") -> Tensor:
        """Which answers are wrong: bool (*axes, seeds, N); ValueError where students have none."""
        return metrics.wrong(self._of(split), self.labels[split])

    def errors(self, split: str = "test") -> Tensor:
        """Wrong answers in percent, (*axes, seeds); nan for students that have no answers."""
        return 100 * missed(self._of(split), self.labels[split]).mean(-1)

    def _of(self, split: str) -> Tensor:
        if split not in self.logits:
            raise ValueError(f"the bank was not evaluated on {split!r}; it has {list(self.logits)}")
        return self.logits[split]

    def frame(self, split: str = "test", *, seeds: bool = False) -> pd.DataFrame:
        """One row per cell: error % with its 95 % interval over seeds and images.

        `seeds=True` gives one row per student instead. nan where students have no answers.
        """
        logits, y = self._of(split), self.labels[split]
        rows = []
        for cell in np.ndindex(*self.shape[:-1]):
            state = {n: v[i] for (n, v), i in zip(self.axes.items(), cell, strict=True)}
            if seeds:
                errors = 100 * missed(logits[cell], y).mean(-1)
                rows += [
                    state | {"seed": seed, "error %": float(e)}
                    for seed, e in zip(self.seeds, errors, strict=True)
                ]
            else:
                points = 100 * missed(logits[cell], y)
                known = bool(points.isfinite().all())  # else a student has no answers
                interval = metrics.interval(points) if known else metrics.Interval(*[math.nan] * 3)
                rows.append(
                    state | {"error %": interval.mean, "low": interval.low, "high": interval.high}
                )
        return pd.DataFrame(rows)

    def network(self, **state: Any) -> nn.Module:
        """One student as a network, in eval mode; name a value for each axis, and the seed."""
        index = self.index(**state)
        place = [i for i in index if isinstance(i, int)]
        if len(place) < len(index):
            missing = [n for n in (*self.axes, "seed") if n not in state]
            raise ValueError(f"several students fit {state}; name {', '.join(missing)} as well")
        flat = int(np.ravel_multi_index(place, self.shape))
        weights = self.weights[flat]
        if weights is None:
            raise ValueError(f"training was stopped before the student of {state} began; train on")
        built = _partial(self.student, state)
        assert isinstance(built, nn.Module)
        network = built if lazy(built) else copy.deepcopy(built)  # lazy layers cannot be copied
        network.load_state_dict(weights)
        return network.eval()


def missed(logits: Tensor, y: Tensor) -> Tensor:
    """1 where an answer of (…, N, classes) is wrong, 0 where right: float64 (…, N).

    Of sequences (…, N, L, V) the share of their tokens that is wrong.

    nan for a student without answers, or with one that is no number: it was not begun when
    training was stopped, or its training diverged.
    """
    answered = logits.amax(-1).isfinite().flatten(-1 if y.is_floating_point() else -y.dim()).all(-1)
    check_scored(logits, y)
    return share_wrong(logits, y).double().where(answered[..., None], torch.nan)


def _partial(
    student: nn.Module | Callable[..., nn.Module], state: dict[str, Any]
) -> nn.Module | Callable[..., nn.Module]:
    """The student with these axes put in: a network once all that it asks for are known."""
    if isinstance(student, nn.Module):
        return student
    names = arguments(student)
    values = {name: state[name] for name in names if name in state}
    return student(**values) if len(values) == len(names) else functools.partial(student, **values)
