"""Terms on the student's weights, with or without a teacher's beside them."""

from dataclasses import dataclass

from torch import Tensor, nn

from kdlib import losses
from kdlib.objectives.algebra import Term
from kdlib.objectives.step import Step
from kdlib.objectives.teachers import Teacher


class _OnWeights(Term):
    """A term that holds a network for its weights; its answers are never asked for."""

    of_sequences = True

    def teachers(self) -> list[Teacher]:
        return []

    def held(self) -> nn.Module | None:
        raise NotImplementedError

    def tensors(self) -> list[Tensor]:
        held = self.held()
        return [] if held is None else list(held.parameters())

    def weights(self, step: Step) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The student's and the held network's, by name."""
        held = self.held()
        weights: dict[str, Tensor] = {} if held is None else dict(held.named_parameters())
        return dict(step.student.named_parameters()), weights


@dataclass(frozen=True, repr=False)
class Regularizer(_OnWeights):
    """½ Σ θ², or ½ Σ (θ - θ_t)² where the network `towards` has a weight of that name and shape."""

    towards: nn.Module | None = None

    def held(self) -> nn.Module | None:
        return self.towards

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.regularizer(*self.weights(step))

    def __str__(self) -> str:
        return f"Regularizer({'towards teacher' if self.towards else ''})"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class ParameterKL(_OnWeights):
    """KL(teacher || student) of weights read as distributions: "gaussian" or "energy"."""

    teacher: nn.Module
    reading: str = "gaussian"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reading not in ("gaussian", "energy"):
            raise ValueError(f"reading={self.reading!r}: expected 'gaussian' or 'energy'")

    def held(self) -> nn.Module:
        return self.teacher

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.parameter_kl(*self.weights(step), reading=self.reading)


@dataclass(frozen=True, repr=False)
class ParameterL2(_OnWeights):
    """½ Σ (θ - θ_t)² over the weights of one name and shape."""

    teacher: nn.Module

    def held(self) -> nn.Module:
        return self.teacher

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return losses.parameter_l2(*self.weights(step))
