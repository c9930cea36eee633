"""Which of PyTorch's operators a network runs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

FLOAT = ("aten::addmm", "aten::mm", "aten::convolution")


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name().split(".")[0])
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def products(network: nn.Module, x: Tensor) -> list[str]:
    """The int8 operators, and the products of floats, that it runs on these images."""
    with _Watch() as seen:
        network(x)
    return sorted(n for n in seen.names if n.startswith("quantized") or n in FLOAT)
