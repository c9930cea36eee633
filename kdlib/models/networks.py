"""The course's networks: batches are floats in [0, 1]; normalisation is a buffer inside each."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import check_fraction, finite, whole

Statistic = float | Sequence[float]
MEAN, STD = 0.1307, 0.3081  # MNIST's


class Normalise(nn.Module):
    """(x - mean) / std, with MNIST's statistics unless told otherwise.

    mean, std: a number for all channels, or one for each, as `data.channel_statistics` finds them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Statistic = MEAN, std: Statistic = STD) -> None:
        super().__init__()
        self.register_buffer("mean", _statistic("mean", mean))
        self.register_buffer("std", _statistic("std", std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean).div_(self.std)


def _statistic(name: str, given: Statistic) -> Tensor:
    """A number, or one for each channel, (C, 1, 1)."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    numbers: list[Any] = list(given) if several else [given]  # type: ignore[arg-type]
    if not (numbers and all(finite(n) and (n > 0 or name == "mean") for n in numbers)):
        raise ValueError(
            f"{name}={given!r}: expected a number, or one for each channel; those of std above 0 "
            "(leave out a channel that is the same in all images)"
        )
    made = torch.tensor(numbers, dtype=torch.get_default_dtype())
    return made.view(-1, 1, 1) if several else made[0]


class _Chain(nn.Sequential):
    """Its forward is its own, and not PyTorch's, so that `network.compile()` reaches into it."""

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x


class MLP(_Chain):
    """normalise → flatten → (linear → ReLU → dropout) × stages → embedding → head.

    Taps: "stage1", "stage2", …, "embedding" (what the head sees), "head".
    """

    def __init__(
        self, *sizes: int, dropout: float = 0.0, mean: Statistic = MEAN, std: Statistic = STD
    ) -> None:
        if len(sizes) < 2 or not all(whole(size, 1) for size in sizes):
            raise ValueError(
                f"sizes {sizes}: expected inputs, hidden widths and classes, all whole and ≥ 1"
            )
        check_fraction("dropout", dropout)
        super().__init__()
        self.sizes, self.dropout = sizes, dropout
        self.normalise = Normalise(mean, std)
        self.flatten = nn.Flatten()  # (B, C, H, W) -> (B, C·H·W)
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes[:-1]), 1):
            layers: list[nn.Module] = [nn.Linear(inputs, outputs), nn.ReLU()]
            self.add_module(f"stage{i}", nn.Sequential(*layers, *_dropout(dropout)))
        self.embedding = nn.Identity()
        self.head = nn.Linear(sizes[-2], sizes[-1])


class CNN(_Chain):
    """normalise → (3×3 convolution → max-pool → BatchNorm → ReLU) × 3 → pool → embedding → head.

    Pooled first, as in Keller Jordan's airbench: BatchNorm and ReLU have a quarter of the work.
    Widths w, 2w, 4w. Taps: "stage1", "stage2", "stage3", "embedding" (B, 4w), "head".
    """

    def __init__(
        self, width: int = 16, classes: int = 10, *, channels: int = 1, mean: Statistic = MEAN,
        std: Statistic = STD,
    ) -> None:  # fmt: skip
        if not (whole(width, 1) and whole(classes, 1) and whole(channels, 1)):
            raise ValueError(
                f"width={width}, classes={classes}, channels={channels}: expected whole numbers ≥ 1"
            )
        super().__init__()
        self.normalise = Normalise(mean, std)
        for i, (inputs, outputs) in enumerate(
            [(channels, width), (width, 2 * width), (2 * width, 4 * width)], 1
        ):
            self.add_module(
                f"stage{i}",
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.MaxPool2d(2),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ),
            )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # (B, 4w, h, w) -> (B, 4w)
        self.embedding = nn.Identity()
        self.head = nn.Linear(4 * width, classes)


def _dropout(probability: float) -> list[nn.Module]:
    return [nn.Dropout(probability)] if probability else []


def mlp(
    *sizes: int, dropout: float = 0.0, mean: Statistic = MEAN, std: Statistic = STD
) -> MLP:  # fmt: skip
    """A multi-layer perceptron, e.g. `mlp(784, 32, 10)`; mean, std: as for `Normalise`."""
    return MLP(*sizes, dropout=dropout, mean=mean, std=std)


def cnn(
    width: int = 16, classes: int = 10, *, channels: int = 1, mean: Statistic = MEAN,
    std: Statistic = STD,
) -> CNN:  # fmt: skip
    """A small convolutional network for images of 8 × 8 pixels and more.

    Colour images have statistics of their own: `cnn(channels=3, **channel_statistics(train))`.
    """
    return CNN(width, classes, channels=channels, mean=mean, std=std)
