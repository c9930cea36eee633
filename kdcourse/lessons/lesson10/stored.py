"""What `table.json` holds, as the page and its notes ask for it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.explorers import ErrorTable
from kdcourse.explorers.controls import State
from kdcourse.lessons.lesson10 import table
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib.metrics import Interval

Row = Mapping[str, Any]
KINDS = {  # how a helper came to know what it knows, with its colour
    "taught, 3,500 images": "taught",
    "labels only, 3,500": "alone",
    "taught, the same 200": "extra",
}
FORMULAS = {
    "logits": "softmax(mean z<sub>m</sub> / T)",
    "probabilities": "softmax(log mean softmax(z<sub>m</sub>) / T)",
    "confidence": "softmax(log Σ c<sub>m</sub> softmax(z<sub>m</sub>) / T)",
    "sum of losses": "mean softmax(z<sub>m</sub> / T)",
}
MERGED = tuple(FORMULAS)


def rows(setting: str) -> dict[str, Row]:
    """Way → its row, in the stored order."""
    return {row["way"]: row for row in tables.read(table.__file__) if row["setting"] == setting}


def saved(row: Row, against: str) -> Interval:
    """What a way saves against another, in points of error."""
    return Interval(*row[f"saves against {against}"])


def mean(row: Row, of: str = "errors") -> float:
    """The mean over seeds of its errors, or of what else is kept for each seed."""
    return float(np.mean(row[of]))


def error(row: Row) -> str:
    """Error % with its interval."""
    return str(Interval(*row["error"]))


def cells(every: Mapping[str, Row], ways: Iterable[str], *against: str) -> list[list[str]]:
    """A table's lines: way, error %, and what it saves against each of others."""
    return [
        [way, error(every[way])]
        + [
            saves(saved(every[way], rival)) if f"saves against {rival}" in every[way] else ""
            for rival in against
        ]
        for way in ways
    ]


def gap_cells(ways: Iterable[str], against: str) -> list[list[str]]:
    """Way, the helper's error %, disagreement %, the student's error %, and what it saves."""
    every = rows("gap")
    return [
        [
            line[0],
            f"{mean(every[line[0]], 'helper errors'):.1f}",
            f"{mean(every[line[0]], 'disagreement'):.1f}",
            *line[1:],
        ]
        for line in cells(every, ways, against)
    ]


def gap_picture() -> Figure:
    """The student's error under each teacher: with 200 images, and narrow with all of them."""
    picture, axes = figures.figure(height=3.1, panels=2)
    gap, small = rows("gap"), rows("small")
    figures.seed_dots(axes[0], 0, gap["direct, 1,120 steps"]["errors"], "teacher")
    names = list(table.HELPERS)[::-1]
    for place, name in enumerate(names, 1):
        for shift, (kind, role) in zip((-0.27, 0, 0.27), KINDS.items(), strict=True):
            figures.seed_dots(axes[0], place + shift, gap[f"{name}: {kind}"]["errors"], role)
    axes[0].set_xticks(range(4), ["cnn(16)", *names])
    axes[0].set(title="mlp(100), 200 images", xlabel="teacher or helper", ylabel="error %")
    ways = {
        "label-only": "label",
        "direct, 1,120 steps": "teacher",
        "via mlp(100), taught": "taught",
        "via linear, taught": "taught",
        "via mlp(100), labels only": "alone",
        "via linear, labels only": "alone",
    }
    for place, (way, role) in enumerate(ways.items()):
        figures.seed_dots(axes[1], place, small[f"3: {way}"]["errors"], role)
    ticks = ["no\nteacher", "cnn(16)", "mlp\n(100)", "linear", "mlp\n(100)", "linear"]
    axes[1].set_xticks(range(6), ticks)
    axes[1].set(title="mlp(3), all 3,500 images", xlabel="teacher or helper")
    for axis in axes:
        axis.set_ylim(0, None)
    return picture


class Hospitals(ErrorTable):
    """Slide over the number of teachers, how they are merged, and the temperature."""

    def _setup_errors(self, axis: Axes) -> None:
        super()._setup_errors(axis)
        axis.set_ylabel("error %")  # of 10,000 images: the longer label has no room
        low, high = axis.get_ylim()
        axis.set_yticks(range(math.ceil(low), math.floor(high) + 1, 3))  # fixed: so is the room

    def formula(self, state: State) -> str:
        T = self.symbol(f"{state['T']:g}", "taught")
        return f"loss = T² KL(p ‖ softmax(z / T)), p = {FORMULAS[state['merged']]}, T = {T}"


def hospitals() -> Hospitals:
    """The explorer, over the stored rows."""
    every = rows("hospitals")
    axes = {"teachers": table.COUNTS, "merged": MERGED, "T": table.TEMPERATURES}
    errors = [
        [
            [every[f"{way}, T = {t:g}, {count}"]["errors"] for t in table.TEMPERATURES]
            for way in MERGED
        ]
        for count in table.COUNTS
    ]
    pooled = [[[every[f"pooled, {count}"]["errors"]]] for count in table.COUNTS]
    own = [
        [
            [mean(every[f"ensemble, {way.replace('sum of losses', 'probabilities')}, {count}"])]
            for way in MERGED
        ]
        for count in table.COUNTS
    ]
    return Hospitals(
        axes,
        errors,
        n=10_000,
        alone=pooled,
        along="teachers",
        second={"the merged teachers": own},
        second_name="error %",
        start={"teachers": 5, "merged": "logits", "T": 1.0},
        situations={
            "softened last": {"merged": "probabilities", "T": 4.0},
            "softened first": {"merged": "sum of losses", "T": 4.0},
        },
        notes={"teachers": "200 labels each"},
        title="Hospitals: label-only has all their labels, pooled",
    )
