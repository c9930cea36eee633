"""Exercises of the lab notes of 02, soft targets."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property
from kdcourse.lessons.lesson02.exercises import some_logits
from kdlib import losses

# ---- 02.4, lab notes: a loss with three mistakes -------------------------------------------------

Loss = Callable[[Tensor, Tensor, float], Tensor]


def _right_at(f: Loss, T: float, classes: int = 5) -> bool:
    z_s, z_t = some_logits(6, classes=classes)
    return torch.allclose(f(z_s, z_t, T).double(), losses.soft_targets(z_s, z_t, T))


def _direction(f: Loss) -> Tensor:
    z_s, z_t = some_logits(6)
    z_s.requires_grad_()
    slope = torch.autograd.grad(f(z_s, z_t, 4.0), z_s)[0]
    return torch.nn.functional.cosine_similarity(
        slope.flatten(), ((z_s / 4).softmax(1) - (z_t / 4).softmax(1)).flatten(), 0
    )


mended_loss = Exercise(
    "02.4",
    "a loss with three mistakes, mended",
    [
        Property(
            "it is one number",
            lambda f: f(*some_logits(0), 4.0).dim() == 0,
            "Sum over classes, average over images.",
        ),
        Property(
            "it is positive where the two differ, and never negative",
            lambda f: (
                f(some_logits(0)[1], some_logits(0)[1], 4.0) > -1e-9 and f(*some_logits(0), 4.0) > 0
            ),
            "kl_div wants the student's log-probabilities as its first argument.",
        ),
        Property(
            "it is zero where both agree",
            lambda f: f(some_logits(0)[1], some_logits(0)[1], 4.0).abs() < 1e-9,
            "Cross-entropy exceeds KL by the entropy of p_T, which no student can remove: "
            "subtract it.",
        ),
        Property(
            "its gradient points where T (q_T - p_T) points",
            lambda f: bool(_direction(f) > 1 - 1e-6),
            "Who is first? KL(p_T || q_T): kl_div(log q_T, p_T) has the student first, and T "
            "belongs to both.",
        ),
        Property(
            "at T = 1 it has the right size",
            lambda f: _right_at(f, 1.0) and _right_at(f, 1.0, classes=10),
            'reduction="mean" divides by the classes too; "batchmean" divides by the images alone.',
        ),
        Property(
            "at T = 8 it has the right size",
            lambda f: _right_at(f, 8.0),
            "What makes up for the two factors 1 / T?",
        ),
    ],
    attempted=lambda f: f(*some_logits(0), 4.0),
)

# ---- 02.5, lab notes: label smoothing is a teacher who knows nothing -----------------------------

_Y = torch.tensor([0, 3, 1, 3])

Ignorant = Callable[[Tensor, int, float], Tensor]


def _smoothed(y: Tensor, classes: int, smoothing: float) -> Tensor:
    one_hot = torch.nn.functional.one_hot(y, classes).double()
    return (1 - smoothing) * one_hot + smoothing / classes


def _probabilities(f: Ignorant, smoothing: float = 0.1) -> Tensor:
    return f(_Y, 5, smoothing).double().softmax(1)


def _teaches_like_smoothing(f: Ignorant) -> bool:
    slopes = []
    for loss in (
        lambda z: losses.soft_targets(z, f(_Y, 5, 0.1).double(), 1.0),
        lambda z: losses.hard_labels(z, _Y, smoothing=0.1),
    ):
        z_s = some_logits(5, batch=4)[0].requires_grad_()
        slopes.append(torch.autograd.grad(loss(z_s), z_s)[0])
    return torch.allclose(slopes[0], slopes[1], atol=1e-6)


ignorant_teacher = Exercise(
    "02.5",
    "label smoothing is a teacher who knows nothing",
    [
        Property(
            "a row of logits for each label: shape (batch, classes)",
            lambda f: f(_Y, 5, 0.1).shape == (4, 5),
            "Start from one_hot(y, classes), which is (batch, classes).",
        ),
        Property(
            "the label is the first answer",
            lambda f: bool((_probabilities(f).argmax(1) == _Y).all()),
            "The label's class gets 1 - smoothing, and its share of the rest.",
        ),
        Property(
            "what softmax makes of them is the smoothed label",
            lambda f: torch.allclose(
                _probabilities(f, 0.2), _smoothed(_Y, 5, 0.2), rtol=1e-4, atol=1e-6
            ),
            "You need logits, not probabilities: softmax undoes a logarithm. "
            "And smoothing spreads over all classes, the label's own included.",
        ),
        Property(
            "soft targets from them push as label smoothing does",
            _teaches_like_smoothing,
            "Compare the gradients at T = 1.",
        ),
    ],
    attempted=lambda f: f(_Y, 5, 0.1),
)
