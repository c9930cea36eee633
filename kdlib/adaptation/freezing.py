"""Weights held still, by the names of their modules."""

import difflib

from torch import nn


def freeze(network: nn.Module, *prefixes: str) -> nn.Module:
    """Holds these parts still: `freeze(net, "stage1", "stage2")`; "" stands for the whole network.

    In place; returns the network. A prefix is the dotted name of a module (or of one weight) and
    stands for everything beneath it; without any, nothing changes. Frozen weights take no
    gradient, in copies too. `fit` keeps normalisations in frozen parts in eval mode, so that their
    running statistics do not move either. Dropout is no weight and goes on.
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
        return (
            f"{prefix!r} of {kind} has no weights; there are {', '.join(holding)} (statistics are "
            f"held still by network.train(), then network.get_submodule({prefix!r}).eval())"
        )
    near = difflib.get_close_matches(prefix, names, 1, 0.3)
    hint = f"the nearest name is {near[0]!r}" if near else f"it has {', '.join(holding)}"
    return f"{prefix!r} is no module or weight of {kind}; {hint}"
