"""The course's networks, and how to look inside any network.

Normalisation is a buffer inside each network: batches are floats in [0, 1] everywhere else.
"""

import contextlib
import difflib
import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.data import Batch, Examples
from kdlib.data.arguments import whole
from kdlib.device import seeded
from kdlib.losses.arguments import check_fraction


class Normalise(nn.Module):
    """(x - mean) / std, with MNIST's statistics unless told otherwise."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.1307, std: float = 0.3081) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class MLP(nn.Sequential):
    """normalise → flatten → (linear → ReLU → dropout) × stages → embedding → head.

    Taps: "stage1", "stage2", …, "embedding" (what the head sees), "head".
    """

    def __init__(self, *sizes: int, dropout: float = 0.0) -> None:
        if len(sizes) < 2 or not all(whole(size, 1) for size in sizes):
            raise ValueError(
                f"sizes {sizes}: expected inputs, hidden widths and classes, all whole and ≥ 1"
            )
        check_fraction("dropout", dropout)
        super().__init__()
        self.sizes, self.dropout = sizes, dropout
        self.normalise = Normalise()
        self.flatten = nn.Flatten()  # (B, C, H, W) -> (B, C·H·W)
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes[:-1]), 1):
            layers: list[nn.Module] = [nn.Linear(inputs, outputs), nn.ReLU()]
            self.add_module(f"stage{i}", nn.Sequential(*layers, *_dropout(dropout)))
        self.embedding = nn.Identity()
        self.head = nn.Linear(sizes[-2], sizes[-1])


class CNN(nn.Sequential):
    """normalise → (3×3 convolution → BatchNorm → max-pool → ReLU) × 3 → pool → embedding → head.

    ReLU and max-pool commute, value and gradient; after pooling ReLU has a quarter of the work.
    Widths w, 2w, 4w. Taps: "stage1", "stage2", "stage3", "embedding" (B, 4w), "head".
    """

    def __init__(self, width: int = 16, classes: int = 10, *, channels: int = 1) -> None:
        if not (whole(width, 1) and whole(classes, 1) and whole(channels, 1)):
            raise ValueError(
                f"width={width}, classes={classes}, channels={channels}: expected whole numbers ≥ 1"
            )
        super().__init__()
        self.normalise = Normalise()
        for i, (inputs, outputs) in enumerate(
            [(channels, width), (width, 2 * width), (2 * width, 4 * width)], 1
        ):
            self.add_module(
                f"stage{i}",
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.MaxPool2d(2),
                    nn.ReLU(),
                ),
            )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # (B, 4w, h, w) -> (B, 4w)
        self.embedding = nn.Identity()
        self.head = nn.Linear(4 * width, classes)


def _dropout(probability: float) -> list[nn.Module]:
    return [nn.Dropout(probability)] if probability else []


def mlp(*sizes: int, dropout: float = 0.0) -> MLP:
    """A multi-layer perceptron, e.g. `mlp(784, 32, 10)`."""
    return MLP(*sizes, dropout=dropout)


def cnn(width: int = 16, classes: int = 10, *, channels: int = 1) -> CNN:
    """A small convolutional network for images of 8 × 8 pixels and more."""
    return CNN(width, classes, channels=channels)


def initialise(network: nn.Module, seed: int) -> nn.Module:
    """Draws fresh weights in place, as `seed` alone decides; returns the network.

    Every module with weights of its own must offer `reset_parameters`, as PyTorch's layers do;
    otherwise TypeError names it.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with seeded(seed, device):
        for name, module in network.named_modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            elif next(module.parameters(recurse=False), None) is not None:
                raise TypeError(
                    f"module {name!r} ({type(module).__name__}) has weights but no "
                    "reset_parameters(); add one, or build the network anew and use seed=None"
                )
    return network


def fingerprint(network: nn.Module) -> str:
    """A hash of the network's architecture, weights and buffers."""
    digest = hashlib.sha256(str(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def parameter_count(network: nn.Module) -> int:
    """The number of weights that training may change."""
    return sum(parameter.numel() for parameter in network.parameters())


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


# ---- looking inside ------------------------------------------------------------------------------


@dataclass
class Observation:
    """What a network did with a batch: logits (B, classes), features by tap (B, …)."""

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


def as_taps(taps: str | Iterable[str]) -> tuple[str, ...]:
    """Each tap once, in order; a single name is one tap."""
    return (taps,) if isinstance(taps, str) else tuple(dict.fromkeys(taps))


def observe(network: nn.Module, x: Tensor, taps: str | Iterable[str] = ()) -> Observation:
    """Runs the network on x and keeps what the tapped modules returned.

    A tap is a module's dotted name ("stage2", "layer4.0.conv1"); forward hooks see it, so any
    nn.Module can be tapped as it is. Taps are cloned: an in-place ReLU behind one would overwrite
    it. Raises ValueError for an unknown tap (naming the nearest), a module that runs twice, never,
    or returns no tensor, and for a network that answers with anything else than a tensor.
    """
    features: dict[str, Tensor] = {}
    taps = as_taps(taps)
    with contextlib.ExitStack() as hooks:
        for tap in taps:
            hooks.callback(_listen(network, tap, features).remove)
        logits = _logits(network, network(x))
    silent = [tap for tap in taps if tap not in features]
    if silent:
        raise ValueError(
            f"tap {silent[0]!r} never ran in this forward pass; tap a module that does"
        )
    return Observation(logits, features)


def _logits(network: nn.Module, answer: Any) -> Tensor:
    if not isinstance(answer, Tensor):
        raise ValueError(
            f"{type(network).__name__} answers with {type(answer).__name__}, not one tensor of "
            "logits; build it without auxiliary outputs, or wrap it in a module that returns them"
        )
    return answer


def _listen(network: nn.Module, tap: str, features: dict[str, Tensor]) -> Any:
    modules = dict(network.named_modules())
    if not tap or tap not in modules:
        near = difflib.get_close_matches(tap, [name for name in modules if name], 1, 0.3)
        raise ValueError(
            f"tap {tap!r} is no module of {type(network).__name__}; the nearest name is {near[0]!r}"
            if near
            else f"tap {tap!r} is no module of {type(network).__name__}; "
            f"it has {', '.join(name for name in modules if name) or 'none'}"
        )

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"tap {tap!r} returns {type(output).__name__}, not one tensor; "
                "tap a module inside it that returns a tensor"
            )
        if tap in features:
            raise ValueError(
                f"tap {tap!r} runs twice in one forward pass; tap the module around it, "
                "or give each use a module of its own"
            )
        features[tap] = output.clone()

    return modules[tap].register_forward_hook(keep)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode and without gradient; afterwards every module's mode as it was."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            yield network
    finally:
        for module, mode in modes:
            module.training = mode


def predict(network: nn.Module, examples: Examples | Batch | Tensor, *, size: int = 500) -> Tensor:
    """Logits (N, classes) in eval mode, without gradient; the network is left as it was.

    Computed where the network is, given back where the images are.
    """
    weights = itertools.chain(network.parameters(), network.buffers())
    there = next((weight.device for weight in weights), None)

    def answers(x: Tensor) -> Tensor:
        return _logits(network, network(x.to(there))).to(x.device)

    with evaluating(network):
        if isinstance(examples, Tensor):
            return answers(examples)
        if isinstance(examples, Batch):
            return answers(examples.x)
        if not len(examples):
            raise ValueError(f"{examples!r} holds no examples to predict; give at least one")
        chunks = math.ceil(len(examples) / size)
        index = torch.arange(len(examples), device=examples.device)
        return torch.cat([answers(examples.batch(i).x) for i in index.tensor_split(chunks)])
