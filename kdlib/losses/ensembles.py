"""The answers of several teachers as one."""

from typing import Any

import torch
from torch import Tensor

from kdlib.losses.answers import floats
from kdlib.tensors import check_tensors

WAYS = ("logits", "probabilities", "confidence", "votes")
_SMALLEST = 1e-6  # the share of votes of a class that nobody votes for


def merge_logits(z: Tensor, how: str = "logits", *, weights: Tensor | None = None) -> Tensor:
    """Logits (teachers, …, classes) of several teachers -> (…, classes), weighted.

    "logits": their mean, which is the normalised geometric mean of the probabilities.
    "probabilities": log of the mean probability. "confidence": the same, each answer weighted by
    its largest probability. "votes": log of the share of teachers whose most probable class it is,
    at least 1e-6.
    weights: (teachers,), or one for each answer, (teachers, …); they are divided by their sum.
    Raises ValueError for an unknown way, answers without teachers, weights of another shape.
    """
    if how not in WAYS:
        raise ValueError(f"how={how!r}: expected {', '.join(map(repr, WAYS))}")
    check_tensors(z=z)
    if weights is not None:
        check_tensors(1, weights=weights)
    (z,) = floats(z)
    if not len(z):
        raise ValueError(
            f"answers have shape {tuple(z.shape)}; expected (teachers, …, classes) of at least one"
        )
    share = _shares(z, weights)
    if how == "logits":
        return (share[..., None] * z).sum(0)
    p = z.softmax(-1)
    if how == "votes":
        p = torch.zeros_like(p).scatter(-1, z.argmax(-1, keepdim=True), 1.0)
        return (share[..., None] * p).sum(0).clamp(min=_SMALLEST).log()
    if how == "confidence":
        share = share * p.amax(-1)
        share = share / share.sum(0)
    return (share[..., None] * p).sum(0).clamp(min=torch.finfo(p.dtype).tiny).log()


def shares_of_teachers(weights: Any, teachers: int) -> Tensor:
    """The weights of teachers, (teachers,) or (teachers, N), as a tensor.

    Raises ValueError unless each teacher has finite numbers of at least 0, not all of them 0.
    """
    try:
        given = torch.as_tensor(weights, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"weights={weights!r}: expected a number for each teacher") from error
    if given.dim() not in (1, 2) or len(given) != teachers:
        raise ValueError(
            f"weights have shape {tuple(given.shape)} for {teachers} teachers; expected one for "
            "each of them"
        )
    if not bool(((given >= 0) & given.isfinite()).all() & (given.sum(0) > 0).all()):
        raise ValueError(
            "weights of teachers must be finite numbers of at least 0, and not all of them 0"
        )
    return given


def _shares(z: Tensor, weights: Tensor | None) -> Tensor:
    """Each teacher's share in each answer, (teachers, …), summing up to 1."""
    if weights is None:
        return z.new_full(z.shape[:-1], 1 / len(z))
    if weights.shape not in (z.shape[:1], z.shape[:-1]):
        raise ValueError(
            f"weights have shape {tuple(weights.shape)} for answers {tuple(z.shape)}; expected "
            f"one for each teacher, ({len(z)},), or for each answer, {tuple(z.shape[:-1])}"
        )
    weights = weights.to(z)
    if weights.dim() == 1:
        weights = weights.view(-1, *[1] * (z.dim() - 2)).expand(z.shape[:-1])
    return weights / weights.sum(0)
