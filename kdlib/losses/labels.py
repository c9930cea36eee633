"""Losses on labels that weigh differently or come in pairs, and on targets that are numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlib.arguments import (
    check_fraction,
    check_label_for_each,
    check_same_classes,
    check_temperature,
)
from kdlib.losses.answers import Where, average, floats, per_image_kl, softer
from kdlib.tensors import check_tensor, check_tensors


def weighted_labels(
    z_s: Tensor,
    y: Tensor,
    weights: Tensor | None = None,
    *,
    smoothing: float | Tensor = 0.0,
    other: Tensor | None = None,
    share: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with labels of which some weigh more: Σ w CE / Σ w over the labelled examples.

    weights: (classes,), w = weights[y], as in torch's `cross_entropy(weight=…)`. other, share:
    labels (batch,) of the examples that were mixed in, and the share (batch,) that y keeps (mixup,
    Zhang et al. 2018; CutMix, Yun et al. 2019): the loss of both labels, share · CE(y) +
    (1 - share) · CE(other), their class weights in the mean alike.
    """
    check_fraction("smoothing", smoothing)
    check_label_for_each(z_s, y)
    (z_s,) = floats(z_s)
    if weights is not None:
        check_tensors(1, weights=weights)
    if weights is not None and weights.shape != z_s.shape[-1:]:
        raise ValueError(
            f"there are {weights.numel()} class weights, and the student answers with "
            f"{z_s.shape[-1]} classes; give one weight for each class"
        )
    log_q = z_s.log_softmax(-1)
    of_class = log_q.new_ones(log_q.shape[-1]) if weights is None else weights.to(log_q)
    spread = (of_class * log_q).mean(-1)  # as torch has it: smoothing weighs each class by its own
    total, mass = log_q.sum() * 0, log_q.new_zeros(())
    pairs = [(y, torch.ones_like(y) if share is None else share)]
    if (other is None) != (share is None):
        raise ValueError("other and share belong together; give the mixed-in labels and y's share")
    if other is not None and share is not None:
        check_label_for_each(z_s, other)
        check_tensors(0, share=share)
        if share.shape not in (y.shape, torch.Size([])):
            raise ValueError(
                f"share has shape {tuple(share.shape)} for labels {tuple(y.shape)}; expected one "
                "number for each image"
            )
        pairs.append((other, 1 - share))
    for label, part in pairs:
        kept = torch.where(label >= 0, part.to(log_q), 0)
        weight = of_class[label.clamp(min=0)]
        nll = -weight * log_q.gather(-1, label.clamp(min=0)[..., None])[..., 0]
        total = total + (kept * ((1 - smoothing) * nll - smoothing * spread)).sum()
        mass = mass + (kept * weight).sum()
    return total / mass.clamp(min=torch.finfo(mass.dtype).tiny)


def binary_labels(z_s: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of each output: q = sigmoid(z_s) against y (batch, outputs) in [0, 1].

    Mean over all outputs of all examples that have a target (nan: none).
    """
    z_s, y, there = _with_targets(z_s, y)
    return average(F.binary_cross_entropy_with_logits(z_s, y, reduction="none"), there)


def mean_squares(z_s: Tensor, y: Tensor) -> Tensor:
    """Mean of (z_s - y)² over all outputs of all examples that have a target (nan: none)."""
    z_s, y, there = _with_targets(z_s, y)
    return average((z_s - y).square(), there)


def sigmoid_targets(z_s: Tensor, z_t: Tensor, T: float | Tensor, *, where: Where = None) -> Tensor:
    """T² · Σ over outputs of KL(p ‖ q) of yes and no, with p = sigmoid(z_t / T), mean over images.

    (Multi-label logit distillation, Yang et al. 2023, which has T = 1.) Outputs are independent:
    for several labels an image, and for one output.
    """
    check_temperature(T)
    check_same_classes(z_s, z_t)
    z_s, z_t = floats(z_s, z_t)
    log_p, log_q = (
        torch.stack([F.logsigmoid(z), F.logsigmoid(-z)], -1) for z in (softer(z_t, T), z_s / T)
    )
    return T**2 * average(per_image_kl(log_p, log_q).sum(-1), where)


def teacher_mean_squares(z_s: Tensor, z_t: Tensor, *, where: Where = None) -> Tensor:
    """Mean of (z_s - z_t)² over outputs and images: a regressor learns from a regressor.

    Nothing is centred, unlike in `logit_mse`: what all outputs have in common counts.
    """
    check_same_classes(z_s, z_t)
    z_s, z_t = floats(z_s, z_t)
    return average((z_s - z_t).square().mean(-1), where)


def _with_targets(z_s: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, targets without nan, and where there is one."""
    check_tensors(z_s=z_s)
    check_tensor("targets", y)
    if z_s.shape != y.shape:
        raise ValueError(
            f"the student's outputs have shape {tuple(z_s.shape)} and targets {tuple(y.shape)}; "
            "give one target for each output"
        )
    (z_s,) = floats(z_s)
    there = ~y.isnan()
    return z_s, torch.where(there, y, 0).to(z_s), there
