"""What `table.json` holds, as the page and its notes ask for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.lessons.lesson14 import pairs, table
from kdcourse.measured import value_text
from kdcourse.pages import tables
from kdlib.metrics import Interval, interval


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


@cache
def _kl() -> dict[str, list[float]]:
    kept = [row for row in tables.read(table.__file__) if "kl" in row]
    return {row["kl"]: row["by seed"] for row in kept}


def kl_left(name: str) -> Interval:
    """KL on all noise, in % of what one answer for all images gets, over seeds."""
    whole = _kl()["one answer for all"]
    parts = _kl()[{pairs.SAME: "same", pairs.OTHER: "other"}.get(name, name)]
    return interval([100 * part / of for part, of in zip(parts, whole, strict=True)])


HEAD = ["student", "digits right, %", "seeds"]


def rows(names: Iterable[str] | Mapping[str, str]) -> list[list[str]]:
    """Rows under HEAD: a name (or the words for it), its digits with interval, how many seeds."""
    words = names if isinstance(names, Mapping) else {name: name for name in names}
    return [[words[name], cell(name), str(len(students()[name].right))] for name in words]


RIVALS_HEAD = ["student", "what differs", "digits right, %", "KL left, %", "seeds"]


def rivals(names: Mapping[str, str]) -> list[list[str]]:
    """Rows under RIVALS_HEAD; the KL where it is stored."""
    known = {pairs.SAME, pairs.OTHER, *_kl()}
    left = {name: f"{kl_left(name).mean:.0f}" if name in known else "" for name in names}
    seeds = {name: str(len(students()[name].right)) for name in names}
    return [[name, words, cell(name), left[name], seeds[name]] for name, words in names.items()]


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
        shown = [students()[pairs.grid(name, m, pairs.LENGTHS[-1])] for m in pairs.MS]
        ends = [(s.interval.mean, s.interval.low, s.interval.high) for s in shown]
        means, lows, highs = zip(*ends, strict=True)
        colour, mark = figures.COLOURS[role], figures.MARKERS[role]
        axis.fill_between(pairs.MS, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axis.plot(pairs.MS, means, mark, linestyle=figures.DASHES[role], color=colour, markersize=6)
        for m, students_of_m in zip(pairs.MS, shown, strict=True):
            seeds = students_of_m.right
            axis.plot([m] * len(seeds), seeds, mark, color=colour, markersize=3.5, alpha=0.6)
        axis.annotate(
            f"{name} start", (pairs.MS[-1], means[-1]), (8, 0), textcoords="offset points",
            color=figures.INKS[role], fontsize=8.5, va="center",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks(pairs.MS, [str(m) for m in pairs.MS])
    axis.set_xticks([], minor=True)
    best = right("teacher").mean
    axis.axhline(best, color=figures.COLOURS["teacher"], linestyle=figures.DASHES["teacher"])
    axis.text(1, best + 2, f"teacher {best:.1f}", color=figures.INKS["teacher"], fontsize=8.5)
    axis.set(ylim=(0, 100), xlabel="auxiliary outputs that the student imitates, m")
    axis.set_ylabel("digits right, %")
    return picture
