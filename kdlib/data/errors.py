"""Which answers are wrong, counted in one place: for sealed labels and for the metrics."""

import torch
from torch import Tensor

from kdlib.arguments import check_numbers
from kdlib.data.numeric import check_scored


def wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Which answers are wrong: bool (…, N); of sequences, the share of wrong tokens in each.

    Of 0/1 labels (N, K), floats, the share of wrong ones in each: an output above 0 says 1.
    Raises ValueError for examples without a label, targets that are other numbers, and where the
    largest logit is no finite number (a class that shall not be chosen may have -inf).
    """
    check_scored(logits, y)
    check_numbers(logits)
    return share_wrong(logits, y)


def share_wrong(logits: Tensor, y: Tensor) -> Tensor:
    """As `wrong`, of answers that were looked at already."""
    y, numbers = y.to(logits.device), y.is_floating_point()
    missed = (logits > 0) != (y > 0.5) if numbers else logits.argmax(-1) != y
    if y.dim() == 1:
        return missed
    there = ~y.isnan() if numbers else y >= 0
    return torch.where(there, missed, 0.0).sum(-1) / there.sum(-1)


def error_percent(logits: Tensor, y: Tensor) -> Tensor:
    """Wrong answers in percent, (…), on the CPU: not every device has float64.

    Raises ValueError as `wrong` does, and for no examples.
    """
    if isinstance(y, Tensor) and not y.numel():
        raise ValueError("there are no examples to score; give one or more")
    return 100 * wrong(logits, y).cpu().double().mean(-1)
