"""Exercises of notebook 02, soft targets."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses


def _logits(seed: int, batch: int = 6, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z_s = 2 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    z_t = 3 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    return z_s, z_t


# ---- 02.1: the gradient --------------------------------------------------------------------------

Gradient = Callable[[Tensor, Tensor, float], Tensor]


def _gradient(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    return T * ((z_s / T).softmax(1) - (z_t / T).softmax(1)) / len(z_s)


def _points_uphill(f: Gradient) -> bool:
    z_s, z_t = _logits(2)
    step = 1e-3 * f(z_s, z_t, 3.0)
    before, after = (losses.soft_targets(z, z_t, 3.0) for z in (z_s, z_s - step))
    return bool(after < before)


def _scales_with_T(f: Gradient) -> bool:
    z_s, z_t = _logits(3)
    return all(
        torch.allclose(f(z_s, z_t, T).norm(), _gradient(z_s, z_t, T).norm()) for T in (1.0, 8.0)
    )


def _averages(f: Gradient) -> bool:
    # One image has nothing to average over: what is right there and wrong for six is the batch.
    z_s, z_t = _logits(1)
    alone = f(z_s[:1], z_t[:1], 1.0)
    return torch.allclose(len(z_s) * f(z_s, z_t, 1.0)[:1], alone)


gradient = Exercise(
    "02.1",
    "the gradient of the soft targets' loss",
    [
        Property(
            "one number for each logit: shape (batch, classes)",
            lambda f: f(*_logits(0), 4.0).shape == (6, 5),
            "Do not sum over images or classes: the gradient has the shape of z_s.",
        ),
        Property(
            "it is zero where the student says what the teacher says",
            lambda f: f(_logits(0)[1], _logits(0)[1], 4.0).abs().max() < 1e-9,
            "Soften both with the same T, and subtract.",
        ),
        Property(
            "a small step against it lowers the loss",
            _points_uphill,
            "Student minus teacher: q_T - p_T. The other way round climbs.",
        ),
        Property(
            "it is averaged over the batch",
            _averages,
            "The loss is a mean over images, so each image's part is divided by their number.",
        ),
        Property(
            "its size is right at T = 1 and at T = 8",
            _scales_with_T,
            "T² from the loss times 1 / T from the chain rule leaves one factor T.",
        ),
        Property(
            "it equals autograd's",
            lambda f: close(f(*_logits(4), 4.0), _gradient(*_logits(4), 4.0)),
            "Soften with softmax(z / T) over the classes (dimension 1).",
        ),
    ],
    attempted=lambda f: f(*_logits(0), 4.0),
)

# ---- 02.2: label smoothing is a teacher who knows nothing ----------------------------------------

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
        z_s = _logits(5, batch=4)[0].requires_grad_()
        slopes.append(torch.autograd.grad(loss(z_s), z_s)[0])
    return torch.allclose(slopes[0], slopes[1], atol=1e-6)


ignorant_teacher = Exercise(
    "02.2",
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

# ---- 02.3: a loss with three mistakes ------------------------------------------------------------

Loss = Callable[[Tensor, Tensor, float], Tensor]


def _right_at(f: Loss, T: float, classes: int = 5) -> bool:
    z_s, z_t = _logits(6, classes=classes)
    return torch.allclose(f(z_s, z_t, T).double(), losses.soft_targets(z_s, z_t, T))


def _direction(f: Loss) -> Tensor:
    z_s, z_t = _logits(6)
    z_s.requires_grad_()
    slope = torch.autograd.grad(f(z_s, z_t, 4.0), z_s)[0]
    return torch.nn.functional.cosine_similarity(
        slope.flatten(), _gradient(z_s, z_t, 4.0).flatten(), 0
    )


mended_loss = Exercise(
    "02.3",
    "a loss with three mistakes, mended",
    [
        Property(
            "it is one number",
            lambda f: f(*_logits(0), 4.0).dim() == 0,
            "Sum over classes, average over images.",
        ),
        Property(
            "it is positive where the two differ, and never negative",
            lambda f: f(_logits(0)[1], _logits(0)[1], 4.0) > -1e-9 and f(*_logits(0), 4.0) > 0,
            "kl_div wants the student's log-probabilities as its first argument.",
        ),
        Property(
            "it is zero where both agree",
            lambda f: f(_logits(0)[1], _logits(0)[1], 4.0).abs() < 1e-9,
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
    attempted=lambda f: f(*_logits(0), 4.0),
)
