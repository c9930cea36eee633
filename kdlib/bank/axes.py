"""A grid's axes: which are asked for, and which change a student's structure."""

from collections.abc import Iterable
from typing import Any

from kdlib.bank.engines import Settings
from kdlib.bank.result import arguments


def check_axes(
    axes: dict[str, list[Any]], seeds: list[int], objective: Any, student: Any, examples: Any,
    engine: str, engines: Iterable[str],
) -> None:  # fmt: skip
    if engine not in ("auto", *engines):
        raise ValueError(f"engine={engine!r}: expected 'auto', {', '.join(map(repr, engines))}")
    if not seeds:
        raise ValueError("no seeds to train; give seeds=5, or a list such as range(5, 15)")
    wanted = dict.fromkeys((*arguments(objective), *arguments(student), *arguments(examples)))
    for name, values in axes.items():
        if not values:
            raise ValueError(f"axis {name!r} has no values; give at least one")
        if name not in wanted and name not in Settings.__dataclass_fields__:
            raise ValueError(
                f"axis {name!r} is asked for by neither objective, student nor examples "
                f"(they ask for {', '.join(wanted) or 'nothing'}); use it, or leave it out"
            )
    missing = [name for name in wanted if name not in axes]
    if missing:
        raise ValueError(f"{missing[0]!r} is asked for but is no axis of the grid; add its values")


def structural_axes(axes: dict[str, list[Any]], student: Any, examples: Any) -> list[str]:
    asked = {*arguments(student), *arguments(examples), *Settings.__dataclass_fields__}
    return [
        name
        for name, values in axes.items()
        if name in asked or not all(isinstance(value, int | float) for value in values)
    ]
