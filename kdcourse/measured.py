"""What a claim measured, as numbers for programs and as words for readers.

A claim's record holds `measured`: name → a number, or {"mean", "low", "high"} for an interval. JSON
knows no nan and no infinity: they stand there as "nan", "inf" and "-inf", which float() reads.
"""

from collections.abc import Iterator, Mapping
from typing import Any

ENDS = ("mean", "low", "high")


def columns(claim: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A table's cells, one number each: `04.3 points`, `04.3 points low`, `04.3 points high`."""
    for name, value in _values(claim).items():
        column = f"{claim['id']} {name}"
        if _is_interval(value):
            yield column, value["mean"]
            yield from ((f"{column} {end}", value[end]) for end in ENDS[1:])
        elif value is not None:
            yield column, value


def phrase(claim: Mapping[str, Any]) -> str:
    """`points 3.4 (1.8 to 5.1), ECE 0.0259`; a sentence in the place of numbers as it stands."""
    values, decimals = _values(claim), claim.get("decimals", 1)
    if set(values) == {"value"}:
        return value_text(values["value"], decimals)
    parts = (f"{name} {value_text(value, decimals)}" for name, value in values.items())
    return ", ".join(parts)


def value_text(value: Any, decimals: int = 1) -> str:
    """A number with three digits, an interval with so many decimals."""
    if _is_interval(value):
        mean, low, high = (f"{float(value[end]):z.{decimals}f}" for end in ENDS)
        return f"{mean} ({low} to {high})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def saves(points: Any, decimals: int = 1) -> str:
    """An interval of "one's error minus another's" in words, as one says it of the other.

    `saves 0.7 (0.1 to 1.4) points`, `costs 3.4 (1.8 to 5.1) points`, or, where 0 lies in it,
    `saves 0.4 (-0.3 to 1.1) points, not resolved`.
    """
    ends = [points.mean, points.low, points.high]
    word = "saves"
    if points.mean < 0:
        word, ends = "costs", [-points.mean, -points.high, -points.low]
    mean, low, high = (f"{end:z.{decimals}f}" for end in ends)
    unsure = "" if points.low > 0 or points.high < 0 else ", not resolved"
    return f"{word} {mean} ({low} to {high}) points{unsure}"


def _values(claim: Mapping[str, Any]) -> Mapping[str, Any]:
    measured = claim.get("measured") or {}
    return measured if isinstance(measured, Mapping) else {"value": measured}


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == set(ENDS)
