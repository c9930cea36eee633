"""Objective = weighted terms. It prints as the formula and is compared and hashed as a tree."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.device import seeded
from kdlib.models import evaluating, observe
from kdlib.objectives import symbols
from kdlib.objectives.learner import Learner
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import LearnedTemperature, Number, Scalar, Symbol
from kdlib.objectives.teachers import Teacher, TeacherTable, ask, reader, teacher_key

if TYPE_CHECKING:
    from kdlib.objectives.term import Term


class Objective:
    """A sum of weighted terms: `(1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T=4)`."""

    def __init__(self, terms: tuple[tuple[Number, "Term"], ...]) -> None:
        self.terms = terms

    # ---- algebra -----------------------------------------------------------------------------

    def __add__(self, other: "Objective") -> "Objective":
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(self.terms + other.terms)

    def __radd__(self, other: int) -> "Objective":  # sum([a, b]) begins with 0
        return self if other == 0 and isinstance(other, int) else NotImplemented

    def __truediv__(self, number: Number) -> "Objective":
        if not isinstance(number, int | float | Scalar):
            return NotImplemented
        if number == 0:
            raise ValueError(f"{self} is divided by 0; divide by a number above 0")
        return self * (1 / number)

    def __mul__(self, weight: Number) -> "Objective":
        if not isinstance(weight, int | float | Scalar):
            return NotImplemented
        if not isinstance(weight, Scalar):
            _check_weight(weight, self)
        return Objective(tuple((_product(weight, w), term) for w, term in self.terms))

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self.terms == other.terms

    def __hash__(self) -> int:
        if len(self.terms) == 1 and self.terms[0][0] == 1:  # equal to the term itself
            return hash(self.terms[0][1])
        return hash(self.terms)

    def __str__(self) -> str:
        return " + ".join(_weighted(weight, str(term)) for weight, term in self.terms)

    __repr__ = __str__

    # ---- what it speaks of -------------------------------------------------------------------

    def numbers(self) -> Iterator[tuple[str, Number]]:
        """Every weight and hyperparameter with a name for messages."""
        for weight, term in self.terms:
            yield f"the weight {symbols.show(weight)} of {term.name}", weight
            for name, number in term.hyperparameters():
                yield f"{name} of {term.name}", number

    def symbols(self) -> list[Scalar]:
        """The symbols that stand in it, each once, in order of appearance."""
        found = (leaf for _, number in self.numbers() for leaf in symbols.leaves(number))
        return list(dict.fromkeys(found))

    def teachers(self) -> list[Teacher]:
        """The teachers it holds (and does not own), each once."""
        return list(dict.fromkeys(t for _, term in self.terms for t in term.teachers()))

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        wanted: dict[Teacher, tuple[str, ...]] = {}
        for _, term in self.terms:
            for teacher, taps in term.teacher_taps().items():
                wanted[teacher] = tuple(dict.fromkeys((*wanted.get(teacher, ()), *taps)))
        return wanted

    def student_taps(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tap for _, term in self.terms for tap in term.student_taps()))

    def key(self) -> str:
        """The formula with all digits, and a hash of what teachers say and tensors hold."""
        digest = hashlib.sha256(repr([number for _, number in self.numbers()]).encode())
        for _, term in self.terms:
            for tensor in term.tensors():
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        said = [teacher_key(teacher) for teacher in self.teachers()]
        return " | ".join([str(self), digest.hexdigest(), *said])

    def check(self, examples: Examples, bindings: Mapping[Any, Any] | None = None) -> None:
        """Raises ValueError where examples, weights or hyperparameters cannot be trained on."""
        if not len(examples):
            raise ValueError(f"{examples!r} holds no examples to train on; give at least one")
        known: dict[Any, Any] = {"progress": 0.0, **(bindings or {})}
        unknown = [s for s in self.symbols() if isinstance(s, Symbol) and s.name not in known]
        if unknown:
            raise ValueError(
                f"{unknown[0]} in {self} has no value; there are {', '.join(map(str, known))}: "
                "put a number in, or make it an axis of the bank's grid"
            )
        learned = [s for s in self.symbols() if isinstance(s, LearnedTemperature)]
        known |= {s: (s.low + s.high) / 2 for s in learned}
        for weight, term in self.terms:
            for moment in _moments(weight):
                now = symbols.plain(symbols.value(weight, {**known, "progress": moment}))
                _check_weight(now, term, f" at progress {moment:g}" if moment else "")
            for moment in _moments(*(number for _, number in term.hyperparameters())):
                term.validate(examples, term.values({**known, "progress": moment}))

    # ---- training ----------------------------------------------------------------------------

    def build(
        self, student: nn.Module, batch: Batch, *, seed: int = 0, per_domain: bool = False
    ) -> Learner:
        """The student together with what the objective owns (projectors, a learned temperature).

        Owned modules are drawn from a generator of their own, and the batch that shows them the
        shapes is seen in eval mode: neither shared randomness nor BatchNorm statistics move.
        """
        owned = nn.ModuleDict()
        with seeded(1_000_003 + seed, batch.x.device), evaluating(student), torch.enable_grad():
            with torch.no_grad():
                seen = observe(student, batch.x[:2], self.student_taps())
                ids = None if batch.ids is None else batch.ids[:2]
                few = Batch(batch.x[:2], batch.y[:2], batch.domain[:2], ids)
                step = Step(student, seen, few, taps=self.teacher_taps())
            for symbol in self.symbols():
                if isinstance(symbol, LearnedTemperature):
                    owned[f"T{len(owned)}"] = symbol.module()
            for i, (_, term) in enumerate(self.terms):
                module = term.own(step)
                if module is not None:
                    owned[f"{i}:{term.name}"] = module
        return Learner(student, self, owned.to(batch.x.device), per_domain=per_domain)

    @property
    def one_by_one(self) -> bool:
        """Whether a term keeps vmap from training several students at once."""
        return any(term.one_by_one for _, term in self.terms)

    def reader(
        self, examples: Examples, tables: dict[nn.Module, TeacherTable]
    ) -> Callable[[Tensor], Batch]:
        """`examples.batch`, with what tables say of the examples there already."""
        taps = self.teacher_taps()
        return reader({t: taps.get(t, ()) for t in self.teachers()}, examples, tables)

    def prefetch(self, batch: Batch, tables: dict[nn.Module, TeacherTable]) -> None:
        """Asks all teachers about the batch now, so that no transform traces their forward."""
        taps = self.teacher_taps()
        for teacher in self.teachers():
            ask(teacher, batch, taps.get(teacher, ()), tables)

    def __call__(
        self, step: Step, owned: Mapping[str, nn.Module] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to descend, and its named, unweighted terms."""
        owned = owned or {}
        named: dict[str, Tensor] = {}
        total: Any = 0.0
        for i, (weight, term) in enumerate(self.terms):
            loss = term.loss(step, owned.get(f"{i}:{term.name}"))
            total = total + step.value(weight) * loss
            name = term.name if term.name not in named else f"{term.name} {i + 1}"
            named[name] = loss
        return total, named


def _product(a: Number, b: Number) -> Number:
    return b if a == 1 else a if b == 1 else a * b


def _moments(*numbers: Number) -> list[float]:
    """Both ends of training and each hundredth where a number changes with it, else one moment."""
    moving = any(symbols.progress in symbols.leaves(number) for number in numbers)
    return [0.0, 1.0, *(i / 100 for i in range(1, 100))] if moving else [0.0]


def _check_weight(weight: Any, term: Objective, when: str = "") -> None:
    if isinstance(weight, Tensor):
        return
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(
            f"the weight of {term} is {weight:g}{when}; expected a finite number of at least 0 "
            "(is alpha outside [0, 1]?)"
        )


def _weighted(weight: Number, term: str) -> str:
    if not isinstance(weight, Scalar) and weight == 1:
        return term
    shown = symbols.show(weight)
    simple = not isinstance(weight, symbols.Operation) or weight.sign not in "+-"
    return f"{shown} · {term}" if simple else f"({shown}) · {term}"
