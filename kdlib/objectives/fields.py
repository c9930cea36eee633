"""What may stand in a formula: weights, numbers and symbols, networks and tables."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from torch import Tensor, nn

from kdlib.data import Batch
from kdlib.objectives import symbols
from kdlib.objectives.learner import owned_by
from kdlib.objectives.symbols import LearnedTemperature, Number, Scalar, Symbol
from kdlib.objectives.teachers import Teacher, TeacherTable


def plain_number(number: Any) -> Any:
    """A tensor of one number as that number, unless it is to be learned; others as they are."""
    learned = isinstance(number, Tensor) and number.requires_grad
    return number if learned else symbols.as_number(number)


def fields_of(term: Any) -> Iterator[tuple[str, Any]]:
    """A term's fields by name; ValueError for a class that is no frozen dataclass."""
    if not dataclasses.is_dataclass(term) or type(term).__hash__ is None:
        raise ValueError(
            f"{type(term).__name__} is a plain class; write @dataclass(frozen=True) above it, with "
            "its teacher and numbers as fields: teacher: nn.Module, T: Number = 4.0"
        )
    return ((field.name, getattr(term, field.name)) for field in dataclasses.fields(term))


def same_fields(term: Any, other: Any) -> Any:
    """Whether two terms of one class have equal fields; a tensor is equal to itself alone."""
    if type(term) is not type(other):
        return NotImplemented
    names = [field.name for field in dataclasses.fields(term) if field.compare]
    pairs = [(getattr(term, name), getattr(other, name)) for name in names]
    return all(a is b or (not isinstance(a, Tensor) and bool(a == b)) for a, b in pairs)


def check_known(formula: str, standing: Iterable[Scalar], bindings: Mapping[Any, Any]) -> None:
    """Raises ValueError for a symbol that has no value."""
    unknown = [s for s in standing if isinstance(s, Symbol) and s.name not in bindings]
    if unknown:
        raise ValueError(
            f"{unknown[0]} in {formula} has no value; there are {', '.join(map(str, bindings))}: "
            "put a number in, or make it an axis of the bank's grid"
        )


def check_owns_nothing(formula: Any, student: nn.Module, batch: Batch, *, asked: bool) -> None:
    """Raises ValueError for an objective that owns weights; its terms are only asked if `asked`."""
    owners = [str(s) for s in formula.symbols() if isinstance(s, LearnedTemperature)]
    if not owners and asked:
        owned = owned_by(formula, student, batch).by_term
        pairs = zip(formula.terms, owned, strict=True)
        owners = [str(term) for (_, term), module in pairs if module is not None]
    if owners:
        raise ValueError(
            f"{owners[0]} owns weights that are trained with the student; make them once, "
            "learner = Learner.of(student, objective, batch), then loss, terms = learner(batch)"
        )


def check_no_symbol(term: str, name: str, value: Any) -> None:
    """Raises ValueError for a symbol where only a number will do, as for a count of units."""
    if isinstance(value, Scalar):
        axis = symbols.leaves(value)[0]
        raise ValueError(
            f"{term} was given {name}={value}, a symbol, where it needs a number: give one, or let "
            f"the student be a function of {axis} too, student=lambda {axis}: mlp(784, 32, 10), so "
            "that each value makes a group of its own"
        )


def check_field(term: str, name: str, kind: Any, value: Any) -> None:
    """Raises ValueError for a value that is no number, or no network, where one belongs."""
    what = (
        f"a tensor {tuple(value.shape)}"
        if isinstance(value, Tensor) and value.numel() > 4
        else repr(value)
    )
    given = f"{term} was given {name}={what}"
    scalar = value.dim() == 0 if isinstance(value, Tensor) else isinstance(value, Real | Scalar)
    if kind == Number and not scalar:
        raise ValueError(f"{given}; expected a number, a symbol or a schedule")
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{given}; expected True or False")
    if kind is int:
        check_no_symbol(term, name, value)
    kinds = (Teacher, Teacher | str, nn.Module, nn.Module | None)
    if kind in kinds and (not isinstance(value, kind) or value == ""):
        if isinstance(value, list | tuple):
            raise ValueError(
                f"{term} was given {len(value)} teachers at once; merge them first: "
                "merge([tabulate(teacher, examples) for teacher in teachers])"
            )
        inside = isinstance(getattr(value, "network", None), nn.Module)
        raise ValueError(
            f"{term} was given a {type(value).__name__}; give run.network"
            if inside
            else f"{given}; expected a network, or a table that `tabulate` made of one"
        )


def shown(fields: Iterable[tuple[str, Any]]) -> list[str]:
    """A term's fields as it prints them: a table by its name, a network as "teacher"."""
    texts = []
    for name, value in fields:
        if isinstance(value, TeacherTable):
            texts.append(value.name)
        elif isinstance(value, nn.Module):
            texts.append("teacher")
        elif isinstance(value, str) and name == "teacher":
            texts.append(repr(value))
        elif isinstance(value, int | float | Scalar) and not isinstance(value, bool):
            texts.append(f"{name}={symbols.show(value)}")
        elif value is not None and value is not False and not isinstance(value, Tensor):
            texts.append(f"{name}={value}")
    return texts


def check_weight(weight: Any, term: object, when: str = "") -> None:
    """Raises ValueError for a weight below 0 or not finite; tensors and symbols are not asked."""
    if not isinstance(weight, Tensor | Scalar) and not (math.isfinite(weight) and weight >= 0):
        raise ValueError(
            f"the weight of {term} is {weight:g}{when}; expected a finite number of at least 0 "
            "(is alpha outside [0, 1]?)"
        )


def moments(*numbers: Number) -> list[float]:
    """Both ends of training and each hundredth where a number changes with it, else one moment."""
    moving = any(symbols.progress in symbols.leaves(number) for number in numbers)
    return [0.0, 1.0, *(i / 100 for i in range(1, 100))] if moving else [0.0]


def check_call(
    formula: str,
    spoken_of: Iterable[Scalar],
    student: Any,
    progress: Any,
    values: Mapping[str, Any],
) -> None:
    """Raises ValueError unless `objective(student, batch, progress, **values)` can be computed."""
    if not isinstance(student, nn.Module):
        raise ValueError(
            f"the student is of type {type(student).__name__}; expected a network, such as "
            "mlp(784, 32, 10): objective(student, batch)"
        )
    if not (isinstance(progress, Real) and 0 <= float(progress) <= 1):
        raise ValueError(
            f"progress={progress!r}; expected the share of training that is done, from 0 to 1"
        )
    names = [s.name for s in spoken_of if isinstance(s, Symbol) and s.name != "progress"]
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(
            f"{missing[0]} in {formula} has no value; give one: "
            f"objective(student, batch, {missing[0]}=…)"
        )
    unknown = [name for name in values if name not in names]
    if unknown:
        raise ValueError(
            f"{unknown[0]} stands nowhere in {formula}; its symbols are "
            f"{', '.join(names) or 'none'}: leave {unknown[0]} out"
        )
