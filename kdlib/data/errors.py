"""Which answers are wrong, counted in one place: for sealed labels and for the metrics."""

import torch
from torch import Tensor

from kdlib.arguments import check_labelled, check_numbers


def wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Which answers are wrong: bool (…, N); of sequences, the share of wrong tokens in each.

    Raises ValueError for examples without a label, and where the largest logit is no finite number
    (a class that shall not be chosen may have -inf).
    """
    check_labelled(logits, y)
    check_numbers(logits)
    return share_wrong(logits, y)


def share_wrong(logits: Tensor, y: Tensor) -> Tensor:
    """As `wrong`, of answers that were looked at already."""
    missed = logits.argmax(-1) != y
    if y.dim() == 1:
        return missed
    there = y >= 0
    return torch.where(there, missed, 0.0).sum(-1) / there.sum(-1)


def error_percent(logits: Tensor, y: Tensor) -> Tensor:
    """Wrong answers in percent, (…)."""
    return 100 * wrong(logits, y).double().mean(-1)
