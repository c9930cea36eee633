"""Two clouds in the plane: what Euclidean, cosine and Mahalanobis distance see of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import MARKERS
from kdlib.distances import cosine_distance, euclidean, mahalanobis

ANGLES = (0, 15, 30, 45, 60, 75, 90)
STRETCHES = (1, 2, 4, 8)
ORIGINS = (2, 4, 8)
STEP = 2.0  # the length of the line between the means, in every state
SIZE = 0.6  # standard deviation of a round cloud
LEAST = 0.003  # of the axis; shorter is drawn there
_ROLES = {"euclidean": "teacher", "cosine": "extra", "mahalanobis": "taught"}
_START = {"angle": 90, "stretch": 4, "origin": 4}  # where the three distances differ


class MeanDistances(Explorer):
    """Two clouds whose means stay 2 apart while everything else about them moves.

    angle: degrees between the line of the means and the clouds' long axis. stretch: variance along
    that axis over the one across; their product stays. origin: how far away the origin lies.
    count: points drawn of each cloud.
    """

    def __init__(self, *, count: int = 80, seed: int = 0, title: str = "Three distances") -> None:
        if count < 4:
            raise ValueError(f"count={count}: a cloud of at least 4 points has a covariance")
        generator = torch.Generator().manual_seed(seed)
        self._round = [_whitened(count, generator) for _ in range(2)]
        super().__init__(
            controls={"angle": ANGLES, "stretch": STRETCHES, "origin": ORIGINS},
            start=_START,
            situations={
                "round": {"stretch": 1},
                "along the spread": {"angle": 0, "stretch": 8},
                "across it": {"angle": 90, "stretch": 8},
                "far from the origin": {"origin": 8},
            },
            notes={
                "angle": "degrees, line of the means against the long axis",
                "stretch": "variance along over across",
                "origin": "how far the clouds lie from 0",
            },
            title=title,
            height=340,
        )

    def clouds(self, state: State) -> tuple[Tensor, Tensor]:
        """Both clouds of a state, (count, 2) each, exact in mean and covariance."""
        turn, far = math.radians(state["angle"]), state["origin"] / math.sqrt(2)
        spread = torch.tensor([math.sqrt(state["stretch"]), 1], dtype=torch.float64)
        spread = SIZE * spread / state["stretch"] ** 0.25
        middle = torch.tensor([far, far], dtype=torch.float64)
        half = STEP / 2 * torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64)
        f_a, f_b = (cloud * spread + middle for cloud in self._round)
        return f_a - half, f_b + half

    def distances(self, state: State) -> dict[str, float]:
        """The three distances, Mahalanobis without shrinkage."""
        f_a, f_b = self.clouds(state)
        return {
            "euclidean": float(euclidean(f_a, f_b)),
            "cosine": float(cosine_distance(f_a, f_b)),
            "mahalanobis": float(mahalanobis(f_a, f_b, shrinkage=0)),
        }

    def setup(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1])
        left.set(xlim=(-1.5, 9), ylim=(-1.5, 8), aspect="equal", xlabel="feature 1")
        left.set_ylabel("feature 2")
        left.plot([0], [0], "+", color="#222222", markersize=10)
        left.annotate("origin", (0, 0), (6, -10), textcoords="offset points", fontsize=8.5)
        self._points, self._rays = {}, {}
        for ghost in (True, False):
            for k, role in enumerate(("teacher", "alone")):
                look = self.look(role, ghost=ghost)
                dots = {"marker": MARKERS[role], "linestyle": "none", "alpha": 0.5}
                self._points[ghost, k] = left.plot([], [], markersize=3, **dots, **look)[0]
                self._rays[ghost, k] = left.plot([], [], linewidth=1.4, **look)[0]
        names = list(_ROLES)
        right.set_xscale("log")
        right.set(xlim=(LEAST / 1.3, 40), ylim=(2.6, -0.6), xlabel="distance between the means")
        right.set_yticks(range(3), names)
        right.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
        right.set_xticks([], minor=True)
        right.grid(False)
        self._marks, self._numbers = {}, []
        for ghost in (True, False):
            for k, name in enumerate(names):
                look = self.look(_ROLES[name], ghost=ghost)
                mark = {"marker": MARKERS[_ROLES[name]], "linestyle": "none", "markersize": 9}
                self._marks[ghost, k] = right.plot([], [], **mark, **look)[0]
        for name in names:
            style = {**self.look(_ROLES[name], text=True), "fontsize": 8.5, "va": "center"}
            self._numbers.append(right.text(1, 0, "", **style))

    def move(self, state: State, ghost: bool) -> None:
        for k, cloud in enumerate(self.clouds(state)):
            self._points[ghost, k].set_data(*cloud.T.numpy())
            mean = cloud.mean(0).numpy()
            self._rays[ghost, k].set_data([0, mean[0]], [0, mean[1]])
        for k, value in enumerate(self.distances(state).values()):
            where = max(value, LEAST)
            self._marks[ghost, k].set_data([where], [k])
            if not ghost:
                self._numbers[k].set_position((where * 1.5, k))
                self._numbers[k].set_text(f"{value:.2f}")

    def sentence(self, state: State) -> str:
        said = self.distances(state)
        return (
            f"The means are {said['euclidean']:.2f} apart (Euclidean); seen from the origin they "
            f"differ by {said['cosine']:.2f} (cosine), and in units of the clouds' own spread by "
            f"{said['mahalanobis']:.2f} (Mahalanobis)."
        )

    def formula(self, state: State) -> str:
        variances = SIZE**2 * np.array([state["stretch"] ** 0.5, state["stretch"] ** -0.5])
        S = self.symbol(f"diag({variances[0]:.2f}, {variances[1]:.2f})", "taught")
        delta = self.symbol("δ", "teacher")
        angle = self.symbol(written(state["angle"]) + "°", "teacher")
        return f"√({delta}ᵀ S⁻¹ {delta}), S = {S}, {delta} of length 2 at {angle}"


def _whitened(count: int, generator: torch.Generator) -> Tensor:
    """A round cloud (count, 2) with mean 0 and covariance 1, exactly."""
    points = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    points = points - points.mean(0)
    root = torch.linalg.cholesky(points.T @ points / (count - 1))
    return torch.linalg.solve_triangular(root, points.T, upper=False).T
