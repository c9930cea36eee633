"""Exercises of notebook 01."""

from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property

# Rows are labels: 10 twos of which 4 are called a seven, 5 sevens all found, one stray three.
_COUNTS = torch.tensor([[6, 0, 4], [1, 4, 0], [0, 0, 5]])
_RECALL = torch.tensor([0.6, 0.8, 1.0], dtype=torch.float64)


def _recall(f: Any) -> Tensor:
    return torch.as_tensor(f(_COUNTS)).double()


recall = Exercise(
    "01.1",
    "how much of each digit is found",
    [
        Property(
            "one share per class",
            lambda f: _recall(f).shape == (3,),
            "Not one number for all: divide two vectors with one entry per class.",
        ),
        Property(
            "a class that is always found has recall 1, whatever else is called by its name",
            lambda f: abs(float(_recall(f)[2]) - 1) < 1e-6,
            "Divide by how many images have this label (a row), "
            "not by how often the answer was given (a column): .sum(1).",
        ),
        Property(
            "it is a share of the images with this label",
            lambda f: torch.allclose(_recall(f), _RECALL),
            "The right answers stand on the diagonal; divide each by the sum of its own row.",
        ),
    ],
    lambda f: f(_COUNTS),
)


def _answers(confidence: list[float], right: list[bool]) -> tuple[Tensor, Tensor]:
    """Logits (N, 2) of these confidences (above ½), and labels that make them right or wrong."""
    p = torch.tensor(confidence, dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()], 1)
    return logits + 3.0, (~torch.tensor(right)).long()  # a shift of all logits changes no softmax


# Surest first: an early slip, then many right answers, then two wrong ones.
_SURE = [0.99, 0.97, 0.95, 0.94, 0.92, 0.9, 0.88, 0.85, 0.8, 0.75, 0.6, 0.55]
_RIGHT = [True, False, *[True] * 8, False, False]


def _threshold(f: Any, most: float) -> float:
    return float(f(*_answers(_SURE, _RIGHT), most))


def _kept(f: Any, most: float) -> tuple[int, int]:
    """How many are answered at the returned threshold, and how many of them wrongly."""
    kept = torch.tensor(_SURE) >= _threshold(f, most) - 1e-9
    return int(kept.sum()), int((kept & ~torch.tensor(_RIGHT)).sum())


def _never_right(f: Any) -> bool:
    logits, y = _answers([0.9, 0.8], [False, False])
    return float(f(logits, y, 10.0)) > 0.9


threshold_for = Exercise(
    "01.2",
    "the threshold that keeps a promise",
    [
        Property(
            "it is a confidence between 0 and 1",
            lambda f: 0 <= _threshold(f, 10.0) <= 1,
            "Confidence is the largest probability: logits.softmax(-1).amax(-1), not a logit.",
        ),
        Property(
            "at most `most` percent of the answers are wrong",
            lambda f: _kept(f, 10.0)[1] <= 0.1 * _kept(f, 10.0)[0] + 1e-9,
            "Compare in percent: 100 · wrong / answered ≤ most.",
        ),
        Property(
            "no lower threshold keeps the promise too",
            lambda f: _kept(f, 10.0)[0] == 10,
            "most is in percent. And an early slip can be outweighed: look at all thresholds, "
            "and take the lowest that keeps the promise.",
        ),
        Property(
            "if all answers may be wrong, every image is answered",
            lambda f: _kept(f, 100.0)[0] == len(_SURE),
            "With most = 100 the lowest confidence of all is good enough.",
        ),
        Property(
            "if no threshold keeps the promise, nothing is answered",
            _never_right,
            "Return something above every confidence, for instance float('inf').",
        ),
    ],
    lambda f: f(*_answers(_SURE, _RIGHT), 10.0),
)


class _Batch:
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


class _Probe(nn.Module):
    """Answers class 0 in eval mode, class 1 in train mode; remembers whether gradients were on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.graded = False

    def forward(self, x: Tensor) -> Tensor:
        self.graded |= torch.is_grad_enabled()
        sign = -1.0 if self.training else 1.0
        return self.scale * sign * torch.tensor([1.0, -1.0]).expand(len(x), 2)


def _batches() -> list[_Batch]:
    """4 images, all right; then a last one, wrong: 20 % of 5, not the mean of 0 % and 100 %."""
    x = torch.zeros(5, 1, 2, 2)
    y = torch.tensor([0, 0, 0, 0, 1])
    return [_Batch(x[:4], y[:4]), _Batch(x[4:], y[4:])]


def _error(f: Any) -> float:
    return float(f(_Probe().train(), _batches()))


def _mode_kept(f: Any) -> bool:
    networks = [_Probe().train(), _Probe().eval()]
    for network in networks:
        f(network, _batches())
    return [network.training for network in networks] == [True, False]


def _no_gradient(f: Any) -> bool:
    network = _Probe().train()
    f(network, _batches())
    return not network.graded


evaluate = Exercise(
    "01.3",
    "an honest evaluation",
    [
        Property(
            "the network answers in eval mode",
            lambda f: _error(f) < 75,
            "BatchNorm and dropout answer differently in train mode: network.eval() first.",
        ),
        Property(
            "every image counts the same, also in a short last batch",
            lambda f: abs(_error(f) - 20) < 1e-3,
            "Sum the wrong answers and the images over all batches, and divide once at the end; "
            "the mean of the batches' errors gives a short batch too much weight. In percent.",
        ),
        Property(
            "afterwards the network is in the mode it came in",
            _mode_kept,
            "Remember network.training, and put it back with network.train(was): "
            "training would go on without dropout, and with frozen BatchNorm.",
        ),
        Property(
            "no gradient is recorded",
            _no_gradient,
            "Ask under torch.no_grad().",
        ),
    ],
    lambda f: f(_Probe().eval(), _batches()),
)
