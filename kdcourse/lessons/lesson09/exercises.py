"""Exercises of notebook 09."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses
from kdlib.adaptation import feature_gaussian, gaussian

_G = torch.Generator().manual_seed(9)
_Z_S, _Z_T = torch.randn(2, 6, 4, dtype=torch.float64, generator=_G)
_Y = torch.tensor([0, 2, 1, -1, -1, -1])  # three source images, three unlabelled ones of the target


def _across(y: Tensor, T: float, lam: float) -> Tensor:
    hard, soft = losses.hard_labels(_Z_S, y), losses.soft_targets(_Z_S, _Z_T, T)
    return (1 - lam) * hard + lam * soft


def _loss(y: Tensor, T: float, lam: float) -> Callable[[Any], bool]:
    return lambda f: close(f(_Z_S, _Z_T, y, T, lam), _across(y, T, lam))


def _without_labels(f: Any, lam: float) -> bool:
    """Right where no image has a label, and so is every slope."""
    y, z_s = torch.full_like(_Y, -1), _Z_S.clone().requires_grad_()
    loss = torch.as_tensor(f(z_s, _Z_T, y, 2.0, lam))
    if not close(loss.detach(), _across(y, 2.0, lam)):
        return False
    if not loss.requires_grad:  # a plain number: as good as its value
        return True
    return bool(torch.autograd.grad(loss, z_s)[0].isfinite().all())


across = Exercise(
    "09.1",
    "the loss across domains",
    [
        Property(
            "a finite number, also where every image has a label",
            lambda f: math.isfinite(f(_Z_S, _Z_T, _Y.abs(), 2.0, 0.5)),
            "Average the KL over all images; pick out none of them, labelled or not.",
        ),
        Property(
            "where every image has a label, lam = 0 is their cross-entropy",
            _loss(_Y.abs(), 2.0, 0.0),
            "(1 - lam) weighs the labels, lam the teacher.",
        ),
        Property(
            "lam = 0: images without label (y = -1) take no part",
            _loss(_Y, 2.0, 0.0),
            "Average the cross-entropy over the labelled images only: "
            "F.cross_entropy(…, ignore_index=-1) does.",
        ),
        Property(
            "lam = 1 at T = 1: the teacher speaks of all images, of both domains",
            _loss(_Y, 1.0, 1.0),
            "KL(p || q) with p the teacher's, summed over classes, averaged over *all* images.",
        ),
        Property(
            "lam = 1 at T = 3: T² stands before the KL",
            _loss(_Y, 3.0, 1.0),
            "Divide both logits by T, and multiply the KL by T**2.",
        ),
        Property(
            "lam = 0.7 mixes both",
            _loss(_Y, 2.0, 0.7),
            "(1 - lam) times one part plus lam times the other.",
        ),
        Property(
            "a batch without any label (all y = -1): the labels' part is 0, never nan",
            lambda f: all(_without_labels(f, lam) for lam in (0.0, 0.5, 1.0)),
            "An average over no label is 0 / 0, and 0 * nan is nan: sum the cross-entropy "
            '(reduction="sum"), and divide by (y >= 0).sum().clamp(min=1).',
        ),
    ],
    lambda f: f(_Z_S, _Z_T, _Y.abs(), 2.0, 0.5),
)

_M = torch.randn(8, 3, dtype=torch.float64, generator=_G)
_M = _M @ torch.tensor([[1.5, 0.0, 0.0], [1.0, 0.6, 0.0], [0.0, 0.2, 1.0]], dtype=torch.float64)
_S = feature_gaussian.shrunk_covariance(_M)


def _ratio(f: Any, m: Tensor, S: Tensor) -> Tensor:
    weights = f(m, S)
    return weights / weights[0]


def _expected(m: Tensor, S: Tensor) -> Tensor:
    raw = feature_gaussian.raw_weights(m, S)
    return raw / raw[0]


weights = Exercise(
    "09.2",
    "weights by Mahalanobis distance",
    [
        Property(
            "one positive weight for each image",
            lambda f: f(_M, _S).shape == (8,) and bool((f(_M, _S) > 0).all()),
            "m is (batch, d); one number each is left after the sum over features.",
        ),
        Property(
            "an image in the middle weighs more than one far away",
            lambda f: f(torch.cat([0 * _M[:1], 3 * _M[1:2]]), _S).diff() < 0,
            "exp of *minus* the distance; and measure from 0: m is already standardised, so do not "
            "centre it again.",
        ),
        Property(
            "with S = identity the ratios are exp(-|m|² / (2 d))",
            lambda f: close(
                _ratio(f, _M, torch.eye(3).double()), _expected(_M, torch.eye(3).double())
            ),
            "The *squared* distance, divided by 2 and by the number d of features.",
        ),
        Property(
            "S counts: the distance is Mahalanobis', m' S⁻¹ m",
            lambda f: close(_ratio(f, _M, _S), _expected(_M, _S)),
            "Multiply by the inverse of S: torch.linalg.solve(S, m.T).T",
        ),
        Property(
            "the mean of the weights is 1",
            lambda f: close(f(_M, _S).mean(), 1.0),
            "Divide by their mean (not by their sum).",
        ),
    ],
    lambda f: f(_M, _S),
)

_EPS_I = torch.randn(4, 3, dtype=torch.float64, generator=_G)
_EPS_C = torch.randn(5, 3, dtype=torch.float64, generator=_G)  # five classes
_CLASSES = torch.tensor([3, 1, 3, 0])


def _mended(beta: float, gamma: float, kappa: float) -> Callable[[Any], bool]:
    return lambda f: close(
        f(_EPS_I, _EPS_C, _CLASSES, beta, gamma, kappa),
        gaussian.mixed_noise(_EPS_I, _EPS_C[_CLASSES], beta, gamma, kappa),
    )


mended_noise = Exercise(
    "09.3",
    "the noise of the Gaussian transfer, mended",
    [
        Property(
            "beta = 0 is silence",
            _mended(0.0, 0.5, 2.0),
            "beta scales the whole noise: put both parts in brackets.",
        ),
        Property(
            "gamma = 0 leaves the image's own noise, and kappa inert",
            _mended(0.5, 0.0, 7.0),
            "kappa belongs to the class's noise alone.",
        ),
        Property(
            "gamma = 1: images of one class share their noise",
            _mended(1.0, 1.0, 1.0),
            "eps_c has a row for each class: take the row of the image's class, eps_c[classes].",
        ),
        Property(
            "gamma = 0.25 mixes both",
            _mended(0.5, 0.25, 2.0),
            "beta * ((1 - gamma) * eps_i + gamma * kappa * eps_c[classes])",
        ),
    ],
    lambda f: f(_EPS_I, _EPS_C, _CLASSES, 0.5, 0.5, 2.0),
)
