"""Exercises of notebook 09."""

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses
from kdlib.adaptation import adabn
from kdlib.data import Examples
from kdlib.models import cnn, initialise, predict

# ---- 1: two temperatures ------------------------------------------------------------------------

_G = torch.Generator().manual_seed(9)
_Z_S, _Z_T = torch.randn(2, 6, 4, dtype=torch.float64, generator=_G)
_Y = torch.tensor([0, 2, 1, -1, -1, -1])  # three source images, three unlabelled ones of the target
_DOMAIN = torch.tensor([0, 0, 0, 1, 1, 1])


def _across(y: Tensor, T_source: float, T_target: float, lam: float) -> Tensor:
    """Image by image, as on paper."""
    hard = losses.hard_labels(_Z_S, y)
    each = [
        losses.soft_targets(_Z_S[i : i + 1], _Z_T[i : i + 1], T_target if d else T_source)
        for i, d in enumerate(_DOMAIN.tolist())
    ]
    return (1 - lam) * hard + lam * torch.stack(each).mean()


def _says(f: Any, y: Tensor, *numbers: float) -> Any:
    return f(_Z_S, _Z_T, y, _DOMAIN, *numbers)


def _loss(y: Tensor, *numbers: float) -> Callable[[Any], bool]:
    return lambda f: close(_says(f, y, *numbers), _across(y, *numbers))


def _without_labels(f: Any, lam: float) -> bool:
    """Right where no image has a label, and so is every slope."""
    y, z_s = torch.full_like(_Y, -1), _Z_S.clone().requires_grad_()
    loss = torch.as_tensor(f(z_s, _Z_T, y, _DOMAIN, 1.0, 4.0, lam))
    if not close(loss.detach(), _across(y, 1.0, 4.0, lam)):
        return False
    if not loss.requires_grad:  # a plain number: as good as its value
        return True
    return bool(torch.autograd.grad(loss, z_s)[0].isfinite().all())


across = Exercise(
    "09.1",
    "the loss across domains, with a temperature for each",
    [
        Property(
            "it returns one finite number",
            lambda f: math.isfinite(float(_says(f, _Y.abs(), 1.0, 4.0, 0.5))),
            "Average over the images: the loss of a batch is one number.",
        ),
        Property(
            "lam = 0: the cross-entropy of the labelled images alone",
            lambda f: _loss(_Y.abs(), 1.0, 4.0, 0.0)(f) and _loss(_Y, 1.0, 4.0, 0.0)(f),
            "(1 - lam) stands before the labels, lam before the teacher; images with y = -1 take "
            "no part in the cross-entropy, not in its average either.",
        ),
        Property(
            "lam = 1 with both temperatures 1: the teacher speaks of all images",
            _loss(_Y, 1.0, 1.0, 1.0),
            "KL(p || q) with p the teacher's, summed over classes, averaged over *all* images.",
        ),
        Property(
            "both temperatures 3: T² stands before the KL",
            _loss(_Y, 3.0, 3.0, 1.0),
            "Divide both logits by T, and multiply each image's KL by its T**2.",
        ),
        Property(
            "T_source = 1, T_target = 4: each image has the temperature of its domain",
            _loss(_Y, 1.0, 4.0, 1.0),
            "domain is 0 for source images, 1 for target images: torch.where(domain == 0, …) gives "
            "T (batch,). Divide by T[:, None]; T**2 goes to its own image, before the average.",
        ),
        Property(
            "lam = 0.7 mixes both",
            _loss(_Y, 1.0, 4.0, 0.7),
            "(1 - lam) times one part plus lam times the other.",
        ),
        Property(
            "a batch without any label (all y = -1): the labels' part is 0, never nan",
            lambda f: all(_without_labels(f, lam) for lam in (0.0, 0.5, 1.0)),
            "An average over no label is 0 / 0, and 0 * nan is nan: sum the cross-entropy "
            '(reduction="sum"), and divide by (y >= 0).sum().clamp(min=1).',
        ),
    ],
    lambda f: _says(f, _Y.abs(), 1.0, 4.0, 0.5),
)

# ---- 2: a teacher chosen without labels ---------------------------------------------------------


def _answers(classes: list[int], height: float) -> Tensor:
    """Logits (images, 10) that answer these classes, the more confident the higher."""
    return height * torch.eye(10)[torch.tensor(classes)]


_EVEN = list(range(10)) * 3
_CANDIDATES = {
    "unsure": _answers(_EVEN, 1.0),
    "collapsed": _answers([1] * 30, 12.0),
    "two classes": _answers([1, 7] * 15, 12.0),
    "good": _answers(_EVEN, 8.0),
}
_MIXED = {  # hedges on every image, but evenly: its mean answer is flatter than that of "settled"
    "hedging": torch.log(0.5 * torch.eye(10)[torch.tensor(_EVEN)] + 0.05 * torch.ones(30, 10)),
    "settled": _answers([0, 1, 2, 3, 4, 5, 6, 7] * 3 + [8] * 6, 9.0),
}


