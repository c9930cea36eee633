"""What an explorer's controls may say: the values that exist, and their names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

State = dict[str, Any]


def written(value: Any) -> str:
    """A value as slider, title and messages write it: 4.0 is "4"."""
    return f"{value:g}" if isinstance(value, float) else str(value)


class Controls:
    """At most three named axes, each with the values that exist on it.

    axes: name → values (numbers or texts, no two written alike). Every state that this object
    returns holds those very values, whatever equal value was asked for (4 for 4.0).
    """

    def __init__(self, axes: Mapping[str, Any]) -> None:
        if not 1 <= len(axes) <= 3:
            raise ValueError(f"an explorer has 1 to 3 controls, not {len(axes)}: {list(axes)}")
        self.axes: dict[str, list[Any]] = {}
        for name, given in axes.items():
            values = given.tolist() if hasattr(given, "tolist") else list(given)
            texts = [written(value) for value in values]
            if not values or len(set(texts)) < len(texts):
                raise ValueError(f"control {name!r} needs values that differ, not {texts}")
            self.axes[name] = values

    def state(self, given: Mapping[str, Any], *, base: Mapping[str, Any] | None = None) -> State:
        """Check names and values, fill in what is left out from base, in the controls' order."""
        for name in given:
            if name not in self.axes:
                raise ValueError(
                    f"no control {name!r}: this explorer has {', '.join(map(repr, self.axes))}"
                )
        asked = {**(base or {}), **given}
        missing = [name for name in self.axes if name not in asked]
        if missing:
            raise ValueError(f"the state lacks {', '.join(missing)}: give every control a value")
        return {name: self._existing(name, asked[name]) for name in self.axes}

    def _existing(self, name: str, value: Any) -> Any:
        for known in self.axes[name]:
            if _same(known, value):
                return known
        texts = ", ".join(written(known) for known in self.axes[name])
        raise ValueError(f"no result at {name} = {written(value)}: {name} can be {texts}")

    def first(self) -> State:
        return {name: values[0] for name, values in self.axes.items()}

    def states(self) -> Iterator[State]:
        """Every state, the last control moving fastest."""
        for values in product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    @staticmethod
    def sentence(state: Mapping[str, Any]) -> str:
        """For instance "T = 4, alpha = 0.9"."""
        return ", ".join(f"{name} = {written(value)}" for name, value in state.items())


def _same(known: Any, value: Any) -> bool:
    numbers = isinstance(known, int | float) and not isinstance(known, bool | str)
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return math.isclose(known, value, rel_tol=1e-9)
    return bool(type(known) is type(value) and known == value)


def thinned(values: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the values, evenly spaced, both ends among them (for tick labels)."""
    if len(values) <= most:
        return list(values)
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]
