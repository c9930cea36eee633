"""Losses on answers: labels, soft targets, logits and their relatives; how all losses average."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlib.arguments import (
    check_fraction,
    check_label_for_each,
    check_same_classes,
    check_temperature,
    check_where,
)
from kdlib.tensors import check_factors

Where = Tensor | None
_END = 3e-4  # nearer to an end than this, float32 loses more digits than the limit is off


def hard_labels(
    z_s: Tensor, y: Tensor, *, smoothing: float | Tensor = 0.0, where: Where = None
) -> Tensor:
    """Cross-entropy with the labels y (batch,), over the labelled examples (y >= 0).

    Of sequences: logits (batch, length, V), a label for each token.

    `smoothing` spreads that share of the label over all classes (Szegedy et al. 2016).
    """
    check_fraction("smoothing", smoothing)
    check_label_for_each(z_s, y)
    if where is not None:
        check_where(where, y.shape)  # here, as labels would broadcast it
    (z_s,) = floats(z_s)
    log_q = z_s.log_softmax(-1)
    labelled = y >= 0 if where is None else (y >= 0) & where
    if not isinstance(smoothing, Tensor) and smoothing == 0:  # in one operator
        rows, targets = log_q.flatten(0, -2), torch.where(labelled, y, -1).flatten()
        try:
            total = F.nll_loss(rows, targets, ignore_index=-1, reduction="sum")
        except IndexError as error:  # which torch looks for on the CPU
            raise ValueError(
                f"a label is beyond the {z_s.shape[-1]} classes that the student answers with; "
                "give it an output for each class"
            ) from error
        return total / labelled.sum().clamp(min=1)
    nll = -log_q.gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return average((1 - smoothing) * nll - smoothing * log_q.mean(-1), labelled)


def soft_targets(z_s: Tensor, z_t: Tensor, T: float | Tensor, *, where: Where = None) -> Tensor:
    """T² · KL(p_T || q_T), summed over classes, averaged over the batch (Hinton et al. 2015).

    Gradient in z_s: T (q_T - p_T) / batch. T → ∞: mean of Σ_c d² / (2 classes), with d = z_s - z_t
    less its mean over classes. T → 0: 0 (and T · KL tends to mean(max z_s - z_s[argmax z_t])).
    Above T of about 1,000 the value (not the gradient) drowns in float32's rounding; that of
    `logit_mse` does not. Of a class taken away (-inf in z_t) p_T is 0.
    """
    check_temperature(T)
    check_same_classes(z_s, z_t)
    z_s, z_t = floats(z_s, z_t)
    kl = per_image_kl(softer(z_t, T).log_softmax(-1), (z_s / T).log_softmax(-1))
    return T**2 * average(kl, where)


def reverse_kl(z_s: Tensor, z_t: Tensor, T: float | Tensor, *, where: Where = None) -> Tensor:
    """T² · KL(q_T || p_T): the student is the first argument, so it seeks modes."""
    check_same_classes(z_s, z_t)  # before they change places, so that the message has them right
    return soft_targets(z_t, z_s, T, where=where)


def jensen_shannon(
    z_s: Tensor,
    z_t: Tensor,
    T: float | Tensor,
    *,
    beta: float | Tensor,
    normalised: bool = False,
    where: Where = None,
) -> Tensor:
    """T² · [beta KL(p || m) + (1 - beta) KL(q || m)] with m = beta p + (1 - beta) q.

    (Lin 1991, generalised as in Agarwal et al. 2024.) 0 at both ends; divided by beta it tends to
    KL(p || q) as beta → 0, divided by 1 - beta to KL(q || p) as beta → 1. normalised: divided by
    beta (1 - beta), so that the ends (within 3e-4) are these two, and all between is of their size.
    """
    check_temperature(T)
    check_fraction("beta", beta)
    check_same_classes(z_s, z_t)
    if normalised and not isinstance(beta, Tensor) and min(beta, 1 - beta) < _END:
        return (reverse_kl if beta > 0.5 else soft_targets)(z_s, z_t, T, where=where)
    z_s, z_t = floats(z_s, z_t)
    log_p, log_q = softer(z_t, T).log_softmax(-1), (z_s / T).log_softmax(-1)
    between = beta = beta.to(log_p) if isinstance(beta, Tensor) else log_p.new_full((), beta)
    if normalised:  # an end, where it is one, is put in below: no 0 / 0 here, nor in its gradient
        between = torch.where((beta < _END) | (beta > 1 - _END), 0.5, beta)
    log_m = torch.logaddexp(log_p + between.log(), log_q + (1 - between).log())
    mixed = between * per_image_kl(log_p, log_m) + (1 - between) * per_image_kl(log_q, log_m)
    if normalised:
        mixed = mixed / (between * (1 - between))
        mixed = torch.where(beta < _END, per_image_kl(log_p, log_q), mixed)
        mixed = torch.where(beta > 1 - _END, per_image_kl(log_q, log_p), mixed)
    return T**2 * average(mixed, where)


def teacher_labels(z_s: Tensor, z_t: Tensor, *, where: Where = None) -> Tensor:
    """Cross-entropy with the teacher's most probable class: hard-label distillation."""
    check_same_classes(z_s, z_t)
    return hard_labels(z_s, z_t.argmax(-1), where=where)


