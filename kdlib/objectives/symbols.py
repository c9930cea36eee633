"""Numbers not yet known: a bank's axes, the progress of training, a learned temperature."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import check_fraction
from kdlib.losses import reverse_gradient

_OPERATIONS: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    "**": (3, operator.pow),
}


class Scalar:
    """An expression such as `1 - alpha` or `8 - 7 * progress`; `value` puts numbers in."""

    def value(self, bindings: Mapping[Any, Any]) -> Any:
        raise NotImplementedError

    def leaves(self) -> Iterator["Scalar"]:
        yield self

    def __add__(self, other: "Number") -> "Operation":
        return Operation("+", self, other)

    def __radd__(self, other: "Number") -> "Operation":
        return Operation("+", other, self)

    def __sub__(self, other: "Number") -> "Operation":
        return Operation("-", self, other)

    def __rsub__(self, other: "Number") -> "Operation":
        return Operation("-", other, self)

    def __mul__(self, other: "Number") -> Any:
        return Operation("*", self, other) if _is_number(other) else NotImplemented

    def __rmul__(self, other: "Number") -> "Operation":
        return Operation("*", other, self)

    def __truediv__(self, other: "Number") -> "Operation":
        return Operation("/", self, other)

    def __rtruediv__(self, other: "Number") -> "Operation":
        return Operation("/", other, self)

    def __pow__(self, other: "Number") -> "Operation":
        return Operation("**", self, other)

    def __rpow__(self, other: "Number") -> "Operation":
        return Operation("**", other, self)

    def __neg__(self) -> "Operation":
        return Operation("*", -1, self)


Number = float | int | Scalar


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Scalar)


@dataclass(frozen=True)
class Symbol(Scalar):
    """A name that a bank's grid (or the training loop) gives a value."""

    name: str

    def value(self, bindings: Mapping[Any, Any]) -> Any:
        return bindings[self.name]

    def __str__(self) -> str:
        return self.name


progress = Symbol("progress")
"""The share of training that is done, 0 to 1: `SoftTargets(teacher, T=8 - 7 * progress)`."""


@dataclass(frozen=True)
class Operation(Scalar):
    sign: str
    left: "Number"
    right: "Number"

    def value(self, bindings: Mapping[Any, Any]) -> Any:
        return _OPERATIONS[self.sign][1](value(self.left, bindings), value(self.right, bindings))

    def leaves(self) -> Iterator[Scalar]:
        for side in (self.left, self.right):
            if isinstance(side, Scalar):
                yield from side.leaves()

    def __str__(self) -> str:
        rank = _OPERATIONS[self.sign][0]
        left = _bracketed(self.left, rank + (self.sign == "**"))
        right = _bracketed(self.right, rank + (self.sign in "-/"))
        return f"{left}{self.sign}{right}" if rank == 3 else f"{left} {self.sign} {right}"


def _bracketed(side: "Number", rank: int) -> str:
    lower = isinstance(side, Operation) and _OPERATIONS[side.sign][0] < rank
    return f"({side})" if lower else show(side)


@dataclass(frozen=True)
class After(Scalar):
    """0 while less than this share of training is done, then 1 (see `after`)."""

    start: "Number"

    def value(self, bindings: Mapping[Any, Any]) -> Any:
        start = value(self.start, bindings)
        if not isinstance(start, Tensor):
            check_fraction("after", start)
        late = bindings["progress"] >= start
        return late.to(torch.float32) if isinstance(late, Tensor) else float(late)

    def leaves(self) -> Iterator[Scalar]:
        yield progress
        yield from leaves(self.start)

    def __str__(self) -> str:
        return f"after({show(self.start)})"


def after(start: "Number") -> After:
    """0 before this share of training is done, 1 from then on: a warm-up.

    `(1 - after(0.4)) * SoftTargets(teacher, T=1) + after(0.4) * ReverseKL(teacher, T=1)`. start: 0
    to 1, or an axis of a bank. Raises ValueError for another number.
    """
    if not isinstance(start, Scalar):
        check_fraction("after", start)
    return After(start)


@dataclass(frozen=True)
class LearnedTemperature(Scalar):
    """A temperature trained with the student, kept between `low` and `high`.

    `adversarial=True` turns its gradient round, so that it seeks the hardest temperature while the
    student learns (CTKD, Li et al. 2023). Plain descent (False) runs down the side of the loss's
    hump on which it starts: to low T from the left, to high T from the right.
    Used twice in one objective it is one temperature.
    """

    low: float = 1.0
    high: float = 20.0
    adversarial: bool = True
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"low={self.low}, high={self.high}: expected 0 < low < high")

    def module(self) -> nn.Module:
        return _BoundedTemperature(self)

    def value(self, bindings: Mapping[Any, Any]) -> Tensor:
        return bindings[self]

    def __str__(self) -> str:
        kind = "adversarial" if self.adversarial else "descended"
        return f"T_{kind}[{self.low:g}, {self.high:g}]"


class _BoundedTemperature(nn.Module):
    def __init__(self, spec: LearnedTemperature) -> None:
        super().__init__()
        self.spec = spec
        self.theta = nn.Parameter(torch.zeros(()))  # starts in the middle of the range

    def forward(self) -> Tensor:
        scale = self.spec.strength if self.spec.adversarial else -1.0
        share = torch.sigmoid(reverse_gradient(self.theta, scale))
        return self.spec.low + (self.spec.high - self.spec.low) * share


def value(number: "Number", bindings: Mapping[Any, Any]) -> Any:
    """The number itself, or the expression with the bindings put in."""
    return number.value(bindings) if isinstance(number, Scalar) else number


def as_number(number: Any) -> Any:
    """A tensor of one number as that number: to check it before training, as it waits for it."""
    return number.item() if isinstance(number, Tensor) and number.dim() == 0 else number


def substitute(number: "Number", values: Mapping[str, float]) -> Any:
    """The number with values in place of the symbols of these names; others, as `progress`, stay.

    A plain number where no symbol is left in it.
    """
    if isinstance(number, Symbol):
        return values.get(number.name, number)
    if isinstance(number, Operation):
        left, right = (substitute(side, values) for side in (number.left, number.right))
        operation = Operation(number.sign, left, right)
        return operation if leaves(operation) else operation.value({})
    return After(substitute(number.start, values)) if isinstance(number, After) else number


def leaves(number: Any) -> list[Scalar]:
    """The symbols that an expression speaks of."""
    return list(number.leaves()) if isinstance(number, Scalar) else []


def show(number: "Number") -> str:
    return str(number) if isinstance(number, Scalar) else f"{number:g}"


def product(a: "Number", b: "Number") -> "Number":
    """a · b, where a factor of 1 is not written down."""
    return b if a == 1 else a if b == 1 else a * b


def weighted(weight: "Number", term: str) -> str:
    """ "weight · term" with the brackets that it needs; the term alone for a weight of 1."""
    if not isinstance(weight, Scalar) and weight == 1:
        return term
    simple = not isinstance(weight, Operation) or weight.sign not in "+-"
    return f"{show(weight)} · {term}" if simple else f"({show(weight)}) · {term}"
