"""The terms an objective is made of: each a loss of `kdlib.losses` with its teacher and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.data import Examples
from kdlib.losses.arguments import check_fraction, check_temperature
from kdlib.objectives import symbols
from kdlib.objectives.algebra import Term
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher


@dataclass(frozen=True, repr=False)
class HardLabels(Term):
    """Cross-entropy with the labels of those examples that have one."""

    smoothing: Number = 0.0

    def __str__(self) -> str:
        plain = self.smoothing == 0
        return "HardLabels()" if plain else f"HardLabels(smoothing={symbols.show(self.smoothing)})"

    __repr__ = __str__

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        check_fraction("smoothing", values["smoothing"])
        if not bool((examples.y >= 0).any()):
            raise ValueError(
                f"{examples!r} has no labels, which HardLabels needs; "
                "use soft targets alone, or add labelled examples"
            )

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        smoothing = step.value(self.smoothing)
        return losses.hard_labels(step.observation.logits, step.batch.y, smoothing=smoothing)


class _Taught(Term):
    """A term on the teacher's answers; `T`, where it has one, must be above 0."""

    teacher: Teacher

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        if "T" in values:
            check_temperature(values["T"])
        if "beta" in values:
            check_fraction("beta", values["beta"])

    def answers(self, step: Step) -> tuple[Tensor, Tensor]:
        """Student and teacher logits, (batch, classes) each."""
        return step.observation.logits, step.teacher(self.teacher).logits


@dataclass(frozen=True, repr=False)
class SoftTargets(_Taught):
    """T² · KL(p_T || q_T) (Hinton et al. 2015)."""

    teacher: Teacher
    T: Number

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.soft_targets(*self.answers(step), step.value(self.T))


@dataclass(frozen=True, repr=False)
class ReverseKL(_Taught):
    """T² · KL(q_T || p_T)."""

    teacher: Teacher
    T: Number

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.reverse_kl(*self.answers(step), step.value(self.T))


@dataclass(frozen=True, repr=False)
class JensenShannon(_Taught):
    """T² · the generalised Jensen–Shannon divergence."""

    teacher: Teacher
    T: Number
    beta: Number = 0.5

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        T, beta = step.value(self.T), step.value(self.beta)
        return losses.jensen_shannon(*self.answers(step), T, beta=beta)


@dataclass(frozen=True, repr=False)
class TeacherLabels(_Taught):
    """Cross-entropy with the teacher's most probable class."""

    teacher: Teacher

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.teacher_labels(*self.answers(step))


@dataclass(frozen=True, repr=False)
class LogitMSE(_Taught):
    """Logit matching (Ba & Caruana 2014)."""

    teacher: Teacher

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.logit_mse(*self.answers(step))


@dataclass(frozen=True, repr=False)
class ProbabilityMSE(_Taught):
    """||p_T - q_T||², the L2 form."""

    teacher: Teacher
    T: Number = 1.0

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.probability_mse(*self.answers(step), step.value(self.T))


@dataclass(frozen=True, repr=False)
class Decoupled(_Taught):
    """DKD (Zhao et al. 2022), on labelled examples."""

    teacher: Teacher
    T: Number
    tckd_weight: Number = 1.0
    nckd_weight: Number = 8.0

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        z_s, z_t = self.answers(step)
        return losses.decoupled(
            z_s,
            z_t,
            step.batch.y,
            step.value(self.T),
            tckd_weight=step.value(self.tckd_weight),
            nckd_weight=step.value(self.nckd_weight),
        )


@dataclass(frozen=True, repr=False)
class Dist(_Taught):
    """DIST (Huang et al. 2022): correlation within images and within classes."""

    teacher: Teacher
    T: Number = 1.0
    within: Number = 1.0
    between: Number = 1.0

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.dist(
            *self.answers(step),
            step.value(self.T),
            within=step.value(self.within),
            between=step.value(self.between),
        )


@dataclass(frozen=True, repr=False)
class Standardized(_Taught):
    """Soft targets of standardised logits (Sun et al. 2024)."""

    teacher: Teacher
    T: Number

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.standardized(*self.answers(step), step.value(self.T))


class _LayerPair(_Taught):
    """A term on the features of one pair ("student tap", "teacher tap"), flattened."""

    layers: tuple[str, str]

    def student_taps(self) -> tuple[str, ...]:
        return (self.layers[0],)

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return {self.teacher: (self.layers[1],)}

    def features(self, step: Step) -> tuple[Tensor, Tensor]:
        """Student (batch, width_s) and teacher (batch, width_t)."""
        f_s = step.observation.features[self.layers[0]].flatten(1)
        return f_s, step.teacher(self.teacher).features[self.layers[1]].flatten(1)


@dataclass(frozen=True, repr=False)
class KernelSimilarity(_LayerPair):
    """Soft targets of distances to the teacher's class centres (classes, width_t).

    The objective owns a linear projector from the student's width to the teacher's.
    """

    teacher: Teacher
    layers: tuple[str, str]
    centres: Tensor = field(compare=False)
    gamma: Number = 1.0
    T: Number = 1.0

    def own(self, step: Step) -> nn.Module:
        f_s, f_t = self.features(step)
        return nn.Linear(f_s.shape[1], f_t.shape[1])

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        f_s, f_t = self.features(step)
        gamma, T = step.value(self.gamma), step.value(self.T)
        return losses.kernel_similarity(owned(f_s), f_t, self.centres, gamma, T)


class _Regression(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mean = nn.Linear(inputs, outputs)
        self.log_variance = nn.Parameter(torch.zeros(outputs))

    def forward(self, f: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(f), self.log_variance


@dataclass(frozen=True, repr=False)
class Variational(_LayerPair):
    """Variational information distillation (Ahn et al. 2019) of one layer pair."""

    teacher: Teacher
    layers: tuple[str, str]

    def own(self, step: Step) -> nn.Module:
        f_s, f_t = self.features(step)
        return _Regression(f_s.shape[1], f_t.shape[1])

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        f_s, f_t = self.features(step)
        mean, log_variance = owned(f_s)
        return losses.variational(mean, log_variance, f_t)


@dataclass(frozen=True, repr=False)
class Regularizer(Term):
    """½ Σ θ², or ½ Σ (θ - θ_t)² where the network `towards` has a weight of that name and shape."""

    towards: nn.Module | None = None

    def teachers(self) -> list[Teacher]:
        return []  # its weights are held, its answers are never asked for

    def tensors(self) -> list[Tensor]:
        return [] if self.towards is None else list(self.towards.parameters())

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        towards = {} if self.towards is None else dict(self.towards.named_parameters())
        return losses.regularizer(dict(step.student.named_parameters()), towards)

    def __str__(self) -> str:
        return f"Regularizer({'towards teacher' if self.towards else ''})"

    __repr__ = __str__
