"""Two clouds of features under one weight: do they meet, and does a class disappear?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import MARKERS

ROLES = {"source": "teacher", "target": "taught"}


class Clouds(Explorer):
    """Slide lam, the weight of a term that moves the target's cloud.

    lam: the L weights. source, target: term → (L, n, 2) and (L, m, 2), features of each trained
    network in one fixed plane. counts: term → (L, classes), how often each class is the answer to
    the target's images. errors: term → (L,), target error in percent, of n_test images.
    """

    def __init__(
        self,
        lam: Sequence[float],
        source: Mapping[str, Any],
        target: Mapping[str, Any],
        counts: Mapping[str, Any],
        errors: Mapping[str, Any],
        *,
        n_test: int,
        title: str = "Two clouds, and what the answers become",
    ) -> None:
        self._lam, self._n_test = list(lam), n_test
        self._points = {"source": _arrays(source), "target": _arrays(target)}
        self._counts, self._errors = _arrays(counts), _arrays(errors)
        tables = [*self._points.values(), self._counts, self._errors]
        if any(table.keys() != self._counts.keys() for table in tables):
            raise ValueError("source, target, counts and errors must speak of the same terms")
        for term in self._counts:
            lengths = [len(table[term]) for table in tables]
            if set(lengths) != {len(self._lam)}:
                raise ValueError(f"{term}: {lengths} results for {len(self._lam)} values of lam")
        terms = list(self._counts)
        super().__init__(
            controls={"lam": self._lam, "term": terms},
            start={"lam": self._lam[0], "term": terms[0]},
            situations={f"{term}, {written(self._lam[-1])}": self._far(term) for term in terms},
            notes={"lam": "weight of the term (λ)", "term": "what is added to the source's labels"},
            title=title,
        )

    def _far(self, term: str) -> dict[str, Any]:
        return {"lam": self._lam[-1], "term": term}

    def counts(self, state: State) -> np.ndarray:
        """How often each class is the answer on the target, (classes,)."""
        return np.asarray(self._counts[state["term"]][self._lam.index(state["lam"])])

    def cloud(self, domain: str, state: State) -> np.ndarray:
        """The points of "source" or "target", (n, 2)."""
        return np.asarray(self._points[domain][state["term"]][self._lam.index(state["lam"])])

    def gap(self, state: State) -> float:
        """Distance between the centres, in mean radii of the clouds."""
        a, b = (self.cloud(domain, state) for domain in ROLES)
        radius = np.mean([np.sqrt((f - f.mean(0)).var(0).sum()) for f in (a, b)])
        return float(np.linalg.norm(a.mean(0) - b.mean(0)) / max(radius, 1e-12))

    # ---- the picture -------------------------------------------------------------------------

    def setup(self, figure: Figure) -> None:
        grid = figure.add_gridspec(1, 2, width_ratios=[1.25, 1])
        left, right = (figure.add_subplot(grid[0, k]) for k in (0, 1))
        tables = [t.reshape(-1, 2) for clouds in self._points.values() for t in clouds.values()]
        low, high = np.quantile(np.concatenate(tables), [0.002, 0.998], axis=0)
        room = 0.06 * (high - low)
        left.set(xlim=(low[0] - room[0], high[0] + room[0]), xticks=[], yticks=[])
        left.set(
            ylim=(low[1] - room[1], high[1] + 3 * room[1]), xlabel="features, in a fixed plane"
        )
        left.grid(False)
        self._dots: dict[tuple[str, bool], Any] = {}
        for domain, role in ROLES.items():
            for ghost in (True, False):
                look = self.look(role, ghost=ghost)
                self._dots[domain, ghost] = left.plot(
                    [], [], MARKERS[role], markersize=2.6, alpha=0.55, markeredgewidth=0, **look
                )[0]
        for k, (domain, role) in enumerate(ROLES.items()):
            ink = self.look(role, text=True)["color"]
            left.text(0.02 + 0.2 * k, 0.99, domain, transform=left.transAxes, va="top", color=ink)
        classes = len(next(iter(self._counts.values()))[0])
        total = int(next(iter(self._counts.values()))[0].sum())
        highest = max(float(table.max()) for table in self._counts.values())
        right.set(xlim=(-0.7, classes - 0.3), ylim=(0, 1.15 * highest), xticks=range(classes))
        right.set(xlabel="class", ylabel=f"answers to {total:,} target images")
        right.axhline(total / classes, color="#666666", linewidth=0.8, linestyle=(0, (1, 2)))
        at = np.arange(classes)
        faint = {**self.look("taught", ghost=True), "color": "#D9D9D9"}
        self._bars = {
            True: right.bar(at - 0.12, 0, 0.6, **faint),
            False: right.bar(at + 0.12, 0, 0.5, **self.look("taught")),
        }

    def move(self, state: State, ghost: bool) -> None:
        for domain in ROLES:
            self._dots[domain, ghost].set_data(*self.cloud(domain, state).T)
        for bar, height in zip(self._bars[ghost], self.counts(state), strict=True):
            bar.set_height(height)

    def sentence(self, state: State) -> str:
        counts = self.counts(state)
        even = counts.sum() / len(counts)
        gone = [str(c) for c in np.flatnonzero(counts < 0.1 * even)]
        error = float(self._errors[state["term"]][self._lam.index(state["lam"])])
        if len(gone) == len(counts) - 1:
            said = f"(nearly) every image is called {int(counts.argmax())}"
        elif gone:
            who = f"class {gone[0]} has" if len(gone) == 1 else f"classes {', '.join(gone)} have"
            said = f"{who} (nearly) disappeared from the answers"
        else:
            said = f"every class is used, the rarest {int(counts.min())} times"
        return (
            f"With {written(state['lam'])} · {state['term']} the centres of the clouds are "
            f"{self.gap(state):.2f} radii apart, and {said}; the target error is {error:.1f} % "
            f"of {self._n_test:,} images."
        )

    def formula(self, state: State) -> str:
        lam = self.symbol(written(state["lam"]), "taught")
        return f"loss = CE(source) + lam · {state['term']}(target), lam = {lam}"


def _arrays(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(table, dtype=float) for name, table in given.items()}
