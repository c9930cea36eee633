"""Claims: sentences of the course that the build holds true."""

import math
import os
from collections.abc import Mapping
from html import escape
from numbers import Integral, Real
from typing import Any

from IPython.display import display

from kdcourse.measured import ENDS, phrase
from kdlib.metrics import Interval


class ClaimFailed(AssertionError):
    """A sentence of the course is not true where it must be (KDLIB_STRICT=1)."""


def claim(
    id: str,
    text: str,
    condition: Any,
    *,
    measured: Mapping[str, Any] | str,
    published: str | None = None,
    decimals: int = 1,
) -> None:
    """Shows `✓ id text` with what was measured, and published, if the condition holds.

    Otherwise raises ClaimFailed under KDLIB_STRICT=1 (build and tests), and for a reader, with
    other parameters or another processor, shows `○ id not reproduced here: measured …`.
    measured: name, with its unit → number or Interval, kept as numbers in the output's metadata
    for RESULTS.md and for the tables of sweeps; or one sentence where there is nothing to count.
    published: the value that others report, with its source. decimals: how many of an interval
    are printed. Raises ValueError for a measured value that is no single number.
    """
    if not text or not measured:
        raise ValueError(f"claim {id!r} needs a sentence and what was measured; give both")
    if not isinstance(measured, str | Mapping):
        raise ValueError(f"claim {id!r} measured {measured!r}; give it a name: {{'points': …}}")
    values = {"value": measured} if isinstance(measured, str) else _numbers(id, measured)
    holds = _verdict(id, condition)
    record = {"id": id, "text": text, "holds": holds, "measured": values, "published": published}
    record["decimals"] = decimals
    numbers = phrase(record)
    if not holds and os.environ.get("KDLIB_STRICT") == "1":
        raise ClaimFailed(f"claim {id} does not hold: {text} (measured: {numbers})")
    line = f"✓ {id} {text}" if holds else f"○ {id} not reproduced here: {text}"
    evidence = [f"measured: {numbers}", *([f"published: {published}"] if published else [])]
    shown = {
        "text/plain": "\n    ".join([line, *evidence]),
        "text/html": f"<div>{escape(line)}<br><small>{escape(' · '.join(evidence))}</small></div>",
    }
    display(shown, metadata={"kdlib": record}, raw=True)


def _verdict(id: str, condition: Any) -> bool:
    """True or False; a forgotten call, such as `interval.excludes`, would hold always."""
    single = getattr(condition, "size", 1) == 1 or getattr(condition, "numel", lambda: 0)() == 1
    value = condition.item() if hasattr(condition, "item") and single else condition
    if not isinstance(value, bool | int):
        raise ValueError(
            f"claim {id!r} has the condition {condition!r}; give True or False, such as "
            "interval.excludes(0)"
        )
    return bool(value)


def _numbers(id: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Each value as JSON holds it: a number, or the three of an interval."""
    values: dict[str, Any] = {}
    for name, value in measured.items():
        try:
            values[str(name)] = (
                {end: _number(getattr(value, end)) for end in ENDS}
                if isinstance(value, Interval)
                else _number(value)
            )
        except (TypeError, ValueError, RuntimeError) as error:
            shape = getattr(value, "shape", None)
            kind = f"a {type(value).__name__}" if value is not None else "None"
            kind += f" of shape {tuple(shape)}" if shape is not None else ""
            raise ValueError(
                f"claim {id!r} measured {name!r}, which is {kind}; give a number or an Interval "
                "(a sentence can stand for all of them: measured='…')"
            ) from error
    return values


def _number(value: Any) -> bool | int | float | str:
    """The number of Python, numpy or torch; "nan", "inf" or "-inf" where JSON has none."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, bool):
        return number
    if isinstance(number, Integral):
        return int(number)
    if not isinstance(number, Real):
        raise TypeError(type(number).__name__)
    return float(number) if math.isfinite(number) else str(float(number))
