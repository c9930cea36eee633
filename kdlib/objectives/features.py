"""Terms on layers: what is compared where, and the projectors that the objective owns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.data import Batch, Examples
from kdlib.losses.arguments import check_temperature
from kdlib.models import observe
from kdlib.objectives.pairing import Layers, describe, projector
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher, ask
from kdlib.objectives.terms import Taught

Pair = tuple[Tensor, Tensor]


class OnLayers(Taught):
    """A term on pairs of layers, {"student.layer": "teacher.layer"}, averaged over the pairs.

    Layers are taps: dotted module names of any network. Where the shapes of a pair differ the
    objective owns a projector from the student's to the teacher's (see `pairing.projector`).
    """

    layers: Mapping[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", Layers(self.layers, self.name))

    def student_taps(self) -> tuple[str, ...]:
        return tuple(self.layers)

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return {self.teacher: tuple(self.layers.values())}

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        if "temperature" in values:
            check_temperature(values["temperature"])

    def features(self, step: Step) -> list[Pair]:
        """For each pair of layers, what the student and the teacher have there."""
        theirs = step.teacher(self.teacher).features
        return [(step.observation.features[s], theirs[t]) for s, t in self.layers.items()]

    def projects(self, f_s: Tensor, f_t: Tensor) -> bool:
        """Whether this pair needs a projector."""
        return f_s.shape[1:] != f_t.shape[1:]

    def own(self, step: Step) -> nn.Module | None:
        pairs = self.features(step)
        for (f_s, f_t), names in zip(pairs, self.layers.items(), strict=True):
            if not {f_s.dim(), f_t.dim()} <= {2, 4}:
                raise ValueError(describe(self.name, names, (f_s, f_t), step, self.teacher))
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


@dataclass(frozen=True, repr=False)
class Hint(OnLayers):
    """Mean squared difference of features (FitNets, Romero et al. 2015).

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.hint(f_s, f_t)


@dataclass(frozen=True, repr=False)
class Cosine(OnLayers):
    """1 - cos of features; with b, of a·f(x) + b·f(x'), x' the augmented view of image x.

    b needs `fit(augment=…)`; without augmented images x' is x, and a and b do nothing.
    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]
    a: Number = 1.0
    b: Number = 0.0

    def features(self, step: Step) -> list[Pair]:
        seen, original = super().features(step), step.batch.original
        if original is None or self.b == 0:
            return seen
        plain = Batch(original, step.batch.y, step.batch.domain)
        a, b = step.value(self.a), step.value(self.b)
        ours = observe(step.student, original, self.student_taps()).features
        theirs = ask(self.teacher, plain, self.layers.values(), step.tables).features
        return [
            (a * ours[s] + b * f_s, a * theirs[t] + b * f_t)
            for (s, t), (f_s, f_t) in zip(self.layers.items(), seen, strict=True)
        ]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.cosine(f_s, f_t)


class _OnPositions(OnLayers):
    """Two maps are compared as they are: only their positions must agree, and are made to."""

    def projects(self, f_s: Tensor, f_t: Tensor) -> bool:
        return not f_s.dim() == f_t.dim() == 4 and super().projects(f_s, f_t)


@dataclass(frozen=True, repr=False)
class Attention(_OnPositions):
    """Where a layer is active (Zagoruyko & Komodakis 2017).

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.attention(f_s, f_t)


@dataclass(frozen=True, repr=False)
class NeuronSelectivity(_OnPositions):
    """The set of patterns that channels react to, by MMD (NST, Huang & Wang 2017).

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.neuron_selectivity(f_s, f_t)


class _OnRelations(OnLayers):
    """Relations between images need no projector: widths are free."""

    def projects(self, f_s: Tensor, f_t: Tensor) -> bool:
        return False


@dataclass(frozen=True, repr=False)
class Similarity(_OnRelations):
    """Which images of a batch look alike (Tung & Mori 2019).

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.similarity(f_s, f_t)


@dataclass(frozen=True, repr=False)
class Relational(_OnRelations):
    """Distances of pairs and angles of triangles of images (RKD, Park et al. 2019).

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]
    distance: Number = 1.0
    angle: Number = 2.0

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        distance, angle = step.value(self.distance), step.value(self.angle)
        return losses.relational(f_s, f_t, distance=distance, angle=angle)


@dataclass(frozen=True, repr=False)
class Contrastive(OnLayers):
    """Each image finds itself among the teacher's (InfoNCE form of CRD, Tian et al. 2020).

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]
    temperature: Number = 0.1

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.contrastive(f_s, f_t, temperature=step.value(self.temperature))


@dataclass(frozen=True, repr=False)
class Flow(OnLayers):
    """How one layer turns into another (FSP, Yim et al. 2017): exactly two pairs of layers.

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.layers) != 2:
            raise ValueError(
                f"Flow was given {len(self.layers)} pairs of layers, {self.layers}; expected "
                'two: where the flow starts and where it ends, {"stage1": "stage1", …}'
            )

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        (first_s, first_t), (second_s, second_t) = self.projected(step, owned)
        return losses.flow(first_s, second_s, first_t, second_t)


@dataclass(frozen=True, repr=False)
class KernelSimilarity(OnLayers):
    """Soft targets of distances to the teacher's class centres (classes, width_t); one pair.

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]
    centres: Tensor = field(compare=False)
    gamma: Number = 1.0
    T: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.layers) != 1:
            raise ValueError(
                f"KernelSimilarity was given {len(self.layers)} pairs of layers; expected one, "
                "the teacher's layer being that of the centres"
            )

    def features(self, step: Step) -> list[Pair]:
        return [(f_s.flatten(1), f_t.flatten(1)) for f_s, f_t in super().features(step)]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        gamma, T = step.value(self.gamma), step.value(self.T)
        return losses.kernel_similarity(f_s, f_t, self.centres, gamma, T)


class _Regression(nn.Module):
    """The teacher's feature as a Gaussian: a mean, and a variance for each unit or channel."""

    def __init__(self, f_s: Tensor, f_t: Tensor) -> None:
        super().__init__()
        self.mean = projector(f_s, f_t)
        self.log_variance = nn.Parameter(torch.zeros(f_t.shape[1]))

    def forward(self, f_s: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(f_s), self.log_variance


@dataclass(frozen=True, repr=False)
class Variational(OnLayers):
    """Variational information distillation (Ahn et al. 2019); owns a regression for each pair.

    layers: {"student.layer": "teacher.layer"}, dotted names of modules.
    """

    teacher: Teacher
    layers: Mapping[str, str]

    def own(self, step: Step) -> nn.Module:
        super().own(step)  # its checks
        return nn.ModuleList([_Regression(*pair) for pair in self.features(step)])

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        terms = []
        for (mean, log_variance), f_t in self.projected(step, owned):
            rows = [f.movedim(1, -1).flatten(0, -2) for f in (mean, f_t)]  # a map: its positions
            terms.append(losses.variational(rows[0], log_variance, rows[1]))
        return torch.stack(terms).mean()
