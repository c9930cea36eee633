"""Terms on answers that are numbers, not shares of classes: several labels, or regression."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdlib import losses
from kdlib.data import Examples, Targets
from kdlib.objectives.algebra import Term
from kdlib.objectives.answer_terms import Taught
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher


class _OnTargets(Term):
    """A term on the targets of examples that have numbers."""

    reads_labels = mixes = True

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        if not isinstance(examples, Targets):
            raise ValueError(
                f"{self.name} is for numbers, and {examples!r} has classes; give Targets(x, y) "
                "with y (N, K), or use HardLabels()"
            )
        if not bool(examples.labelled.any()):
            raise ValueError(f"{examples!r} has no targets, which {self.name} needs; add some")


@dataclass(frozen=True, repr=False)
class BinaryLabels(_OnTargets):
    """Binary cross-entropy of each output with its label of 0 or 1, mean over all of them."""

    notation = "BCE"

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        low, high = examples.y.nan_to_num(0.5).aminmax()
        if low < 0 or high > 1:
            raise ValueError(
                f"{self.name} is for targets from 0 to 1, and {examples!r} has some from {low:g} "
                f"to {high:g}; use MeanSquares()"
            )

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.binary_labels(step.z_s, step.batch.y)


@dataclass(frozen=True, repr=False)
class MeanSquares(_OnTargets):
    """Mean square of outputs less targets: regression."""

    notation = "MSE(y, z_s)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.mean_squares(step.z_s, step.batch.y)


@dataclass(frozen=True, repr=False)
class SigmoidTargets(Taught):
    """T² · Σ KL of each output's yes and no (multi-label logit distillation, Yang et al. 2023).

    For outputs that are independent, such as several labels an image; one output will do.
    """

    reads_classes = False

    teacher: Teacher | str
    T: Number = 1.0

    notation = "{T}² · Σ KL(σ(z_t / {T}) ‖ σ(z_s / {T}))"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.sigmoid_targets(*self.answers(step), step.value(self.T))


@dataclass(frozen=True, repr=False)
class TeacherMeanSquares(Taught):
    """Mean square of the student's outputs less the teacher's: regression without targets.

    Nothing is centred, unlike in `LogitMSE`.
    """

    reads_classes = False

    teacher: Teacher | str

    notation = "MSE(z_t, z_s)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.teacher_mean_squares(*self.answers(step))
