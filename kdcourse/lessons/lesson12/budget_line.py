"""A budget line to move over the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State
from kdcourse.lessons.lesson12.front import AXES, Point, near, on, pareto, role, winner

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
        axis.set(xlim=(min([*shares, 2]) / 3, max([*shares, 1000]) * 1.5), ylim=(1.3, 14))
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
            if name.endswith("int8"):
                self._dots[name].set_markerfacecolor("white")
            ink = {**self.look(role(name), text=True), "fontsize": 7, "ha": "right"}
            ink |= {"va": "top", "rotation": 30, "rotation_mode": "anchor"}
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
            label.set_position((places[name] * 0.95, self._points[name].error.mean * 0.97))

    def sentence(self, state: State) -> str:
        points, limit = self._shown_points(state), self.limit(state)
        best = self.chosen(state)
        within = sum(spent <= limit for spent, _ in points.values())
        where = f"Within {limit:,.0f} {state['cost']}"
        kind = "MLPs" if state["networks"] == "MLPs" else "networks, CNNs too"
        if best is None:
            return f"{where}: none of these {kind}."
        error = self._points[best].error
        rivals = near(self._points, points, best, limit)
        also = f" Its interval overlaps with that of {', '.join(rivals)}." if rivals else ""
        return f"{where}: {within} {kind}; {best} has the lowest error, {error:.1f} %.{also}"

    def formula(self, state: State) -> str:
        budget = self.symbol(f"{state['budget']:g} %", "alone")
        return f"lowest error with cost ≤ budget, budget = {budget} of the teacher's"
