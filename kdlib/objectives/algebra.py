"""Objective = weighted terms. It prints as the formula and is compared and hashed as a tree."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.objectives import symbols
from kdlib.objectives.fields import (
    check_call,
    check_field,
    check_known,
    check_owns_nothing,
    check_weight,
    fields_of,
    moments,
    plain_number,
    same_fields,
    shown,
)
from kdlib.objectives.learner import Learner, as_batch
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import LearnedTemperature, Number, Scalar
from kdlib.objectives.teachers import Teacher, TeacherTable, teacher_key
from kdlib.objectives.texts import Writing


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
        number = plain_number(number)
        if not isinstance(number, int | float | Scalar):
            return NotImplemented
        if number == 0:
            raise ValueError(f"{self} is divided by 0; divide by a number above 0")
        return self * (1 / number)

    def __mul__(self, weight: Number) -> "Objective":
        weight = plain_number(weight)
        if not isinstance(weight, int | float | Scalar):
            return NotImplemented
        check_weight(weight, self)
        return Objective(tuple((symbols.product(weight, w), term) for w, term in self.terms))

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self.terms == other.terms

    def __hash__(self) -> int:
        if len(self.terms) == 1 and self.terms[0][0] == 1:  # equal to the term itself
            return hash(self.terms[0][1])
        return hash(self.terms)

    def __str__(self) -> str:
        return " + ".join(symbols.weighted(weight, str(term)) for weight, term in self.terms)

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
        return list(dict.fromkeys(leaf for _, n in self.numbers() for leaf in symbols.leaves(n)))

    def teachers(self) -> list[Teacher]:
        """The teachers it holds (and does not own), each once."""
        return list(dict.fromkeys(t for _, term in self.terms for t in term.teachers()))

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        """Each teacher, and the layers that it is asked for: () for its logits alone."""
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
        for tensor in (tensor for _, term in self.terms for tensor in term.tensors()):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        teachers = [teacher_key(teacher) for teacher in self.teachers()]
        return " | ".join([str(self), digest.hexdigest(), *teachers])

    def check(self, examples: Examples, bindings: Mapping[Any, Any] | None = None) -> None:
        """Raises ValueError where examples, weights or hyperparameters cannot be trained on."""
        if not len(examples):
            raise ValueError(f"{examples!r} holds no examples to train on; give at least one")
        bindings = {"progress": 0.0, **(bindings or {})}
        check_known(str(self), self.symbols(), bindings)
        learned = [s for s in self.symbols() if isinstance(s, LearnedTemperature)]
        bindings |= {s: (s.low + s.high) / 2 for s in learned}
        for weight, term in self.terms:
            for moment in moments(weight):
                now = symbols.as_number(symbols.value(weight, {**bindings, "progress": moment}))
                check_weight(now, term, f" at progress {moment:g}" if moment else "")
            for moment in moments(*(number for _, number in term.hyperparameters())):
                term.validate(examples, term.values({**bindings, "progress": moment}))

    # ---- training ----------------------------------------------------------------------------

    @property
    def one_by_one(self) -> bool:
        """Whether a term keeps vmap from training several students at once."""
        return any(term.one_by_one for _, term in self.terms)

    def substitute(self, values: Mapping[str, float]) -> "Objective":
        """The objective with numbers in place of the symbols of these names; `progress` stays."""
        terms = []
        for weight, term in self.terms:
            numbers = {n: symbols.substitute(v, values) for n, v in term.hyperparameters()}
            terms.append((symbols.substitute(weight, values), term.replaced(numbers)))
        return Objective(tuple(terms))

    def __call__(
        self, student: nn.Module, batch: Batch | Examples, progress: float = 0.0, **values: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to descend, and its named, unweighted terms.

        progress: the share of training that is done, 0 to 1. values: a number for each symbol. The
        student is asked once, as it is (train or eval mode); teachers too, in eval mode, without
        gradient. `Learner` shows a loop of one's own.
        Raises ValueError for what is no network, no batch, a symbol without a value or unknown, a
        progress outside 0 to 1, and for an objective that owns something: `Learner.of` makes that.
        """
        examples, batch = batch, as_batch(batch)
        check_call(str(self), self.symbols(), student, progress, values)
        if isinstance(examples, Examples):
            self.check(examples, values)
        owning = any(type(term).own is not Term.own for _, term in self.terms)
        check_owns_nothing(self, student, batch, asked=owning)
        return Learner(student, self)(batch, progress, values)


class Term(Objective):
    """One loss with a name. Subclasses are frozen dataclasses: teachers and numbers are fields."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__
        if "__eq__" not in vars(cls):  # else dataclass writes one that asks tensors for a bool
            cls.__eq__ = same_fields  # type: ignore[method-assign]

    def __init__(self) -> None:
        fields_of(self)  # a class that dataclass gave none is told

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            check_field(self.name, field.name, field.type, getattr(self, field.name))

    name: str
    # Where the loss decides by values or Python's own state, students are trained one by one, and
    looks_at_values = False  # no step is recorded
    of_sequences = False  # whether it is for logits of each token, too
    reads_classes = False  # whether labels or answers are classes to it: no `Targets` then
    reads_labels = mixes = False  # whether it asks for labels; for both of mixed images
    notation = ""  # for pages, "{T}² · KL(p_T ‖ q_T)" with fields in braces; empty: as in code

    @property
    def terms(self) -> tuple[tuple[Number, "Term"], ...]:  # type: ignore[override]
        return ((1.0, self),)

    @property
    def one_by_one(self) -> bool:
        return self.looks_at_values or self.follows

    @property
    def follows(self) -> bool:
        """Whether it does something once the student's weights have moved."""
        return type(self).after_step is not Term.after_step

    _fields = fields_of

    def hyperparameters(self) -> list[tuple[str, Number]]:
        numbers = ((n, v) for n, v in self._fields() if not isinstance(v, bool))
        return [(n, v) for n, v in numbers if isinstance(v, int | float | Scalar)]

    def teachers(self) -> list[Teacher]:
        return [v for _, v in self._fields() if isinstance(v, nn.Module | TeacherTable)]

    def tensors(self) -> list[Tensor]:
        return [v for _, v in self._fields() if isinstance(v, Tensor)]

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return {teacher: () for teacher in self.teachers()}

    def student_taps(self) -> tuple[str, ...]:
        return ()

    def writings(self) -> tuple[Writing, ...]:
        """How the prefixes are written that it is for; none: they are the data's."""
        return ()

    def peers(self) -> tuple[str, ...]:
        """Modules of the network that is trained which teach here, by name."""
        return ()

    def replaced(self, numbers: Mapping[str, Any]) -> "Term":
        """The term with other hyperparameters."""
        return dataclasses.replace(self, **numbers) if numbers else self  # type: ignore[type-var]

    def values(self, bindings: Mapping[Any, Any]) -> dict[str, Any]:
        """What `validate` sees: every number by name, also one given as a tensor."""
        tensors = ((n, v) for n, v in self._fields() if isinstance(v, Tensor) and v.dim() == 0)
        numbers: list[tuple[str, Any]] = [*self.hyperparameters(), *tensors]
        return {n: symbols.as_number(symbols.value(v, bindings)) for n, v in numbers}

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        """Raises ValueError for values or examples that this term cannot work with."""

    def own(self, step: Step) -> nn.Module | None:
        """What the term owns, if anything; `step` shows it the shapes."""
        return None

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        raise NotImplementedError

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        """Called when the optimiser has moved the student's weights."""

    def __str__(self) -> str:
        return f"{self.name}({', '.join(shown(self._fields()))})"

    __repr__ = __str__
