"""What every loss asks of its arguments, and how it averages."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def finite(value: Any) -> bool:
    """Whether this is a plain number, neither nan nor inf."""
    return isinstance(value, Real) and math.isfinite(value)


def check_temperature(T: float | Tensor) -> None:
    """Plain numbers must be finite and > 0; tensors are checked where the grid is built."""
    if not isinstance(T, Tensor) and not (finite(T) and T > 0):
        raise ValueError(f"temperature T={T!r}: expected a finite number above 0, such as 4")


def check_fraction(name: str, value: float | Tensor) -> None:
    """Plain numbers must lie in [0, 1]."""
    if not isinstance(value, Tensor) and not (finite(value) and 0 <= value <= 1):
        raise ValueError(f"{name}={value!r}: expected a number from 0 to 1")


def check_labels(z: Tensor, y: Tensor) -> None:
    if y.shape != z.shape[:-1]:
        raise ValueError(
            f"labels have shape {tuple(y.shape)} and logits {tuple(z.shape)}; "
            f"expected {tuple(z.shape[:-1])}: one label for each image, -1 where there is none"
        )


def check_where(where: Tensor, batch: torch.Size) -> None:
    if where.shape != batch:
        raise ValueError(
            f"where has shape {tuple(where.shape)} and the batch {tuple(batch)}; "
            "expected True or False once for each image"
        )


def check_same_classes(z_s: Tensor, z_t: Tensor) -> None:
    if z_s.shape[-1] != z_t.shape[-1]:
        raise ValueError(
            f"the student answers with {z_s.shape[-1]} classes and the teacher with "
            f"{z_t.shape[-1]}; give both heads the same classes"
        )
    if z_s.shape != z_t.shape:
        raise ValueError(
            f"student logits have shape {tuple(z_s.shape)}, teacher logits {tuple(z_t.shape)}; "
            "both must speak of the same batch"
        )


def check_same_shape(f_s: Tensor, f_t: Tensor) -> None:
    if f_s.shape != f_t.shape:
        raise ValueError(
            f"student features have shape {tuple(f_s.shape)}, teacher features "
            f"{tuple(f_t.shape)}; project the student's to the teacher's shape first"
        )


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
