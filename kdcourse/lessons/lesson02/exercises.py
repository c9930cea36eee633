"""Exercises of notebook 02, soft targets."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses


def some_logits(seed: int, batch: int = 6, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z_s = 2 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    z_t = 3 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    return z_s, z_t


# ---- 02.1: the gradient of the whole objective ---------------------------------------------------

Gradient = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
_LABELS = torch.tensor([0, 3, 1, 3, 4, 2])


def _objective(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    hard = torch.nn.functional.cross_entropy(z_s, y)
    return (1 - alpha) * hard + alpha * losses.soft_targets(z_s, z_t, T)


def _slope(T: float, alpha: float, seed: int = 4) -> Tensor:
    z_s, z_t = some_logits(seed)
    z_s.requires_grad_()
    return torch.autograd.grad(_objective(z_s, z_t, _LABELS, T, alpha), z_s)[0]


def _given(f: Gradient, T: float, alpha: float, seed: int = 4) -> Tensor:
    return torch.as_tensor(f(*some_logits(seed), _LABELS, T, alpha))


def _points_uphill(f: Gradient) -> bool:
    z_s, z_t = some_logits(2)
    step = 1e-3 * _given(f, 3.0, 0.5, 2)
    before, after = (_objective(z, z_t, _LABELS, 3.0, 0.5) for z in (z_s, z_s - step))
    return bool(after < before)


def _averages(f: Gradient) -> bool:
    # One image has nothing to average over: what is right there and wrong for six is the batch.
    z_s, z_t = some_logits(1)
    single = torch.as_tensor(f(z_s[:1], z_t[:1], _LABELS[:1], 1.0, 0.5))
    return torch.allclose(len(z_s) * _given(f, 1.0, 0.5, 1)[:1], single)


def _unaware(f: Gradient) -> Tensor:
    """The gradient at alpha = 0 under another teacher."""
    z_s, z_t = some_logits(4)
    return torch.as_tensor(f(z_s, z_t.flip(1), _LABELS, 1.0, 0.0))


def _labels_know_no_T(f: Gradient) -> bool:
    return torch.allclose(_given(f, 1.0, 0.0), _given(f, 8.0, 0.0))


gradient = Exercise(
    "02.1",
    "the gradient of the whole objective",
    [
        Property(
            "one number for each logit: shape (batch, classes)",
            lambda f: _given(f, 4.0, 0.5).shape == (6, 5),
            "Do not sum over images or classes: the gradient has the shape of z_s.",
        ),
        Property(
            "a small step against it lowers the loss",
            _points_uphill,
            "Student minus teacher, in both parts: the other way round climbs.",
        ),
        Property(
            "it is averaged over the batch",
            _averages,
            "The loss is a mean over images, so each image's part is divided by their number.",
        ),
        Property(
            "at alpha = 0 the teacher plays no part",
            lambda f: torch.allclose(_given(f, 1.0, 0.0), _unaware(f)),
            "Weight the labels' part with 1 - alpha and the soft targets' part with alpha.",
        ),
        Property(
            "at alpha = 0 the temperature plays no part",
            _labels_know_no_T,
            "Labels are taught at T = 1: their softmax is that of z_s as it is.",
        ),
        Property(
            "at alpha = 0 it is the gradient of cross-entropy",
            lambda f: close(_given(f, 4.0, 0.0), _slope(4.0, 0.0)),
            "A label is a teacher that gives 1 to its class: softmax minus one_hot(y, classes).",
        ),
        Property(
            "at alpha = 1 it is the gradient of soft targets, at T = 1 and at T = 8",
            lambda f: all(close(_given(f, T, 1.0), _slope(T, 1.0)) for T in (1.0, 8.0)),
            "T² from the loss times 1 / T from the chain rule leaves one factor T.",
        ),
        Property(
            "it equals autograd's",
            lambda f: close(_given(f, 4.0, 0.7), _slope(4.0, 0.7)),
            "Weight the labels' part with 1 - alpha and the soft targets' part with alpha.",
        ),
    ],
    attempted=lambda f: _given(f, 4.0, 0.5),
)

# ---- 02.2: a control, class means ---------------------------------------------------------------

Means = Callable[[Tensor, Tensor, float], Tensor]
_OF_LABELS = torch.tensor([0, 2, 0, 2, 0, 4])  # labels 1 and 3 have no image


def _mean_answers(T: float) -> Tensor:
    p = (some_logits(8)[1] / T).softmax(1)
    return torch.stack([p[label == _OF_LABELS].mean(0) for label in _OF_LABELS])


def _told(f: Means, T: float) -> Tensor:
    """What a student is told, at the temperature of the loss."""
    return (torch.as_tensor(f(some_logits(8)[1], _OF_LABELS, T)).double() / T).softmax(-1)


class_means = Exercise(
    "02.2",
    "a control without the single image: class means",
    [
        Property(
            "a row of logits for each image: shape (batch, classes)",
            lambda f: _told(f, 4.0).shape == (6, 5),
            "Every image is told the mean of its own label: stack one row for each image.",
        ),
        Property(
            "images of one label are told the same",
            lambda f: (
                close(_told(f, 4.0)[0], _told(f, 4.0)[2])
                and close(_told(f, 4.0)[1], _told(f, 4.0)[3])
            ),
            "Average over p[y == c]: the images with this label, and no others.",
        ),
        Property(
            "an image that is the only one of its label keeps its answer",
            lambda f: close(_told(f, 4.0)[5], _mean_answers(4.0)[5]),
            "The loss divides what you return by T: return T times the logarithm of a probability.",
        ),
        Property(
            "softened, they are the mean of the softened answers, at T = 1 and at T = 4",
            lambda f: all(close(_told(f, T), _mean_answers(T)) for T in (1.0, 4.0)),
            "Soften with T first, then average the probabilities; the mean of logits is another.",
        ),
    ],
    attempted=lambda f: _told(f, 4.0),
)

# ---- 02.3: a loss for a transfer set -------------------------------------------------------------

Transfer = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
_SOME = torch.tensor([0, -1, 1, -1, 4, -1])
_NONE = torch.full((6,), -1)


def _on(f: Transfer, y: Tensor, alpha: float, seed: int = 7) -> Tensor:
    return torch.as_tensor(f(*some_logits(seed), y, 4.0, alpha)).double()


def _leaves_them_out(f: Transfer) -> bool:
    z_s, z_t = some_logits(7)
    moved = z_s.clone()
    moved[_SOME < 0] += torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).double()
    return close(f(z_s, z_t, _SOME, 4.0, 0.0), f(moved, z_t, _SOME, 4.0, 0.0))


def _mean_of_labelled(f: Transfer) -> bool:
    z_s, _ = some_logits(7)
    labelled = _SOME >= 0
    mean = torch.nn.functional.cross_entropy(z_s[labelled], _SOME[labelled])
    return close(_on(f, _SOME, 0.0), mean)


transfer_loss = Exercise(
    "02.3",
    "a loss for images with and without labels",
    [
        Property(
            "it is one number",
            lambda f: _on(f, _SOME, 0.5).dim() == 0,
            "Each term is an average over images.",
        ),
        Property(
            "with all labels it is (1 - alpha) · CE + alpha · soft targets",
            lambda f: close(_on(f, _LABELS, 0.7), _objective(*some_logits(7), _LABELS, 4.0, 0.7)),
            "Where every image has a label, nothing changes: check the two weights.",
        ),
        Property(
            "at alpha = 0 an image without a label changes nothing",
            _leaves_them_out,
            "clamp makes 0 of -1, so these images are taught to be zeros: leave them out.",
        ),
        Property(
            "its label term is the mean over the labelled images",
            _mean_of_labelled,
            "Divide by the number of labelled images, not by the size of the batch.",
        ),
        Property(
            "at alpha = 1 every image teaches",
            lambda f: close(_on(f, _SOME, 1.0), losses.soft_targets(*some_logits(7), 4.0)),
            "Soft targets need no label: keep all images in the second term.",
        ),
        Property(
            "a batch without any label gives the soft targets' part alone",
            lambda f: close(_on(f, _NONE, 0.5), 0.5 * losses.soft_targets(*some_logits(7), 4.0)),
            "The mean over no image is nan: ask first how many labels there are.",
        ),
    ],
    attempted=lambda f: _on(f, _LABELS, 0.5),
)
