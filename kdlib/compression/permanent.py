"""Plain weights again: what a parametrization makes of them is written down."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


def made_permanent(network: nn.Module) -> nn.Module:
    """A copy with plain weights: zeros of `prune` and levels of `rounded` are in them.

    Training moves them then. Any other parametrization of torch is written down too; flags of
    gradients and modes stay. (`remove_parametrizations` of torch, on a copy, breaks the original:
    both share a class.)
    """
    plain = copy.deepcopy(network)
    for module in plain.modules():
        if parametrize.is_parametrized(module):
            _write_down(module)
    return plain


@torch.no_grad()
def _write_down(module: nn.Module) -> None:
    """Takes the module's parametrizations out, in place; tensors in the order of a fresh layer."""
    lists = dict(module.parametrizations.items())  # type: ignore[operator, union-attr]
    values = {name: getattr(module, name).detach().clone() for name in lists}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    others = dict(module._parameters)
    module._parameters.clear()  # weight comes before bias, as the layer registers them
    for name, value in values.items():
        originals = lists[name].parameters(recurse=False)
        moved = [original.requires_grad for original in originals]
        if moved:
            module.register_parameter(name, nn.Parameter(value, requires_grad=any(moved)))
        else:
            module.register_buffer(name, value)
    module._parameters.update(others)


def as_stored(network: nn.Module) -> dict[str, Tensor]:
    """The state dict with plain weights; the network's own where they are plain."""
    parametrized = any(map(parametrize.is_parametrized, network.modules()))
    return (made_permanent(network) if parametrized else network).state_dict()
