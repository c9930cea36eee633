"""Terms on layers: what is compared where."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.data import Batch
from kdlib.models import observe
from kdlib.objectives.layers import OnLayers, Pair
from kdlib.objectives.pairing import projector
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher, ask


@dataclass(frozen=True, repr=False)
class Hint(OnLayers):
    """Mean squared difference of features (FitNets, Romero et al. 2015)."""

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.hint(f_s, f_t)


@dataclass(frozen=True, repr=False)
class Cosine(OnLayers):
    """1 - cos of features; with b, of a·f(x) + b·f(x'), x' the augmented view of image x.

    b needs `fit(augment=…)`; without augmented images x' is x, and a and b do nothing.
    """

    teacher: Teacher
    layers: Mapping[str, str]
    a: Number = 1.0
    b: Number = 0.0

    def features(self, step: Step) -> list[Pair]:
        seen, original = super().features(step), step.batch.original
        if original is None or self.b == 0:
            return seen
        unchanged = Batch(original, step.batch.y, step.batch.domain)
        a, b = step.value(self.a), step.value(self.b)
        student = observe(step.student, original, self.student_taps()).features
        teacher = ask(self.teacher, unchanged, self.layers.values()).features
        pairs = self.layers.items()
        plain = [self.oriented(step, (s, t), (student[s], teacher[t])) for s, t in pairs]
        return [
            (a * f_s + b * g_s, a * f_t + b * g_t)
            for (f_s, f_t), (g_s, g_t) in zip(plain, seen, strict=True)
        ]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.cosine(f_s, f_t)


class _OnPositions(OnLayers):
    """Two maps are compared as they are: only their positions must agree, and are made to."""

    def projects(self, f_s: Tensor, f_t: Tensor) -> bool:
        return not f_s.dim() == f_t.dim() > 2 and super().projects(f_s, f_t)


@dataclass(frozen=True, repr=False)
class Attention(_OnPositions):
    """Where a layer is active (Zagoruyko & Komodakis 2017)."""

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.attention(f_s, f_t)


@dataclass(frozen=True, repr=False)
class NeuronSelectivity(_OnPositions):
    """The set of patterns that channels react to, by MMD (NST, Huang & Wang 2017)."""

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.neuron_selectivity(f_s, f_t)


class _OnRelations(OnLayers):
    """Relations between images need no projector: widths, and what axes mean, are free."""

    def oriented(self, step: Step, names: tuple[str, str], pair: Pair) -> Pair:
        return pair

    def pairs(self, axes_s: int, axes_t: int) -> bool:
        return min(axes_s, axes_t) >= 2

    def projects(self, f_s: Tensor, f_t: Tensor) -> bool:
        return False


@dataclass(frozen=True, repr=False)
class Similarity(_OnRelations):
    """Which images of a batch look alike (Tung & Mori 2019)."""

    teacher: Teacher
    layers: Mapping[str, str]

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.similarity(f_s, f_t)


@dataclass(frozen=True, repr=False)
class Relational(_OnRelations):
    """Distances of pairs and angles of triangles of images (RKD, Park et al. 2019)."""

    teacher: Teacher
    layers: Mapping[str, str]
    distance: Number = 1.0
    angle: Number = 2.0

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        distance, angle = step.value(self.distance), step.value(self.angle)
        return losses.relational(f_s, f_t, distance=distance, angle=angle)


@dataclass(frozen=True, repr=False)
class Contrastive(OnLayers):
    """Each image finds itself among the teacher's (InfoNCE form of CRD, Tian et al. 2020)."""

    teacher: Teacher
    layers: Mapping[str, str]
    temperature: Number = 0.1

    def compare(self, step: Step, f_s: Tensor, f_t: Tensor) -> Tensor:
        return losses.contrastive(f_s, f_t, temperature=step.value(self.temperature))


@dataclass(frozen=True, repr=False)
class Flow(OnLayers):
    """How one layer turns into another (FSP, Yim et al. 2017): exactly two pairs of layers."""

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
    """Soft targets of distances to the teacher's class centres (classes, width_t); one pair."""

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
    """Variational information distillation (Ahn et al. 2019); owns a regression for each pair."""

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
