"""How losses count and average: in at least float32, over the examples that they concern."""

import torch
from torch import Tensor

from kdlib.arguments import check_where


def floats(*tensors: Tensor) -> list[Tensor]:
    """At least float32, also under autocast; float64 for all where one of them is."""
    kind = torch.float32
    for tensor in tensors:
        kind = torch.float64 if tensor.dtype == torch.float64 else kind
    return [tensor.to(kind) for tensor in tensors]


def softer(z_t: Tensor, T: float | Tensor) -> Tensor:
    """z_t / T, where a logit may be -inf: a class taken away."""
    # a tensor T sees a finite number in its place, or its gradient would be 0 · inf
    return (z_t.clamp(min=-1e30) if isinstance(T, Tensor) else z_t) / T


def average(values: Tensor, where: Tensor | None) -> Tensor:
    """Mean of values (batch,) over the examples it concerns; 0 with a gradient if none.

    Raises ValueError for a `where` of another shape, which would count images several times.
    """
    if where is None:
        return values.mean() if len(values) else values.sum()
    check_where(where, values.shape)
    return torch.where(where, values, 0).sum() / where.sum().clamp(min=1)


def per_image_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row: (batch, classes) twice -> (batch,); 0 log 0 = 0."""
    p = log_p.exp()  # F.kl_div has no batching rule under vmap
    # masked before the product: 0 · inf is nan, and so would be its gradient
    return (p * torch.where(p > 0, log_p - log_q, 0)).sum(-1)
