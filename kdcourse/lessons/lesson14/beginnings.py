"""How many digits a student reads, by what it imitates, where it begins and how long it learns."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State
from kdcourse.lessons.lesson14.pairs import LENGTHS, MS, grid
from kdcourse.lessons.lesson14.stored import Row

ROLES = {"same": "taught", "other": "alone"}


class Beginnings(Explorer):
    """Digits read against auxiliary outputs: one start in colour, the other one beside it.

    students: name of a row (`table.grid`) → Row.
    """

    def __init__(self, students: Mapping[str, Row]) -> None:
        asked = [grid(start, m, n) for start in ROLES for m in MS for n in LENGTHS]
        missing = [name for name in asked if name not in students]
        if missing:
            raise ValueError(f"no students {missing[0]!r}; expected each start, m and length")
        self._rows = dict(students)
        super().__init__(
            controls={"m": list(MS), "start": list(ROLES), "epochs": list(LENGTHS)},
            start={"m": 10, "start": "same", "epochs": LENGTHS[-1]},
            situations={
                "as published, m = 3": {"m": 3, "start": "same"},
                "another start": {"m": 20, "start": "other"},
                "one epoch": {"m": 20, "epochs": LENGTHS[0]},
            },
            notes={"m": "auxiliary outputs", "start": "the teacher's first weights, or others"},
            title="Digits that noise teaches",
            height=330,
        )

    def row(self, state: State, start: str | None = None) -> Row:
        """The students of a state, or of this start in its place."""
        return self._rows[grid(start or state["start"], state["m"], state["epochs"])]

    def setup(self, figure: Figure) -> None:
        axis = figure.add_subplot()
        axis.set(xlim=(-0.5, len(MS) - 0.5), ylim=(0, 100), ylabel="digits right, %")
        axis.set_xticks(range(len(MS)), [str(m) for m in MS])
        axis.set_xlabel("auxiliary outputs that the student imitates, m")
        axis.axhline(10, color=figures.GHOST, linewidth=0.8)
        axis.text(-0.45, 2.5, "guessing", fontsize=8.5, color=figures.INKS["alone"])
        best = self._rows["teacher"].interval.mean if "teacher" in self._rows else 90
        axis.axhline(best, color=figures.COLOURS["teacher"], linestyle=figures.DASHES["teacher"])
        axis.text(
            -0.45, best + 1.5, f"teacher {best:.1f}", fontsize=8.5, color=figures.INKS["teacher"]
        )
        self._lines, self._dots, self._rings, self._labels = {}, {}, {}, {}
        for ghost in (False, True):
            for start, role in ROLES.items():
                look = self.look(role, ghost=ghost)
                dash = {"linestyle": figures.DASHES[role], "marker": figures.MARKERS[role]}
                self._lines[ghost, start] = axis.plot([], [], markersize=4, **dash, **look)[0]
            ring = {**self.look("extra", ghost=ghost), "markersize": 15, "fillstyle": "none"}
            self._rings[ghost] = axis.plot([], [], "o", markeredgewidth=1.8, **ring)[0]
        for start, role in ROLES.items():
            self._dots[start] = axis.plot([], [], "_", markersize=11, **self.look(role))[0]
            ink = {**self.look(role, text=True), "fontsize": 8.5, "ha": "center", "va": "bottom"}
            self._labels[start] = axis.text(0, 0, "", **ink)

    def move(self, state: State, ghost: bool) -> None:
        place = list(MS).index(state["m"])
        for start in ROLES:
            line = self._lines[ghost, start]
            means = [self.row({**state, "m": m}, start).interval.mean for m in MS]
            line.set_data(range(len(MS)), means)
            if ghost:
                continue
            chosen = start == state["start"]
            line.set_linewidth(2.4 if chosen else 0.9)
            seeds = self.row(state, start).right
            self._dots[start].set_data([place] * len(seeds), seeds)
            self._dots[start].set_visible(chosen)
            self._labels[start].set_position((len(MS) - 1.5, (means[-2] + means[-1]) / 2 + 4))
            self._labels[start].set_text(f"{start} start")
        self._rings[ghost].set_data([place], [self.row(state).interval.mean])

    def sentence(self, state: State) -> str:
        row = self.row(state)
        rival = "other" if state["start"] == "same" else "same"
        words = {"same": "the teacher's first weights", "other": "other first weights"}
        beside = self.row(state, rival).interval.mean
        outputs = "1 output" if state["m"] == 1 else f"{state['m']} outputs"
        epochs = "1 epoch" if state["epochs"] == 1 else f"{state['epochs']} epochs"
        return (
            f"{outputs}, {epochs}, {words[state['start']]}: {row.interval:.1f} % of the digits "
            f"right, {len(row.right)} seeds; with {words[rival]} {beside:.1f} %."
        )

    def formula(self, state: State) -> str:
        m = self.symbol(f"{state['m']}", ROLES[state["start"]])
        return f"KL(p ‖ q) over {m} auxiliary outputs, averaged over noise images"
