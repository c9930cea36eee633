"""A grid's axes: which are asked for, and which change a student's structure."""

import inspect
from collections.abc import Hashable, Iterable, Mapping
from numbers import Integral
from typing import Any

from torch import nn

from kdlib.objectives import Objective
from kdlib.training.settings import Settings, check_seed


def arguments(function: Any) -> list[str]:
    """The axes that a function asks for: its parameters without a default."""
    if not callable(function) or isinstance(function, nn.Module | Objective):
        return []
    parameters = inspect.signature(function).parameters.items()
    return [name for name, parameter in parameters if parameter.default is parameter.empty]


def axes_and_seeds(grid: Any, seeds: Any) -> tuple[dict[str, list[Any]], list[int]]:
    """The grid's values and the seeds as lists; raises ValueError for what is no list of them."""
    if grid is not None and not isinstance(grid, Mapping):
        raise ValueError(f"grid={grid!r}: expected axes with their values, {{'T': [1, 4, 20]}}")
    wanted = "a list of values"
    axes = {name: _values(f"axis {name!r}", v, wanted) for name, v in (grid or {}).items()}
    if "seed" in axes:
        raise ValueError(
            "no axis can be called 'seed'; give seeds=5, or seeds=[0, 3] (objective, student and "
            "examples may be functions of seed)"
        )
    if isinstance(seeds, Integral):
        return axes, list(range(int(seeds)))
    seeds = _values("seeds", seeds, "how many, or a list of them")
    for seed in seeds:
        check_seed("seed", seed)
    return axes, [int(seed) for seed in seeds]


def _values(name: str, values: Any, wanted: str) -> list[Any]:
    """Values that all differ, in a list."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} is {values!r}; expected {wanted}")
    listed, keys = list(values), set()
    for value in listed:
        key = value if isinstance(value, Hashable) else repr(value)
        if key in keys:
            raise ValueError(f"{name} holds {value!r} twice; give each value once")
        keys.add(key)
    return listed


def check_axes(
    axes: dict[str, list[Any]], seeds: list[int], objective: Any, student: Any, examples: Any,
    lr: Any, evaluate: Any, engine: str, engines: Iterable[str],
) -> None:  # fmt: skip
    """Raises ValueError where axes, and what is asked for, do not fit together."""
    if not isinstance(evaluate, Mapping):
        raise ValueError(
            f"evaluate is a {type(evaluate).__name__}; expected splits with their names, "
            "{'test': test}"
        )
    if engine not in ("auto", *engines):
        raise ValueError(f"engine={engine!r}: expected 'auto', {', '.join(map(repr, engines))}")
    if not seeds:
        raise ValueError("no seeds to train; give seeds=5, or a list such as range(5, 15)")
    askers = (objective, student, examples, lr)
    wanted = dict.fromkeys(name for asker in askers for name in arguments(asker))
    for name, values in axes.items():
        if not values:
            raise ValueError(f"axis {name!r} has no values; give at least one")
        if name not in wanted and name not in Settings.__dataclass_fields__:
            raise ValueError(
                f"axis {name!r} is asked for by neither objective, student, examples nor lr "
                f"(they ask for {', '.join(wanted) or 'nothing'}); use it, or leave it out"
            )
    missing = [name for name in wanted if name not in axes and name != "seed"]
    if missing:
        raise ValueError(f"{missing[0]!r} is asked for but is no axis of the grid; add its values")


def seed_sets(seeds: list[int], *askers: Any) -> list[tuple[slice, dict[str, Any]]]:
    """Which seeds are trained together, as places among them, and what is asked for with these.

    Each by itself where something is a function of it.
    """
    if not any("seed" in arguments(asker) for asker in askers):
        return [(slice(None), {})]
    return [(slice(i, i + 1), {"seed": seed}) for i, seed in enumerate(seeds)]


def structural_axes(axes: dict[str, list[Any]], student: Any, examples: Any) -> list[str]:
    structure = {*arguments(student), *arguments(examples), *Settings.__dataclass_fields__}
    return [
        name
        for name, values in axes.items()
        if name in structure or not all(isinstance(value, int | float) for value in values)
    ]
