"""Two clouds of features under one weight: do they meet, and does a class disappear?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import MARKERS
from kdlib.data import Examples
from kdlib.models import evaluating, observe

ROLES = {"source": "teacher", "target": "taught"}


class Clouds(Explorer):
    """Slide lam, the weight of a term that moves the target's cloud; the error stands beside.

    lam: the L weights. source, target: term → (L, n, 2) and (L, m, 2), features of each trained
    network in one fixed plane. counts: term → (L, classes), how often each class is the answer to
    the target's images. errors: term → (L,), target error in percent, of n_test images.
    shares: term → (classes,), how the images divide among the classes in truth. losses: term → the
    loss in words, with {lam} where the weight stands. start: the first state.
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
        shares: Mapping[str, Any],
        losses: Mapping[str, str],
        start: Mapping[str, Any] | None = None,
        title: str = "Two clouds, and what the answers become",
    ) -> None:
        self._lam, self._n_test = list(lam), n_test
        self._points = {"source": _arrays(source), "target": _arrays(target)}
        self._counts, self._errors = _arrays(counts), _arrays(errors)
        self._shares, self._losses = _arrays(shares), dict(losses)
        tables = [*self._points.values(), self._counts, self._errors]
        named: list[Mapping[str, Any]] = [*tables, self._shares, self._losses]
        if any(table.keys() != self._counts.keys() for table in named):
            raise ValueError(
                "source, target, counts, errors, shares and losses must speak of the same terms"
            )
        for term in self._counts:
            lengths = [len(table[term]) for table in tables]
            if set(lengths) != {len(self._lam)}:
                raise ValueError(f"{term}: {lengths} results for {len(self._lam)} values of lam")
        terms = list(self._counts)
        super().__init__(
            controls={"lam": self._lam, "term": terms},
            start={"lam": self._lam[0], "term": terms[0], **(start or {})},
            situations={f"{term}, {written(self._lam[-1])}": self._far(term) for term in terms},
            notes={"lam": "weight of the term (λ)", "term": "what it is the weight of"},
            title=title,
        )

    def _far(self, term: str) -> dict[str, Any]:
        return {"lam": self._lam[-1], "term": term}

    def counts(self, state: State) -> np.ndarray:
        """How often each class is the answer on the target, (classes,)."""
        return np.asarray(self._counts[state["term"]][self._lam.index(state["lam"])])

    def percent(self, state: State) -> np.ndarray:
        """The same as shares of all answers, in percent."""
        counts = self.counts(state)
        return 100 * counts / counts.sum()

    def error(self, state: State) -> float:
        """Target error in percent."""
        return float(self._errors[state["term"]][self._lam.index(state["lam"])])

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
        heights = [100 * t / t.sum(-1, keepdims=True) for t in self._counts.values()]
        highest = max(float(height.max()) for height in heights)
        right.set(xlim=(-0.7, classes - 0.3), ylim=(0, 1.15 * highest), xticks=range(classes))
        right.set(xlabel="class", ylabel="share of the answers, %")
        words: dict[str, Any] = {"va": "top", "ha": "right", "fontsize": 8.5}
        right.text(0.99, 0.99, "black: the truth", transform=right.transAxes, **words)
        ink = {**words, "fontsize": 9.5, **self.look("taught", text=True)}
        self._error = left.text(0.98, 0.99, "", transform=left.transAxes, **ink)
        at = np.arange(classes)
        faint = {**self.look("taught", ghost=True), "color": "#D9D9D9"}
        self._bars = {
            True: right.bar(at - 0.12, 0, 0.6, **faint),
            False: right.bar(at + 0.12, 0, 0.5, **self.look("taught")),
        }
        look = {**self.look("taught"), "color": "#222222", "zorder": 4}
        self._truth = right.plot([], [], "_", markersize=13, markeredgewidth=1.6, **look)[0]

    def move(self, state: State, ghost: bool) -> None:
        for domain in ROLES:
            self._dots[domain, ghost].set_data(*self.cloud(domain, state).T)
        for bar, height in zip(self._bars[ghost], self.percent(state), strict=True):
            bar.set_height(height)
        if not ghost:
            self._error.set_text(f"target error {self.error(state):.1f} %")
            shares = self._shares[state["term"]]
            self._truth.set_data(np.arange(len(shares)), 100 * shares / shares.sum())

    def sentence(self, state: State) -> str:
        counts = self.counts(state)
        even = counts.sum() / len(counts)
        gone = [str(c) for c in np.flatnonzero(counts < 0.1 * even)]
        if len(gone) == len(counts) - 1:
            said = f"(nearly) every image is called {int(counts.argmax())}"
        elif gone:
            who = f"class {gone[0]} has" if len(gone) == 1 else f"classes {', '.join(gone)} have"
            said = f"{who} (nearly) disappeared from the answers"
        else:
            said = f"every class is used, the rarest {int(counts.min())} times"
        return (
            f"{state['term']}, λ = {written(state['lam'])}: the target error is "
            f"{self.error(state):.1f} % of {self._n_test:,} images; {said}; the centres of the "
            f"clouds are {self.gap(state):.2f} radii apart."
        )

    def formula(self, state: State) -> str:
        lam = self.symbol(written(state["lam"]), "taught")
        return "loss = " + self._losses[state["term"]].format(lam=lam)


def in_one_plane(
    moved: Mapping[str, Sequence[nn.Module]],
    source: Examples,
    target: Examples,
    *,
    first: nn.Module,
) -> list[dict[str, np.ndarray]]:
    """Features of all networks, for source and target: term → (L, n, 2).

    The plane is that of the two main directions of both clouds in the network `first`.
    """
    f = torch.cat([_features(first, part) for part in (source, target)])
    plane = torch.linalg.svd(f - f.mean(0)).Vh[:2].T
    return [
        {
            term: torch.stack([(_features(net, part) - f.mean(0)) @ plane for net in nets]).numpy()
            for term, nets in moved.items()
        }
        for part in (source, target)
    ]


def _features(network: nn.Module, images: Examples) -> torch.Tensor:
    with evaluating(network):
        return observe(network, images.batch().x, ["embedding"]).features["embedding"]


def _arrays(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(table, dtype=float) for name, table in given.items()}
