"""Adapting without a new loss: BatchNorm's statistics of other images, and weights held still."""

import copy
import difflib
import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdlib.data import Examples
from kdlib.models import evaluating, observe


def adabn(network: nn.Module, examples: Examples, *, size: int = 500) -> nn.Module:
    """BatchNorm's running statistics become those of these images (AdaBN, Li et al. 2017).

    In place; returns the network. No weight moves, no label is read, dropout is off, and every
    module's mode is as before. The images pass in their order, `size` or fewer at a time, and
    each layer keeps the mean over these batches of their means and (unbiased) variances: the
    statistics that were there before leave no trace, and up to `size` images give exactly the
    statistics of all of them.
    Raises ValueError for a network without BatchNorm statistics, or fewer than 2 images.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no BatchNorm with running statistics, all that adabn "
            "changes; choose a network that has, such as cnn(), or another way to adapt"
        )
    if len(examples) < 2 or size < 2:
        raise ValueError(
            f"{len(examples)} images, {size} at a time, have no statistics; "
            "expected at least 2 of both"
        )
    device = next((parameter.device for parameter in network.parameters()), examples.device)
    batches = min(math.ceil(len(examples) / size), len(examples) // 2)  # 2 images in each, or more
    before = [(layer, layer.momentum, copy.deepcopy(layer.state_dict())) for layer in layers]
    with evaluating(network):
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.train()
                layer.momentum = None  # the plain mean over batches, no forgetting
            for index in torch.arange(len(examples), device=examples.device).tensor_split(batches):
                observe(network, examples.batch(index).x.to(device))
        except BaseException:
            for layer, _, state in before:  # half-made statistics are worse than the old ones
                layer.load_state_dict(state)
            raise
        finally:
            for layer, momentum, _ in before:
                layer.momentum = momentum
    return network


def freeze(network: nn.Module, *prefixes: str) -> nn.Module:
    """Holds these parts still: `freeze(net, "stage1", "stage2")`; "" stands for the whole network.

    In place; returns the network. A prefix is the dotted name of a module (or of one weight) and
    stands for everything beneath it; without any, nothing changes. Frozen weights take no
    gradient, in copies too. `fit` keeps BatchNorm layers whose weights are frozen in eval mode, so
    that their running statistics do not move either. Dropout is no weight and goes on.
    Raises ValueError for an unknown name, naming the nearest.
    """
    return _set(network, prefixes, moves=False)


def unfreeze(network: nn.Module, *prefixes: str) -> nn.Module:
    """Lets these parts move again; see `freeze`."""
    return _set(network, prefixes, moves=True)


def _set(network: nn.Module, prefixes: tuple[str, ...], *, moves: bool) -> nn.Module:
    weights = dict(network.named_parameters())
    for prefix in prefixes:
        if not any(_beneath(name, prefix) for name in weights):
            raise ValueError(_unknown(network, prefix))
    for name, weight in weights.items():
        if any(_beneath(name, prefix) for prefix in prefixes):
            weight.requires_grad_(moves)
    return network


def _beneath(name: str, prefix: str) -> bool:
    return prefix in ("", name) or name.startswith(f"{prefix}.")


def _unknown(network: nn.Module, prefix: str) -> str:
    kind = type(network).__name__
    holding = [
        n for n, m in network.named_modules() if n and next(m.parameters(), None) is not None
    ]
    names = [*holding, *(name for name, _ in network.named_parameters())]
    if prefix in dict(network.named_modules()):
        return f"{prefix!r} of {kind} has no weights; there are {', '.join(holding)}"
    near = difflib.get_close_matches(prefix, names, 1, 0.3)
    hint = f"the nearest name is {near[0]!r}" if near else f"it has {', '.join(holding)}"
    return f"{prefix!r} is no module or weight of {kind}; {hint}"
