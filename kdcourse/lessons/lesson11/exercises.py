"""Exercises of notebook 11."""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property
from kdlib.data import Examples

# ---- 1: must it help? ---------------------------------------------------------------------------


def _says(f: Any, word: str, *cases: tuple[float, float, float]) -> bool:
    return all(f(*case) == word for case in cases)


verdict = Exercise(
    "11.1",
    "must the student gain from its teacher?",
    [
        Property(
            "a teacher of 2 % and 3 % disagreement must help where labels alone leave 20 %",
            lambda f: _says(f, "helps", (0.02, 0.03, 0.2), (0.07, 0.09, 0.2)),
            "The student's error is at most the sum of the first two; compare it with the third.",
        ),
        Property(
            "a teacher of 60 % and 10 % disagreement must harm where labels alone leave 30 %",
            lambda f: _says(f, "harms", (0.6, 0.1, 0.3)),
            "The student's error is at least the first minus the second.",
        ),
        Property(
            "a good teacher with which the student often disagrees leaves it open",
            lambda f: _says(f, "open", (0.07, 0.23, 0.2), (0.1, 0.3, 0.2)),
            "It is not enough that the teacher is better: add the disagreement to its error.",
        ),
        Property(
            "a bad teacher with which the student often disagrees leaves it open",
            lambda f: _says(f, "open", (0.6, 0.3, 0.55), (0.5, 0.4, 0.3)),
            "It is not enough that the teacher is worse: take the disagreement off its error.",
        ),
        Property(
            "with equal errors possible, it is open",
            lambda f: _says(f, "open", (0.25, 0.25, 0.5), (0.5, 0.25, 0.25)),
            "It must have fewer, or more, errors: strictly.",
        ),
    ],
    lambda f: f(0.02, 0.03, 0.2),
)

# ---- 2: classes used ----------------------------------------------------------------------------


def _logits(first: list[int], sharpness: float = 8.0, classes: int = 6) -> Tensor:
    """Logits (images, classes) whose first answers are these."""
    z = torch.zeros(len(first), classes)
    z[torch.arange(len(first)), torch.tensor(first)] = sharpness
    return z


_ALL = _logits([0, 1, 2, 3, 4, 5] * 20)
_FOUR = _logits([0, 1, 2, 3] * 30)
_TWO = _logits([2, 4] * 60)
_NONE = _logits([3] * 120)
_RARE = _logits([0] * 115 + [1, 2, 3, 4, 5])
_FLAT = _logits([1] * 120, sharpness=0.01)
_TIMID = _logits([0, 1, 2, 3, 4, 5] * 20, sharpness=0.01)


def _names(f: Any, least: float, **answers: Tensor) -> list[str]:
    return list(f(dict(answers), least))


usable = Exercise(
    "11.2",
    "which transfer sets to train on",
    [
        Property(
            "a set with all classes is chosen, one with a single class is not",
            lambda f: _names(f, 3.0, noise=_NONE, digits=_ALL) == ["digits"],
            "Return the names, in a list. No class but one: H is 0, and e to the H is 1.",
        ),
        Property(
            "six classes are not more than 20",
            lambda f: _names(f, 20.0, digits=_ALL) == [],
            "Compare the number of classes with `least`, which is given.",
        ),
        Property(
            "a class that is never answered does no harm",
            lambda f: _names(f, 1.9, two=_TWO) == ["two"],
            "Where a share is 0, 0 · log 0 counts as 0 and is not nan: torch.special.entr.",
        ),
        Property(
            "a confident set is no better than another with the same first answers",
            lambda f: _names(f, 3.0, timid=_TIMID) == ["timid"],
            "Count first answers; probabilities, and how confident they are, do not matter.",
        ),
        Property(
            "a set that always says the same class, with little confidence, is not chosen",
            lambda f: _names(f, 3.0, flat=_FLAT) == [],
            "Shares of *first answers*: argmax before you average, not the mean of probabilities.",
        ),
        Property(
            "classes that are hardly ever answered hardly count",
            lambda f: _names(f, 3.0, rare=_RARE) == [],
            "Not the number of different answers, but e to the entropy of their shares.",
        ),
        Property(
            "four classes alike are 4, two are 2",
            lambda f: (
                _names(f, 3.8, four=_FOUR) == ["four"]
                and not _names(f, 4.2, four=_FOUR)
                and _names(f, 1.9, two=_TWO) == ["two"]
                and not _names(f, 2.1, two=_TWO)
            ),
            "The entropy in nats (natural logarithm), then exp of it; compare that with `least`.",
        ),
        Property(
            "most classes first",
            lambda f: _names(f, 1.5, two=_TWO, all=_ALL, four=_FOUR) == ["all", "four", "two"],
            "Sort the chosen names by their number of classes, the largest first.",
        ),
    ],
    lambda f: f({"digits": _ALL}, 3.0),
)

