"""Exercises of notebook 04."""

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


HEATS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]


def _heights(z_s: Tensor, z_t: Tensor) -> list[float]:
    return [float(losses.soft_targets(z_s, z_t, T)) for T in HEATS]


def _peak(scale: float = 1.0) -> float:
    """The temperature among HEATS at which T² · KL of these logits is greatest."""
    heights = _heights(scale * _Z_S, scale * _Z_T)
    return HEATS[heights.index(max(heights))]


def _is(answer: Any, T: float) -> bool:
    """One number, that temperature; a tensor or an array of one counts."""
    return close(torch.as_tensor(answer).reshape(()), T)


def _apart(f: Any) -> Any:
    """The answer, which must be a temperature and not a height."""
    return f(_Z_S, _Z_T, HEATS)


hump = Exercise(
    "04.1",
    "the temperature at which T² · KL is greatest",
    [
        Property(
            "it returns one temperature",
            lambda f: torch.as_tensor(_apart(f)).numel() == 1,
            "One number for the whole batch: average the KL over the images first.",
        ),
        Property(
            "it is one of the temperatures given",
            lambda f: any(_is(_apart(f), T) for T in HEATS),
            "Return the temperature, neither the loss there nor its place in the list.",
        ),
        Property(
            "at the other temperatures the loss is lower",
            lambda f: _is(_apart(f), _peak()),
            "Compare T² · KL(p_T || q_T), with the factor T², and take the greatest.",
        ),
        Property(
            "logits eight times as large have their hump at a T eight times as large",
            lambda f: _is(f(8 * _Z_S, 8 * _Z_T, HEATS), _peak(8.0)),
            "Try every temperature of the list: no early stop, no T of your own.",
        ),
        Property(
            "the order of the temperatures does not matter",
            lambda f: _is(f(_Z_S, _Z_T, HEATS[1::2] + HEATS[::2]), _peak()),
            "Go through the whole list and keep the temperature of the greatest loss.",
        ),
    ],
    lambda f: f(_Z_S, _Z_T, HEATS),
)

# Means 5, 4.5, 4.06, 4. The best one's folds are 3.8, 4, 4.2, 4: standard error 0.0816.
_NEAR = {"none": [5.0] * 4, "a": [4.5] * 4, "b": [3.9, 4.2, 3.95, 4.19], "c": [3.8, 4, 4.2, 4]}
# The best one's standard deviation would reach "a", its standard error reaches "b" only.
_WIDE = {"a": [4.3] * 4, "b": [3.9, 4.34, 3.9, 4.34], "c": [3.6, 4.0, 4.4, 4.0]}
# Divided by n, not n - 1: 0.115 instead of 0.133. "b" is 0.125 above the best.
_N_MINUS_1 = {"a": [5.0] * 4, "b": [3.9, 4.35, 3.9, 4.35], "c": [3.7, 3.9, 4.3, 4.1]}
# "b" would reach the best by its own, wide, standard error; the best one's folds agree.
_OWN = {"b": [3.0, 5.0, 4.0, 4.4], "c": [4.0, 4.01, 3.99, 4.0]}
_PAIRS = {(0.0, 1.0): [4.0, 4.2, 4.4], (0.5, 4.0): [3.9, 4.1, 4.3], (0.9, 4.0): [4.2, 4.4, 4.6]}

simplest = Exercise(
    "04.2",
    "the simplest setting within one standard error of the best",
    [
        Property(
            "where the best is far ahead it is chosen",
            lambda f: f({"none": [9.0, 9.1, 9.2], "a": [4.0, 4.1, 4.2]}) == "a",
            "Lower error is better. Return the setting, a key of the dict.",
        ),
        Property(
            "a simpler setting within one standard error of the best is preferred",
            lambda f: f(_NEAR) == "b",
            "Not the best itself: the first, in the dict's order, whose mean is at most the best "
            "mean plus the standard error.",
        ),
        Property(
            "the limit is a standard error, not a standard deviation",
            lambda f: f(_WIDE) == "b",
            "The standard error of a mean is the standard deviation over the root of the number "
            "of folds.",
        ),
        Property(
            "the standard deviation divides by n - 1",
            lambda f: f(_N_MINUS_1) == "b",
            "numpy's std divides by n: give it ddof=1. torch's divides by n - 1 by itself.",
        ),
        Property(
            "the standard error is that of the best setting",
            lambda f: f(_OWN) == "c",
            "The limit comes from the best one's folds, not from each setting's own scatter.",
        ),
        Property(
            "settings may be pairs, and the first within the limit is taken",
            lambda f: f(_PAIRS) == (0.0, 1.0),
            "Walk through the settings in the dict's order, and return the key itself.",
        ),
    ],
    lambda f: f(_NEAR),
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
