"""Exercises of notebook 07."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

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

_GENERATOR = torch.Generator().manual_seed(0)
_Z_S, _Z_T = torch.randn(2, 6, 4, generator=_GENERATOR)
_Y = torch.tensor([1, -1, -1, 3, 0, -1])  # one old image has a label, one new image has none
_DOMAIN = torch.tensor([0, 0, 0, 1, 1, 1])


def _keeping(z_s: Tensor, z_t: Tensor, lam: float) -> Tensor:
    square = (z_t.softmax(1) - z_s.softmax(1)).square().sum(1)[_DOMAIN == 0].mean()
    return cross_entropy(z_s[_Y >= 0], _Y[_Y >= 0]) + lam * square


def _kept(f: Any, z_s: Tensor = _Z_S, z_t: Tensor = _Z_T, lam: float = 0.0) -> Tensor:
    return torch.as_tensor(f(z_s, z_t, _Y, _DOMAIN, lam))


def _pull(f: Any, z_t: Tensor = _Z_T) -> Tensor:
    """What the second term adds for each unit of λ."""
    return (_kept(f, z_t=z_t, lam=3.0) - _kept(f, z_t=z_t)) / 3


def _with_changed(domain: int) -> Tensor:
    changed = _Z_T.clone()
    changed[domain == _DOMAIN] += torch.tensor([2.0, 0.0, -1.0, 0.0])
    return changed


keeping_loss = Exercise(
    "07.2",
    "new labels, old answers",
    [
        Property(
            "one number",
            lambda f: _kept(f, lam=1.0).shape == (),
            "Average over images: a single number.",
        ),
        Property(
            "λ = 0 leaves the cross-entropy of the labelled images",
            lambda f: close(_kept(f), _keeping(_Z_S, _Z_T, 0)),
            "Labels of -1 mean none: take z_s[y >= 0] and y[y >= 0], whatever the domain.",
        ),
        Property(
            "what the old network says of new images does not matter",
            lambda f: close(_pull(f, _with_changed(1)), _pull(f)),
            "Only the old images: [domain == 0], not all, and not those without a label.",
        ),
        Property(
            "what it says of each old image does",
            lambda f: not close(_pull(f, _with_changed(0)), _pull(f)),
            "The old network answers the old images, domain 0: z_t belongs in the second term.",
        ),
        Property(
            "it compares probabilities",
            lambda f: close(_pull(f, _Z_T + 5), _pull(f)),
            "Softmax both first: adding a number to all logits changes no answer.",
        ),
        Property(
            "squares are summed over classes and averaged over the old images",
            lambda f: close(_pull(f), _keeping(_Z_S, _Z_T, 1) - _keeping(_Z_S, _Z_T, 0)),
            "‖…‖² is a sum over the classes, no root; then the mean over the old images alone "
            "(there are fewer of them than images in the batch).",
        ),
    ],
    lambda f: f(_Z_S, _Z_T, _Y, _DOMAIN, 1.0),
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
