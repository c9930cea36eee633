"""What `table.json` holds, as the page and its notes ask for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.lessons.lesson14 import pairs, table
from kdcourse.measured import value_text
from kdcourse.pages import tables
from kdlib.metrics import Interval


@dataclass(frozen=True)
class Row:
    """Digits that are right in %, by seed, on MNIST's 10,000 test images; and their interval."""

    right: list[float]
    interval: Interval


@cache
def students() -> dict[str, Row]:
    """Name → row."""
    kept = [row for row in tables.read(table.__file__) if "row" in row]
    return {row["row"]: Row(row["right"], Interval(*row["interval"])) for row in kept}


def right(name: str) -> Interval:
    """Digits that are right, in %."""
    return students()[name].interval


def more(first: str, second: str) -> Interval:
    """Points that the first has right more than the second, paired by seed and image."""
    for row in tables.read(table.__file__):
        if row.get("of") == [first, second]:
            return Interval(*row["more"])
    raise KeyError(f"no difference of {first!r} and {second!r} is stored")


HEAD = ["student", "digits right, %", "seeds"]


def rows(names: Iterable[str]) -> list[list[str]]:
    """Rows under HEAD: a name, its digits with interval, how many seeds."""
    return [[name, cell(name), str(len(students()[name].right))] for name in names]


def cell(name: str) -> str:
    """`75.2 (73.5 to 76.9)`."""
    ends = right(name)
    return f"{ends.mean:.1f} ({ends.low:.1f} to {ends.high:.1f})"


COMPARED_HEAD = ["first", "right, %", "second", "right, %", "first more than second, points"]


def compared(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Rows under COMPARED_HEAD."""
    return [[a, cell(a), b, cell(b), difference(a, b)] for a, b in pairs]


def difference(first: str, second: str) -> str:
    """`66.8 (61.6 to 72.0)`, or with "not resolved" where 0 lies inside."""
    points = more(first, second)
    text = value_text({end: getattr(points, end) for end in ("mean", "low", "high")})
    return text if points.excludes(0) else f"{text}, not resolved"


def draw_outputs() -> Figure:
    """Digits right against the number of auxiliary outputs, for both starts."""
    picture, axis = figures.figure(height=3.0)
    for name, role in {"same": "taught", "other": "alone"}.items():
        seeds = [students()[pairs.grid(name, m, pairs.LENGTHS[-1])].right for m in pairs.MS]
        five = [values[: len(pairs.FIVE)] for values in seeds]
        label = f"{name} start"
        figures.lines_with_dots(axis, pairs.MS, five, role, label=label, log=True)
    best = right("teacher").mean
    axis.axhline(best, color=figures.COLOURS["teacher"], linestyle=figures.DASHES["teacher"])
    axis.text(1, best + 2, "teacher", color=figures.INKS["teacher"], fontsize=8.5)
    axis.set(ylim=(0, 100), xlabel="auxiliary outputs that the student imitates, m")
    axis.set_ylabel("digits right, %")
    return picture
