"""Weights set to zero: the smallest ones, by a mask that stays while the network is trained."""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from kdlib.arguments import check_fraction
from kdlib.compression.choosing import chosen_layers
from kdlib.compression.permanent import made_permanent


class Mask(nn.Module):
    """weight -> the weight where the mask is True, 0 elsewhere; no gradient passes there."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0)


def prune(
    network: nn.Module,
    amount: float | Mapping[str, float],
    *,
    how: str = "layer",
    layers: str | Iterable[str] | None = None,
) -> nn.Module:
    """A copy in which this share of the weights is 0, the smallest ones (Han et al. 2015).

    amount: from 0 to 1, or layer's name -> its own. how: "layer", the share of each layer, or
    "global", of all of them together. layers: names; by default all linear layers and convolutions
    but the last one registered, the head. Biases stay.
    torch.nn.utils.prune chooses; a torch parametrization keeps, so that zeros stay zeros in
    training and the copy can be deep-copied and given to `fit(…, seed=None)` or a bank's `start=`.
    A network that is pruned already goes on from its zeros, which count in the share.
    Raises ValueError for an amount outside 0..1, a layer that has no such name or cannot be pruned,
    and one that would be left without any weight (layer collapse).
    """
    if how not in ("layer", "global"):
        raise ValueError(f"how={how!r}: expected 'layer' or 'global'")
    each = isinstance(amount, Mapping)
    if each and (layers is not None or how == "global"):
        raise ValueError(
            "amount= names layers already; leave layers= out, and take how='layer' with it"
        )
    names = list(chosen_layers(network, list(amount) if isinstance(amount, Mapping) else layers))
    shares = {n: amount[n] if isinstance(amount, Mapping) else amount for n in names}
    for name, share in shares.items():
        check_fraction(f"amount[{name!r}]" if each else "amount", share)
    masks = _masks(made_permanent(network), shares, together=how == "global")
    for name, mask in masks.items():
        if not bool(mask.any()):
            raise ValueError(
                f"amount={shares[name]:g} leaves none of the {mask.numel()} weights of layer "
                f"{name!r} (layer collapse: every image gets one answer); prune less of it"
            )
    pruned = copy.deepcopy(network)
    for name, mask in masks.items():
        _keep(pruned.get_submodule(name), mask)
    return pruned


def _masks(plain: nn.Module, shares: dict[str, float], *, together: bool) -> dict[str, Tensor]:
    """Name -> which weights stay, as torch.nn.utils.prune chooses; changes `plain`."""
    modules = {name: plain.get_submodule(name) for name in shares}
    if together:
        share = float(next(iter(shares.values())))
        weights = [(module, "weight") for module in modules.values()]
        torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, amount=share)
    else:
        for name, module in modules.items():
            torch_prune.l1_unstructured(module, "weight", float(shares[name]))
    return {name: m.get_buffer("weight_mask").bool() for name, m in modules.items()}


def _keep(module: nn.Module, mask: Tensor) -> None:
    """The mask in the layer, in place; with that which is there already."""
    if parametrize.is_parametrized(module, "weight"):
        there = module.parametrizations["weight"]  # type: ignore[index]
        for part in there:
            if isinstance(part, Mask):
                part.mask &= mask
                return
    parametrize.register_parametrization(module, "weight", Mask(mask))


def nonzero(network: nn.Module) -> int:
    """How many of the network's numbers that training may change are not 0.

    Masked weights count as the zeros that they are, int8 weights as what they stand for.
    """
    plain = made_permanent(network)
    return sum(int(weight.count_nonzero()) for weight in every_weight(plain))


def every_weight(network: nn.Module) -> list[Tensor]:
    """Weights and biases; those of int8 layers, which are no parameters, as what they mean."""
    found = [weight.detach() for weight in network.parameters()]
    for module in network.modules():
        held = getattr(module, "weight", None)
        if callable(held) and type(module).__module__.startswith("torch.ao."):
            parts = [held(), module.bias()]  # type: ignore[operator]
            found += [part.detach().dequantize() for part in parts if part is not None]
    return found
