"""Weights on few levels: rounded at each call, trained as if they were not."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdlib.arguments import whole
from kdlib.compression.choosing import chosen_layers, multiplying, output_axis


class Rounding(nn.Module):
    """weight -> the nearest level of its output channel; the gradient passes straight through."""

    def __init__(self, bits: int, axis: int = 0) -> None:
        super().__init__()
        self.bits, self.axis = bits, axis

    def extra_repr(self) -> str:
        return f"bits={self.bits}"

    def forward(self, weight: Tensor) -> Tensor:
        level = self._levels(weight.detach())
        return level + (weight - weight.detach())  # the bracket is 0: only its gradient counts

    def _levels(self, weight: Tensor) -> Tensor:
        rows = weight.transpose(0, self.axis).flatten(1)
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        if self.bits == 1:
            return weight.sign() * rows.abs().mean(1).view(shape)
        step = rows.abs().amax(1).view(shape) / (2 ** (self.bits - 1) - 1)
        step = torch.where(step > 0, step, 1)  # a channel of zeros stays one
        return (weight / step).round() * step


def rounded(
    network: nn.Module, bits: int, *, layers: str | Iterable[str] | None = None
) -> nn.Module:
    """A copy whose weights stand on at most 2**bits levels for each output channel.

    Symmetric, and 0 is one of them: the multiples of max|w| / (2**(bits-1) - 1), as int8 has
    -127 … 127; with 1 bit -m, m and what was 0, where m is the mean of |w| (Rastegari et al. 2016).
    layers: names; by default every linear layer and convolution, the head too. Biases stay.
    It is a torch parametrization with a straight-through gradient (Bengio et al. 2013): `fit` of
    the copy with seed=None is quantisation-aware training. Rounding again replaces the levels.
    The arithmetic stays float; `quantise` makes int8 kernels. Raises ValueError for bits that are
    no whole number from 1 to 16, and for layers as `prune` does.
    """
    if isinstance(bits, bool) or not whole(bits, 1) or bits > 16:
        raise ValueError(f"bits={bits!r}: expected a whole number from 1 to 16, such as 4")
    every = multiplying(network) if layers is None else chosen_layers(network, layers)
    if not every:
        raise ValueError(
            f"{type(network).__name__} has no linear layer and no convolution to round; "
            "give a network that has"
        )
    result = copy.deepcopy(network)
    for name, layer in every.items():
        _round(result.get_submodule(name), Rounding(int(bits), output_axis(layer)))
    return result


def _round(module: nn.Module, rounding: Rounding) -> None:
    if parametrize.is_parametrized(module, "weight"):
        there: Any = module.parametrizations["weight"]  # type: ignore[index]
        for place, part in enumerate(there):
            if isinstance(part, Rounding):
                there[place] = rounding.train(part.training)
                return
    parametrize.register_parametrization(module, "weight", rounding)
