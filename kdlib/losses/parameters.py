"""Losses on weights themselves: parameter distillation, over mappings name -> tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import whole
from kdlib.losses.answers import floats
from kdlib.tensors import check_tensors

Weights = Mapping[str, Tensor]


def parameter_kl(student: Weights, teacher: Weights, *, reading: str = "gaussian") -> Tensor:
    """KL(teacher || student) of weights read as distributions, averaged over tensors.

    "gaussian": the entries of each pair of one name as N(mean, variance); shapes may differ.
    "energy": p = θ² / Σ θ² entry by entry, for pairs of one name and shape (the closer reading of
    the source article). It does not see signs. Raises ValueError where no pair is found.
    """
    if reading not in ("gaussian", "energy"):
        raise ValueError(f"reading={reading!r}: expected 'gaussian' or 'energy'")
    pairs = _pairs(student, teacher, same_shape=reading == "energy")
    divergence = _gaussian if reading == "gaussian" else _energy
    return torch.stack([divergence(*pair) for pair in pairs]).mean()


def parameter_l2(student: Weights, teacher: Weights) -> Tensor:
    """½ Σ (θ_s - θ_t)² over tensors of one name and shape; others stay free.

    The starting-point part of L2-SP (Li, Grandvalet & Davoine 2018). Raises ValueError where no
    tensor agrees.
    """
    pairs = _pairs(student, teacher, same_shape=True)
    return torch.stack([(s - t).square().sum() / 2 for s, t in pairs]).sum()


def regularizer(parameters: Weights, towards: Weights | None = None) -> Tensor:
    """½ Σ θ², or ½ Σ (θ - θ_t)² where a tensor of that name and shape is given.

    L2 to zero, and L2-SP to the teacher's weights (Li, Grandvalet & Davoine 2018).
    """
    towards = {} if towards is None else towards
    _check_weights(parameters)
    _check_weights(towards)
    return sum(
        (value - _same_shape(towards.get(name), value)).square().sum() / 2
        for name, value in parameters.items()
    ) + torch.zeros(())


def shrink(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A weight (out, in, …) mapped into a smaller space (fewer out, fewer in) by SVD.

    Rows and columns are replaced by their strongest combinations: U_outᵀ W V_in, with the leading
    singular vectors (of the unfolded tensor for a convolution: HOSVD, De Lathauwer et al. 2000).
    Of all orthonormal maps these keep most of Σ θ². Signs: each vector's largest entry is positive.
    """
    check_tensors(weight=weight)
    (weight,) = floats(weight)
    if not isinstance(shape, Sequence) or not all(whole(size, 1) for size in shape):
        raise ValueError(f"shape={shape!r}: expected whole numbers, such as (8, 16)")
    shape = tuple(shape)
    fits = len(shape) == weight.dim() >= 2 and tuple(weight.shape[2:]) == shape[2:]
    if not fits or not all(1 <= a <= b for a, b in zip(shape, weight.shape, strict=True)):
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} cannot shrink to {shape}; expected as many "
            "dimensions (at least 2), no more outputs and inputs, and the same kernel"
        )
    smaller = weight
    for axis in (0, 1):
        if shape[axis] < weight.shape[axis]:
            basis = _leading(weight.transpose(0, axis).flatten(1), shape[axis])
            smaller = torch.tensordot(smaller, basis, dims=([axis], [0])).movedim(-1, axis)
    return smaller.contiguous()


def _check_weights(weights: Any) -> None:
    if not isinstance(weights, Mapping):
        raise ValueError(
            f"weights are a {type(weights).__name__}; expected name -> tensor, as "
            "dict(network.named_parameters()) has them"
        )
    for name, value in weights.items():
        check_tensors(0, **{str(name): value})


def _leading(unfolded: Tensor, count: int) -> Tensor:
    """The `count` leading left singular vectors, (rows, count)."""
    (unfolded,) = floats(unfolded)
    basis = torch.linalg.svd(unfolded, full_matrices=True).U[:, :count]
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    return basis * torch.where(largest < 0, -1.0, 1.0)


def _pairs(student: Weights, teacher: Weights, *, same_shape: bool) -> list[list[Tensor]]:
    _check_weights(student)
    _check_weights(teacher)
    pairs = [
        floats(value, teacher[name].detach())
        for name, value in student.items()
        if name in teacher and not (same_shape and teacher[name].shape != value.shape)
        if value.numel() and teacher[name].numel()  # nothing has no mean
    ]
    if not pairs:
        alike = "name and shape" if same_shape else "name"
        raise ValueError(
            f"the student's weights ({_shapes(student)}) and the teacher's ({_shapes(teacher)}) "
            f"have no {alike} in common; build both alike, or shrink the teacher's first"
        )
    return pairs


def _shapes(weights: Weights) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in weights.items()) or "none"


def _gaussian(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of N(mean, variance of the teacher's entries) from the student's; variances ≥ 1e-8."""
    m_s, m_t = student.mean(), teacher.mean()
    v_s, v_t = (w.var(correction=0).clamp(min=1e-8) for w in (student, teacher))
    return ((v_t + (m_t - m_s).square()) / v_s - 1 + (v_s / v_t).log()) / 2


def _energy(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of the shares of Σ θ²; shares below 1e-12 count as that."""
    p_s, p_t = (
        (w.square() / w.square().sum().clamp(min=1e-24)).clamp(min=1e-12)
        for w in (student, teacher)
    )
    return (p_t * (p_t / p_s).log()).sum()


def _same_shape(other: Tensor | None, value: Tensor) -> Tensor | float:
    return other.detach() if other is not None and other.shape == value.shape else 0.0
