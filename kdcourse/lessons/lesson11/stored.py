"""What `table.json` holds, as the page and its notes ask for it."""

from collections.abc import Iterable
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kdcourse import figures
from kdcourse.lessons.lesson11 import table
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib.metrics import Interval, interval

LINES = {  # the curves of the picture, with their colours
    "label-only": "alone",
    "label-only, jitter": "extra",
    "same images": "label",
    "teacher": "teacher",
    "transfer set": "taught",
}
_TICKS = (2, 5, 10, 20, 50)
RIVAL_HEAD = ["saves, labelled images per class:", *(str(n) for n in table.PROBED)]
SET_HEAD = ["transfer set", "student's error %", "classes used", "mean confidence"]


def rows(kind: str) -> list[dict[str, Any]]:
    """All rows of a kind: "curve", "set", "share", "capacity", "draw", "task", by labels."""
    kept = [row for row in tables.read(table.__file__) if kind in row]
    return sorted(kept, key=lambda row: row.get("n", 0))


def row(kind: str, name: Any, **where: Any) -> dict[str, Any]:
    """The only row of this name."""
    (found,) = (
        row
        for row in rows(kind)
        if row[kind] == name and all(row[key] == value for key, value in where.items())
    )
    return found


def counts(name: str = "label-only") -> list[int]:
    """Images per class of a curve."""
    return [row["n"] for row in rows("curve") if row["curve"] == name]


def curve(name: str, key: str = "errors") -> Tensor:
    """Errors in percent, or disagreement with the teacher, (counts, draws)."""
    return torch.tensor([row[key] for row in rows("curve") if row["curve"] == name])


def mean(name: str, n: int, key: str = "errors") -> float:
    """The same at n images per class, averaged over draws."""
    return float(torch.tensor(row("curve", name, n=n)[key]).mean())


def saving(name: str, than: str, n: int) -> Interval:
    """Points that a way saves against another at n labelled images per class."""
    return Interval(*row("curve", name, n=n)[f"saves against {than}"])


def curves() -> Figure:
    """Error against labelled images per class, both axes logarithmic."""
    picture, axis = figures.figure(height=3.6)
    for name, role in LINES.items():
        figures.lines_with_dots(axis, counts(name), curve(name), role, label=name, log=True)
    axis.set(yscale="log", ylabel="error %", xlabel="labelled images per class")
    axis.set_yticks(_TICKS, [f"{tick}" for tick in _TICKS])
    axis.set_yticks([], minor=True)
    return picture


def parts(ns: Iterable[int]) -> list[list[str]]:
    """Rows: n, errors of teacher and student, and on what share they differ."""
    lines = []
    for n in ns:
        teacher = f"{mean('teacher', n):.1f}"
        for name in ("same images", "transfer set"):
            student, apart = mean(name, n), mean(name, n, "disagreement")
            gain = saves(saving(name, "label-only", n))
            lines.append([str(n), name, teacher, f"{apart:.1f}", f"{student:.1f}", gain])
    return lines


def rivals(names: Iterable[str], than: str) -> list[list[str]]:
    """Rows under RIVAL_HEAD: what each saves against another; empty where it was not asked."""
    asked = {(row["curve"], row["n"]) for row in rows("curve")}
    return [
        [name, *(saves(saving(name, than, n)) if (name, n) in asked else "" for n in table.PROBED)]
        for name in names
    ]


# ---- transfer sets ------------------------------------------------------------------------------


def of_set(name: str, n: int, key: str = "errors") -> Tensor:
    """Of each draw: the student's error, "classes" its teacher's answers use, "confidence"."""
    return torch.tensor(row("set", name, n=n)[key], dtype=torch.float64)


def set_rows(n: int) -> list[list[str]]:
    """Rows under SET_HEAD, the lowest error first."""
    order = sorted(table.SETS, key=lambda name: float(of_set(name, n).mean()))
    return [
        [
            name,
            f"{of_set(name, n).mean():.1f}",
            f"{of_set(name, n, 'classes').mean():.1f}",
            f"{of_set(name, n, 'confidence').mean():.2f}",
        ]
        for name in order
    ]


def grid() -> dict[str, Any]:
    """For the explorer: axes, errors (sets, counts, draws), label-only with jitter, classes."""
    axes = {"transfer set": list(table.SETS), "images per class": list(table.SET_COUNTS)}
    errors = [[of_set(name, n).tolist() for n in table.SET_COUNTS] for name in table.SETS]
    classes = [
        [float(of_set(name, n, "classes").mean()) for n in table.SET_COUNTS] for name in table.SETS
    ]
    draws = len(errors[0][0])
    jitter = [row("curve", "label-only, jitter", n=n)["errors"][:draws] for n in table.SET_COUNTS]
    return {"axes": axes, "errors": errors, "alone": jitter, "classes": classes}


# ---- the lab notes ------------------------------------------------------------------------------


def cell(values: Iterable[float]) -> str:
    """A mean with its interval over draws: `8.3 (7.1 to 9.5)`."""
    ends = interval(list(values))
    return f"{ends.mean:.1f} ({ends.low:.1f} to {ends.high:.1f})"
