"""The Pareto front of this lesson: networks by cost and error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdcourse import figures
from kdcourse.figures.style import QUIET
from kdcourse.lessons.lesson12 import stored
from kdlib.compression import Cost, cost, factorise, prune, quantise, smaller
from kdlib.data import Examples
from kdlib.metrics import Interval
from kdlib.models import cnn, mlp, multiply_adds

# Name on the page → the stored row whose errors it has. All that is trained on is trained on for
# 20 epochs with soft targets, fixed beforehand and not chosen row by row. The teacher, and through
# it all that is made from it, learned from moved images; so there is a small MLP that did, too.
FRESH = "mlp(60, 20), jitter"
ROWS = {
    "teacher": "teacher",
    "teacher, int8": "teacher, int8",
    "pruned 90 %": "pruned 90 %: soft targets, 20 epochs",
    "pruned 95 %": "pruned 95 %: soft targets, 20 epochs",
    "channels 80 %": "channels 80 %: soft targets, 20 epochs",
    "channels 80 %, int8": "channels 80 %, int8",
    "channels 90 %": "channels 90 %: soft targets, 20 epochs",
    "rank 16": "rank 16: soft targets, 20 epochs",
    FRESH: "channels 80 %, drawn anew: labels and jitter, 60 epochs",
    "mlp(100), distilled": "mlp(100): distilled",
    "mlp(100), int8": "mlp(100), int8",
    "mlp(32), distilled": "mlp(32): distilled",
    "mlp(32), int8": "mlp(32), int8",
    "mlp(16), distilled": "mlp(16): distilled",
    "mlp(8), distilled": "mlp(8): distilled",
    "cnn(16)": "cnn(16)",
    "cnn(16), int8": "cnn(16), int8",
    "cnn(4)": "cnn(4)",
}
AXES: dict[str, Callable[[Point], float]] = {
    "kB": lambda point: point.cost.bytes / 1000,
    "zipped kB": lambda point: point.cost.zipped / 1000,
    "multiply-adds": lambda point: float(point.products),
    "µs, 1 image": lambda point: point.cost.one.median,
    "µs, 256 images": lambda point: point.cost.many.median,
}


@dataclass(frozen=True)
class Point:
    """One network: what it costs, products (float or int8) for an image, its stored error %."""

    cost: Cost
    products: int
    error: Interval


def networks(teacher: nn.Module, train: Examples) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Name → the network in float, and as it runs. Only their costs count, not their answers."""
    x = train[:2].batch().x
    plain: dict[str, nn.Module] = {
        "teacher": teacher,
        "pruned 90 %": prune(teacher, 0.9),
        "pruned 95 %": prune(teacher, 0.95),
        "channels 80 %": smaller(teacher, 0.8, x),
        "channels 90 %": smaller(teacher, 0.9, x),
        "rank 16": factorise(teacher, rank=16, layers="stage1.0"),
        **{f"mlp({width}), distilled": mlp(784, width, 10) for width in (100, 32, 16, 8)},
        FRESH: mlp(784, 60, 20, 10),
        "cnn(16)": cnn(16),
        "cnn(4)": cnn(4),
    }
    found = {}
    for name in ROWS:
        base = name.removesuffix(", int8")
        network = plain.get(base) or plain[f"{base}, distilled"]
        runs = quantise(network, train[:500]) if name.endswith("int8") else network
        found[name] = (network, runs)
    return found


def measured(
    teacher: nn.Module, train: Examples, images: Tensor, *, repeats: int = 9
) -> dict[str, Point]:
    """Name → point: costs measured here, on this machine; errors stored."""
    return {
        name: Point(
            cost(runs, images, repeats=repeats),
            multiply_adds(network, images),
            stored.ways()[ROWS[name]].error,
        )
        for name, (network, runs) in networks(teacher, train).items()
    }


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names, cheapest first: no other point has at most their cost and at most their error.

    Of points that are equal in both the first stands for all.
    """
    best, front = float("inf"), []
    for name, (_, error) in sorted(points.items(), key=lambda item: item[1]):
        if error < best:
            front.append(name)
            best = error
    return front


def on(points: Mapping[str, Point], axis: str, *, convolutions: bool = True) -> dict[str, Any]:
    """Name → (cost on this axis, mean error)."""
    return {
        name: (AXES[axis](point), point.error.mean)
        for name, point in points.items()
        if convolutions or not name.startswith("cnn")
    }


def winner(points: Mapping[str, tuple[float, float]], budget: float) -> str | None:
    """Of those within the budget the one of lowest error; None where there is none."""
    within = {name: error for name, (spent, error) in points.items() if spent <= budget}
    return min(within, key=lambda name: within[name]) if within else None


def near(
    points: Mapping[str, Point], shown: Mapping[str, Any], best: str, limit: float
) -> list[str]:
    """Those within the budget whose interval overlaps with the winner's."""
    high = points[best].error.high
    rivals = [name for name, (spent, _) in shown.items() if spent <= limit and name != best]
    return [name for name in rivals if points[name].error.low <= high]