def _turned(candidates: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(reversed(candidates.items()))


def _chooses(f: Any, candidates: dict[str, Tensor], best: str) -> bool:
    return all(str(f(some)) == best for some in (candidates, _turned(candidates)))


def _of(*names: str) -> dict[str, Tensor]:
    return {name: _CANDIDATES[name] for name in names}


choose = Exercise(
    "09.2",
    "a teacher chosen without a label",
    [
        Property(
            "it returns the name of one of the teachers",
            lambda f: f(_CANDIDATES) in _CANDIDATES,
            "Return the key of the dictionary whose score is best: max(scores, key=scores.get).",
        ),
        Property(
            "of two teachers that use all classes alike it takes the confident one",
            lambda f: _chooses(f, _of("unsure", "good"), "good"),
            "Subtract the entropy of *each* answer, averaged. Is the sign right?",
        ),
        Property(
            "it does not take a teacher that answers one class for every image",
            lambda f: _chooses(f, _of("collapsed", "good"), "good"),
            "Confident and useless. Add the entropy of the *mean* answer: average first.",
        ),
        Property(
            "nor one that uses two classes of ten",
            lambda f: _chooses(f, _of("two classes", "good"), "good"),
            "The entropy of the mean answer says how many classes are in use.",
        ),
        Property(
            "it weighs both: a little unevenness is better than doubt on every image",
            lambda f: _chooses(f, _MIXED, "settled"),
            "Use both parts: entropy of the mean answer minus mean entropy of the answers.",
        ),
        Property(
            "probabilities are taken from logits, whatever constant is added to them",
            lambda f: _chooses(f, _of("unsure") | {"good": _CANDIDATES["good"] + 50}, "good"),
            "The answers are logits: take softmax(-1) first.",
        ),
        Property(
            "a probability of exactly 0 does not break it",
            lambda f: _chooses(f, _of("unsure") | {"hard": _answers(_EVEN, 500.0)}, "hard"),
            "0 · log 0 is nan by computer. Use torch.special.entr, log_softmax, or "
            "clamp(min=1e-12) inside the logarithm.",
        ),
    ],
    lambda f: f(_CANDIDATES),
)  # fmt: skip

# ---- 3: three leaks -----------------------------------------------------------------------------


@cache
def _small_world() -> tuple[nn.Module, Examples, Examples]:
    """A network, target images to adapt on, and test images that look otherwise."""
    draw = torch.Generator().manual_seed(3)
    network = initialise(cnn(2), 3).eval()
    images = torch.rand(40, 1, 8, 8, generator=draw), torch.rand(20, 1, 8, 8, generator=draw) ** 3
    target, test = (Examples(x, torch.full((len(x),), -1)) for x in images)
    return network, target, test


def _asked(f: Any, test: Examples | None = None) -> Any:
    network, target, whole = _small_world()
    return torch.as_tensor(f(copy.deepcopy(network), target, whole if test is None else test))


def _right(test: Examples) -> Tensor:
    network, target, _ = _small_world()
    return predict(adabn(copy.deepcopy(network), target), test)


def _leaves_it(f: Any) -> bool:
    network, target, test = _small_world()
    given = copy.deepcopy(network)
    f(given, target, test)
    before, after = network.state_dict(), given.state_dict()
    same_mode = given.training == network.training
    return same_mode and all(torch.equal(before[name], after[name]) for name in before)


def _alone_as_together(f: Any) -> bool:
    test = _small_world()[2]
    return close(_asked(f)[:5], _asked(f, test[:5]), atol=1e-4)


def _in_any_order(f: Any) -> bool:
    test = _small_world()[2]
    order = torch.arange(len(test)).flip(0)
    return close(_asked(f)[order], _asked(f, test[order]), atol=1e-4)


mended_answers = Exercise(
    "09.3",
    "an evaluation, mended of its leaks",
    [
        Property(
            "logits, a row for each test image",
            lambda f: _asked(f).shape == (len(_small_world()[2]), 10),
            "Return the logits (images, classes), not the chosen classes.",
        ),
        Property(
            "the network that was given is as it was",
            _leaves_it,
            "adabn and train() work in place, and the source network is needed again: adapt "
            "copy.deepcopy(network).",
        ),
        Property(
            "a test image is answered alike, alone or among others",
            lambda f: _in_any_order(f) and _alone_as_together(f),
            "Either the network stands in training mode, where BatchNorm takes the batch's own "
            "statistics (use eval(), or models.predict), or the test images are among those "
            "that adabn sees.",
        ),
        Property(
            "its statistics are those of the target's training images",
            lambda f: close(_asked(f), _right(_small_world()[2]), rtol=1e-3, atol=1e-4),
            "adabn(a copy of the network, target), nothing else; then ask it in eval mode.",
        ),
    ],
    _asked,
)
