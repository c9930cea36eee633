"""Weights of any network: drawn, hashed, inherited."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdlib import losses
from kdlib.device import seeded
from kdlib.source import described


def initialise(network: nn.Module, seed: int) -> nn.Module:
    """Draws fresh weights in place, as `seed` alone decides; returns the network.

    Frozen weights stay as they are, and layers that are wholly frozen with their buffers. Every
    other module with weights of its own must offer `reset_parameters`, as PyTorch's layers do (or
    `_reset_parameters`, as its attention does), and none may be parametrized, where that would draw
    nothing; otherwise TypeError names it, and nothing has changed. See `built`.
    """
    drawn = _layers_to_draw(network)
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with seeded(seed, device):
        for draw, frozen in drawn:
            draw()
            for weight, value in frozen.items():
                weight.copy_(value)
    return network


def built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What `build()` gives, with weights as `seed` alone decides: `built(vit_b_16, 0)`.

    Drawn by `initialise` where it can; else as the build itself draws them from that seed, as
    networks do whose tokens or scales belong to no layer. Raises TypeError as `initialise` does
    for a build of the second kind that draws the same weights from two seeds.
    """
    network = build()
    try:
        _layers_to_draw(network)
    except TypeError:
        with seeded(seed):
            network = build()
        with seeded(seed + 1):
            other = build()
        pairs = zip(network.parameters(), other.parameters(), strict=True)
        if all(torch.equal(one, two) for one, two in pairs):
            raise
        return network
    return initialise(network, seed)


def _layers_to_draw(network: nn.Module) -> list[tuple[Callable[[], Any], dict[Tensor, Tensor]]]:
    """What draws each layer, with copies of its weights that stay; TypeError where nothing does."""
    drawn = []
    for name, module in network.named_modules():
        hooks = module._forward_pre_hooks.values()  # how torch.nn.utils norms and prunes
        computed = any(type(hook).__module__.startswith("torch.nn.utils") for hook in hooks)
        if computed or parametrize.is_parametrized(module):
            raise TypeError(
                f"module {name!r} is parametrized (pruned, rounded or normed), so that drawing its "
                "weights anew would change nothing; train it on with seed=None, or a bank's "
                "start=, or give a function that builds it, student=lambda: build()"
            )
        draw = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        own = list(module.parameters(recurse=False))
        if own and not any(weight.requires_grad for weight in own):
            continue
        if own and draw is None:
            raise TypeError(
                f"module {name!r} ({type(module).__name__}) has weights but no "
                "reset_parameters(), so that no seed can draw them; give a function that builds "
                "the network as the student, lambda: build(), train it with seed=None, or in a "
                "bank with start=lambda seed: build(seed)"
            )
        if draw is not None:
            drawn.append((draw, {w: w.detach().clone() for w in own if not w.requires_grad}))
    return drawn


def fingerprint(network: nn.Module) -> str:
    """A hash of the network's architecture, attributes, weights, which are tied, and buffers."""
    digest = hashlib.sha256(str(network).encode())
    for module in network.modules():  # what no repr shows: heads of an attention, its activation
        held = {k: v for k, v in vars(module).items() if k[0] != "_" and _tells(v)}
        lines = [(name, described(value)) for name, value in held.items() if name != "training"]
        digest.update(repr(sorted(lines)).encode())
    first: dict[int, str] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        digest.update(first.setdefault(id(weight), name).encode())
    for name, tensor in {**dict(network.named_buffers()), **network.state_dict()}.items():
        if not isinstance(tensor, Tensor):
            continue  # what a module says of itself
        digest.update(name.encode())
        content: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(content)
    return digest.hexdigest()


def _tells(value: Any) -> bool:
    """Whether an attribute is one that a line of text tells of: plain ones, and functions."""
    if isinstance(value, tuple | list):
        return all(map(_tells, value))
    return value is None or isinstance(value, bool | int | float | str) or callable(value)


def inherit(student: nn.Module, teacher: nn.Module, *, shrink: bool = False) -> list[str]:
    """Copies the teacher's weights and buffers of one name and shape into the student, in place.

    shrink=True maps weights of other shapes into the student's by SVD (`losses.shrink`), where
    they are smaller there. Returns the names copied, in the student's order; raises ValueError
    where there is none.
    """
    theirs, ours, copied = teacher.state_dict(), student.state_dict(), []
    for name, own in ours.items():
        weight = theirs.get(name)
        if weight is None:
            continue
        if weight.shape != own.shape:
            if not (shrink and _fits(own, weight)):
                continue
            weight = losses.shrink(weight, tuple(own.shape))
        own.copy_(weight)  # a state dict shares its tensors with the network
        copied.append(name)
    if not copied:
        raise ValueError(
            f"{type(student).__name__} and {type(teacher).__name__} have no weight of one name and "
            "shape; build both alike, or use shrink=True for wider layers of one name"
        )
    return copied


def _fits(small: Tensor, large: Tensor) -> bool:
    return (
        small.dim() == large.dim() >= 2
        and small.shape[2:] == large.shape[2:]
        and all(a <= b for a, b in zip(small.shape, large.shape, strict=True))
    )
