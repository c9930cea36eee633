"""Notebook 04: its checkers accept the right and reject the wrong; its explorer, swept whole."""

import math
import statistics
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.explorers import BankExplorer
from kdcourse.lessons.lesson04 import exercises, stored_rows
from kdlib import losses, metrics
from kdlib.bank import Bank
from kdlib.models import mlp
from kdlib.objectives import HardLabels, SoftTargets, Symbol


def by_hand(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    log_p, log_q = ((z / T).log_softmax(-1) for z in (z_t, z_s))
    return T**2 * (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def by_loop(z_s: Tensor, z_t: Tensor, temperatures: list[float]) -> float:
    best, where = -1.0, 0.0
    for T in temperatures:
        if by_hand(z_s, z_t, T) > best:
            best, where = float(by_hand(z_s, z_t, T)), T
    return where


def by_argmax(z_s: Tensor, z_t: Tensor, temperatures: list[float]) -> Tensor:
    heights = torch.stack([losses.soft_targets(z_s, z_t, T) for T in temperatures])
    return torch.tensor(temperatures)[heights.argmax()]


def first_fall(z_s: Tensor, z_t: Tensor, temperatures: list[float]) -> float:
    heights = [by_hand(z_s, z_t, T) for T in temperatures]
    for k in range(len(heights) - 1):
        if heights[k + 1] < heights[k]:
            return temperatures[k]
    return temperatures[-1]


def highest(loss: Any) -> Any:
    """hump() with another loss in place of T² · KL(p_T || q_T)."""
    return lambda z_s, z_t, temperatures: max(temperatures, key=lambda T: float(loss(z_s, z_t, T)))


def by_numpy(scores: dict[Any, list[float]], ddof: int = 1, root: bool = True) -> Any:
    means = [np.mean(errors) for errors in scores.values()]
    errors = list(scores.values())[int(np.argmin(means))]
    limit = min(means) + np.std(errors, ddof=ddof) / (len(errors) ** 0.5 if root else 1)
    return list(scores)[int(np.argmax(np.array(means) <= limit))]


def by_statistics(scores: dict[Any, list[float]]) -> Any:
    best = min(scores.values(), key=statistics.mean)
    limit = statistics.mean(best) + statistics.stdev(best) / math.sqrt(len(best))
    for setting, errors in scores.items():
        if statistics.mean(errors) <= limit:
            return setting
    raise AssertionError


def by_own_scatter(scores: dict[Any, list[float]]) -> Any:
    best = min(statistics.mean(errors) for errors in scores.values())
    for setting, errors in scores.items():
        if statistics.mean(errors) <= best + statistics.stdev(errors) / len(errors) ** 0.5:
            return setting
    return min(scores, key=lambda setting: statistics.mean(scores[setting]))


def loss(
    z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float,
    *, mean: bool = False, power: int = 2, swapped: bool = False, entropy: bool = False,
) -> Tensor:  # fmt: skip
    """The loss of exercise 3, with each of its mistakes to be switched on."""
    log_q, p = (z_s / T).log_softmax(-1), (z_t / T).softmax(-1)
    kl = -p * log_q if entropy else F.kl_div(log_q, p, reduction="none")
    soft = T**power * (kl.mean() if mean else kl.sum(-1).mean())
    hard = F.cross_entropy(z_s, y)
    return alpha * hard + (1 - alpha) * soft if swapped else (1 - alpha) * hard + alpha * soft


def the_library(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    hard = losses.hard_labels(z_s, y)
    return (1 - alpha) * hard + alpha * losses.soft_targets(z_s, z_t, T)


def both_whole(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    alone = F.cross_entropy(z_s, y) if alpha < 1 else 0.0
    return alone + alpha * losses.soft_targets(z_s, z_t, T)


Z_S, Z_T = exercises._Z_S, exercises._Z_T

RIGHT = [
    (exercises.hump, by_loop),
    (exercises.hump, by_argmax),
    (exercises.hump, highest(by_hand)),
    (exercises.simplest, metrics.one_standard_error),
    (exercises.simplest, by_numpy),
    (exercises.simplest, by_statistics),
    (exercises.mended_loss, loss),
    (exercises.mended_loss, the_library),
]
WRONG = {
    "the loss": (
        exercises.hump,
        lambda s, t, Ts: max(float(by_hand(s, t, T)) for T in Ts),
        "neither the loss there",
    ),
    "the place": (exercises.hump, lambda s, t, Ts: Ts.index(by_loop(s, t, Ts)) + 100, "its place"),
    "one a image": (
        exercises.hump,
        lambda s, t, Ts: [by_loop(s[k : k + 1], t[k : k + 1], Ts) for k in range(len(s))],
        "average the KL",
    ),
    "no T²": (exercises.hump, highest(lambda s, t, T: by_hand(s, t, T) / T**2), "factor T²"),
    "lowest": (
        exercises.hump,
        lambda s, t, Ts: min(Ts, key=lambda T: float(by_hand(s, t, T))),
        "the greatest",
    ),
    "stops early": (exercises.hump, first_fall, "whole list"),
    "always the same": (exercises.hump, lambda s, t, Ts: by_loop(Z_S, Z_T, Ts), "Try every"),
    "the worst": (
        exercises.simplest,
        lambda scores: max(scores, key=lambda name: sum(scores[name])),
        "Lower error",
    ),
    "a mean": (
        exercises.simplest,
        lambda scores: min(sum(errors) for errors in scores.values()),
        "a key of the dict",
    ),
    "the best": (
        exercises.simplest,
        lambda scores: min(scores, key=lambda name: sum(scores[name])),
        "Not the best itself",
    ),
    "standard deviation": (exercises.simplest, partial(by_numpy, root=False), "over the root"),
    "divided by n": (exercises.simplest, partial(by_numpy, ddof=0), "ddof=1"),
    "own scatter": (exercises.simplest, by_own_scatter, "best one's folds"),
    "as text": (exercises.simplest, lambda scores: str(by_numpy(scores)), "the key itself"),
    "as printed": (
        exercises.mended_loss,
        partial(loss, mean=True, power=1, swapped=True),
        "alpha weighs the soft",
    ),
    "swapped": (exercises.mended_loss, partial(loss, swapped=True), "alpha weighs the soft"),
    "mean over classes": (exercises.mended_loss, partial(loss, mean=True), "batchmean"),
    "T": (exercises.mended_loss, partial(loss, power=1), "T**2"),
    "mended: no T²": (exercises.mended_loss, partial(loss, power=0), "T**2"),
    "soft cross-entropy": (
        exercises.mended_loss,
        partial(loss, entropy=True),
        "exceeds KL by the entropy",
    ),
    "both parts whole": (exercises.mended_loss, both_whole, "(1 - alpha) times one part"),
}


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


GRID = {"T": [1.0, 4.0, 20.0], "alpha": [0.5, 0.9], "width": [8, 32]}


def bank(axes: dict[str, list[Any]], split: str, errors: np.ndarray) -> Bank:
    """Students that err on `errors` (*axes, seeds) percent of 500 images, to the nearest."""
    right = torch.arange(500) >= torch.from_numpy(5 * errors).round()[..., None]
    logits = F.one_hot((~right).long(), 10).float()
    seeds, weights = list(range(errors.shape[-1])), [None] * errors.size
    T, alpha = map(Symbol, ("T", "alpha"))
    objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(mlp(784, 4, 10), T)
    return Bank(
        axes, seeds, {split: logits}, {split: torch.zeros(500, dtype=torch.long)},
        torch.zeros(*errors.shape, 1), weights, "fast", 0.0, mlp(784, 4, 10), objective=objective,
    )  # fmt: skip


def explorer() -> BankExplorer:
    noise = np.random.default_rng(0)
    pull = 1 + noise.random((3, 2, 2))
    return BankExplorer(
        bank(GRID, "test", 8 + 4 * noise.random((3, 2, 2, 5))),
        alone=8 + noise.random((2, 5)),  # (width, seeds)
        along="T",
        second={"with T²": pull, "without T²": pull / 100, "labels": np.ones((2, 1))},
        second_name="pull on the logits",
        situations={"8 units, T = 20": {"width": 8, "T": 20.0}},
        title="How soft, and how much?",
    )


def test_the_explorer_is_drawn_in_every_state() -> None:
    assert explorer().sweep() == 3 * 2 * 2


def test_the_explorer_says_images_and_whether_the_difference_is_resolved() -> None:
    shown = explorer()
    shown.set(T=20, alpha=0.9, width=32)
    said = shown.sentence(shown.state)
    assert "of 500 images" in said and "the label-only student" in said
    formula = shown.formula(shown.state)
    assert formula.startswith("loss = (1 − alpha) · CE + alpha · T² · KL(p_T ‖ q_T) = ")
    assert ">0.1</b> · CE" in formula and ">0.9</b> · <b" in formula and ">20</b>²" in formula


def test_the_explorer_tells_resolved_from_unresolved() -> None:
    errors = np.array([[10.0, 10.4, 9.6], [13.0, 13.4, 12.6]])  # (T, seeds)
    alone = np.array([10.1, 10.2, 9.8])
    shown = BankExplorer(bank({"T": [1.0, 20.0]}, "test", errors), alone=alone)
    assert "do not resolve" in shown.sentence({"T": 1.0})
    assert "15 more" in shown.sentence({"T": 20.0})


def test_the_stored_table_answers_every_cell_that_the_page_asks_for() -> None:
    for width in (8, 32, 100):
        for T in (1.0, 2.0, 4.0, 8.0, 20.0):
            saved = stored_rows.saved(width, T)
            assert saved.low < saved.mean < saved.high
    settings = list(stored_rows.folds())
    assert settings[0] == (0.0, 1.0) and len(settings) == 11
    assert settings == sorted(settings), "from simple to complex"


def test_a_cell_that_was_not_trained_is_an_error() -> None:
    with pytest.raises(ValueError, match="no row of width=9"):
        stored_rows.saved(9, 4.0)
