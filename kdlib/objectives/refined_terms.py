"""Terms on answers that take soft targets apart, correlate them, or bring them to one scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdlib import losses
from kdlib.data import Examples
from kdlib.objectives.answer_terms import Taught
from kdlib.objectives.class_weights import check_has_labels, check_not_mixed
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher


@dataclass(frozen=True, repr=False)
class Decoupled(Taught):
    """DKD (Zhao et al. 2022), on labelled examples."""

    of_sequences = True
    reads_labels = True

    teacher: Teacher | str
    T: Number
    tckd_weight: Number = 1.0
    nckd_weight: Number = 8.0

    notation = "{T}² · ({tckd_weight} · TCKD + {nckd_weight} · NCKD)"

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        check_has_labels(self.name, examples)

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        z_s, z_t = self.answers(step)
        check_not_mixed(self.name, step.batch)
        return losses.decoupled(
            z_s,
            z_t,
            step.batch.y,
            step.value(self.T),
            tckd_weight=step.value(self.tckd_weight),
            nckd_weight=step.value(self.nckd_weight),
        )


@dataclass(frozen=True, repr=False)
class Dist(Taught):
    """DIST (Huang et al. 2022): correlation within images and within classes."""

    teacher: Teacher | str
    T: Number = 1.0
    within: Number = 1.0
    between: Number = 1.0

    notation = "{T}² · ({between} · (1 − ρ of an image) + {within} · (1 − ρ of a class))"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.dist(
            *self.answers(step),
            step.value(self.T),
            within=step.value(self.within),
            between=step.value(self.between),
        )


@dataclass(frozen=True, repr=False)
class Standardized(Taught):
    """Soft targets of standardised logits (Sun et al. 2024)."""

    of_sequences = True

    teacher: Teacher | str
    T: Number

    notation = "{T}² · KL(p_T ‖ q_T of standardised logits)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.standardized(*self.answers(step), step.value(self.T), where=step.batch.where)
