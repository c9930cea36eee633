"""The exercises of notebook 03: what a right answer must do, and a hint for each way to miss it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property

Known = Callable[[Tensor, Tensor, int, int], Any]
Rule = Callable[[Tensor, int, float], Any]
Reported = Callable[[Tensor, Tensor, int, Sequence[float]], Any]


def _answers(seed: int = 0, images: int = 400, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and labels (N,) of a made-up network that rarely says 3."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (images,), generator=generator)
    z = torch.randn(images, classes, generator=generator)
    z[torch.arange(images), y] += 3
    z[:, 3] -= 4
    return z, y


def _known(z: Tensor, y: Tensor, missing: int, k: int) -> float:
    places = z[y == missing].topk(k).indices
    return 100 * float((places == missing).any(1).double().mean())


def _agrees(function: Known, missing: int, k: int) -> bool:
    z, y = _answers()
    return abs(float(function(z.clone(), y, missing, k)) - _known(z, y, missing, k)) < 0.01


def _leaves_logits(function: Callable[[Tensor], Any]) -> bool:
    z, _ = _answers()
    before = z.clone()
    function(z)
    return torch.equal(z, before)


among_first = Exercise(
    "03.1",
    "how often a class is among the first k",
    [
        Property(
            "with as many places as classes it is always among them: 100 %",
            lambda f: abs(float(f(*_answers(), 3, 5)) - 100) < 0.01,
            "A share of the images of that class only (y == missing), in percent: times 100.",
        ),
        Property(
            "with k = 1 it is the share that is answered right",
            lambda f: _agrees(f, 1, 1),
            "Keep the images with y == missing; is `missing` their largest logit?",
        ),
        Property(
            "with k = 2 and 3 it looks at so many of the largest logits",
            lambda f: _agrees(f, 3, 2) and _agrees(f, 3, 3),
            "Among the k largest: z.topk(k) of each image, and any(1) over the places.",
        ),
        Property(
            "any other class can be the missing one",
            lambda f: _agrees(f, 0, 2) and _agrees(f, 4, 2),
            "Use the argument `missing`, not the number 3.",
        ),
        Property(
            "the logits that were passed in stay as they were",
            lambda f: _leaves_logits(lambda z: f(z, _answers()[1], 3, 2)),
            "Do not write into z: clone it first.",
        ),
    ],
    attempted=lambda f: f(*_answers(), 3, 2),
)


def _share(z: Tensor, missing: int, bias: float) -> float:
    z = z.clone()
    z[:, missing] += bias
    return float((z.argmax(1) == missing).double().mean())


def _hits(rule: Rule, share: float, missing: int, seed: int = 0) -> bool:
    """The predicted share, to within one and a half images of 400."""
    z, _ = _answers(seed)
    return abs(_share(z, missing, float(rule(z.clone(), missing, share))) - share) < 1.5 / len(z)


bias_for_share = Exercise(
    "03.2",
    "the bias that makes a class as common as it should be",
    [
        Property(
            "with its bias one answer in ten is the missing class",
            lambda f: _hits(f, 0.1, 3),
            "An image is called `missing` once the bias exceeds its margin: the largest other "
            "logit minus the logit of `missing`. Which bias exceeds a tenth of the margins?",
        ),
        Property(
            "it hits other shares as exactly",
            lambda f: all(_hits(f, share, 3) for share in (0.05, 0.2, 0.5)),
            "The share is the argument; a grid of biases needs steps finer than one image.",
        ),
        Property(
            "it may be negative, for a class that is answered too often",
            lambda f: _hits(f, 0.02, 0) and float(f(_answers()[0], 0, 0.02)) < 0,
            "Too common a class must be lowered: do not start the search at 0, nor clamp; and "
            "leave its own logit out of the largest other one, or no margin is below 0.",
        ),
        Property(
            "any other class and other images will do",
            lambda f: _hits(f, 0.1, 4, seed=1),
            "Use the argument `missing`, and leave its own logit out of the largest other one.",
        ),
        Property(
            "the logits that were passed in stay as they were",
            lambda f: _leaves_logits(lambda z: f(z, 3, 0.1)),
            "Clone the logits before you write into them.",
        ),
    ],
    attempted=lambda f: f(_answers()[0], 3, 0.1),
)


BIASES = [-2.0, 0.0, 2.0, 3.0, 4.0, 6.0]


def _error(z: Tensor, y: Tensor, missing: int, bias: float) -> float:
    moved = z.clone()
    moved[:, missing] += bias
    return 100 * float((moved.argmax(1) != y).double().mean())


def _halves(seed: int) -> tuple[Tensor, Tensor]:
    """Two halves that want different biases: `missing` is rarely answered in the first one."""
    z, y = _answers(seed)
    z[200:, 3] += 3
    return z, y


def _reported(z: Tensor, y: Tensor, missing: int, biases: Sequence[float]) -> float:
    half = len(y) // 2
    best = min(biases, key=lambda bias: _error(z[:half], y[:half], missing, bias))
    return _error(z[half:], y[half:], missing, best)


def _reports(function: Reported, seed: int, biases: Sequence[float], missing: int = 3) -> bool:
    z, y = _halves(seed)
    answer = float(function(z.clone(), y, missing, biases))
    return abs(answer - _reported(z, y, missing, biases)) < 0.01


held_out_error = Exercise(
    "03.3",
    "the error of a chosen bias, on images that did not choose it",
    [
        Property(
            "with one bias there is no choice: the error of the second half, in percent",
            lambda f: _reports(f, 0, [0.0]),
            "Report the second half only, y[len(y) // 2:]; in percent.",
        ),
        Property(
            "a bias is added to the logits as they came, not to those of the bias before",
            lambda f: _reports(f, 0, [2.0, 2.0]),
            "z[:, missing] += bias adds to what the loop added before: work on a clone each time.",
        ),
        Property(
            "the first half chooses the bias, by its fewest errors",
            lambda f: all(_reports(f, seed, BIASES) for seed in (0, 1, 2)),
            "min over the second half's errors lets those images choose. Find the best bias on "
            "the first half, then look at the second half once.",
        ),
        Property(
            "any other class can be the missing one",
            lambda f: _reports(f, 1, BIASES, missing=1),
            "Use the argument `missing`, not the number 3.",
        ),
        Property(
            "the logits that were passed in stay as they were",
            lambda f: _leaves_logits(lambda z: f(z, _answers()[1], 3, BIASES)),
            "Clone the logits before you write into them.",
        ),
    ],
    attempted=lambda f: f(*_answers(), 3, BIASES),
)
