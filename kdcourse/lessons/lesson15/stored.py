"""The rows of table.json as page and notes ask for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from kdcourse.figures import COLOURS, DASHES, MARKERS, figure
from kdcourse.figures.style import GHOST
from kdcourse.lessons.lesson15 import table
from kdcourse.lessons.lesson15.mistakes import MISTAKES
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib.metrics import Interval
from kdlib.metrics import interval as interval_of

QUIET = 2.0  # points: a mistake whose interval ends below this is called silent


def rows(kind: str, **where: Any) -> list[dict[str, Any]]:
    """The rows of a kind ("mistake", "loss", "room", "used", …), in their order."""
    found = [
        row
        for row in tables.read(table.__file__)
        if kind in row and all(row.get(name) == value for name, value in where.items())
    ]
    if not found:
        raise ValueError(f"the table has no rows of the kind {kind!r} with {where}")
    return found


def row(kind: str, name: str, **where: Any) -> dict[str, Any]:
    """One row of a kind, by its name."""
    return next(one for one in rows(kind, **where) if one[kind] == name)


def mean(one: dict[str, Any], name: str) -> float:
    return float(np.mean(one[name]))


def interval(one: dict[str, Any], name: str = "harm") -> Interval:
    return Interval(*one[name])


def right(mistake: str) -> dict[str, Any]:
    """The right program that a mistake is compared with."""
    beside = MISTAKES[mistake].beside
    return row("mistake", f"right, {beside}" if beside else "right")


def harm(name: str) -> Interval:
    """What a mistake costs, in points, in the ward of 200 labelled images."""
    return interval(row("mistake", name))


def loudness(points: Interval) -> str:
    """ "silent", "loud", or "unsteady" where the seeds do not agree which."""
    if points.high < QUIET:
        return "silent"
    return "loud" if points.low > QUIET else "unsteady"


def silent() -> list[str]:
    return [name for name in MISTAKES if loudness(harm(name)) == "silent"]


def silent_alone(optimiser: str) -> list[str]:
    """The silent mistakes where the loss is all there is."""
    harmed = {one["loss"]: one for one in rows("loss", how=optimiser) if "harm" in one}
    return [name for name, one in harmed.items() if loudness(interval(one)) == "silent"]


def high_nll(names: list[str], times: float = 4 / 3) -> dict[str, float]:
    """Those whose NLL is so many times the right program's."""
    nlls = {name: mean(row("mistake", name), "NLL") for name in names}
    return {name: nll for name, nll in nlls.items() if nll > times * mean(right(name), "NLL")}


HEAD = [
    "mistake", "costs, points (95 %)", "", "error %", "NLL", "confidence", "first loss",
    "what gives it away",
]  # fmt: skip


def ward_rows(right_first: Mapping[str, float], first: Mapping[str, float]) -> list[list[str]]:
    """The table of harms: the right programs, then the mistakes, the cheapest first.

    right_first, first: the first losses of live students, by right program and by mistake.
    """
    lines = []
    for beside, stars in STARS.items():
        own = f"right, {beside}" if beside else "right"
        name = f"**right program{f' with {beside}' if beside else ''}**{stars}"
        lines.append([name, "", "", *_cells(row("mistake", own), right_first[beside]), ""])
    for name in sorted(MISTAKES, key=lambda name: harm(name).mean):
        points, cells = harm(name), _cells(row("mistake", name), first[name])
        lines.append([starred(name), str(points), loudness(points), *cells, MISTAKES[name].sign])
    return lines


STARS = {"": "", "dropout": " ∗", "jitter": " ∗∗"}


def starred(name: str) -> str:
    """The mistake, with the asterisks of a right program of its own."""
    return name + STARS[MISTAKES[name].beside]


def _cells(one: dict[str, Any], first: float) -> list[str]:
    """Error, NLL, confidence and first loss, as the table of harms writes them."""
    nll = mean(one, "NLL")
    return [
        f"{mean(one, 'errors'):.1f}",
        f"{nll:.2f}" if nll < 100 else "> 100",
        f"{mean(one, 'confidence'):.2f}",
        f"{first:.3g}",
    ]


