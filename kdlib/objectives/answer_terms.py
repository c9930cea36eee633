"""Terms on answers: each a loss of `kdlib.losses` with its teacher and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdlib import losses
from kdlib.arguments import check_fraction, check_temperature
from kdlib.data import Examples
from kdlib.objectives.algebra import Term
from kdlib.objectives.label_terms import check_has_labels
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher


class Taught(Term):
    """A term on the teacher's answers; `T`, where it has one, must be above 0.

    teacher: a network, a table, or the name of a module of the network that is trained, whose
    answers then pass no gradient on (see `members.member`).
    """

    reads_classes = True  # what they compare are shares of classes

    teacher: Teacher | str

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        if "T" in values:
            check_temperature(values["T"])
        if "beta" in values:
            check_fraction("beta", values["beta"])

    def peers(self) -> tuple[str, ...]:
        return (self.teacher,) if isinstance(self.teacher, str) else ()

    def student_taps(self) -> tuple[str, ...]:
        return self.peers()

    def answers(self, step: Step) -> tuple[Tensor, Tensor]:
        """Student and teacher logits, (batch, classes) each."""
        return step.z_s, step.z_t(self.teacher)


@dataclass(frozen=True, repr=False)
class SoftTargets(Taught):
    """T² · KL(p_T || q_T) (Hinton et al. 2015)."""

    of_sequences = True

    teacher: Teacher | str
    T: Number

    notation = "{T}² · KL(p_T ‖ q_T)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.soft_targets(*self.answers(step), step.value(self.T), where=step.batch.where)


@dataclass(frozen=True, repr=False)
class ReverseKL(Taught):
    """T² · KL(q_T || p_T)."""

    of_sequences = True

    teacher: Teacher | str
    T: Number

    notation = "{T}² · KL(q_T ‖ p_T)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.reverse_kl(*self.answers(step), step.value(self.T), where=step.batch.where)


@dataclass(frozen=True, repr=False)
class JensenShannon(Taught):
    """T² · the generalised Jensen–Shannon divergence; normalised: over beta · (1 - beta)."""

    of_sequences = True

    teacher: Teacher | str
    T: Number
    beta: Number = 0.5
    normalised: bool = False

    @property
    def notation(self) -> str:  # type: ignore[override]
        over = " / ({beta} · (1 − {beta}))" if self.normalised else ""
        return "{T}² · JS_{beta}(p_T ‖ q_T)" + over

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        T, beta = step.value(self.T), step.value(self.beta)
        how = {"beta": beta, "normalised": self.normalised, "where": step.batch.where}
        return losses.jensen_shannon(*self.answers(step), T, **how)


@dataclass(frozen=True, repr=False)
class TeacherLabels(Taught):
    """Cross-entropy with the teacher's most probable class."""

    of_sequences = True

    teacher: Teacher | str

    notation = "CE(argmax p)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.teacher_labels(*self.answers(step), where=step.batch.where)


@dataclass(frozen=True, repr=False)
class LogitMSE(Taught):
    """Logit matching (Ba & Caruana 2014): of answers less their mean, which no softmax sees.

    What all outputs have in common goes unlearned, so it is no loss for regression: that is
    `TeacherMeanSquares`.
    """

    of_sequences = True

    teacher: Teacher | str

    notation = "MSE(z_t, z_s)"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.logit_mse(*self.answers(step), where=step.batch.where)


@dataclass(frozen=True, repr=False)
class ProbabilityMSE(Taught):
    """||p_T - q_T||², the L2 form."""

    of_sequences = True

    teacher: Teacher | str
    T: Number = 1.0

    notation = "‖p_{T} − q_{T}‖²"

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.probability_mse(
            *self.answers(step), step.value(self.T), where=step.batch.where
        )


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
        if step.batch.other is not None:
            raise ValueError(f"{self.name} knows one label an image; leave out what mixes them")
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
