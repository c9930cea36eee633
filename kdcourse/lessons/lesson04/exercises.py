"""Exercises of notebook 04."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses

_Z_S = torch.tensor(
    [[2.0, 0.5, -1.0, 0.0], [0.0, 1.0, 3.0, -2.0], [0.3, -0.2, 0.1, 0.4]], dtype=torch.float64
)
_Z_T = torch.tensor(
    [[4.0, 1.0, -2.0, 0.5], [1.0, 0.0, 5.0, -3.0], [-1.0, 2.0, 0.0, 1.0]], dtype=torch.float64
)
_Y = torch.tensor([0, 2, 1])


real_alpha = Exercise(
    "04.1",
    "the alpha that a loss without T² really has",
    [
        Property(
            "at T = 1 nothing changes",
            lambda f: close(f(0.9, 1.0), 0.9) and close(f(0.5, 1.0), 0.5),
            "T² is 1 at T = 1, so a forgotten T² does no harm there. "
            "Divide by the sum of both weights.",
        ),
        Property(
            "soft targets by themselves stay alone: alpha = 1 gives 1",
            lambda f: close(f(1.0, 20.0), 1.0),
            "Our weights sum to 1. Divide by the sum of both weights.",
        ),
        Property(
            "without T² the labels weigh more, not less",
            lambda f: f(0.9, 4.0) < 0.9,
            "KL shrinks like 1/T². Without the factor T² that is all it is: divide alpha by T².",
        ),
        Property(
            "(0.9, 4) gives 0.36: the soft weight is alpha / T²",
            lambda f: close(f(0.9, 4.0), 0.36),
            "Their soft weight in our measure is alpha / T² (squared); the hard one is 1 - alpha.",
        ),
    ],
    lambda f: f(0.9, 1.0),
)


def _autograd(T: float) -> Tensor:
    z = _Z_S.clone().requires_grad_()
    losses.reverse_kl(z, _Z_T, T).backward()
    assert z.grad is not None
    return z.grad


def _gradient(T: float) -> Callable[[Any], bool]:
    return lambda f: close(f(_Z_S, _Z_T, T), _autograd(T))


_GIVEN_UP = torch.tensor([[2.0, 0.5, -1.0, -40.0]], dtype=torch.float64)  # its last class

reverse_gradient = Exercise(
    "04.2",
    "the gradient of the reverse KL, by hand",
    [
        Property(
            "one number for each image and class",
            lambda f: f(_Z_S, _Z_T, 2.0).shape == _Z_S.shape,
            "The gradient in z_s has the shape of z_s: sum over classes for the KL only, "
            "with keepdim=True.",
        ),
        Property(
            "it vanishes where student and teacher agree",
            lambda f: close(f(_Z_T, _Z_T, 2.0), torch.zeros_like(_Z_T)),
            "There log(q_T / p_T) is 0 for every class, and so is the KL.",
        ),
        Property(
            "it leaves a class alone that the student has given up",
            lambda f: abs(float(f(_GIVEN_UP, _Z_T[:1], 1.0)[0, -1])) < 1e-8,
            "Every class is weighted by the student's q_T: this is KL(q_T || p_T). "
            "T (q_T - p_T) belongs to the forward KL(p_T || q_T).",
        ),
        Property(
            "for each image it sums to 0 over the classes",
            lambda f: close(f(_Z_S, _Z_T, 2.0).sum(-1), torch.zeros(3, dtype=torch.float64)),
            "A constant added to all logits changes nothing. Subtract from log(q_T / p_T) "
            "the KL of that image: its mean under q_T.",
        ),
        Property(
            "a step against it brings the student nearer to the teacher",
            lambda f: (
                losses.reverse_kl(_Z_S - 0.01 * f(_Z_S, _Z_T, 1.0), _Z_T, 1.0)
                < losses.reverse_kl(_Z_S, _Z_T, 1.0)
            ),
            "Sign: log q_T - log p_T, the student first.",
        ),
        Property(
            "at T = 1 it is what autograd finds",
            _gradient(1.0),
            "The loss is a mean over the images of the batch: divide by len(z_s).",
        ),
        Property(
            "at T = 4 it is what autograd finds",
            _gradient(4.0),
            "Both sets of logits are divided by T. T² outside, 1/T from the chain rule: "
            "one T stays.",
        ),
    ],
    lambda f: f(_Z_S, _Z_T, 1.0),
)

mended_loss = Exercise(
    "04.3",
    "a loss that means what its alpha says",
    [
        Property(
            "alpha = 0 is cross-entropy with the labels",
            lambda f: close(f(_Z_S, _Z_T, _Y, 4.0, 0.0), F.cross_entropy(_Z_S, _Y)),
            "In this course alpha weighs the soft targets; 1 - alpha weighs the labels.",
        ),
        Property(
            "alpha = 1 gives 0 where student and teacher agree",
            lambda f: close(f(_Z_T, _Z_T, _Y, 2.0, 1.0), 0.0),
            "The soft part is a KL: 0 where both agree. Cross-entropy exceeds KL by the entropy "
            "of p_T; and kl_div takes the student's log-probabilities first, the teacher's "
            "probabilities second, both at T.",
        ),
        Property(
            "alpha = 1 at T = 1 is the KL per image",
            lambda f: close(
                f(_Z_S, _Z_T, _Y, 1.0, 1.0), F.kl_div(*_log_and_p(1.0), reduction="batchmean")
            ),
            'reduction="mean" divides by the classes as well: take "batchmean". '
            "And the student's log-probabilities come first.",
        ),
        Property(
            "at T = 4 the soft part is multiplied by T²",
            lambda f: close(f(_Z_S, _Z_T, _Y, 4.0, 1.0), losses.soft_targets(_Z_S, _Z_T, 4.0)),
            "Both sets of logits are divided by T, and the KL is multiplied by T**2.",
        ),
        Property(
            "alpha = 0.9 mixes both",
            lambda f: close(
                f(_Z_S, _Z_T, _Y, 4.0, 0.9),
                0.1 * F.cross_entropy(_Z_S, _Y) + 0.9 * losses.soft_targets(_Z_S, _Z_T, 4.0),
            ),
            "(1 - alpha) times one part plus alpha times the other.",
        ),
    ],
    lambda f: f(_Z_S, _Z_T, _Y, 4.0, 0.5),
)


def _log_and_p(T: float) -> tuple[Tensor, Tensor]:
    return (_Z_S / T).log_softmax(-1), (_Z_T / T).softmax(-1)
