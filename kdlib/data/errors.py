"""Which answers are wrong, counted in one place: for sealed labels and for the metrics."""

from torch import Tensor

from kdlib.arguments import check_labelled, check_numbers


def wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Which answers are wrong: bool (…, N).

    Raises ValueError for examples without a label, and where the largest logit is no finite number
    (a class that shall not be chosen may have -inf).
    """
    check_labelled(logits, y)
    check_numbers(logits)
    return logits.argmax(-1) != y


def error_percent(logits: Tensor, y: Tensor) -> Tensor:
    """Wrong answers in percent, (…)."""
    return 100 * wrong(logits, y).double().mean(-1)
