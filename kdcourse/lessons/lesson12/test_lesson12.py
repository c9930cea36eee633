"""Notebook 12: its checkers accept the right and reject the wrong; its explorer, swept whole."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson12 import exercises, front, stored, table
from kdcourse.lessons.lesson12.budget_line import BUDGETS, Front
from kdcourse.lessons.lesson12.front import AXES, Point, pareto, winner
from kdlib.compression import Cost, Latency
from kdlib.metrics import Interval

# ---- exercises -----------------------------------------------------------------------------------


def masks(weights: dict[str, Tensor], amount: float) -> dict[str, Tensor]:
    every = torch.cat([w.abs().flatten() for w in weights.values()])
    threshold = every.kthvalue(round(amount * len(every))).values
    return {name: w.abs() > threshold for name, w in weights.items()}


def masks_by_sorting(weights: dict[str, Tensor], amount: float) -> dict[str, Any]:
    every = np.concatenate([np.abs(np.asarray(w)).ravel() for w in weights.values()])
    stays = np.ones(len(every), bool)
    stays[np.argsort(every)[: round(amount * len(every))]] = False
    parts = np.split(stays, np.cumsum([w.numel() for w in weights.values()])[:-1])
    return {n: p.reshape(tuple(w.shape)) for (n, w), p in zip(weights.items(), parts, strict=True)}


def each_layer(weights: dict[str, Tensor], amount: float) -> dict[str, Tensor]:
    return {name: masks({name: w}, amount)[name] for name, w in weights.items()}


def signed(weights: dict[str, Tensor], amount: float) -> dict[str, Tensor]:
    every = torch.cat([w.flatten() for w in weights.values()])
    threshold = every.kthvalue(round(amount * len(every))).values
    return {name: w > threshold for name, w in weights.items()}


def unbeaten(points: dict[str, tuple[float, float]]) -> list[str]:
    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    return [n for n, p in points.items() if not any(beats(q, p) for q in points.values())]


def by_cost(points: dict[str, tuple[float, float]]) -> set[str]:
    found, best = set(), float("inf")
    for cost in sorted({p[0] for p in points.values()}):
        least = min(p[1] for p in points.values() if p[0] == cost)
        if least < best:
            found |= {n for n, p in points.items() if p == (cost, least)}
            best = least
    return found


def strictly(points: dict[str, tuple[float, float]]) -> list[str]:
    """Beaten only where another is strictly lower in both."""
    every = points.values()
    return [n for n, (c, e) in points.items() if not any(a < c and b < e for a, b in every)]


def trained(
    W: Tensor, gradient: Any, amount: float, lr: float, steps: int, **faults: bool
) -> Tensor:
    size = W if faults.get("signed") else W.abs()
    mask = size > size.flatten().kthvalue(round(amount * W.numel())).values
    if faults.get("in_place"):
        W *= mask
    V = W * mask
    for _ in range(steps):
        slope = gradient(W if faults.get("dense") else V)
        V = V - lr * slope * (1 if faults.get("revive") else mask)
    return V


def masked_after(W: Tensor, gradient: Any, amount: float, lr: float, steps: int) -> Any:
    mask = W.abs() > W.abs().flatten().kthvalue(round(amount * W.numel())).values
    V = W * mask
    for _ in range(steps):
        V = (V - lr * gradient(V)) * mask
    return V.numpy()


RIGHT = [
    (exercises.global_masks, masks),
    (exercises.global_masks, masks_by_sorting),
    (exercises.global_masks, lambda w, a: {n: m.tolist() for n, m in masks(w, a).items()}),
    (exercises.global_masks, lambda w, a: {n: m.float() for n, m in masks(w, a).items()}),
    (exercises.not_beaten, unbeaten),
    (exercises.not_beaten, by_cost),
    (exercises.not_beaten, lambda points: tuple(reversed(unbeaten(points)))),
    (exercises.mended_training, trained),
    (exercises.mended_training, masked_after),
    (exercises.mended_training, lambda *given: trained(*given).tolist()),
]
WRONG = {
    "each layer its threshold": (exercises.global_masks, each_layer, "torch.cat"),
    "signed": (exercises.global_masks, signed, "weight.abs()"),
    "upside down": (
        exercises.global_masks,
        lambda w, a: {n: ~m for n, m in masks(w, a).items()},
        "the other way round",
    ),
    "flat": (
        exercises.global_masks,
        lambda w, a: {n: m.flatten() for n, m in masks(w, a).items()},
        "shaped like the weights",
    ),
    "one too few": (
        exercises.global_masks,
        lambda w, a: masks(w, a - 1 / 12),
        "one row first",
    ),
    "the best only": (
        exercises.not_beaten,
        lambda points: [min(points, key=lambda n: points[n][1])],
        "only if ONE other",
    ),
    "all": (exercises.not_beaten, lambda points: list(points), "with every other"),
    "strictly in both": (exercises.not_beaten, strictly, "< in at least one"),
    "beaten by itself": (
        exercises.not_beaten,
        lambda p: [n for n, a in p.items()
                   if not any(m != n and b[0] <= a[0] and b[1] <= a[1] for m, b in p.items())],
        "no defeat",
    ),
    "points, not names": (exercises.not_beaten, lambda points: points.values(), "Return names"),
    "as printed": (
        exercises.mended_training,
        lambda *g: trained(*g, signed=True, in_place=True, revive=True),
        "writes into the teacher",
    ),
    "signed threshold": (
        exercises.mended_training,
        lambda *g: trained(*g, signed=True),
        "W.abs()",
    ),
    "in place": (
        exercises.mended_training,
        lambda *g: trained(*g, in_place=True),
        "writes into the teacher",
    ),
    "zeros come back": (
        exercises.mended_training,
        lambda *g: trained(*g, revive=True),
        "in every step",
    ),
    "no step": (
        exercises.mended_training,
        lambda W, gradient, amount, lr, steps: trained(W, gradient, amount, lr, 0),
        "still moves",
    ),
    "gradient of the dense weights": (
        exercises.mended_training,
        lambda *g: trained(*g, dense=True),
        "zeros included",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


# ---- the explorer --------------------------------------------------------------------------------


def point(size: float, error: float) -> Point:
    time = Latency(size, size - 1, size + 1)
    spent = Cost(int(size), int(size), int(1000 * size), int(900 * size), int(size), time, time)
    return Point(spent, int(100 * size), Interval(error, error - 0.2, error + 0.2))


POINTS = {
    "teacher": point(1000, 3.2),
    "channels 80 %": point(150, 4.1),
    "mlp(100), distilled": point(300, 4.0),
    "mlp(8), distilled": point(25, 11.0),
    "cnn(16)": point(100, 1.8),
}


def test_the_explorer_is_drawn_in_every_state() -> None:
    assert Front(POINTS).sweep() == len(AXES) * len(BUDGETS) * 2


def test_the_winner_is_within_the_budget_and_the_best() -> None:
    shown = Front(POINTS)
    shown.set(cost="zipped kB", budget=20.0, networks="MLPs")
    assert shown.chosen(shown.state) == "channels 80 %"
    assert "Within 180 zipped kB: 2 MLPs; channels 80 %" in shown.sentence(shown.state)
    shown.set(networks="all")
    assert shown.chosen(shown.state) == "cnn(16)"
    shown.set(budget=2.0)
    assert shown.chosen(shown.state) is None and "none of these" in shown.sentence(shown.state)
    shown.set(budget=50.0, networks="MLPs")
    assert "overlaps with that of channels 80 %" in shown.sentence(shown.state)
    assert "50 %" in shown.formula(shown.state)
    with pytest.raises(ValueError, match="expected the teacher's and others'"):
        Front({"a": POINTS["teacher"]})


def test_the_front_agrees_with_the_exercise() -> None:
    points = front.on(POINTS, "kB")
    assert set(pareto(points)) == set(unbeaten(points)) == {"mlp(8), distilled", "cnn(16)"}
    assert winner(points, 99) == "mlp(8), distilled" and winner(points, 1) is None


def test_a_winner_is_marked_where_another_interval_overlaps() -> None:
    places = list(AXES).index("zipped kB")
    assert front.winners(POINTS, 50)[places] == "cnn(16) (mlp(100), distilled ≈)"
    assert front.winners(POINTS, 20)[places] == "cnn(16) (channels 80 %)"
    assert front.winners(POINTS, 1)[places] == "–"
    assert front.role(front.FRESH) != front.role("mlp(100), distilled")


def test_what_is_stored_is_whole() -> None:
    ways = stored.ways()
    assert set(front.ROWS.values()) <= set(ways)
    assert all(len(way.errors) == len(table.SEEDS) for way in ways.values())
    for first, second in table.PAIRS:
        saved, means = stored.saved(first, second), [ways[n].error.mean for n in (first, second)]
        assert saved.mean == pytest.approx(means[0] - means[1], abs=1e-3)
    with pytest.raises(KeyError, match="no difference"):
        stored.saved("teacher", "nothing")
