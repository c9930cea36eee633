"""Terms for some of a network's outputs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from kdlib.arguments import whole
from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.step import Step
from kdlib.objectives.wrapping import Wrapped


def outputs(which: Iterable[int], objective: Objective) -> Objective:
    """The objective on these outputs alone, in this order: the student's and its teachers'.

    `outputs(range(10), HardLabels())` learns the classes of a network that has more outputs;
    `outputs(range(10, 20), SoftTargets(teacher, T=1))` what the teacher says with the others.
    A label counts places among these outputs. Raises ValueError for none, and for one twice.
    """
    named: Any = which  # whatever was given
    if isinstance(named, str) or not isinstance(named, Iterable):
        raise ValueError(f"outputs {which!r}: expected some of them, such as range(10, 20)")
    chosen = tuple(which)
    if not chosen or not all(whole(n, 0) for n in chosen) or len(set(chosen)) < len(chosen):
        raise ValueError(f"outputs {chosen}: expected at least one of 0, 1, …, and each once")
    if not isinstance(objective, Objective):
        raise ValueError(
            f"outputs are chosen for terms, not for {type(objective).__name__}; give some, such as "
            "SoftTargets(teacher, T=1)"
        )
    part = tuple(int(n) for n in chosen)
    return Objective(tuple((weight, Outputs(part, term)) for weight, term in objective.terms))


@dataclass(frozen=True, repr=False)
class Outputs(Wrapped):
    """A term on a part of the outputs, as `outputs` makes it."""

    part: tuple[int, ...]
    term: Term

    def __post_init__(self) -> None:
        if isinstance(self.term, Outputs):
            raise ValueError(f"{self.term} speaks of a part already; choose its outputs at once")
        object.__setattr__(self, "name", f"{self.term.name} on {self.label}")

    @property
    def label(self) -> str:
        first, last = self.part[0], self.part[-1]
        row = self.part == tuple(range(first, last + 1))
        return f"outputs {f'{first} to {last}' if row else ', '.join(map(str, self.part))}"

    def within(self, step: Step) -> Step:
        return replace(step, part=self.part)

    def around(self, term: Term) -> "Outputs":
        return Outputs(self.part, term)
