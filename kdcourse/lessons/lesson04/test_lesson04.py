"""Notebook 04: its checkers accept the right and reject the wrong; its explorer, swept whole."""

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
from kdcourse.lessons.lesson04 import exercises
from kdlib import losses
from kdlib.bank import Bank
from kdlib.models import mlp
from kdlib.objectives import HardLabels, SoftTargets, Symbol


def right_alpha(alpha: float, T: float) -> float:
    return alpha / T**2 / (1 - alpha + alpha / T**2)


def another_right_alpha(alpha: float, T: float) -> Tensor:
    return torch.tensor(alpha / (alpha + (1 - alpha) * T**2), dtype=torch.float64)


def parts(z_s: Tensor, z_t: Tensor, T: float) -> tuple[Tensor, Tensor]:
    """q_T, and log(q_T / p_T), (images, classes) each."""
    log_q = (z_s / T).log_softmax(-1)
    return log_q.exp(), log_q - (z_t / T).log_softmax(-1)


def right_gradient(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    q, ratio = parts(z_s, z_t, T)
    return T * q * (ratio - (q * ratio).sum(-1, keepdim=True)) / len(z_s)


def gradient_by_logits(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """Without a logarithm: the log-sum-exps of both sides cancel."""
    q, apart = (z_s / T).softmax(-1), z_s - z_t
    return q * (apart - (q * apart).sum(-1, keepdim=True)) / len(z_s)


def gradient_by_autograd(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    z = z_s.clone().requires_grad_()
    return torch.autograd.grad(losses.reverse_kl(z, z_t, T), z)[0]


def forward_gradient(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    return T * ((z_s / T).softmax(-1) - (z_t / T).softmax(-1)) / len(z_s)


def without_kl(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    q, ratio = parts(z_s, z_t, T)
    return T * q * ratio / len(z_s)


def kl_of_the_batch(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    q, ratio = parts(z_s, z_t, T)
    return T * q * (ratio - (q * ratio).sum(-1).mean()) / len(z_s)


def weighted_by_the_teacher(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    _, ratio = parts(z_s, z_t, T)
    p = (z_t / T).softmax(-1)
    return T * p * (ratio - (p * ratio).sum(-1, keepdim=True)) / len(z_s)


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


RIGHT = [
    (exercises.real_alpha, right_alpha),
    (exercises.real_alpha, another_right_alpha),
    (exercises.reverse_gradient, right_gradient),
    (exercises.reverse_gradient, gradient_by_logits),
    (exercises.reverse_gradient, gradient_by_autograd),
    (exercises.mended_loss, loss),
    (exercises.mended_loss, the_library),
]
WRONG = {
    "not normalised": (exercises.real_alpha, lambda a, T: a / T**2, "sum of both weights"),
    "T² on the wrong side": (
        exercises.real_alpha,
        lambda a, T: a * T**2 / (1 - a + a * T**2),
        "divide alpha by T²",
    ),
    "T instead of T²": (exercises.real_alpha, lambda a, T: a / T / (1 - a + a / T), "squared"),
    "unchanged": (exercises.real_alpha, lambda a, T: a, "divide alpha by T²"),
    "summed": (
        exercises.reverse_gradient,
        lambda s, t, T: right_gradient(s, t, T).sum(-1),
        "shape of z_s",
    ),
    "one more term": (
        exercises.reverse_gradient,
        lambda s, t, T: right_gradient(s, t, T) + (s / T).softmax(-1),
        "is 0 for every class",
    ),
    "the forward KL's": (exercises.reverse_gradient, forward_gradient, "forward KL"),
    "weighted by the teacher": (
        exercises.reverse_gradient,
        weighted_by_the_teacher,
        "weighted by the student",
    ),
    "without the KL": (exercises.reverse_gradient, without_kl, "KL of that image"),
    "the KL of the batch": (exercises.reverse_gradient, kl_of_the_batch, "KL of that image"),
    "sign": (exercises.reverse_gradient, lambda s, t, T: -right_gradient(s, t, T), "student first"),
    "not averaged": (
        exercises.reverse_gradient,
        lambda s, t, T: right_gradient(s, t, T) * len(s),
        "divide by len",
    ),
    "no T": (
        exercises.reverse_gradient,
        lambda s, t, T: right_gradient(s, t, T) / T,
        "one T stays",
    ),
    "T²": (exercises.reverse_gradient, lambda s, t, T: right_gradient(s, t, T) * T, "one T stays"),
    "logits not divided": (
        exercises.reverse_gradient,
        lambda s, t, T: T * right_gradient(s, t, 1.0),
        "divided by T",
    ),
    "as printed": (
        exercises.mended_loss,
        partial(loss, mean=True, power=1, swapped=True),
        "alpha weighs the soft",
    ),
    "swapped": (exercises.mended_loss, partial(loss, swapped=True), "alpha weighs the soft"),
    "mean over classes": (exercises.mended_loss, partial(loss, mean=True), "batchmean"),
    "T": (exercises.mended_loss, partial(loss, power=1), "T**2"),
    "no T²": (exercises.mended_loss, partial(loss, power=0), "T**2"),
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
    assert "of 500 images" in said and "the student alone" in said
    formula = shown.formula(shown.state)
    assert formula.startswith("loss = (1 − alpha) · CE + alpha · T² · KL(p_T ‖ q_T) = ")
    assert ">0.1</b> · CE" in formula and ">0.9</b> · <b" in formula and ">20</b>²" in formula


def test_the_explorer_tells_resolved_from_unresolved() -> None:
    errors = np.array([[10.0, 10.4, 9.6], [13.0, 13.4, 12.6]])  # (T, seeds)
    alone = np.array([10.1, 10.2, 9.8])
    shown = BankExplorer(bank({"T": [1.0, 20.0]}, "test", errors), alone=alone)
    assert "do not resolve" in shown.sentence({"T": 1.0})
    assert "15 more" in shown.sentence({"T": 20.0})