# ---- 3: the plan of a learning curve ------------------------------------------------------------

_KEYS = ("teacher", "label-only", "transfer set", "label-only epochs")


@cache
def _images() -> tuple[Examples, Examples]:
    pixels = torch.Generator().manual_seed(11)
    x = torch.randint(256, (1200, 1, 4, 4), generator=pixels).to(torch.uint8)
    whole = Examples(x, torch.arange(1200) % 3, name="small")
    return whole[:900], whole[900:]


def _plan(f: Any, n: int = 2, draw: int = 0, **more: int) -> dict[str, Any]:
    return dict(f(*_images(), n, draw, **more))


def _same(a: Examples, b: Examples) -> bool:
    return sorted(a.ids.tolist()) == sorted(b.ids.tolist())


def _few(f: Any, who: str) -> bool:
    """n of each class, all of the training images."""
    for n in (1, 2, 50):
        part = _plan(f, n)[who]
        inside = torch.isin(part.ids, _images()[0].ids).all()
        if part.y.bincount(minlength=3).tolist() != [n] * 3 or not inside:
            return False
    return True


def _steps(f: Any) -> bool:
    """As many steps as the transfer set's, to half a pass."""
    for n, epochs in ((2, 20), (100, 20), (100, 7)):
        plan = _plan(f, n, epochs=epochs)
        wanted = epochs * math.ceil(len(plan["transfer set"]) / 128)
        each = math.ceil(len(plan["label-only"]) / 128)
        if abs(float(plan["label-only epochs"]) * each - wanted) > each / 2:
            return False
    return True


mended_plan = Exercise(
    "11.3",
    "an honest learning curve",
    [
        Property(
            "it has the four entries of the plan",
            lambda f: set(_KEYS) <= set(_plan(f)),
            f"A dictionary with {', '.join(map(repr, _KEYS))}.",
        ),
        Property(
            "the teacher sees n labelled images per class, no more",
            lambda f: _few(f, "teacher"),
            "It was given all of `train`: a leak. Its labels are those of the label-only student.",
        ),
        Property(
            "the label-only student sees n labelled images per class",
            lambda f: _few(f, "label-only"),
            "train.per_class(n, …), with its labels.",
        ),
        Property(
            "each draw has its own labels",
            lambda f: (
                not _same(_plan(f)["teacher"], _plan(f, draw=1)["teacher"])
                and not _same(_plan(f)["label-only"], _plan(f, draw=1)["label-only"])
            ),
            "per_class takes seed=…: without it, every draw is the same.",
        ),
        Property(
            "teacher and label-only student have the same labels",
            lambda f: all(
                _same(plan["teacher"], plan["label-only"])
                for plan in (_plan(f), _plan(f, 50), _plan(f, draw=3))
            ),
            "Draw the labels once, and give both the same.",
        ),
        Property(
            "no test image stands in the transfer set",
            lambda f: not torch.isin(_plan(f)["transfer set"].ids, _images()[1].ids).any(),
            "Whoever trained on a test image, even without its label, is no longer tested by it.",
        ),
        Property(
            "the transfer set has no labels",
            lambda f: bool((_plan(f)["transfer set"].y < 0).all()),
            ".unlabelled() takes them away.",
        ),
        Property(
            "the transfer set holds the training images that nobody labelled",
            lambda f: torch.isin(
                _images()[0].ids, torch.cat([_plan(f)[k].ids for k in ("transfer set", "teacher")])
            ).all(),
            "All of `train`, with or without those that are labelled.",
        ),
        Property(
            "both students take as many steps",
            _steps,
            "Steps of a pass: math.ceil(len(part) / 128). Steps of `epochs` passes over the "
            "transfer set, divided by the steps of a pass over the labelled images.",
        ),
        Property(
            "epochs are a whole number",
            lambda f: float(_plan(f, 100)["label-only epochs"]).is_integer(),
            "round(…) it.",
        ),
    ],
    lambda f: f(*_images(), 2, 0),
)
