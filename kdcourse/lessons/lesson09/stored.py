"""What `table.json` holds, as the page and its notes ask for it: rows, controls, differences."""

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.ground import domains
from kdcourse.lessons.lesson09 import table
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib import metrics

ROLES = {  # the ways of one student, from worst to best as expected, with their colours
    "source only": "alone",
    "taught by the source teacher": "taught",
    "taught by the AdaBN teacher": "taught",
    "distil, then adapt": "taught",
    "adapts itself": "alone",
    "taught by the SHOT-IM teacher": "taught",
    "taught, then adapts itself": "taught",
    "oracle": "label",
}
_TICKS = (
    "source\nonly", "taught by\nsource\nteacher", "taught by\nAdaBN\nteacher",
    "distil,\nthen adapt", "adapts\nitself", "taught by\nSHOT-IM\nteacher",
    "taught,\nthen adapts\nitself", "oracle",
)  # fmt: skip
_LOGARITHMIC = (2, 5, 10, 20, 50, 100)
OF_TEACHER = ["its source error %", "its target error %"]
OF_STUDENT = ["its student's source error %", "its student's target error %"]


def ways() -> dict[str, domains.Way]:
    """Name → the stored answers of a way, of lessons 06 to 09."""
    return domains.ways("09")


def rows() -> dict[str, domains.Way]:
    """Name → stored answers: this lesson's ways, then its controls."""
    own = {name: way for name, way in ways().items() if way.page == "09"}
    return own | controls()


def controls() -> dict[str, domains.Way]:
    """Name → the stored answers of a control, as `domains.ways` has those of a way."""
    kept = [row for row in tables.read(table.__file__) if "control" in row]
    return {name: _way(kept, name) for name in dict.fromkeys(row["control"] for row in kept)}


def saving(kind: str, better: str, than: str, fold: str = "A") -> metrics.Interval:
    """Points of target error that a row saves against another of the same kind of student."""
    every = rows()
    pair = (every[f"{kind}: {name}"].wrong[fold] for name in (than, better))
    return metrics.difference(*pair)


def compared(kind: str, better: str, than: str) -> list[str]:
    """`saves 4.2 (1.7 to 6.7) points` in fold A and in fold B."""
    return [saves(saving(kind, better, than, fold)) for fold in domains.FOLDS]


def teacher_cells(name: str) -> list[str]:
    """A teacher's cells under OF_TEACHER, fold A."""
    return _cells(controls()[f"teacher: {name}"])


def student_cells(name: str, kind: str = "cnn(4)") -> list[str]:
    """A student's cells under OF_STUDENT, fold A."""
    return _cells(rows()[f"{kind}: {name}"])


def _cells(way: domains.Way) -> list[str]:
    return [f"{way.source_error:.1f}", f"{way.error():.1f}"]


def comparison(chosen: Iterable[str], better: str) -> list[list[str]]:
    """Rows of both students: errors in both folds, and what `better` saves against each."""
    every, lines = rows(), []
    for kind, name in itertools.product(table.STUDENTS, chosen):
        errors = [f"{every[f'{kind}: {name}'].error(fold):.1f}" for fold in domains.FOLDS]
        gains = ["", ""] if name == better else compared(kind, better, name)
        lines.append([f"{kind}: {name}", *errors, *gains])
    return lines


def dots(kind: str) -> Figure:
    """Target errors of one kind of student in fold A, a dot a seed, by way."""
    every = rows()
    picture, axis = figures.figure(height=3.1)
    for place, (name, role) in enumerate(ROLES.items()):
        errors = 100 * every[f"{kind}: {name}"].wrong["A"].double()  # (seeds, images)
        figures.seed_dots(axis, place, errors, role)
    axis.set(xticks=range(len(_TICKS)), xticklabels=_TICKS, yscale="log")
    axis.set_yticks(_LOGARITHMIC, [f"{error}" for error in _LOGARITHMIC])
    axis.set_yticks([], minor=True)
    axis.set_ylabel("target error %")
    return picture


def _way(kept: list[dict[str, Any]], name: str) -> domains.Way:
    way = domains.Way("09")
    for fold in domains.FOLDS:
        here = [row for row in kept if row["control"] == name and row["fold"] == fold]
        here.sort(key=lambda row: row["seed"])
        bits = [[bit == "1" for bit in f"{int(row['wrong'], 16):b}"[1:]] for row in here]
        way.wrong[fold] = torch.tensor(bits)
        if fold == "A":
            way.source_error = sum(row["source error"] for row in here) / len(here)
    return way
