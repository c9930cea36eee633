"""Exercises of notebook 07."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close

_TRIED = {
    "head": {0.1: [10.0, 30.0], 0.01: [18.0, 18.0], 0.001: [60.0, 50.0]},
    "all": {0.01: [9.0, 9.0], 0.001: [3.0, 11.0], 0.1: [70.0, 0.0]},
}
_TIED = {"all": {0.1: [4.0, 6.0], 0.03: [5.0, 5.0], 0.3: [5.0]}}


def _taken(f: Any, tried: Any) -> dict[str, float]:
    return {str(way): float(lr) for way, lr in dict(f(copy.deepcopy(tried))).items()}


fair_rates = Exercise(
    "07.1",
    "a learning rate for each way",
    [
        Property(
            "one rate for each way",
            lambda f: set(_taken(f, _TRIED)) == set(_TRIED),
            "Return a dictionary with the same ways as errors: {way: learning rate}.",
        ),
        Property(
            "it is a learning rate that was tried",
            lambda f: all(lr in _TRIED[way] for way, lr in _taken(f, _TRIED).items()),
            "Return the rate (the key), not its error.",
        ),
        Property(
            "the mean decides, not one lucky draw",
            lambda f: _taken(f, _TRIED)["all"] == 0.001 and _taken(f, _TRIED)["head"] == 0.01,
            "Lowest mean over the draws: not the lowest single draw, not the highest error, and "
            "not one rate for all ways.",
        ),
        Property(
            "of equals, the smaller rate",
            lambda f: _taken(f, _TIED) == {"all": 0.03},
            "Sort the rates first: min takes the first of equals. A mean, not a sum: the lists "
            "may differ in length.",
        ),
    ],
    lambda f: f(copy.deepcopy(_TRIED)),
)

# The old network is right on the first image; the third label has the smallest probability.
_P = torch.tensor(
    [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.05, 0.9, 0.05], [0.5, 0.3, 0.2]], dtype=torch.float64
)
_Y = torch.tensor([0, 0, 2, 2])


def _weights(f: Any) -> Tensor:
    return torch.stack([torch.as_tensor(float(weight)).double() for weight in f(_P, _Y)])


def _lead(f: Any) -> Tensor:
    """How far the label leads at these weights: 1 + λ p_y - λ max p, of the last three images."""
    label = _P.gather(1, _Y[:, None])[:, 0]
    return (1 + _weights(f) * (label - _P.amax(1)))[1:]


largest_weight = Exercise(
    "07.2",
    "what an old mistake may weigh",
    [
        Property(
            "one weight for each image",
            lambda f: len(f(_P, _Y)) == len(_Y),
            "Return one number for each image of the batch, in its order.",
        ),
        Property(
            "inf where the old network is right",
            lambda f: bool(torch.isinf(_weights(f)[0])) and float(_weights(f)[0]) > 0,
            "Where its first choice is the label, no weight turns that: inf. Compare p of the "
            "label with the largest p of all classes, not with the second.",
        ),
        Property(
            "a number elsewhere",
            lambda f: bool(torch.isfinite(_weights(f)[1:]).all()),
            "inf only where the old network is right: elsewhere its mistake wins at last.",
        ),
        Property(
            "no weight below 0",
            lambda f: bool((_weights(f) > 0).all()),
            "Largest probability minus that of the label, not the other way round.",
        ),
        Property(
            "at this weight the label still leads, or is level",
            lambda f: bool((_lead(f) >= -1e-4).all()),
            "At your λ the old mistake already wins: w is 1 + λ p for the label and λ p for the "
            "old network's first choice.",
        ),
        Property(
            "and at no larger one",
            lambda f: close(_lead(f), torch.zeros(3, dtype=torch.float64)),
            "The label still leads at your λ: it may be larger. The label has a share of p, too, "
            "and there is no factor but λ.",
        ),
    ],
    lambda f: f(_P, _Y),
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


hold_still = Exercise(
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
            "something goes on moving",
            _moving,
            "Everything is frozen: only the stage of that name is held still.",
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
