"""Soft targets read off feature spaces."""

import torch
from torch import Tensor

from kdlib.arguments import check_labels, check_temperature
from kdlib.losses.answers import average, floats, per_image_kl
from kdlib.tensors import check_factors, check_tensors


def class_centres(features: Tensor, y: Tensor) -> Tensor:
    """The mean feature of each class: (N, width), (N,) -> (classes, width); before training.

    Raises ValueError unless each class up to the largest label has an image.
    """
    check_tensors(features=features)
    check_labels(y, len(features))
    if features.dim() != 2:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; expected (N, width): maps are "
            "f.flatten(1)"
        )
    if not len(y) or bool((torch.bincount(y.clamp(min=0)) == 0).any()) or int(y.min()) < 0:
        raise ValueError(
            "a class has no image, or an image no label: it has no centre; give labelled images of "
            "all classes"
        )
    one_hot = torch.nn.functional.one_hot(y).to(features.dtype)
    return one_hot.T @ features / one_hot.sum(0).clamp(min=1)[:, None]


def kernel_similarity(
    f_s: Tensor,
    f_t: Tensor,
    centres: Tensor,
    gamma: float | Tensor,
    T: float | Tensor,
    *,
    where: Tensor | None = None,
) -> Tensor:
    """T² · KL between softmaxes over classes of -gamma ||f - centre_c||² / T.

    f_s, f_t: (batch, width), the student's already projected to the teacher's width; centres:
    (classes, width), the teacher's class means. One source article prints exp(-gamma e^{d²/T});
    this is the form without the inner exponential.
    """
    check_temperature(T)
    check_factors(gamma=gamma)
    check_tensors(f_s=f_s, f_t=f_t, centres=centres)
    if f_s.shape != f_t.shape or centres.dim() != 2 or f_s.shape[-1] != centres.shape[-1]:
        raise ValueError(
            f"features {tuple(f_s.shape)} and {tuple(f_t.shape)} with centres "
            f"{tuple(centres.shape)}: project the student's features to the teacher's width first"
        )
    f_s, f_t, centres = floats(f_s, f_t, centres)
    log_p, log_q = (
        (-gamma * (f[:, None] - centres).square().sum(-1) / T).log_softmax(-1) for f in (f_t, f_s)
    )
    return T**2 * average(per_image_kl(log_p, log_q), where)
