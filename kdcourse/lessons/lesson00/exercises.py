"""Exercises of notebook 00."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close

_WIDE = [784, 800, 800, 10]


def _cost(f: Callable[[Any], Any], widths: list[int]) -> float:
    return float(f(widths))


cost_of_mlp = Exercise(
    "00.1",
    "what an MLP costs",
    [
        Property(
            "biases are no multiply-adds",
            lambda f: _cost(f, [784, 100, 10]) != 79_510,
            "That counts the weights and biases: a bias is added, and multiplied by nothing.",
        ),
        Property(
            "it is no product of all widths",
            lambda f: _cost(f, [784, 100, 10]) != 784 * 100 * 10,
            "Each layer multiplies two neighbouring widths; add the layers up.",
        ),
        Property(
            "one layer from 5 to 3 units takes 15",
            lambda f: _cost(f, [5, 3]) == 15,
            "Each of the 3 outputs is a sum of 5 products.",
        ),
        Property(
            "every pair of neighbours is a layer",
            lambda f: _cost(f, [784, 100, 10]) == 79_400 and _cost(f, _WIDE) == 1_275_200,
            "From the first width to the second, from the second to the third, and so on to the "
            "last: zip(widths[:-1], widths[1:]).",
        ),
    ],
    lambda f: f([784, 100, 10]),
)

_CONFIDENT = torch.tensor([9.0, 4.0, 0.0, -2.0], dtype=torch.float64)
_DOUBTFUL = torch.tensor([0.2, 0.1, 0.0, -0.1], dtype=torch.float64)


def _largest(f: Callable[[Any, float], Any], z: Tensor, most: float) -> float:
    """The largest probability at the temperature that was found."""
    return float((z / float(f(z, most))).softmax(-1).max())


def _near(f: Callable[[Any, float], Any], z: Tensor, most: float) -> bool:
    return abs(_largest(f, z, most) - most) <= 0.01


temperature_for = Exercise(
    "00.2",
    "the temperature for an answer",
    [
        Property(
            "it is a temperature above 0",
            lambda f: float(f(_CONFIDENT, 0.6)) > 0,
            "Search among numbers above 0 only; a negative T turns the order round.",
        ),
        Property(
            "at that temperature the largest probability is not above `most`",
            lambda f: _largest(f, _CONFIDENT, 0.6) <= 0.61,
            "The answer is still too confident: T must be higher. Is it (z / T).softmax(-1), or "
            "does the search go the wrong way?",
        ),
        Property(
            "and not below it",
            lambda f: _near(f, _CONFIDENT, 0.6) and _near(f, _CONFIDENT, 0.9),
            "The answer is softer than asked: T must be lower. Search in finer steps, and begin "
            "below 1.",
        ),
        Property(
            "a doubtful answer needs a T below 1",
            lambda f: _near(f, _DOUBTFUL, 0.5),
            "At T = 1 its largest probability is 0.29; to raise it to 0.5 go below 1.",
        ),
        Property(
            "it works for large logits, too",
            lambda f: _near(f, 40 * _CONFIDENT, 0.6),
            "Here T is about 200: search up to some thousands, and use softmax, as exp overflows.",
        ),
    ],
    lambda f: f(_CONFIDENT, 0.6),
)

_Z = torch.tensor([[2.0, 0.5, -1.0], [300.0, 0.0, -300.0]], dtype=torch.float64)


class _Watched(nn.Module):
    """A BatchNorm that remembers whether it was asked with gradients on."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, dtype=torch.float64)
        self.norm(_Z[:, [1, 0, 2]])  # its running statistics are now those of another batch
        self.graded = False

    def forward(self, x: Tensor) -> Tensor:
        self.graded |= torch.is_grad_enabled()
        out: Tensor = self.norm(x)
        return out


def _alone_or_together(f: Any) -> bool:
    together, alone = f(_Watched(), _Z), f(_Watched(), _Z[:1])
    return torch.allclose(torch.as_tensor(together)[:1], torch.as_tensor(alone))


def _unmoved(f: Any) -> bool:
    network = _Watched()
    before = network.norm.running_mean.clone()  # type: ignore[union-attr]
    f(network, _Z)
    return torch.equal(before, network.norm.running_mean)  # type: ignore[arg-type]


def _probabilities(f: Any) -> bool:
    network = _Watched()
    answer = f(network, _Z)
    return close(answer, network.eval()(_Z).softmax(-1).detach())


def _mode_kept(f: Any) -> bool:
    networks = [_Watched().train(), _Watched().eval()]
    for network in networks:
        f(network, _Z)
    return [network.training for network in networks] == [True, False]


def _each_mode_kept(f: Any) -> bool:
    network = _Watched().train()
    network.norm.eval()  # held still, as on page 07
    f(network, _Z)
    return network.training and not network.norm.training


def _no_gradient(f: Any) -> bool:
    network = _Watched()
    f(network, _Z)
    return not network.graded


answers = Exercise(
    "00.3",
    "asking a teacher",
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
            _probabilities,
            "Return network(x).softmax(-1), the network being in eval mode.",
        ),
        Property(
            "no gradient is recorded",
            _no_gradient,
            "Ask under torch.no_grad(); detach() afterwards is too late, the graph was built.",
        ),
        Property(
            "afterwards the network is in the mode in which it came",
            _mode_kept,
            "Remember network.training before, and give it back afterwards.",
        ),
        Property(
            "so is every layer, also one that was in eval mode while the network trained",
            _each_mode_kept,
            "network.train() wakes every layer. Remember the mode of each of network.modules(), "
            "and give each its own back.",
        ),
    ],
    lambda f: f(_Watched(), _Z),
)
