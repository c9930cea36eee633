"""Terms on labels and answers: each a loss of `kdlib.losses` with its teacher and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdlib import losses
from kdlib.arguments import check_fraction, check_temperature
from kdlib.data import Examples
from kdlib.objectives import symbols
from kdlib.objectives.algebra import Term
from kdlib.objectives.class_weights import (
    check_has_labels,
    class_weights,
    on_device,
)
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher


@dataclass(frozen=True, repr=False)
class HardLabels(Term):
    """Cross-entropy with the labels of those examples that have one.

    weights: one for each class, as (1.0, 5.0), as in torch's `cross_entropy(weight=…)`. Where an
    augment mixed images, the loss of both labels, each by its share.
    """

    of_sequences = True
    reads_classes = reads_labels = mixes = True

    smoothing: Number = 0.0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", class_weights(self.weights))

    def __str__(self) -> str:
        parts = [] if self.smoothing == 0 else [f"smoothing={symbols.show(self.smoothing)}"]
        parts += [f"weights={self.weights}"] if self.weights else []
        return f"HardLabels({', '.join(parts)})"

    __repr__ = __str__

    @property
    def notation(self) -> str:  # type: ignore[override]
        plain = "CE" if self.smoothing == 0 else "CE(smoothing {smoothing})"
        return f"weighted {plain}" if self.weights else plain

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        check_fraction("smoothing", values["smoothing"])
        check_has_labels(self.name, examples)

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        smoothing, batch = step.value(self.smoothing), step.batch
        if not self.weights and batch.other is None:
            return losses.hard_labels(step.z_s, batch.y, smoothing=smoothing)
        how = {"smoothing": smoothing, "other": batch.other, "share": batch.share}
        return losses.weighted_labels(step.z_s, batch.y, on_device(self.weights, batch.x), **how)


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
    """Logit matching (Ba & Caruana 2014), less each answer's mean; for regression it leaves that
    unlearned, so use `TeacherMeanSquares`.
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
