"""Gradients turned round."""

from typing import Any

import torch
from torch import Tensor

from kdlib.tensors import check_tensors


class _Reverse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """x as it is; its gradient times -scale (Ganin & Lempitsky 2015)."""
    check_tensors(0, x=x)
    return _Reverse.apply(x, scale)
