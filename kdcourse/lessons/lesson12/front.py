"""The Pareto front of this lesson: networks by cost and error, and a budget line to move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from kdcourse import figures
from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State
from kdcourse.lessons.lesson12 import stored
from kdlib.compression import Cost, cost, factorise, prune, quantise, smaller
from kdlib.data import Examples
from kdlib.metrics import Interval
from kdlib.models import cnn, mlp, multiply_adds

# Name on the page → the stored row whose errors it has. All that is trained on is trained on for
# 20 epochs with soft targets, fixed beforehand and not chosen row by row.
ROWS = {
    "teacher": "teacher",
    "teacher, int8": "teacher, int8",
    "pruned 90 %": "pruned 90 %: soft targets, 20 epochs",
    "pruned 95 %": "pruned 95 %: soft targets, 20 epochs",
    "channels 80 %": "channels 80 %: soft targets, 20 epochs",
    "channels 80 %, int8": "channels 80 %, int8",
    "channels 90 %": "channels 90 %: soft targets, 20 epochs",
    "rank 16": "rank 16: soft targets, 20 epochs",
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
    """Names that no other point beats in cost and error at once; cheapest first."""
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


def winners(points: Mapping[str, Point], share: float) -> list[str]:
    """For each axis the winner within this share of the teacher's cost, CNNs in and (out)."""
    cells = []
    for axis, spent in AXES.items():
        limit = spent(points["teacher"]) * share / 100
        best, without = (winner(on(points, axis, convolutions=c), limit) for c in (True, False))
        cells.append(str(best or "–") if best == without else f"{best} ({without or '–'})")
    return cells


def role(name: str) -> str:
    """Its colour: architecture before method."""
    if name.startswith("cnn"):
        return "extra"
    if name.startswith("mlp"):
        return "taught"
    return "teacher" if name.startswith("teacher") else "label"


def draw(points: Mapping[str, Point], axes: Sequence[str] = ("zipped kB", "multiply-adds")) -> Any:
    """Error against cost, the front as a line: without convolutions dashed, with them whole."""
    picture, panels = figures.figure(height=3.9, panels=len(axes), sharey=True)
    for axis, name in zip(panels, axes, strict=True):
        _still(axis, points, name)
        for convolutions, style in ((False, (0, (4, 2))), (True, "-")):
            chosen = on(points, name, convolutions=convolutions)
            line = [chosen[n] for n in pareto(chosen)]
            axis.plot(*zip(*line, strict=True), linestyle=style, color=figures.GHOST, zorder=1)
    panels[0].set_ylabel("error %")
    return picture


