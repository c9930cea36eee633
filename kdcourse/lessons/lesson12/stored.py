"""What `table.json` holds, as the page and its notes ask for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from kdcourse import figures
from kdcourse.lessons.lesson12 import table
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib.compression import made_permanent
from kdlib.compression.choosing import multiplying
from kdlib.metrics import Interval


@dataclass(frozen=True)
class Way:
    """A row: error % by seed on MNIST's 10,000 test images, and its interval."""

    errors: list[float]
    error: Interval


@cache
def ways() -> dict[str, Way]:
    """Name → row."""
    kept = [row for row in tables.read(table.__file__) if "row" in row]
    return {row["row"]: Way(row["errors"], Interval(*row["error"])) for row in kept}


def saved(first: str, second: str) -> Interval:
    """Points that the second saves against the first, paired by seed and image."""
    for row in tables.read(table.__file__):
        if row.get("of") == [first, second]:
            return Interval(*row["saved"])
    raise KeyError(f"no difference of {first!r} and {second!r} is stored")


def error(name: str) -> str:
    """`4.1 (3.8 to 4.4)`."""
    return f"{ways()[name].error:.1f}"


SHOTS = [*(f"pruned {100 * a:g} %" for a in table.AMOUNTS), "channels 80 %", "channels 90 %",
         "rank 16"]  # fmt: skip
KINDS = ("labels", "soft targets")


def recovery_rows() -> list[list[str]]:
    """One shot; then for 5 and 20 epochs labels, soft targets, and what the latter save."""
    lines = []
    for shot in SHOTS:
        line = [shot, f"{ways()[f'{shot}: one shot'].error.mean:.1f}"]
        for epochs in (table.SHORT, table.LONG):
            names = [f"{shot}: {kind}, {epochs} epochs" for kind in KINDS]
            line += [f"{ways()[name].error.mean:.1f}" for name in names]
            line.append(saves(saved(*names), decimals=2))
        lines.append(line)
    return lines


RECOVERY_HEAD = ["error %, MNIST's 10,000", "not trained", "5 epochs: labels", "soft targets",
                 "against labels", "20 epochs: labels", "soft targets",
                 "against labels"]  # fmt: skip


def recovery(epochs: int) -> dict[str, Interval]:
    """Shot → points that soft targets save against labels after so many epochs."""
    return {shot: saved(*(f"{shot}: {kind}, {epochs} epochs" for kind in KINDS)) for shot in SHOTS}


def compared(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Rows: first, its error, second, its error, what the second saves."""
    return [
        [words(a), error(a), words(b), error(b), saves(saved(a, b), decimals=2)] for a, b in pairs
    ]


def words(name: str) -> str:
    """A row's name as the page says it."""
    return name.replace("drawn anew", "from random weights")


COMPARED_HEAD = ["first", "error %", "second", "error %", "second against first"]


def draw_recovery() -> Figure:
    """What soft targets save against labels after 5 and after 20 epochs, by way."""
    picture, axis = figures.figure(height=2.7)
    for epochs, shift, filled in ((table.SHORT, -0.12, False), (table.LONG, 0.12, True)):
        for place, gain in enumerate(recovery(epochs).values()):
            span = [[gain.mean - gain.low], [gain.high - gain.mean]]
            colour = figures.COLOURS["taught" if filled else "extra"]
            mark: dict[str, Any] = {"mfc": colour if filled else "white", "markersize": 6}
            marker = figures.MARKERS["taught"]
            where = ([place + shift], [gain.mean])
            axis.errorbar(*where, span, color=colour, marker=marker, linewidth=1.4, **mark)
    axis.axhline(0, color=figures.COLOURS["alone"], linestyle=figures.DASHES["alone"])
    axis.set_xticks(range(len(SHOTS)), [shot.replace(" ", "\n", 1) for shot in SHOTS])
    axis.set_ylabel("points saved by soft targets")
    return picture


def left(network: nn.Module) -> dict[str, float]:
    """Layer → the share of its weights that is not 0, in percent, the head left out."""
    layers = dict(list(multiplying(made_permanent(network)).items())[:-1])
    return {
        name: 100 * float((layer.get_parameter("weight") != 0).float().mean())
        for name, layer in layers.items()
    }
