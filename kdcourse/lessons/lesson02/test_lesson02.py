"""Notebook 02: its checkers accept what is right and name what is wrong; its explorer is whole."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson02 import exercises
from kdcourse.lessons.lesson02.gradient_arrows import GradientArrows
from kdlib import losses

# ---- exercises -----------------------------------------------------------------------------------


def soft(z: Tensor, T: float) -> Tensor:
    return (z / T).softmax(1)


def by_autograd(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    z_s = z_s.clone().requires_grad_()
    return torch.autograd.grad(losses.soft_targets(z_s, z_t, T), z_s)[0]


def log_smoothed(y: Tensor, classes: int, smoothing: float) -> Tensor:
    p = torch.full((len(y), classes), smoothing / classes)
    p[torch.arange(len(y)), y] += 1 - smoothing
    return p.log()


def by_sums(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    p, q = soft(z_t, T), soft(z_s, T)
    return T**2 * (p * (p.log() - q.log())).sum() / len(z_s)


def kl_div(first: Tensor, second: Tensor, reduction: str = "batchmean") -> Tensor:
    return F.kl_div(first, second, reduction=reduction)


RIGHT = [
    (exercises.gradient, lambda z_s, z_t, T: T * (soft(z_s, T) - soft(z_t, T)) / len(z_s)),
    (exercises.gradient, by_autograd),
    (exercises.ignorant_teacher, log_smoothed),
    (exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s) + 7),
    (exercises.mended_loss, by_sums),
    (exercises.mended_loss, losses.soft_targets),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div((z_s / T).log_softmax(1), soft(z_t, T)),
    ),
]

WRONG = [
    (exercises.gradient, lambda z_s, z_t, T: T * (soft(z_t, T) - soft(z_s, T)) / 6, "climbs"),
    (exercises.gradient, lambda z_s, z_t, T: T * (soft(z_s, T) - soft(z_t, T)), "mean over images"),
    (
        exercises.gradient,
        lambda z_s, z_t, T: T**2 * (soft(z_s, T) - soft(z_t, T)) / len(z_s),
        "factor T",
    ),
    (exercises.gradient, lambda z_s, z_t, T: (soft(z_s, T) - soft(z_t, T)) / len(z_s), "factor T"),
    (exercises.gradient, lambda z_s, z_t, T: (soft(z_s, T) - soft(z_t, T)).mean(0), "shape"),
    (exercises.gradient, lambda z_s, z_t, T: T * (soft(z_s, 1) - soft(z_t, T)) / 6, "same T"),
    (exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s).exp(), "logarithm"),
    (exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s * c / (c - 1)), "own"),
    (exercises.ignorant_teacher, lambda y, c, s: F.one_hot(y, c).float(), "logarithm"),
    (exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s)[0], "one_hot"),
    (exercises.ignorant_teacher, lambda y, c, s: torch.zeros(len(y), c), "1 - smoothing"),
    (exercises.mended_loss, lambda z_s, z_t, T: T**2 * kl_div(soft(z_s, T), soft(z_t, T)), "log-p"),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * F.cross_entropy(z_s / T, soft(z_t, T)),
        "entropy of p_T",
    ),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: -(soft(z_t, T) * (z_s / T).log_softmax(1)).sum(1).mean(),
        "entropy of p_T",
    ),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div((z_t / T).log_softmax(1), soft(z_s, T)),
        "student first",
    ),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div((z_s / T).log_softmax(1), soft(z_t, T), "none").mean(),
        "batchmean",
    ),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: kl_div((z_s / T).log_softmax(1), soft(z_t, T)),
        "two factors",
    ),
    (
        exercises.mended_loss,
        lambda z_s, z_t, T: F.kl_div((z_s / T).log_softmax(1), soft(z_t, T), reduction="none"),
        "average over images",
    ),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


# ---- the explorer --------------------------------------------------------------------------------


def explorer(**changes) -> GradientArrows:
    random = np.random.default_rng(0)
    given = {
        "z_s": random.normal(size=(2, 4)),
        "z_t": 3 * random.normal(size=(2, 4)),
        "images": random.random((2, 1, 6, 6)),
        "T": (1.0, 4.0),
        "steps": 4,
    }
    return GradientArrows(**{**given, **changes})


def test_every_state_is_drawn() -> None:
    assert explorer().sweep() == 2 * 2 * 4


def test_its_arrows_are_the_gradient_of_the_loss() -> None:
    shown = explorer(alpha=0.5)
    state = {"step": 0.333, "T": 4.0, "image": 1}
    z_s = torch.tensor(shown.logits(state))[None].requires_grad_()
    z_t = torch.tensor(shown.logits({**state, "step": 1.0}))[None]
    (slope,) = torch.autograd.grad(0.5 * losses.soft_targets(z_s, z_t, 4.0), z_s)
    np.testing.assert_allclose(shown.gradient(state), slope[0].numpy())


def test_its_arrows_vanish_at_the_teacher_and_it_says_so() -> None:
    shown = explorer()
    shown.set(step=1.0, T=4.0)
    assert np.abs(shown.gradient(shown.state)).max() < 1e-12
    assert "every arrow is gone" in shown.readout.value
    shown.set(step=0.0)
    assert "will rise" in shown.readout.value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"z_s": np.zeros((2, 3))}, r"\(2, 3\)"),
        ({"images": np.zeros((3, 6, 6))}, "as many images"),
        ({"T": (0.0, 1.0)}, "finite number > 0"),
        ({"steps": 1}, "at least 2"),
        ({"alpha": 0.0}, "above 0"),
        ({"names": ["a"]}, "4 classes"),
    ],
)
def test_it_refuses_what_it_cannot_show(changes, said) -> None:
    with pytest.raises(ValueError, match=said):
        explorer(**changes)
