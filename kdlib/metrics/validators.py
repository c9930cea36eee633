"""Scores of a network on a target without labels: higher is meant to be better.

Each sees logits (N, classes) only; none of them sees a label, and each can be fooled: read them
beside one another, and beside the counts of predicted classes.
"""

import torch
from torch import Tensor

from kdlib import losses
from kdlib.arguments import check_numbers, check_temperature
from kdlib.tensors import check_tensors


def negative_entropy(logits: Tensor) -> float:
    """-(mean entropy per image) in nats; 0 at best, also for a network that says one class only."""
    _check_answers(logits)
    return float(-losses.entropy(logits.cpu().double()))


def information_maximization_score(logits: Tensor) -> float:
    """Diversity of the mean answer less the mean entropy per image; log(classes) at best."""
    _check_answers(logits)
    return float(-losses.information_maximization(logits.cpu().double()))


def snd(logits: Tensor, features: Tensor | None = None, *, T: float = 0.05) -> float:
    """Soft neighbourhood density (Saito et al. 2021) in nats.

    The mean entropy of each image's softmax(similarity / T) over all others, where similarity is
    the cosine between their `features` (N, …), or between their answers where none are given.
    High where an image has many close neighbours. Raises ValueError for fewer than 2 images.
    """
    check_temperature(T)
    _check_answers(logits)
    if features is not None:
        check_tensors(features=features)
        if len(features) != len(logits) or not bool(features.isfinite().all()):
            raise ValueError(
                f"features have shape {tuple(features.shape)} for {len(logits)} answers; expected "
                "finite numbers, one row for each answer"
            )
    rows = (
        logits.cpu().double().softmax(-1)
        if features is None
        else features.cpu().double().flatten(1)
    )
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} image has no neighbours; score at least 2")
    rows = torch.nn.functional.normalize(rows, dim=-1)
    similarity = (rows @ rows.T / T).fill_diagonal_(-torch.inf)
    share = similarity.softmax(-1)
    return float(-torch.special.xlogy(share, share).sum(-1).mean())


def bnm(logits: Tensor) -> float:
    """Nuclear norm of the answers softmax(z) (N, classes), over its bound sqrt(N · classes).

    (Batch nuclear-norm maximisation, Cui et al. 2020.) 1 where each answer is sure and all classes
    come equally often.
    """
    _check_answers(logits)
    p = logits.cpu().double().softmax(-1)
    return float(torch.linalg.svdvals(p).sum() / p.numel() ** 0.5)


def _check_answers(logits: Tensor) -> None:
    """Raises ValueError unless these are answers (N, classes) that are numbers."""
    check_numbers(logits)
    if logits.dim() != 2 or not len(logits) or bool(logits.isneginf().any()):
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}; expected (N, classes) of one image or more, "
            "finite numbers"
        )
