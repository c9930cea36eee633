"""One loss with a name: what the leaves of an objective have in common."""

import dataclasses
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.objectives import symbols
from kdlib.objectives.algebra import Objective
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number, Scalar
from kdlib.objectives.teachers import Teacher, TeacherTable


class Term(Objective):
    """One loss with a name. Subclasses are frozen dataclasses: teachers and numbers are fields."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _check_field(self.name, field.name, field.type, getattr(self, field.name))

    name: str
    # True where the loss decides by what a tensor holds, or by Python's own state (a counter, its
    # random numbers): students are then trained one by one, and no step is recorded.
    looks_at_values = False

    @property
    def terms(self) -> tuple[tuple[Number, "Term"], ...]:  # type: ignore[override]
        return ((1.0, self),)

    @property
    def one_by_one(self) -> bool:
        return self.looks_at_values or type(self).after_step is not Term.after_step

    def _fields(self) -> Iterator[tuple[str, Any]]:
        return ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]

    def hyperparameters(self) -> list[tuple[str, Number]]:
        return [(n, v) for n, v in self._fields() if isinstance(v, int | float | Scalar)]

    def teachers(self) -> list[Teacher]:
        return [v for _, v in self._fields() if isinstance(v, nn.Module | TeacherTable)]

    def tensors(self) -> list[Tensor]:
        return [v for _, v in self._fields() if isinstance(v, Tensor)]

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return {}

    def student_taps(self) -> tuple[str, ...]:
        return ()

    def values(self, bindings: Mapping[Any, Any]) -> dict[str, Any]:
        """What `validate` sees: every number by name, also one given as a tensor."""
        tensors = ((n, v) for n, v in self._fields() if isinstance(v, Tensor) and v.dim() == 0)
        numbers: list[tuple[str, Any]] = [*self.hyperparameters(), *tensors]
        return {n: symbols.plain(symbols.value(v, bindings)) for n, v in numbers}

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        """Raises ValueError for values or examples that this term cannot work with."""

    def own(self, step: Step) -> nn.Module | None:
        """What the term owns, if anything; `step` shows it the shapes."""
        return None

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        raise NotImplementedError

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        """Called when the optimiser has moved the student's weights."""

    def __str__(self) -> str:
        shown = []
        for name, value in self._fields():
            if isinstance(value, TeacherTable):
                shown.append(value.name)
            elif isinstance(value, nn.Module):
                shown.append("teacher")
            elif isinstance(value, int | float | Scalar) and not isinstance(value, bool):
                shown.append(f"{name}={symbols.show(value)}")
            elif value is not None and not isinstance(value, Tensor):
                shown.append(f"{name}={value}")
        return f"{self.name}({', '.join(shown)})"

    __repr__ = __str__


def check_no_symbol(term: str, name: str, value: Any) -> None:
    """Raises ValueError for a symbol where only a number will do, as for a count of units."""
    if isinstance(value, Scalar):
        axis = symbols.leaves(value)[0]
        raise ValueError(
            f"{term} was given {name}={value}, a symbol, where it needs a number: give one, or let "
            f"the student be a function of {axis} too, student=lambda {axis}: mlp(784, 32, 10), so "
            "that each value makes a group of its own"
        )


def _check_field(term: str, name: str, kind: Any, value: Any) -> None:
    """Raises ValueError for a value that is no number, or no network, where one belongs."""
    given = f"{term} was given {name}={value!r}"
    scalar = value.dim() == 0 if isinstance(value, Tensor) else isinstance(value, Real | Scalar)
    if kind == Number and not scalar:
        raise ValueError(f"{given}; expected a number, a symbol or a schedule")
    if kind is int:
        check_no_symbol(term, name, value)
    if kind in (Teacher, nn.Module, nn.Module | None) and not isinstance(value, kind):
        inside = isinstance(getattr(value, "network", None), nn.Module)
        raise ValueError(
            f"{term} was given a {type(value).__name__}; give run.network"
            if inside
            else f"{given}; expected a network, or a table that `tabulate` made of one"
        )
