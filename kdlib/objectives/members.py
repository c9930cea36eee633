"""Terms for one of several networks that are trained in one step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.models import Observation
from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher


def member(name: str, objective: Objective) -> Objective:
    """The objective for one member of a `Together`, or any module of the network that is trained.

    The member's output (batch, classes) takes the place of the network's. A teacher that is given
    by its name is another member, whose answers pass no gradient on:
    `member("helper", HardLabels()) + member("student", HardLabels() + SoftTargets("helper", T=4))`.
    A peer answers as it is, in training mode while it is trained, in eval mode where all its
    weights are frozen. Two heads of one network are two members; both must run in eval mode, too.
    Raises ValueError for what is no name, no objective.
    """
    if not (isinstance(name, str) and name):
        raise ValueError(f"the member is {name!r}; expected its name, such as 'student'")
    if not isinstance(objective, Objective):
        raise ValueError(
            f"the objective of {name!r} is of type {type(objective).__name__}; expected terms, "
            "such as HardLabels() + SoftTargets('teacher', T=4)"
        )
    return Objective(tuple((weight, _for(name, term)) for weight, term in objective.terms))


def _for(name: str, term: Term) -> "Member":
    """The term for this member; a member's member is one of a longer name."""
    if isinstance(term, Member):
        return Member(f"{name}.{term.member}", term.term)
    return Member(name, term)


@dataclass(frozen=True, repr=False)
class Member(Term):
    """A term for the member of this name, as `member` makes it."""

    member: str
    term: Term

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.term.name} of {self.member}")

    def _within(self, step: Step) -> Step:
        """The step as the member alone would see it."""
        seen = step.observation.features
        own = {tap: seen[self._tap(tap)] for tap in self._own_taps()}
        network = step.student.get_submodule(self.member)
        observation = Observation(seen[self.member], own)
        rest = (step.batch, step.bindings, step.taps, step.answers)
        return Step(network, observation, *rest, outputs=seen)

    def _tap(self, tap: str) -> str:
        return f"{self.member}.{tap}"

    def _own_taps(self) -> Iterable[str]:
        peers = self.term.peers()
        return (tap for tap in self.term.student_taps() if tap not in peers)

    # ---- as the term, with the member in the student's place -------------------------------------

    @property
    def looks_at_values(self) -> bool:  # type: ignore[override]
        return self.term.looks_at_values

    @property
    def follows(self) -> bool:
        return self.term.follows

    def hyperparameters(self) -> list[tuple[str, Number]]:
        return self.term.hyperparameters()

    def replaced(self, numbers: Mapping[str, Any]) -> "Member":
        return Member(self.member, self.term.replaced(numbers))

    def teachers(self) -> list[Teacher]:
        return self.term.teachers()

    def tensors(self) -> list[Tensor]:
        return self.term.tensors()

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return self.term.teacher_taps()

    def peers(self) -> tuple[str, ...]:
        return self.term.peers()

    def student_taps(self) -> tuple[str, ...]:
        return (self.member, *map(self._tap, self._own_taps()), *self.peers())

    def values(self, bindings: Mapping[Any, Any]) -> dict[str, Any]:
        return self.term.values(bindings)

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        self.term.validate(examples, values)

    def own(self, step: Step) -> nn.Module | None:
        return self.term.own(self._within(step))

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return self.term.loss(self._within(step), owned)

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        self.term.after_step(student.get_submodule(self.member), owned)

    def __str__(self) -> str:
        return f"{self.member}: {self.term}"

    __repr__ = __str__
