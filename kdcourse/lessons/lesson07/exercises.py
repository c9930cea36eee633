"""Exercises of notebook 07."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib.models import MLP, initialise, mlp


def _share(*still: str) -> Callable[[Any], float]:
    """The answer for a small network, some layers of which are held still, in percent."""

    def ask(f: Any) -> float:
        network = mlp(4, 3, 2)  # 15 weights in stage1, 8 in the head
        for name in still:
            network.get_submodule(name).requires_grad_(False)
        return float(f(network))

    return ask


moving_share = Exercise(
    "07.1",
    "how much of a network may move",
    [
        Property(
            "nothing held still: 100",
            lambda f: close(_share()(f), 100),
            "All weights may move: 100 %, not 1 and not 0.",
        ),
        Property(
            "all held still: 0",
            lambda f: close(_share("stage1", "head")(f), 0),
            "Count the weights whose requires_grad is True, not the others.",
        ),
        Property(
            "stage1 (15 weights) held still, the head (8) moves: 34.8",
            lambda f: close(_share("stage1")(f), 100 * 8 / 23),
            "A weight tensor holds many numbers: sum up numel(), not the number of tensors. "
            "And it is the share that moves.",
        ),
    ],
    lambda f: f(mlp(4, 3, 2)),
)


def _network(seed: int = 0) -> MLP:
    return initialise(mlp(6 * 4, 5, 3), seed).eval()  # type: ignore[return-value]  # for 6 × 4 images


def _images() -> torch.Tensor:
    return torch.rand(7, 1, 6, 4, generator=torch.Generator().manual_seed(0))


def _mirrored(f: Any) -> nn.Module:
    return f(_network(), 6, 4)


def _leaves_the_original(f: Any) -> bool:
    network = _network()
    before = copy.deepcopy(network.state_dict())
    f(network, 6, 4)
    return all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def _changes_only_the_first(f: Any) -> bool:
    before, after = _network().state_dict(), _mirrored(f).state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    return changed == ["stage1.0.weight"]


@torch.no_grad()
def _same_answers(f: Any) -> bool:
    x = _images()
    return torch.allclose(_mirrored(f)(x.flip(-1)), _network()(x), atol=1e-5)


mirror_reader = Exercise(
    "07.2",
    "a network that reads mirror writing, without training",
    [
        Property(
            "the network that was given stays as it is",
            _leaves_the_original,
            "Work on copy.deepcopy(network): the reader of upright digits is still needed.",
        ),
        Property(
            "only stage1.0.weight changes",
            _changes_only_the_first,
            "Pixels enter at the first layer and nowhere else: no bias, no other layer.",
        ),
        Property(
            "mirrored images get the answers of the upright ones",
            _same_answers,
            "Each row of the weight is an image, height × width: give it that shape, flip its "
            "last axis (left and right, not all 24 numbers, not up and down), flatten it again.",
        ),
    ],
    lambda f: f(_network(), 6, 4),
)


def _stages() -> nn.Sequential:
    """Two stages whose names begin alike, and a head; every module in eval mode."""
    network = nn.Sequential()
    network.add_module("stage1", nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    network.add_module("stage10", nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    network.add_module("head", nn.Linear(3, 2))
    return network.eval()


def _moving(f: Any) -> set[str]:
    return {
        name for name, weight in f(_stages(), "stage1").named_parameters() if weight.requires_grad
    }


def _statistics_stay(f: Any) -> bool:
    network = f(_stages(), "stage1")
    network(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)) + 3)
    return bool((network.stage1[1].running_mean == 0).all())


def _rest_trains(f: Any) -> bool:
    network = f(_stages(), "stage1")
    return network.stage10[1].training and network.head.training


mended_hold = Exercise(
    "07.3",
    "a stage that is really held still",
    [
        Property(
            "the weights of stage1 take no gradient",
            lambda f: not any(name.startswith("stage1.") for name in _moving(f)),
            "A module has no switch called requires_grad: setting it makes a new attribute that "
            "nobody reads. Its weights have it: module.requires_grad_(False).",
        ),
        Property(
            "stage10 and the head go on moving",
            lambda f: {name.split(".")[0] for name in _moving(f)} == {"stage10", "head"},
            '"stage1" is also in "stage10". Take the module of exactly that name: '
            "network.get_submodule(name).",
        ),
        Property(
            "images passing through leave the statistics of stage1 alone",
            _statistics_stay,
            "In train mode BatchNorm keeps on averaging, whatever requires_grad says: put the "
            "stage into eval mode, after network.train().",
        ),
        Property(
            "all the rest is in train mode",
            _rest_trains,
            "Only the stage that is held still belongs in eval mode.",
        ),
    ],
    lambda f: f(_stages(), "stage1"),
)