def harm_and_nll() -> Figure:
    """Each mistake's harm with its interval (left) and its NLL (right)."""
    order = sorted(MISTAKES, key=lambda name: -harm(name).mean)
    drawn, (costs, nlls) = figure(height=5.4, panels=2, sharey=True, width_ratios=[1.2, 1])
    where = np.arange(len(order))
    for place, name in enumerate(order):
        points, one = harm(name), row("mistake", name)
        look: Any = {"color": COLOURS["extra"]}
        known = ("the mistake", "its right program") if place == 0 else (None, None)
        costs.plot([points.low, points.high], [place] * 2, linewidth=2, **look)
        costs.plot(points.mean, place, MARKERS["extra"], markersize=5, **look)
        nll = min(mean(one, "NLL"), 12.0)
        nlls.plot(
            nll,
            place,
            ">" if nll == 12.0 else MARKERS["extra"],
            markersize=5,
            label=known[0],
            **look,
        )
        own = mean(right(name), "NLL")
        about: Any = {"color": COLOURS["taught"], "label": known[1]}
        nlls.plot(own, place, MARKERS["taught"], markersize=4, **about)
    costs.set_xscale("symlog", linthresh=2, linscale=1)
    costs.set_xticks([-1, 0, 1, 2, 5, 10, 20, 50], ["−1", "0", "1", "2", "5", "10", "20", "50"])
    costs.axvline(QUIET, color=GHOST, linewidth=1, linestyle=DASHES["label"])
    costs.axvline(0, color=COLOURS["taught"], linewidth=1)
    costs.set_yticks(where, [starred(name) for name in order])
    costs.set_xlabel("points of test error that it costs")
    nlls.set_xscale("log")
    nlls.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "≥ 10"])
    nlls.set_xlabel("NLL on the test images")
    nlls.legend(frameon=False, loc="upper right", fontsize=8)
    for axis in (costs, nlls):
        axis.minorticks_off()
        axis.grid(axis="x")
    return drawn


def two_optimisers() -> Figure:
    """What mistakes of the loss cost under AdamW and under SGD."""
    names = [one["loss"] for one in rows("loss", how="SGD")][1:]
    drawn, axis = figure(height=3.2)
    for shift, (optimiser, role) in ((0.14, ("AdamW", "extra")), (-0.14, ("SGD", "label"))):
        for place, name in enumerate(names[::-1]):
            points = interval(row("loss", name, how=optimiser))
            look: Any = {"color": COLOURS[role]}
            axis.plot([points.low, points.high], [place + shift] * 2, linewidth=2, **look)
            label = optimiser if place == 0 else None
            axis.plot(points.mean, place + shift, MARKERS[role], markersize=5, label=label, **look)
    axis.set_yticks(range(len(names)), names[::-1])
    axis.set_xscale("symlog", linthresh=2, linscale=1)
    axis.set_xticks([-1, 0, 1, 2, 5, 10, 50], ["−1", "0", "1", "2", "5", "10", "50"])
    axis.minorticks_off()
    axis.grid(axis="x")
    axis.axvline(0, color=COLOURS["taught"], linewidth=1)
    axis.axvline(QUIET, color=GHOST, linewidth=1, linestyle=DASHES["label"])
    axis.set_xlabel("points of test error that it costs")
    axis.set_xlim(-1.3, 130)
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return drawn


REPAIR = ["step", "training error %", "test error %", "NLL", "the step …"]


def repairs(room: str) -> list[list[str]]:
    """The steps of a repair, each against the step before; a control against the last step."""
    lines: list[list[str]] = []
    last: list[float] = []
    for one in rows("room", how=room):
        control = one["room"].startswith("control")
        gain = one.get("saves against the step before")
        if control and last:
            apart = torch.tensor(last) - torch.tensor(one["errors"])
            words = f"against the last step: {saves(interval_of(apart))}"
        else:
            words = "" if gain is None else saves(Interval(*gain))
            last = one["errors"]
        lines.append([one["room"], f"{mean(one, 'training error %'):.1f}",
                      f"{mean(one, 'errors'):.1f}", f"{mean(one, 'NLL'):.2f}", words])  # fmt: skip
    return lines


def repaired(room: str, step: str) -> Interval:
    """What a step saves against the program as printed."""
    one = next(one for one in rows("room", how=room) if one["room"] == step)
    return Interval(*one["saves against the first"])


PROGRAMS = {"never used": "the teacher is never used", "right": "right"}
USED = ["20 labels per class:", "program", "error %", "using the teacher …"]


def used_rows() -> list[list[str]]:
    """With and without unlabelled images: what it costs that the teacher is never used."""
    return [
        [one["used"], PROGRAMS[one["how"]], f"{mean(one, 'errors'):.1f}",
         saves(Interval(*one["saves"])) if "saves" in one else ""]
        for one in rows("used")
    ]  # fmt: skip