def winners(points: Mapping[str, Point], share: float) -> list[str]:
    """For each axis the winner within this share of the teacher's cost, CNNs in and (out).

    "≈" says that the interval of another network within the budget overlaps.
    """
    cells = []
    for axis, spent in AXES.items():
        limit = spent(points["teacher"]) * share / 100
        words = []
        for convolutions in (True, False):
            shown = on(points, axis, convolutions=convolutions)
            best = winner(shown, limit)
            close = bool(best) and bool(near(points, shown, str(best), limit))
            words.append(f"{best} ≈" if close else best or "–")
        first, without = words
        same = first.removesuffix(" ≈") == without.removesuffix(" ≈")
        cells.append(first if same else f"{first} ({without})")
    return cells


def role(name: str) -> str:
    """Its colour: architecture before method."""
    if name.startswith("cnn"):
        return "extra"
    if name == FRESH:
        return "alone"
    if name.startswith("mlp"):
        return "taught"
    return "teacher" if name.startswith("teacher") else "label"


def draw(points: Mapping[str, Point], axes: Sequence[str] = ("zipped kB", "multiply-adds")) -> Any:
    """Error against cost, the front as a line: without convolutions dashed, with them solid."""
    picture, panels = figures.figure(height=3.9, panels=len(axes), sharey=True)
    for axis, name in zip(panels, axes, strict=True):
        _still(axis, points, name)
        styles: tuple[dict[str, Any], ...] = (
            {"linestyle": "-", "color": "#DDDDDD", "linewidth": 5, "zorder": 0},
            {"linestyle": (0, (4, 2)), "color": QUIET, "linewidth": 1, "zorder": 1},
        )
        for convolutions, style in zip((True, False), styles, strict=True):
            chosen = on(points, name, convolutions=convolutions)
            line = [chosen[n] for n in pareto(chosen)]
            axis.plot(*zip(*line, strict=True), **style)
    panels[0].set_ylabel("error %")
    return picture


# Where a label stands, from its point, in points of the page: right, up, and which end is there.
_RIGHT, _LEFT = "left", "right"  # matplotlib's word for a text that begins, or ends, there
_BESIDE: dict[str, dict[str, tuple[int, int, str]]] = {
    "zipped kB": {
        "channels 80 %, int8": (-5, -3, _LEFT), "pruned 95 %": (-3, -11, _LEFT),
        "pruned 90 %": (-2, -12, _LEFT), "teacher, int8": (-8, -14, _RIGHT),
        "rank 16": (5, -11, _RIGHT), "channels 80 %": (5, 5, _RIGHT),
        "mlp(100), int8": (-5, -3, _LEFT), "mlp(32), int8": (-5, -3, _LEFT),
        "cnn(16), int8": (-5, -9, _LEFT), "channels 90 %": (5, 3, _RIGHT),
        FRESH: (5, -3, _RIGHT),
    },
    "multiply-adds": {
        "teacher": (5, -10, _RIGHT), "pruned 90 %": (5, -2, _RIGHT),
        "pruned 95 %": (5, 6, _RIGHT), "cnn(4)": (-3, -11, _LEFT),
        "rank 16": (-8, -1, _LEFT), "channels 80 %": (4, 3, _RIGHT), FRESH: (-8, -9, _LEFT),
    },
}  # fmt: skip


def _still(axis: Any, points: Mapping[str, Point], name: str) -> None:
    ends = [AXES[name](point) for point in points.values()]
    axis.set(xscale="log", yscale="log", xlabel=name)
    axis.set(xlim=(min(ends) / 2, max(ends) * 3), ylim=(1.3, 14))
    ticks = (2, 3, 5, 10)
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.set_yticks([], minor=True)
    for label, point in points.items():
        if name == "multiply-adds" and label.endswith("int8"):
            continue  # as many products as its float twin
        spent, colour = AXES[name](point), role(label)
        error = point.error
        span = [[error.mean - error.low], [error.high - error.mean]]
        look: dict[str, Any] = {
            "color": figures.COLOURS[colour],
            "marker": figures.MARKERS[colour],
            "markersize": 5,
            "elinewidth": 1,
            "mfc": "white" if label.endswith("int8") else figures.COLOURS[colour],
        }
        axis.errorbar([spent], [error.mean], span, **look)
        text = label.removesuffix(", distilled")
        across, up, end = _BESIDE.get(name, {}).get(label, (5, 2, _RIGHT))
        how: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5, "ha": end}
        how["color"] = figures.INKS[colour]
        axis.annotate(text, (spent, error.mean), (across, up), **how)
