"""Lesson 02: its checkers accept what is right and name what is wrong; its explorer is whole."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson02 import exercises, notes_exercises
from kdcourse.lessons.lesson02.gradient_arrows import GradientArrows
from kdlib import losses

# ---- exercises -----------------------------------------------------------------------------------


def soft(z: Tensor, T: float) -> Tensor:
    return (z / T).softmax(1)


def one_hot(z: Tensor, y: Tensor) -> Tensor:
    return F.one_hot(y, z.shape[1])


def whole(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    hard, distilled = F.cross_entropy(z_s, y), losses.soft_targets(z_s, z_t, T)
    return (1 - alpha) * hard + alpha * distilled


def by_autograd(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    z_s = z_s.clone().requires_grad_()
    return torch.autograd.grad(whole(z_s, z_t, y, T, alpha), z_s)[0]


def parts(z_s: Tensor, z_t: Tensor, y: Tensor, T: float) -> tuple[Tensor, Tensor]:
    """The gradients of labels and of soft targets, not yet averaged."""
    return soft(z_s, 1) - one_hot(z_s, y), T * (soft(z_s, T) - soft(z_t, T))


def by_hand(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    hard, distilled = parts(z_s, z_t, y, T)
    return (1 - alpha) * hard / len(y) + alpha * distilled / len(y)


def in_numpy(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Any:
    return by_hand(z_s, z_t, y, T, alpha).numpy()


def transfer(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    hard = F.cross_entropy(z_s, y, ignore_index=-1, reduction="sum") / max(int((y >= 0).sum()), 1)
    return (1 - alpha) * hard + alpha * losses.soft_targets(z_s, z_t, T)


def with_if(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    loss = alpha * losses.soft_targets(z_s, z_t, T)
    if (y >= 0).any():
        loss = loss + (1 - alpha) * F.cross_entropy(z_s, y, ignore_index=-1)
    return loss


def hard_part(mean: Any) -> Any:
    """A transfer loss whose label term is mean(z_s, y)."""

    def loss(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
        return (1 - alpha) * mean(z_s, y) + alpha * losses.soft_targets(z_s, z_t, T)

    return loss


def labelled_only(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    keep = y >= 0
    return whole(z_s[keep], z_t[keep], y[keep], T, alpha)


def log_smoothed(y: Tensor, classes: int, smoothing: float) -> Tensor:
    p = torch.full((len(y), classes), smoothing / classes)
    p[torch.arange(len(y)), y] += 1 - smoothing
    return p.log()


def by_sums(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    p, q = soft(z_t, T), soft(z_s, T)
    return T**2 * (p * (p.log() - q.log())).sum() / len(z_s)


def kl_div(first: Tensor, second: Tensor, reduction: str = "batchmean") -> Tensor:
    return F.kl_div(first, second, reduction=reduction)


def means(z_t: Tensor, y: Tensor, T: float) -> Tensor:
    return T * torch.stack([soft(z_t, T)[y == label].mean(0) for label in y]).log()


def means_by_matrix(z_t: Tensor, y: Tensor, T: float) -> Tensor:
    same = (y[:, None] == y).double()
    return T * (same / same.sum(1, keepdim=True) @ soft(z_t, T)).log()


RIGHT = [
    (exercises.class_means, means),
    (exercises.class_means, means_by_matrix),
    (exercises.class_means, lambda z, y, T: losses.class_mean_logits(z, y, T)),
    (exercises.class_means, lambda z, y, T: means(z, y, T).numpy() + 3),
    (exercises.gradient, by_hand),
    (exercises.gradient, in_numpy),
    (exercises.transfer_loss, transfer),
    (exercises.transfer_loss, with_if),
    (exercises.transfer_loss, lambda *given: float(transfer(*given))),
    (exercises.gradient, by_autograd),
    (notes_exercises.ignorant_teacher, log_smoothed),
    (notes_exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s) + 7),
    (notes_exercises.mended_loss, by_sums),
    (notes_exercises.mended_loss, losses.soft_targets),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div((z_s / T).log_softmax(1), soft(z_t, T)),
    ),
]

WRONG = [
    (exercises.class_means, lambda z, y, T: means(z, y, T)[0], "one row for each image"),
    (exercises.class_means, lambda z, y, T: z, "no others"),
    (exercises.class_means, lambda z, y, T: means(z, y, T) / T, "logarithm of a probability"),
    (exercises.class_means, lambda z, y, T: (means(z, y, T) / T).exp(), "logarithm of a prob"),
    (
        exercises.class_means,
        lambda z, y, T: torch.stack([z[y == label].mean(0) for label in y]),
        "mean of logits is another",
    ),
    (exercises.class_means, lambda z, y, T: T * means(z, y, 1.0), "logarithm of a probability"),
    (
        exercises.class_means,
        lambda z, y, T: T * soft(z, T).mean(0).log().expand(len(y), -1),
        "logarithm of a probability",
    ),
    (exercises.gradient, lambda *given: -by_hand(*given), "climbs"),
    (exercises.gradient, lambda *given: len(given[0]) * by_hand(*given), "mean over images"),
    (exercises.gradient, lambda *given: by_hand(*given).mean(0), "shape"),
    (
        exercises.gradient,
        lambda z_s, z_t, y, T, a: (
            by_hand(z_s, z_t, y, T, a) + (1 - a) * (soft(z_s, T) - soft(z_s, 1)) / len(y)
        ),
        "as it is",
    ),
    (
        exercises.gradient,
        lambda z_s, z_t, y, T, a: ((1 - a) * soft(z_s, 1) + a * parts(z_s, z_t, y, T)[1]) / len(y),
        "one_hot",
    ),
    (
        exercises.gradient,
        lambda z_s, z_t, y, T, a: (
            ((1 - a) * parts(z_s, z_t, y, T)[0] + a * T * parts(z_s, z_t, y, T)[1]) / len(y)
        ),
        "factor T",
    ),
    (
        exercises.gradient,
        lambda z_s, z_t, y, T, a: (
            ((1 - a) * parts(z_s, z_t, y, T)[0] + a * parts(z_s, z_t, y, T)[1] / T) / len(y)
        ),
        "factor T",
    ),
    (
        exercises.gradient,
        lambda z_s, z_t, y, T, a: sum(parts(z_s, z_t, y, T)) / len(y),
        "1 - alpha",
    ),
    (exercises.transfer_loss, hard_part(lambda z, y: F.cross_entropy(z, y.clamp(min=0))), "zeros"),
    (
        exercises.transfer_loss,
        hard_part(lambda z, y: F.cross_entropy(z, y, ignore_index=-1, reduction="sum") / len(y)),
        "labelled images, not",
    ),
    (
        exercises.transfer_loss,
        hard_part(lambda z, y: F.cross_entropy(z, y, ignore_index=-1)),
        "nan",
    ),
    (exercises.transfer_loss, labelled_only, "keep all images"),
    (exercises.transfer_loss, lambda *given: 2 * transfer(*given), "two weights"),
    (exercises.transfer_loss, lambda *given: transfer(*given) * torch.ones(6), "average"),
    (notes_exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s).exp(), "logarithm"),
    (notes_exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s * c / (c - 1)), "own"),
    (notes_exercises.ignorant_teacher, lambda y, c, s: F.one_hot(y, c).float(), "logarithm"),
    (notes_exercises.ignorant_teacher, lambda y, c, s: log_smoothed(y, c, s)[0], "one_hot"),
    (notes_exercises.ignorant_teacher, lambda y, c, s: torch.zeros(len(y), c), "1 - smoothing"),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div(soft(z_s, T), soft(z_t, T)),
        "log-p",
    ),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * F.cross_entropy(z_s / T, soft(z_t, T)),
        "entropy of p_T",
    ),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: -(soft(z_t, T) * (z_s / T).log_softmax(1)).sum(1).mean(),
        "entropy of p_T",
    ),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div((z_t / T).log_softmax(1), soft(z_s, T)),
        "student first",
    ),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: T**2 * kl_div((z_s / T).log_softmax(1), soft(z_t, T), "none").mean(),
        "batchmean",
    ),
    (
        notes_exercises.mended_loss,
        lambda z_s, z_t, T: kl_div((z_s / T).log_softmax(1), soft(z_t, T)),
        "two factors",
    ),
    (
        notes_exercises.mended_loss,
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


@pytest.mark.parametrize(
    "exercise",
    [*exercises_of(exercises), *exercises_of(notes_exercises)],
    ids=lambda exercise: exercise.id,
)
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


def test_its_arrows_go_the_way_of_a_step() -> None:
    shown = explorer(alpha=0.5)
    state = {"step": 0.333, "T": 4.0, "image": 1}
    z_s = torch.tensor(shown.logits(state))[None].requires_grad_()
    z_t = torch.tensor(shown.logits({**state, "step": 1.0}))[None]
    (slope,) = torch.autograd.grad(0.5 * losses.soft_targets(z_s, z_t, 4.0), z_s)
    np.testing.assert_allclose(shown.push(state), -slope[0].numpy())


def test_its_arrows_vanish_at_the_teacher_and_it_says_so() -> None:
    shown = explorer()
    shown.set(step=1.0, T=4.0)
    assert np.abs(shown.push(shown.state)).max() < 1e-12
    assert "every arrow is gone" in shown.readout.value
    shown.set(step=0.0)
    assert "a step raises the logit of class" in shown.readout.value


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
