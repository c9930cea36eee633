"""The answers of several teachers as one."""

import torch
from torch import Tensor

from kdlib.losses.answers import floats

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
    (z,) = floats(z)
    if z.dim() < 2 or not len(z):
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
