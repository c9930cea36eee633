"""What a term on labels asks of them, and the weights of their classes."""

from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import finite
from kdlib.data import Batch, Examples
from kdlib.objectives.fields import check_no_symbol


def check_has_labels(term: str, examples: Examples) -> None:
    """Raises ValueError where the term would be 0 in every step."""
    if not bool(examples.labelled.any()):
        raise ValueError(
            f"{examples!r} has no labels, which {term} needs; "
            "use soft targets alone, or add labelled examples"
        )


def class_weights(weights: Any) -> tuple[float, ...]:
    """As a tuple of floats; ValueError for what are none, negative ones, and nothing but 0."""
    if isinstance(weights, Mapping | Set | str | bytes | bytearray):
        raise ValueError(
            f"HardLabels was given weights={weights!r}; expected a sequence in the order of the "
            "classes: [w[c] for c in range(K)]"
        )
    weights = tuple(weights) if isinstance(weights, Iterator) else weights  # which is read once
    for weight in weights if isinstance(weights, Iterable) else ():
        check_no_symbol("HardLabels", "weights", weight)
    try:
        given = tuple(float(weight) for weight in weights)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"HardLabels was given weights={weights!r}; expected a number for each class, such as "
            "(1.0, 5.0)"
        ) from error
    if given and not (all(finite(w) and w >= 0 for w in given) and any(given)):
        raise ValueError(
            f"HardLabels was given weights={given}; expected finite numbers of at least 0, not all "
            "of them 0"
        )
    return given


def check_not_mixed(term: str, batch: Batch) -> None:
    """Raises ValueError for images that an augment gave two labels."""
    if batch.other is not None:
        raise ValueError(f"{term} knows one label an image; leave out what mixes them")


def on_device(weights: tuple[float, ...], x: Tensor) -> Tensor | None:
    """The weights where x is; None for none."""
    return _made(weights, x.device) if weights else None


@cache  # made once: a step that copies numbers to a device cannot be recorded
def _made(weights: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(weights, device=device)
