"""What `table.json` holds, as the page and its notes ask for it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

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
LEGEND = {
    "label": "no guide: labels",
    "teacher": "the teacher itself, 1,120 steps",
    "taught": "helper taught on 3,500 images",
    "alone": "helper of 3,500 labels alone",
    "extra": "helper taught on the student's 200",
}
FORMULAS = {
    "logits": "softmax(mean z<sub>m</sub> / T)",
    "probabilities": "softmax(log mean softmax(z<sub>m</sub>) / T)",
    "confidence": "softmax(log Σ c<sub>m</sub> softmax(z<sub>m</sub>) / T)",
    "sum of losses": "mean softmax(z<sub>m</sub> / T)",
}
MERGED = tuple(FORMULAS)
SCALE = (6, 24)  # error % of both panels of the explorer


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


GAP_HEAD = ["guide's error %", "+ disagreement %", "= bound %", "student's error %"]


def gap_cells(every: Mapping[str, Row], ways: Iterable[str], against: str) -> list[list[str]]:
    """Way, its guide's error %, disagreement %, their sum, the student's error %, what it saves."""
    lines = []
    for way, *rest in cells(every, ways, against):
        row, parts = every[way], ["", "", ""]
        if "disagreement" in row:
            guide, otherwise = mean(row, "helper errors"), mean(row, "disagreement")
            parts = [f"{value:.1f}" for value in (guide, otherwise, guide + otherwise)]
        lines.append([way, *parts, *rest])
    return lines


def entropy(logits: Tensor, T: float, *, soften_first: bool = False) -> float:
    """Mean entropy in nats of the target that tables of logits, (teachers, N, C), ask for."""
    p = (logits / T).softmax(-1)
    p = p.mean(0) if soften_first else p[0]
    return float(torch.special.entr(p).sum(-1).mean())


def gap_picture() -> Figure:
    """The student's error under each teacher: with 200 images, and narrow with all of them."""
    picture, axes = figures.figure(height=3.9, panels=2, sharey=True, width_ratios=[1, 1.15])
    gap, small = rows("gap"), rows("small")
    figures.seed_dots(axes[0], 0, gap["label-only"]["errors"], "label")
    figures.seed_dots(axes[0], 1, gap["direct, 1,120 steps"]["errors"], "teacher")
    names = list(table.HELPERS)[::-1]
    for place, name in enumerate(names, 2):
        for shift, (kind, role) in zip((-0.27, 0, 0.27), KINDS.items(), strict=True):
            figures.seed_dots(axes[0], place + shift, gap[f"{name}: {kind}"]["errors"], role)
    axes[0].set_xticks(range(5), ["none", "cnn(16)", *names])
    axes[0].set(title="student mlp(100), 200 images", xlabel="guide", ylabel="student's error %")
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
    ticks = ["none", "cnn(16)", "mlp(100)", "linear", "mlp(100)", "linear"]
    axes[1].set_xticks(range(6), ticks)
    axes[1].tick_params(axis="x", labelsize=7.5)
    axes[1].set(title="student mlp(3), all 3,500 images", xlabel="guide")
    axes[0].set_ylim(0, None)
    handles = [
        Line2D([], [], color=figures.INKS[role], marker=figures.MARKERS[role], label=words)
        for role, words in LEGEND.items()
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return picture


class Hospitals(ErrorTable):
    """Slide over the number of teachers, how they are merged, and the temperature."""

    def _setup_errors(self, axis: Axes) -> None:
        super()._setup_errors(axis)
        axis.set_ylabel("error %")  # of 10,000 images: the longer label has no room
        self._fix(axis)

    def _setup_second(self, axis: Axes) -> None:
        super()._setup_second(axis)
        self._fix(axis)

    def _fix(self, axis: Axes) -> None:
        """One scale for both panels, with fixed ticks: so is the room."""
        axis.set_ylim(*SCALE)
        axis.set_yticks(range(SCALE[0], SCALE[1] + 1, 3))

    def move(self, state: State, ghost: bool) -> None:
        """The pooled student has a curve of its own: more hospitals, more labels."""
        super().move(state, ghost)
        if not ghost:
            pooled = self._alone[self._row(state)]  # type: ignore[index]
            self._alone_line.set_data(self._x, pooled.mean(-1))
            self._alone_band.set_height(0)

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
        second_name="merged teachers: error %",
        start={"teachers": 5, "merged": "logits", "T": 1.0},
        situations={
            "probabilities: mean, then soften": {"merged": "probabilities", "T": 4.0},
            "sum of losses: soften, then mean": {"merged": "sum of losses", "T": 4.0},
        },
        notes={"teachers": "200 labels each"},
        title="More hospitals help, pooled labels help more",
    )
