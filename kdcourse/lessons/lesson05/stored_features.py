"""The common ground of the lesson's pages, layers of networks, and what table.json holds."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.lessons.lesson05 import table
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib import models
from kdlib.data import Examples, load
from kdlib.metrics import Interval, difference, holm

Row = Mapping[str, Any]


def common_ground(small: bool) -> tuple[Examples, Examples, nn.Module]:
    """Training images, 1,000 test images, and the course's teacher; small: of a smoke run."""
    train, _, test = load("mnist5k")
    train = train[:1000] if small else train
    return train, test, mnist.teacher(train, epochs=1 if small else 8)


def new_student() -> nn.Module:
    return models.mlp(784, mnist.WIDTH, 10)


def features(network: nn.Module, tap: str, examples: Examples) -> Tensor:
    """What a layer says of each image: (images, width), or maps."""
    with models.evaluating(network):
        return models.observe(network, examples.batch().x, [tap]).features[tap]


def stored(setting: str, *, without: str = " ") -> dict[str, Row]:
    """way → its row, in the stored order; a way with two weights has `, w = …` in its name.

    without: leaves out the way of this name.
    """
    rows = [row for row in tables.read(table.__file__) if row["setting"] == setting]
    rows = [row for row in rows if row["taught by"] != without]
    twice = {row["taught by"] for row in rows if " + " in row["taught by"] and "w" in row}
    return {
        row["taught by"] + (f", w = {row['w']:g}" if row["taught by"] in twice else ""): row
        for row in rows
    }


def saved(row: Row, against: str = "label-only") -> Interval:
    """What a way saves against another, in points of error."""
    return Interval(*row[f"saves against {against}"])


def significant(gains: Mapping[str, Interval]) -> list[str]:
    """The ways whose gain stands after Holm's correction."""
    stands = holm({way: gain.p_value for way, gain in gains.items()})
    return [way for way in gains if stands[way]]


def mean_error(row: Row) -> float:
    return sum(row["errors"]) / len(row["errors"])


def table_rows(
    rows: Mapping[str, Row], *others: str, bold: Iterable[str] = (), decimals: int = 1
) -> list[list[str]]:
    """Way, weight, choices of labels, error %, what it saves against others (bold: those named)."""
    made = []
    for way, row in rows.items():
        against = [
            saves(saved(row, other), decimals) if f"saves against {other}" in row else ""
            for other in others
        ]
        if way in bold:
            against[0] = f"**{against[0]}**"
        weight = f"{row['w']:g}" if "w" in row else ""
        name = "relational (distances only)" if way == "relational" else way.split(", w = ")[0]
        choices = str(len(row["errors"]))
        made.append([name, weight, choices, f"{mean_error(row):.{decimals}f}", *against])
    return made


def compared(missed: Mapping[str, Tensor], base: str, **weights: float) -> list[list[str]]:
    """Way, weight, error %, what it saves against the base, and whether that stands after Holm."""
    gains = {way: difference(missed[base], wrong) for way, wrong in missed.items() if way != base}
    stand = significant(gains)
    made = []
    for way, wrong in missed.items():
        error = f"{100 * float(wrong.double().mean()):.1f}"
        weight = f"{weights[way]:g}" if way in weights else ""
        verdict = ["", ""] if way == base else [saves(gains[way]), "yes" if way in stand else "no"]
        made.append([way, weight, error, *verdict])
    return made
