"""Direction × prefixes and warm-up × number of sequences: three scores at once."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State
from kdcourse.lessons.lesson13 import stored, table
from kdcourse.lessons.lesson13.students import FRESH, KEYS, WARM

SITUATIONS: dict[str, dict[str, Any]] = {
    "given, from scratch": {"own": False, "warm": 0.0},
    "given, after warm-up": {"own": False, "warm": WARM},
    "own, from scratch": {"own": True, "warm": 0.0},
    "own, after warm-up": {"own": True, "warm": WARM},
}
_TOPS = {"share": 1.0, "coverage": 1.0, "kl": 22.0}


class Directions(Explorer):
    """Share, coverage and KL against the number of sequences; one line for a recipe."""

    def __init__(self) -> None:
        super().__init__(
            controls={
                "direction": list(table.DIRECTIONS),
                "prefixes": list(SITUATIONS),
                "sequences": list(table.COUNTS),
            },
            start={"direction": 1.0, "prefixes": "own, after warm-up", "sequences": 24},
            situations={
                "collapse": {"direction": 1.0, "prefixes": "own, from scratch"},
                "learned by heart": {
                    "direction": 0.0, "prefixes": "given, after warm-up", "sequences": 24
                },
                "seeks": {
                    "direction": 1.0, "prefixes": "given, after warm-up", "sequences": FRESH
                },
            },
            notes={
                "direction": "0 forward, 1 reverse",
                "prefixes": "whose, and from when",
                "sequences": "19,200: each is read once",
            },
            title="Which recipe?",
            height=320,
        )  # fmt: skip

    def cell(self, state: State, n: int | None = None) -> dict[str, Any]:
        """The stored row of a state, or the same with n sequences."""
        where = SITUATIONS[state["prefixes"]]
        count = state["sequences"] if n is None else n
        if where == SITUATIONS["own, from scratch"]:
            count = FRESH  # it reads no given sequence at all
        return stored.grid(n=count, direction=state["direction"], **where)

    def setup(self, figure: Figure) -> None:
        self._artists: dict[bool, list[tuple[Any, Any]]] = {False: [], True: []}
        for key, axis in zip(KEYS, figure.subplots(1, 3), strict=True):
            axis.set(xscale="log", ylim=(-0.03 * _TOPS[key], _TOPS[key]), xlim=(16, 30_000))
            axis.set_title("KL, nats" if key == "kl" else key)
            axis.set_xlabel("sequences (log)")
            axis.set_xticks(table.COUNTS, ["24", "128", "19,200"], fontsize=8)
            axis.set_xticks([], minor=True)
            for ghost in (True, False):
                look = self.look("taught", ghost=ghost)
                line = axis.plot([], [], linestyle=":" if ghost else "-", linewidth=1.2, **look)[0]
                dots = axis.plot([], [], figures.MARKERS["taught"], markersize=5, alpha=0.6, **look)
                self._artists[ghost].append((line, dots[0]))

    def move(self, state: State, ghost: bool) -> None:
        rows = [self.cell(state, n) for n in table.COUNTS]
        here = self.cell(state)
        for key, (line, dots) in zip(KEYS, self._artists[ghost], strict=True):
            line.set_data(table.COUNTS, [sum(row[key]) / len(row[key]) for row in rows])
            dots.set_data([state["sequences"]] * len(here[key]), here[key])

    def sentence(self, state: State) -> str:
        row = self.cell(state)
        share, coverage, kl = (stored.mean(row, key).mean for key in KEYS)
        start = f"{state['prefixes']}, r = {state['direction']:g}, {state['sequences']:,} sequences"
        unread = " (never read)" if state["prefixes"] == "own, from scratch" else ""
        same = state["direction"] == 0 and state["prefixes"] == "given, from scratch"
        also = " The warm-up is forward KL as well, so here it changes nothing." if same else ""
        return (
            f"{start}{unread}: share {share:.2f}, coverage {coverage:.2f}, KL {kl:.1f} nats "
            f"(five students, grammar 0).{also}"
        )

    def formula(self, state: State) -> str:
        r = self.symbol(f"{state['direction']:g}", "taught")
        return f"(1 − r) · KL(p ‖ q) + r · KL(q ‖ p), r = {r}"
