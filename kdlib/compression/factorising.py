"""A layer as two thin ones: the best product of that rank, by SVD."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import finite, whole
from kdlib.compression.choosing import chosen_layers


class LowRank(nn.Sequential):
    """Two layers in place of one; `weight` and `bias` are that one's, for who asks for them."""

    @property
    def weight(self) -> Tensor:
        """(out, in, …): the product of both."""
        first, second = (part.get_parameter("weight") for part in self)
        return (second.flatten(1) @ first.flatten(1)).view(len(second), *first.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        return self[1].get_parameter("bias") if self[1].bias is not None else None


def factorise(
    network: nn.Module,
    *,
    energy: float | None = None,
    rank: int | None = None,
    layers: str | Iterable[str] | None = None,
) -> nn.Module:
    """A copy in which layers are products of two smaller ones (Denil 2013; Zhang et al. 2015).

    Linear (in -> out): in -> r -> out. Conv2d: the same kernel to r channels, then 1 × 1 to out.
    r: `rank`, or the smallest whose squared singular values hold the share `energy` of their sum.
    layers: names; by default all linear layers and 2-D convolutions but the last layer registered,
    the head. Layers that two factors would not make smaller stay as they are.
    Raises ValueError for neither or both of energy (above 0, up to 1) and rank (whole, from 1), a
    layer that cannot be factorised (grouped, parametrized, another kind), and where nothing would
    become smaller.
    """
    if (energy is None) == (rank is None):
        raise ValueError(f"energy={energy!r} and rank={rank!r}: expected one of them")
    if energy is not None and not (finite(energy) and 0 < energy <= 1):
        raise ValueError(f"energy={energy!r}: expected a share above 0 and up to 1, such as 0.9")
    if rank is not None and not whole(rank, 1):
        raise ValueError(f"rank={rank!r}: expected a whole number from 1, such as 16")
    result, made = copy.deepcopy(network), 0
    for name, layer in chosen_layers(network, layers).items():
        if (why := _impossible(layer)) is not None:
            if layers is None:
                continue
            raise ValueError(f"layer {name!r} cannot be factorised: {why}; leave it out")
        two = _two(layer, energy, rank)
        if _size(two) < _size(layer):
            parent, _, last = name.rpartition(".")
            if not name:
                return two
            setattr(result.get_submodule(parent), last, two)
            made += 1
    if not made:
        raise ValueError(
            f"energy={energy!r}, rank={rank!r} makes no layer of {type(network).__name__} smaller; "
            "choose less, or other layers (made_permanent first where they are pruned or rounded)"
        )
    return result


def _impossible(layer: nn.Module) -> str | None:
    """Why this layer cannot be two."""
    if type(layer) not in (nn.Linear, nn.Conv2d):
        kind = type(layer).__name__
        return f"it is a {kind}, not a plain Linear or Conv2d (made_permanent undoes parametrized)"
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        return f"its {layer.groups} groups are small layers already"
    return None


@torch.no_grad()
def _two(layer: Any, energy: float | None, rank: int | None) -> LowRank:
    """The two factors, with the layer's mode, flags, device and precision."""
    weight = layer.weight.detach()
    rows = weight.flatten(1)
    u, s, v = torch.linalg.svd(rows.cpu().double(), full_matrices=False)
    if rank is None:
        share = s.square().cumsum(0) / s.square().sum().clamp(min=1e-300)
        rank = int((share < float(energy or 1) - 1e-12).sum()) + 1
    r = min(rank, len(s))
    root = s[:r].sqrt()
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    bias = layer.bias is not None
    first: Any
    second: Any
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, r, bias=False, **place)
        second = nn.Linear(r, layer.out_features, bias=bias, **place)
    else:
        how = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
        how |= {"padding_mode": layer.padding_mode, "bias": False, **place}
        first = nn.Conv2d(layer.in_channels, r, layer.kernel_size, **how)
        second = nn.Conv2d(r, layer.out_channels, 1, bias=bias, **place)
    first.weight.copy_((root[:, None] * v[:r]).view_as(first.weight))
    second.weight.copy_((u[:, :r] * root).view_as(second.weight))
    for part in (first, second):
        part.weight.requires_grad_(layer.weight.requires_grad)
    if bias:
        second.bias.copy_(layer.bias)
        second.bias.requires_grad_(layer.bias.requires_grad)
    return LowRank(first, second).train(layer.training)


def _size(layer: nn.Module) -> int:
    return sum(weight.numel() for weight in layer.parameters())
