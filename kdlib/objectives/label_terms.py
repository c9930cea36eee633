"""The term on labels of classes: all of them alike, or some that weigh more."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.arguments import check_fraction, finite
from kdlib.data import Examples
from kdlib.objectives import symbols
from kdlib.objectives.algebra import Term
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number


def check_has_labels(term: str, examples: Examples) -> None:
    """Raises ValueError where the term would be 0 in every step."""
    if not bool(examples.labelled.any()):
        raise ValueError(
            f"{examples!r} has no labels, which {term} needs; "
            "use soft targets alone, or add labelled examples"
        )


@dataclass(frozen=True, repr=False)
class HardLabels(Term):
    """Cross-entropy with the labels of those examples that have one.

    weights: one for each class, as (1.0, 5.0): the mean over labels then weighs each by its
    class's, as torch's `cross_entropy(weight=…)`. Where an augment mixed images, the loss of both
    labels, each by its share.
    """

    of_sequences = True
    reads_classes = reads_labels = mixes = True

    smoothing: Number = 0.0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", _class_weights(self.weights))

    def __str__(self) -> str:
        parts = [] if self.smoothing == 0 else [f"smoothing={symbols.show(self.smoothing)}"]
        parts += [f"weights={self.weights}"] if self.weights else []
        return f"HardLabels({', '.join(parts)})"

    __repr__ = __str__

    @property
    def notation(self) -> str:  # type: ignore[override]
        kinds = [] if self.smoothing == 0 else ["smoothing {smoothing}"]
        kinds += ["classes weighted"] if self.weights else []
        return f"CE({', '.join(kinds)})" if kinds else "CE"

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        check_fraction("smoothing", values["smoothing"])
        check_has_labels(self.name, examples)

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        smoothing, batch = step.value(self.smoothing), step.batch
        if not self.weights and batch.other is None:
            return losses.hard_labels(step.z_s, batch.y, smoothing=smoothing)
        weights = _on(self.weights, batch.x.device) if self.weights else None
        mixed = {"other": batch.other, "share": batch.share}
        return losses.weighted_labels(step.z_s, batch.y, weights, smoothing=smoothing, **mixed)


def _class_weights(weights: Any) -> tuple[float, ...]:
    """As a tuple of floats; ValueError for what are none, negative ones, and nothing but 0."""
    try:
        given = tuple(float(weight) for weight in weights)
    except TypeError as error:
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


@cache  # made once: a step that copies numbers to a device cannot be recorded
def _on(weights: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(weights, device=device)
