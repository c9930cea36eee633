"""The work that all contenders do: 64 students of one shape over T × alpha × seed."""

from __future__ import annotations

import itertools
import os
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdlib.data import Examples, load
from kdlib.device import has_bf16, threads
from kdlib.models import initialise, mlp

TEMPERATURES, ALPHAS, SEEDS = [1.0, 4.0, 8.0, 20.0], [0.25, 0.5, 0.75, 0.9], 4
STUDENTS = len(TEMPERATURES) * len(ALPHAS) * SEEDS
LR = 1e-2


@dataclass
class Work:
    """Images, a teacher, and how long each student learns from it."""

    name: str
    examples: Examples
    batch: int
    epochs: int
    width: int
    teacher: nn.Module

    @property
    def steps(self) -> int:
        return self.epochs * len(self.examples.order(self.batch))

    def student(self) -> nn.Module:
        return mlp(784, self.width, 10)

    def cells(self) -> list[tuple[float, float, int]]:
        """(T, alpha, seed) of each student."""
        return list(itertools.product(TEMPERATURES, ALPHAS, range(SEEDS)))


def full(width: int = 32) -> Work:
    """MNIST's 60,000 images × 5 epochs; made-up images of that shape where MNIST is not at hand."""
    return Work("MNIST 60k × 5 epochs", _sixty_thousand(), 512, 5, width, teacher())


def small(width: int = 32) -> Work:
    """The course's 3,500 training images × 10 epochs."""
    return Work("MNIST-5k × 10 epochs", load("mnist5k").train, 128, 10, width, teacher())


def teacher() -> nn.Module:
    """Hinton's teacher, untrained: what it says does not change how long it takes."""
    return initialise(mlp(784, 1200, 1200, 10), 0).eval()


def _sixty_thousand() -> Examples:
    try:
        train = load("mnist").train
    except (OSError, ValueError) as error:
        warnings.warn(f"made-up images instead of MNIST, for timing alone ({error})", stacklevel=2)
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(256, (60_000, 1, 28, 28), dtype=torch.uint8, generator=generator)
        return Examples(x, torch.arange(60_000) % 10, name="made up")
    x = torch.cat([train.x, train.x])[:60_000]  # our split keeps some for validation
    return Examples(x, torch.cat([train.y, train.y])[:60_000], name="mnist")


def tensors(work: Work) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) uint8 and labels (N,)."""
    return work.examples.x, work.examples.y


def machine() -> dict[str, str | int | bool]:
    """What was measured on, in words that name no one's machine."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((s.split(":")[1].strip() for s in flags.splitlines() if "model name" in s), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": threads(),
        "threads": torch.get_num_threads(),
        "AMX": "amx_bf16" in flags,
        "bf16": has_bf16(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0,
    }