def logit_mse(z_s: Tensor, z_t: Tensor, *, where: Where = None) -> Tensor:
    """Mean over images of Σ_c d² / (2 classes), d = z_s - z_t centred per image.

    Logit matching (Ba & Caruana 2014), scaled as the limit of soft targets for T → ∞. Centred, it
    does not see what all outputs have in common: it is no loss for regression.
    """
    check_same_classes(z_s, z_t)
    z_s, z_t = floats(z_s, z_t)
    d = z_s - z_t
    d = d - d.mean(-1, keepdim=True)
    return average(d.square().mean(-1) / 2, where)


def probability_mse(
    z_s: Tensor, z_t: Tensor, T: float | Tensor = 1.0, *, where: Where = None
) -> Tensor:
    """Mean over images of ||p_T - q_T||²: the L2 form."""
    check_temperature(T)
    check_same_classes(z_s, z_t)
    z_s, z_t = floats(z_s, z_t)
    q, p = (z_s / T).softmax(-1), softer(z_t, T).softmax(-1)
    return average((q - p).square().sum(-1), where)


def decoupled(
    z_s: Tensor,
    z_t: Tensor,
    y: Tensor,
    T: float | Tensor,
    *,
    tckd_weight: float = 1.0,
    nckd_weight: float = 8.0,
) -> Tensor:
    """T² · mean(tckd_weight · TCKD + nckd_weight · NCKD) over labelled images (DKD, Zhao 2022).

    TCKD: KL of "the label or not". NCKD: KL among the other classes. Per image
    KL = TCKD + (1 - p_T(y)) · NCKD. y: (batch,).
    """
    check_temperature(T)
    check_same_classes(z_s, z_t)
    check_label_for_each(z_s, y)
    check_factors(tckd_weight=tckd_weight, nckd_weight=nckd_weight)
    _check_three(z_s, "leave none to compare beside the label")
    z_s, z_t = floats(z_s, z_t)
    label = torch.nn.functional.one_hot(y.clamp(min=0), z_s.shape[-1]).bool()
    parts = []
    for z in (softer(z_t, T), z_s / T):
        log_p = z.log_softmax(-1)
        others = torch.where(label, -torch.inf, log_p)
        log_rest = others.logsumexp(-1)
        log_label = torch.where(label, log_p, 0).sum(-1)
        # within the others: the label's entry is 0 on both sides, and so is its share of the KL
        within = torch.where(label, 0, log_p - log_rest[..., None])
        parts.append((torch.stack([log_label, log_rest], -1), within))
    (binary_t, within_t), (binary_s, within_s) = parts
    tckd = per_image_kl(binary_t, binary_s)
    nckd = per_image_kl(within_t, within_s)
    return T**2 * average(tckd_weight * tckd + nckd_weight * nckd, y >= 0)


def _pearson_distance(a: Tensor, b: Tensor, dim: int) -> Tensor:
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    return 1 - torch.nn.functional.cosine_similarity(a, b, dim=dim, eps=1e-8)


def dist(
    z_s: Tensor, z_t: Tensor, T: float | Tensor = 1.0, *, within: float = 1.0, between: float = 1.0
) -> Tensor:
    """T² · (between · (1 - Pearson of each image's classes) + within · (1 - Pearson of each class's
    images)), means of both (DIST, Huang et al. 2022)."""
    check_temperature(T)
    check_same_classes(z_s, z_t)
    check_factors(within=within, between=between)
    _check_three(z_s, "correlate by 1 or -1")
    z_s, z_t = floats(z_s, z_t)
    if not len(z_s):
        return z_s.sum()  # 0, with a gradient: a correlation of no images is nan
    q, p = (z_s / T).softmax(-1), softer(z_t, T).softmax(-1)
    inter, intra = _pearson_distance(q, p, -1).mean(), _pearson_distance(q, p, -2).mean()
    return T**2 * (between * inter + within * intra)


def standardized(z_s: Tensor, z_t: Tensor, T: float | Tensor, *, where: Where = None) -> Tensor:
    """Soft targets of logits standardised per image: mean 0, deviation 1 (Sun et al. 2024).

    Raises ValueError for fewer than 3 classes: standardised, two logits are always the same.
    """
    check_same_classes(z_s, z_t)
    _check_three(z_s, "are constants once standardised")
    z_s, z_t = (
        (z - z.mean(-1, keepdim=True)) / (z.std(-1, keepdim=True) + 1e-7) for z in floats(z_s, z_t)
    )
    return soft_targets(z_s, z_t, T, where=where)


def _check_three(z_s: Tensor, why: str) -> None:
    if z_s.shape[-1] < 3:
        raise ValueError(
            f"logits of {z_s.shape[-1]} classes {why}, and teach nothing; use soft_targets"
        )


# ---- how every loss counts and averages ----------------------------------------------------------


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

    Of sequences over all their tokens, (batch, length), so that longer ones weigh more. Raises
    ValueError for a `where` of another shape, which would count images several times.
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
