"""Exercises of notebook 00."""

import torch
from torch import nn

from kdcourse.checks.exercises import Exercise, Property, close

_Z = torch.tensor([[2.0, 0.5, -1.0], [300.0, 0.0, -300.0]], dtype=torch.float64)
_P = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]], dtype=torch.float64)
_Q = torch.tensor([[0.2, 0.2, 0.6], [0.25, 0.5, 0.25]], dtype=torch.float64)


softened = Exercise(
    "00.1",
    "softmax with a temperature",
    [
        Property(
            "each row sums to 1",
            lambda f: close(f(_Z, 1.0).sum(-1), torch.ones(2, dtype=torch.float64)),
            "Normalise over the classes, the last axis: dim=-1.",
        ),
        Property(
            "T = 1 is the ordinary softmax",
            lambda f: close(f(_Z, 1.0), _Z.softmax(-1)),
            "Exponentiate the logits, then divide by their sum.",
        ),
        Property(
            "with T, too, each row sums to 1",
            lambda f: close(f(_Z, 4.0).sum(-1), torch.ones(2, dtype=torch.float64)),
            "softmax(z / T), not softmax(z) / T.",
        ),
        Property(
            "a higher T gives a flatter answer",
            lambda f: f(_Z, 4.0)[0].max() < f(_Z, 1.0)[0].max(),
            "Divide the logits by T; multiplying sharpens.",
        ),
        Property(
            "T divides the logits, inside the exponential",
            lambda f: close(f(_Z, 4.0), (_Z / 4).softmax(-1)),
            "softmax(z / T): divide first, then exponentiate.",
        ),
        Property(
            "large logits do not overflow",
            lambda f: close(f(500 * _Z, 1.0), (500 * _Z).softmax(-1)),
            "exp(1000) is infinite: subtract each row's maximum before.",
        ),
    ],
    lambda f: f(_Z, 1.0),
)

divergence = Exercise(
    "00.2",
    "KL divergence of two rows of probabilities",
    [
        Property(
            "it is 0 where both rows are the same",
            lambda f: abs(float(f(_P, _P).abs().max())) < 1e-9,
            "KL(p || p) = Σ p log(p / p), and log 1 = 0.",
        ),
        Property(
            "one number for each row, summed over classes",
            lambda f: f(_P, _Q).shape == (2,),
            "Sum over the last axis only: .sum(-1).",
        ),
        Property(
            "p weighs the differences, and stands first",
            lambda f: close(f(_P, _Q), (_P * (_P / _Q).log()).sum(-1)),
            "KL(p || q) = Σ_c p_c · (log p_c − log q_c): is it swapped, or averaged?",
        ),
    ],
    lambda f: f(_P, _Q),
)


def _normed() -> nn.Sequential:
    network = nn.Sequential(nn.BatchNorm1d(3, dtype=torch.float64))
    network(_Z[:, [1, 0, 2]])  # its running statistics are now those of another batch
    return network.train()


def _asked(f: object) -> torch.Tensor:
    return f(_normed(), _Z)  # type: ignore[operator]


def _unmoved(f: object) -> bool:
    network = _normed()
    before = network[0].running_mean.clone()  # type: ignore[operator]
    f(network, _Z)  # type: ignore[operator]
    return torch.equal(before, network[0].running_mean)  # type: ignore[arg-type]


def _said(f: object) -> bool:
    network = _normed()
    said = f(network, _Z)  # type: ignore[operator]
    return close(said, network.eval()(_Z).softmax(-1).detach())


def _alone_or_together(f: object) -> bool:
    together, alone = _asked(f), f(_normed(), _Z[:1])  # type: ignore[operator]
    return torch.allclose(together[:1], alone)


answers = Exercise(
    "00.3",
    "answers that do not depend on the neighbours",
    [
        Property(
            "an image gets the same answer alone and in a batch",
            _alone_or_together,
            "BatchNorm uses the batch's own mean in train mode: call network.eval() first.",
        ),
        Property(
            "asking does not change the network",
            _unmoved,
            "In train mode BatchNorm's running mean moves even under torch.no_grad().",
        ),
        Property(
            "the answers are the network's probabilities",
            _said,
            "Return network(x).softmax(-1), the network being in eval mode.",
        ),
        Property(
            "no gradient is recorded",
            lambda f: not f(nn.Linear(3, 2).double(), _Z).requires_grad,
            "Ask under torch.no_grad().",
        ),
    ],
    lambda f: f(nn.Linear(3, 2).double(), _Z),
)
