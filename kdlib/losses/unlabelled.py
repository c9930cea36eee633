"""Losses that need no label and no teacher: they read only the student's own answers."""

import torch
from torch import Tensor

from kdlib.arguments import check_temperature, check_where
from kdlib.losses.answers import average, floats
from kdlib.tensors import check_tensors

Where = Tensor | None


def entropy(z: Tensor, *, where: Where = None) -> Tensor:
    """Mean over images of H(p) = -Σ_c p log p in nats, p = softmax(z), z (batch, classes).

    Small where each answer is sure (Grandvalet & Bengio 2005).
    """
    check_tensors(z=z)
    (z,) = floats(z)
    return average(_entropies(z), where)


def diversity(z: Tensor, *, where: Where = None) -> Tensor:
    """H of the mean answer in nats: log(classes) if all classes are used alike, 0 if only one is.

    The mean is over the images it concerns.
    """
    check_tensors(z=z)
    (z,) = floats(z)
    p = z.softmax(-1)
    if where is None:
        mean = p.mean(-2) if len(p) else p.sum(-2)
    else:
        mean = _masked(p, where).sum(-2) / where.sum().clamp(min=1)
    return -(mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum(-1)


def information_maximization(z: Tensor, *, where: Where = None) -> Tensor:
    """entropy - diversity: each answer sure, all answers together diverse.

    (SHOT-IM, Liang, Hu & Feng 2020; Krause, Perona & Gomes 2010.) At least -log(classes).
    """
    return entropy(z, where=where) - diversity(z, where=where)


def minimum_class_confusion(z: Tensor, T: float | Tensor, *, where: Where = None) -> Tensor:
    """Share of class confusion, 0 to 1 (MCC, Jin et al. 2020), z (batch, classes).

    p = softmax(z / T); images weigh W_i = B (1 + exp(-H(p_i))) / Σ_j (1 + exp(-H(p_j))), without
    gradient; C = pᵀ W p, its rows normalised; the loss is the mean over classes of what lies beside
    the diagonal.
    """
    check_temperature(T)
    check_tensors(z=z)
    if where is not None:
        check_where(where, z.shape[:-1])
    (z,) = floats(z)
    z = z / T
    p = z.softmax(-1)
    weight = 1 + (-_entropies(z)).exp().detach()
    count = len(p) if where is None else where.sum()
    if where is not None:
        p, weight = _masked(p, where), torch.where(where, weight, 0)
    weight = count * weight / weight.sum().clamp(min=1)
    confusion = p.mT @ (weight[:, None] * p)
    rows = confusion.sum(-1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)
    normalised = confusion / rows
    return (normalised.sum() - normalised.diagonal().sum()) / p.shape[-1]


def _entropies(z: Tensor) -> Tensor:
    log_p = z.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def _masked(p: Tensor, where: Tensor) -> Tensor:
    check_where(where, p.shape[:-1])
    return torch.where(where[:, None], p, 0)
