"""Terms for sequences whose prefixes somebody writes: the student itself, or a teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from kdlib.arguments import check_fraction, check_temperature, whole
from kdlib.data import Examples
from kdlib.objectives import symbols
from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.fields import check_field
from kdlib.objectives.members import Member
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import LearnedTemperature, Number
from kdlib.objectives.teachers import Teacher
from kdlib.objectives.texts import Writing
from kdlib.objectives.wrapping import Wrapped


def prefixes(
    by: str | nn.Module,
    objective: Objective,
    *,
    share: Number = 1.0,
    temperature: Number = 1.0,
    prompt: int = 0,
    end: int | None = None,
) -> Objective:
    """The objective on sequences that are written anew in each step, in place of the data's.

    by: "student" (on-policy, Agarwal et al. 2024), or a network, such as the teacher · share: that
    of the sequences which are written; the others stay those of the data. It may change with
    training, `after(0.4)`, or be an axis of a bank · temperature: of the writing · prompt: so many
    tokens of each sequence of the data are kept, and continued · end: the token that ends one.
    No gradient flows through the writing; it takes place in eval mode. `prefixes("student",
    (1 - beta) * SoftTargets(teacher, T=1) + beta * ReverseKL(teacher, T=1))`; without `prefixes`
    terms are for the sequences of the data. All terms with the same settings see the same text.
    Raises ValueError for what is no objective, or cannot write.
    """
    if not isinstance(objective, Objective):
        raise ValueError(
            f"prefixes are written for terms, not for {type(objective).__name__}; give some, such "
            "as ReverseKL(teacher, T=1)"
        )
    if not (isinstance(by, nn.Module) or (isinstance(by, str) and by == "student")):
        given = repr(by) if isinstance(by, str) else f"a {type(by).__name__}"
        raise ValueError(
            f"prefixes by {given}: expected 'student', or a network that writes; prefixes of the "
            "data need no prefixes(…)"
        )
    for name, number in (("share", share), ("temperature", temperature)):
        check_field("prefixes", name, Number, number)
        if any(isinstance(leaf, LearnedTemperature) for leaf in symbols.leaves(number)):
            raise ValueError(
                f"{name}={number}: no gradient flows through what is written, so nothing could be "
                "learned; give a number, an axis or a schedule"
            )
    if not whole(prompt, 0):
        raise ValueError(f"prompt={prompt!r}: expected how many tokens are given, 0 or more")
    if end is not None and not whole(end, 0):
        raise ValueError(f"end={end!r}: expected a token, 0 or more, or None")
    writing = Writing(by, share, temperature, prompt, end)
    return Objective(tuple((weight, _for(writing, term)) for weight, term in objective.terms))


def _for(writing: Writing, term: Term) -> "Prefixes":
    if isinstance(term, Prefixes | Member):
        raise ValueError(
            f"{term} cannot have prefixes of its own; put prefixes(…) around plain terms such as "
            "ReverseKL(teacher, T=1)"
        )
    return Prefixes(writing, term)


@dataclass(frozen=True, repr=False)
class Prefixes(Wrapped):
    """A term on what is written so, as `prefixes` makes it."""

    writing: Writing
    term: Term

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.term.name} on prefixes by the {self.writing}")

    @property
    def label(self) -> str:
        given = f" after {self.writing.prompt} given" if self.writing.prompt else ""
        ended = "" if self.writing.end is None else f" up to {self.writing.end}"
        return f"prefixes by the {self.writing}{given}{ended}"

    def within(self, step: Step) -> Step:
        return replace(step.texts[self.writing], part=step.part)

    def around(self, term: Term) -> "Prefixes":
        return Prefixes(self.writing, term)

    def writings(self) -> tuple[Writing, ...]:
        return (self.writing,)

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return {}  # what is written is known to no table, and asked of the teachers as it comes

    def teachers(self) -> list[Teacher]:
        by = self.writing.by
        return [*self.term.teachers(), *([] if isinstance(by, str) else [by])]

    def hyperparameters(self) -> list[tuple[str, Number]]:
        own: list[tuple[str, Number]] = [
            ("share", self.writing.share), ("temperature", self.writing.temperature)
        ]  # fmt: skip
        return [*self.term.hyperparameters(), *own]

    def replaced(self, numbers: Mapping[str, Any]) -> "Prefixes":
        own = {name: numbers[name] for name in ("share", "temperature") if name in numbers}
        others = {name: number for name, number in numbers.items() if name not in own}
        return Prefixes(replace(self.writing, **own), self.term.replaced(others))

    def values(self, bindings: Mapping[Any, Any]) -> dict[str, Any]:
        w = self.writing
        own = {"share": w.share, "temperature": w.temperature}
        numbers = {n: symbols.as_number(symbols.value(v, bindings)) for n, v in own.items()}
        return self.term.values(bindings) | numbers

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        check_fraction("share", values["share"])
        check_temperature(values["temperature"])
        self.term.validate(examples, values)
        length = examples.x.shape[1]
        if self.writing.prompt >= length:
            raise ValueError(
                f"prompt={self.writing.prompt} tokens of sequences of {length}; leave at least one "
                "to write"
            )
        if self.writing.prompt and bool((examples.x[:, self.writing.prompt - 1] < 0).any()):
            shortest = int((examples.x >= 0).sum(1).min())
            raise ValueError(
                f"prompt={self.writing.prompt} and a sequence has {shortest} tokens; give a prompt "
                f"of at most {shortest}, or leave shorter ones out"
            )
