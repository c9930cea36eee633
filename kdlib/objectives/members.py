"""Terms for one of several networks that are trained in one step."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn

from kdlib.models import Observation
from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.step import Step
from kdlib.objectives.wrapping import Wrapped


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
    if term.writings():
        raise ValueError(
            f"{term} is for the network that is trained as a whole, which writes; leave member(…) "
            "out"
        )
    return Member(name, term)


@dataclass(frozen=True, repr=False)
class Member(Wrapped):
    """A term for the member of this name, as `member` makes it."""

    member: str
    term: Term

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.term.name} of {self.member}")

    @property
    def label(self) -> str:
        return self.member

    def within(self, step: Step) -> Step:
        """The step as the member alone would see it."""
        seen = step.observation.features
        own = {tap: seen[self._tap(tap)] for tap in self._own_taps()}
        network = step.student.get_submodule(self.member)
        observation = Observation(seen[self.member], own)
        return replace(step, student=network, observation=observation, outputs=seen)

    def around(self, term: Term) -> "Member":
        return Member(self.member, term)

    def _tap(self, tap: str) -> str:
        return f"{self.member}.{tap}"

    def _own_taps(self) -> Iterable[str]:
        peers = self.term.peers()
        return (tap for tap in self.term.student_taps() if tap not in peers)

    def student_taps(self) -> tuple[str, ...]:
        return (self.member, *map(self._tap, self._own_taps()), *self.peers())

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        self.term.after_step(student.get_submodule(self.member), owned)
