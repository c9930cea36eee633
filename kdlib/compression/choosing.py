"""Which layers of a network are compressed: all that multiply but the last, or those named."""

import difflib
from collections.abc import Iterable

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize


def multiplying(network: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions by name, in the order in which they were registered."""
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"the network is of type {type(network).__name__}; expected a torch.nn.Module, such as "
            "mlp(784, 32, 10)"
        )
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear | _ConvNd)}


def chosen_layers(
    network: nn.Module, layers: str | Iterable[str] | None = None
) -> dict[str, nn.Module]:
    """The layers named, or all that multiply but the last one registered, the head.

    Raises ValueError for a network without such layers, a name that is no module of it (the nearest
    name is said), and a module that is neither a linear layer nor a convolution.
    """
    known = multiplying(network)
    if layers is None:
        if len(known) < 2:
            raise ValueError(
                f"{type(network).__name__} has {len(known)} linear or convolution layers, and the "
                "last one registered is left as it is; expected 2 or more, or their names in "
                "layers="
            )
        return dict(list(known.items())[:-1])
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise ValueError("layers= names no layer; name one, or leave it out for all but the last")
    for name in names:
        if name not in known:
            raise ValueError(_unknown(network, str(name), list(known)))
    return {name: known[name] for name in names}


def _unknown(network: nn.Module, name: str, known: list[str]) -> str:
    found = dict(network.named_modules()).get(name)
    if found is None:
        near = difflib.get_close_matches(name, known, 1, 0.0)
        hint = f"; the nearest name is {near[0]!r}" if near else ""
        return f"layer {name!r} is no module of {type(network).__name__}{hint}"
    inside = [other for other in known if other.startswith(f"{name}.")]
    hint = f"name {' or '.join(map(repr, inside[:3]))}, inside it" if inside else "leave it out"
    return (
        f"layer {name!r} ({type(found).__name__}) cannot be compressed, as it is neither a linear "
        f"layer nor a convolution; {hint}"
    )


def check_plain(network: nn.Module, what: str) -> None:
    """Raises ValueError where a weight is made from another at each call (pruned, rounded)."""
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module):
            raise ValueError(
                f"layer {name!r} is parametrized (pruned or rounded), which {what} cannot change; "
                "give it made_permanent(network), whose weights are plain"
            )


def output_axis(layer: nn.Module) -> int:
    """Which axis of its weight counts the outputs: 1 in a transposed convolution, else 0."""
    return 1 if isinstance(layer, _ConvTransposeNd) else 0
