"""A term seen through another view of the step: what all such wrappers have in common."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.objectives.algebra import Term
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher
from kdlib.objectives.texts import Writing


class Wrapped(Term):
    """A term under another view of the step; a subclass says which, by `within` and `around`."""

    term: Term

    @property
    def inmost(self) -> Term:
        """The term, whatever stands around it."""
        return self.term.inmost if isinstance(self.term, Wrapped) else self.term

    @property
    def label(self) -> str:
        """What the term is for, as a formula says it."""
        raise NotImplementedError

    def within(self, step: Step) -> Step:
        """The step as the term sees it."""
        raise NotImplementedError

    def around(self, term: Term) -> "Wrapped":
        """The same view for another term."""
        raise NotImplementedError

    # ---- all else is the term's ------------------------------------------------------------------

    @property
    def looks_at_values(self) -> bool:  # type: ignore[override]
        return self.term.looks_at_values

    @property
    def of_sequences(self) -> bool:  # type: ignore[override]
        return self.term.of_sequences

    @property
    def reads_classes(self) -> bool:  # type: ignore[override]
        return self.term.reads_classes

    @property
    def reads_labels(self) -> bool:  # type: ignore[override]
        return self.term.reads_labels

    @property
    def mixes(self) -> bool:  # type: ignore[override]
        return self.term.mixes

    @property
    def follows(self) -> bool:
        return self.term.follows

    def hyperparameters(self) -> list[tuple[str, Number]]:
        return self.term.hyperparameters()

    def replaced(self, numbers: Mapping[str, Any]) -> Term:
        return self.around(self.term.replaced(numbers))

    def teachers(self) -> list[Teacher]:
        return self.term.teachers()

    def tensors(self) -> list[Tensor]:
        return self.term.tensors()

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]:
        return self.term.teacher_taps()

    def peers(self) -> tuple[str, ...]:
        return self.term.peers()

    def writings(self) -> tuple[Writing, ...]:
        return self.term.writings()

    def student_taps(self) -> tuple[str, ...]:
        return self.term.student_taps()

    def values(self, bindings: Mapping[Any, Any]) -> dict[str, Any]:
        return self.term.values(bindings)

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        self.term.validate(examples, values)

    def own(self, step: Step) -> nn.Module | None:
        if type(self.inmost).own is Term.own:
            return None  # and nothing is written yet, where the shapes are shown
        return self.term.own(self.within(step))

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return self.term.loss(self.within(step), owned)

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        self.term.after_step(student, owned)

    def __str__(self) -> str:
        return f"{self.label}: {self.term}"

    __repr__ = __str__
