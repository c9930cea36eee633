"""Terms for `fit` on source.as_domain(0) + target.unlabelled().as_domain(1): without its labels.

Domain 0 is the source; every other domain counts as target. No term here reads a target's label,
but HardLabels learns from every label there is: a target of which all is labelled is refused.
Where the student has BatchNorm, `fit` shows it each domain in a forward of its own; the running
statistics it is left with are a mixture of both, so finish with `adabn(student, target)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdlib import distances, losses
from kdlib.arguments import check_temperature
from kdlib.data import Examples, Targets
from kdlib.objectives import Number, Step
from kdlib.objectives.algebra import Term


def check_two_domains(name: str, examples: Examples) -> None:
    """Raises ValueError unless there is a source and a target, and they can have one classifier."""
    if 0 not in examples.domains or len(examples.domains) < 2:
        raise ValueError(
            f"{examples!r} has the domains {examples.domains}, and {name} compares two; "
            "give source.as_domain(0) + target.unlabelled().as_domain(1)"
        )
    numbers = isinstance(examples, Targets)
    source, target = (
        set(examples.y[(examples.domain == 0) == at_home].unique().tolist()) - {-1}
        for at_home in (True, False)
    )
    if not numbers and source and target - source:
        raise ValueError(
            f"the target has labels of the classes {sorted(target - source)}, which the source "
            "does not have; choose the same classes for both with .only(…)"
        )
    if bool(examples.labelled[examples.domain > 0].all()):
        raise ValueError(
            f"every image of the target in {examples!r} has its label, from which HardLabels would "
            f"learn; {name} is to do without: give target.unlabelled().as_domain(1)"
        )


class _Alignment(Term):
    """A term on the features of `tap` in both domains, flattened."""

    tap: str

    def student_taps(self) -> tuple[str, ...]:
        return (self.tap,)

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        check_two_domains(self.name, examples)

    def features(self, step: Step) -> Tensor:
        return step.observation.features[self.tap].flatten(1)

    def clouds(self, step: Step) -> tuple[Tensor, Tensor]:
        """Source (batch_0, width) and target (batch_1, width), two images of each at least."""
        f, at_home = self.features(step), step.batch.domain == 0
        count = int(at_home.sum())
        if min(count, len(f) - count) < 2:
            raise ValueError(
                f"a batch has {count} images of the source and {len(f) - count} of the target; "
                f"{self.name} needs 2 of each: train with balanced=True and a larger batch"
            )
        return f[at_home], f[~at_home]


@dataclass(frozen=True, repr=False)
class MMD(_Alignment):
    """Maximum mean discrepancy between the domains' features (Gretton 2012; DAN, Long 2015)."""

    tap: str
    looks_at_values = True  # distances refuse features that are not finite

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return distances.mmd(*self.clouds(step))


@dataclass(frozen=True, repr=False)
class CORAL(_Alignment):
    """||C_s - C_t||² / (4 d²) between the domains' covariances (Deep CORAL, Sun & Saenko 2016)."""

    tap: str
    looks_at_values = True  # distances refuse features that are not finite

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return distances.coral(*self.clouds(step))


class _OnTarget(Term):
    """A term on the student's answers to images of a target, and to those without a label."""

    reads_classes = True

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        if "T" in values:
            check_temperature(values["T"])
        if not bool(((examples.domain > 0) | (examples.y < 0)).any()):
            raise ValueError(
                f"{examples!r} has neither a target domain nor images without label, which "
                f"{self.name} is about; add target.as_domain(1)"
            )

    @staticmethod
    def where(step: Step) -> Tensor:
        return (step.batch.domain > 0) | (step.batch.y < 0)


@dataclass(frozen=True, repr=False)
class InformationMaximization(_OnTarget):
    """entropy - diversity · H(mean answer) on the target: sure and diverse (SHOT-IM, Liang 2020).

    In SHOT the head is frozen first: `freeze(student, "head")`; the source is not needed any more.
    diversity=0 is entropy minimisation alone, which may collapse.
    """

    diversity: Number = 1.0

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        if not values["diversity"] >= 0:
            raise ValueError(f"diversity={values['diversity']:g}: expected a weight of at least 0")

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        z, where = step.observation.logits, self.where(step)
        variety = losses.diversity(z, where=where)
        return losses.entropy(z, where=where) - step.value(self.diversity) * variety


@dataclass(frozen=True, repr=False)
class MCC(_OnTarget):
    """Minimum class confusion on the target (Jin et al. 2020)."""

    T: Number = 2.5

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        T = step.value(self.T)
        return losses.minimum_class_confusion(step.observation.logits, T, where=self.where(step))
