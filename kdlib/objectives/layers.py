"""What all terms on layers share: pairs of layers, and projectors between their shapes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import check_temperature
from kdlib.data import Examples
from kdlib.objectives.answer_terms import Taught
from kdlib.objectives.pairing import POOLS, Layers, channels_first, explain_pair, projector
from kdlib.objectives.step import Step
from kdlib.objectives.teachers import Teacher

Pair = tuple[Tensor, Tensor]


class OnLayers(Taught):
    """A term on pairs of layers, {"student.layer": "teacher.layer"}, averaged over the pairs.

    Layers are taps: dotted module names of any network. Where the shapes of a pair differ the
    objective owns a projector from the student's to the teacher's (see `pairing.projector`).
    Tokens (B, N, D) and patches (B, H, W, D) are maps with D channels (`pairing.channels_first`).
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", Layers(self.layers, self.name))

    @property
    def notation(self) -> str:  # type: ignore[override]
        """By name, with its numbers: `Contrastive(temperature = 0.1)`."""
        numbers = ", ".join(f"{name} = {{{name}}}" for name, _ in self.hyperparameters())
        return f"{self.name}({numbers})" if numbers else self.name

    def student_taps(self) -> tuple[str, ...]:
        return tuple(self.layers)

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return {self.teacher: tuple(self.layers.values())}

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        if "temperature" in values:
            check_temperature(values["temperature"])

    def features(self, step: Step) -> list[Pair]:
        """For each pair of layers, what the student and the teacher have there; channels first."""
        teacher = step.teacher(self.teacher).features
        return [
            self.oriented(step, names, (step.observation.features[names[0]], teacher[names[1]]))
            for names in self.layers.items()
        ]

    def oriented(self, step: Step, names: tuple[str, str], pair: Pair) -> Pair:
        """The pair with tokens (B, N, D) as maps (B, D, N)."""
        (s, t), (f_s, f_t) = names, pair
        return channels_first(f_s, step.student, s), channels_first(f_t, self.teacher, t)

    def projects(self, f_s: Tensor, f_t: Tensor) -> bool:
        """Whether this pair needs a projector."""
        return f_s.shape[1:] != f_t.shape[1:]

    def pairs(self, axes_s: int, axes_t: int) -> bool:
        """Whether features of so many axes can be compared: vectors, maps, or one of each."""
        return {axes_s, axes_t} <= {2, *POOLS} and (axes_s == axes_t or 2 in (axes_s, axes_t))

    def own(self, step: Step) -> nn.Module | None:
        pairs = self.features(step)
        for (f_s, f_t), names in zip(pairs, self.layers.items(), strict=True):
            if not self.pairs(f_s.dim(), f_t.dim()):
                seen = step.observation.features[names[0]]
                told = step.teacher(self.teacher).features[names[1]]
                raise ValueError(explain_pair(self.name, names, (seen, told), step, self.teacher))
        made = [projector(*pair) if self.projects(*pair) else nn.Identity() for pair in pairs]
        return nn.ModuleList(made) if any(self.projects(*pair) for pair in pairs) else None

    def projected(self, step: Step, owned: nn.Module | None) -> Iterator[Pair]:
        """The pairs, the student's features as the teacher's layer could have them."""
        modules = list(owned.children()) if owned is not None else []
        for i, (f_s, f_t) in enumerate(self.features(step)):
            yield (modules[i](f_s) if modules else f_s), f_t

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        pairs = self.projected(step, owned)
        return torch.stack([self.compare(step, *pair) for pair in pairs]).mean()

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        raise NotImplementedError
