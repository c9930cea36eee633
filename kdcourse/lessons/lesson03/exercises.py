"""The exercises of notebook 03: what a right answer must do, and a hint for each way to miss it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property
from kdlib.data import Examples

Share = Callable[[Tensor, Tensor, int, float], Any]
Rule = Callable[[Tensor, int, float], Any]


def _answers(seed: int = 0, images: int = 400, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and labels (N,) of a made-up network that rarely says 3."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (images,), generator=generator)
    z = torch.randn(images, classes, generator=generator)
    z[torch.arange(images), y] += 3
    z[:, 3] -= 4
    return z, y


def _percent(z: Tensor, y: Tensor, missing: int, bias: float) -> float:
    z = z.clone()
    z[:, missing] += bias
    return 100 * float((z.argmax(1) == missing)[y == missing].double().mean())


def _agrees(function: Share, missing: int, bias: float) -> bool:
    z, y = _answers()
    answer = float(function(z.clone(), y, missing, bias))
    return abs(answer - _percent(z, y, missing, bias)) < 0.01


def _leaves_logits(function: Callable[[Tensor], Any]) -> bool:
    z, _ = _answers()
    before = z.clone()
    function(z)
    return torch.equal(z, before)


share_right = Exercise(
    "03.1",
    "the share of one class that is answered right",
    [
        Property(
            "with bias 0 it scores the answers as they are, in percent",
            lambda f: _agrees(f, 1, 0.0),
            "Keep the images with y == missing, compare their argmax with missing, times 100.",
        ),
        Property(
            "a bias of 4 is added to the logits of the missing class",
            lambda f: _agrees(f, 3, 4.0),
            "z[:, missing] + bias: added to the logit, before argmax, for every image.",
        ),
        Property(
            "any other class can be the missing one",
            lambda f: _agrees(f, 0, 2.5) and _agrees(f, 4, -2.0),
            "Use the argument `missing`, not the number 3.",
        ),
        Property(
            "the logits that were passed in stay as they were",
            lambda f: _leaves_logits(lambda z: f(z, _answers()[1], 3, 4.0)),
            "z[:, missing] += bias writes into the caller's tensor: clone it first.",
        ),
    ],
    attempted=lambda f: f(*_answers(), 3, 1.0),
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


def _examples() -> Examples:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(256, (40, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return Examples(images, torch.arange(40) % 10, name="made up")


def _made(function: Callable[[Examples, int], Any], missing: int = 3) -> Examples:
    made = function(_examples(), missing)
    if not isinstance(made, Examples):
        raise TypeError(f"expected Examples, not {type(made).__name__}")
    return made


def _kept(function: Callable[[Examples, int], Any], missing: int, *, of_missing: bool) -> int:
    """How many images of the missing class, or of the others, are in what it returns."""
    whole = _examples()
    wanted = whole.ids[(whole.y == missing) == of_missing]
    return int(torch.isin(wanted, _made(function, missing).ids).sum())


blind_transfer_set = Exercise(
    "03.3",
    "a transfer set that really lacks a class",
    [
        Property(
            "no image of the missing class is in it",
            lambda f: _kept(f, 3, of_missing=True) == 0,
            "A label of -1 hides the label, not the picture: the teacher still answers it.",
        ),
        Property(
            "every image of the other classes is in it",
            lambda f: _kept(f, 3, of_missing=False) == 36 and len(_made(f)) == 36,
            "Leave out one class and nothing else.",
        ),
        Property(
            "the other images keep their labels",
            lambda f: torch.equal(
                _made(f).y.sort().values,
                torch.tensor([0, 1, 2, 4, 5, 6, 7, 8, 9]).repeat_interleave(4),
            ),
            "Nothing has to be relabelled once the pictures are gone.",
        ),
        Property(
            "any other class can be left out",
            lambda f: _kept(f, 0, of_missing=True) == 0 and len(_made(f, 0)) == 36,
            "Use the argument `missing`, not the number 3.",
        ),
    ],
    attempted=lambda f: f(_examples(), 3),
)