# Where a label stands, from its point, in points of the page: right, up, and which end is there.
_RIGHT, _LEFT = "left", "right"  # matplotlib's word for a text that begins, or ends, there
_BESIDE: dict[str, dict[str, tuple[int, int, str]]] = {
    "zipped kB": {
        "channels 80 %, int8": (-5, -3, _LEFT), "pruned 95 %": (-3, -11, _LEFT),
        "pruned 90 %": (-2, -12, _LEFT), "teacher, int8": (-8, -14, _RIGHT),
        "rank 16": (5, -8, _RIGHT), "channels 80 %": (4, 4, _RIGHT),
        "mlp(100), int8": (-5, -3, _LEFT), "mlp(32), int8": (-5, -3, _LEFT),
        "cnn(16), int8": (-5, -9, _LEFT), "channels 90 %": (5, 3, _RIGHT),
    },
    "multiply-adds": {
        "teacher": (5, -10, _RIGHT), "pruned 90 %": (5, -2, _RIGHT),
        "pruned 95 %": (5, 6, _RIGHT), "cnn(4)": (-3, -11, _LEFT),
        "rank 16": (-5, -8, _LEFT), "channels 80 %": (4, 5, _RIGHT),
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


BUDGETS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)


class Front(Explorer):
    """A budget line over the front: what is the best network that one may afford?

    points: name → Point. The budget is a share of what the teacher costs.
    """

    def __init__(self, points: Mapping[str, Point]) -> None:
        if "teacher" not in points or len(points) < 2:
            raise ValueError(f"points of {list(points)}; expected the teacher's and others'")
        self._points = dict(points)
        super().__init__(
            controls={
                "cost": list(AXES),
                "budget": list(BUDGETS),
                "networks": ["MLPs", "all"],
            },
            start={"cost": "zipped kB", "budget": 10.0, "networks": "MLPs"},
            situations={
                "a small file": {"cost": "zipped kB", "budget": 5.0},
                "few products": {"cost": "multiply-adds", "budget": 10.0},
                "one image, fast": {"cost": "µs, 1 image", "budget": 50.0},
            },
            notes={"budget": "% of the teacher's", "networks": "MLPs alone, or CNNs too"},
            title="The best network within a budget",
            height=400,
        )

    def limit(self, state: State) -> float:
        """The budget in the units of its axis."""
        return AXES[state["cost"]](self._points["teacher"]) * state["budget"] / 100

    def chosen(self, state: State) -> str | None:
        """The winner of a state."""
        return winner(self._shown_points(state), self.limit(state))

    def _shown_points(self, state: State) -> dict[str, tuple[float, float]]:
        return on(self._points, state["cost"], convolutions=state["networks"] == "all")

    def setup(self, figure: Figure) -> None:
        axis = figure.add_subplot()
        self._relative = {
            axis_name: {name: 100 * spent(p) / spent(self._points["teacher"])
                        for name, p in self._points.items()}
            for axis_name, spent in AXES.items()
        }  # fmt: skip
        shares = [share for places in self._relative.values() for share in places.values()]
        axis.set(xscale="log", yscale="log", xlabel="cost, % of the teacher's", ylabel="error %")
        axis.set(xlim=(min([*shares, 2]) / 1.5, max([*shares, 1000]) * 1.5), ylim=(1.3, 14))
        axis.set_yticks((2, 3, 5, 10), ["2", "3", "5", "10"])
        axis.set_yticks([], minor=True)
        places = (1, 2, 5, 10, 20, 50, 100, 1000)
        axis.set_xticks(places, [str(place) for place in places])
        axis.set_xticks([], minor=True)
        self._dots, self._labels, self._lines = {}, {}, {}
        for name in self._points:
            look = self.look(role(name))
            mark = figures.MARKERS[role(name)]
            self._dots[name] = axis.plot([], [], mark, markersize=5, **look)[0]
            ink = {**self.look(role(name), text=True), "fontsize": 7, "ha": "left"}
            ink |= {"va": "bottom", "rotation": 30, "rotation_mode": "anchor"}
            self._labels[name] = axis.text(1, 2, "", **ink)
        for ghost in (False, True):
            line = self.look("alone", ghost=ghost)
            front = self.look("extra", ghost=ghost)
            front["color"] = figures.GHOST
            ring = {**self.look("alone", ghost=ghost), "markersize": 13, "fillstyle": "none"}
            self._lines[ghost] = (
                axis.plot([], [], linestyle="--", **line)[0],
                axis.plot([], [], linestyle=":" if ghost else "-", linewidth=1, **front)[0],
                axis.plot([], [], "o", **ring)[0],
            )

    def move(self, state: State, ghost: bool) -> None:
        points, places = self._shown_points(state), self._relative[state["cost"]]
        budget, front, ring = self._lines[ghost]
        budget.set_data([state["budget"]] * 2, [1.3, 14])
        names = pareto(points)
        front.set_data([places[n] for n in names], [points[n][1] for n in names])
        best = self.chosen(state)
        ring.set_data(([places[best]], [points[best][1]]) if best else ([], []))
        if ghost:
            return
        for name, dot in self._dots.items():
            shown = name in points
            dot.set_data(([places[name]], [self._points[name].error.mean]) if shown else ([], []))
            label = self._labels[name]
            label.set_text(name.removesuffix(", distilled") if shown and name in names else "")
            label.set_position((places[name] * 1.03, self._points[name].error.mean * 1.05))

    def sentence(self, state: State) -> str:
        points, limit = self._shown_points(state), self.limit(state)
        best = self.chosen(state)
        within = sum(spent <= limit for spent, _ in points.values())
        where = f"Within {limit:,.0f} {state['cost']}"
        if best is None:
            return f"{where}: none of these networks."
        error = self._points[best].error
        rivals = [name for name, (spent, _) in points.items() if spent <= limit and name != best]
        near = [name for name in rivals if self._points[name].error.low <= error.high]
        also = f" Its interval overlaps with that of {', '.join(near)}." if near else ""
        return f"{where}: {within} networks; {best} has the lowest error, {error:.1f} %.{also}"

    def formula(self, state: State) -> str:
        budget = self.symbol(f"{state['budget']:g} %", "alone")
        return f"lowest error with cost ≤ budget, budget = {budget} of the teacher's"
