"""One step of training as an objective's terms see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from kdlib.data import Batch
from kdlib.models import Observation
from kdlib.objectives.symbols import Number, Scalar
from kdlib.objectives.teachers import Answers, Teacher, ask
from kdlib.objectives.texts import Writing


@dataclass
class Step:
    """What a term sees: the student's observation of one batch, and everything around it.

    bindings: symbol name -> value, "progress" among them · taps: teacher -> layers to tap ·
    answers: what teachers said of this batch so far · outputs: what the tapped modules of the whole
    network returned, where `student` is a member of it · part: the outputs that terms speak of,
    None: all · texts: for each way of writing prefixes, the step on what was written.
    """

    student: nn.Module
    observation: Observation
    batch: Batch
    bindings: Mapping[Any, Any] = field(default_factory=lambda: {"progress": 0.0})
    taps: Mapping[Teacher, tuple[str, ...]] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    outputs: Mapping[str, Tensor] | None = None
    part: tuple[int, ...] | None = None
    texts: dict[Writing, Step] = field(default_factory=dict)

    @property
    def z_s(self) -> Tensor:
        """The student's logits (batch, classes), of sequences (batch, length, V)."""
        z = self.observation.logits
        return z if self.part is None else z[..., list(self.part)]

    def z_t(self, teacher: Teacher | str) -> Tensor:
        """The teacher's logits, as the student's."""
        z = self.teacher(teacher).logits
        return z if self.part is None else z[..., list(self.part)]

    def value(self, number: Number) -> Any:
        """A plain number, or the value of an expression at this step."""
        return number.value(self.bindings) if isinstance(number, Scalar) else number

    def teacher(self, teacher: Teacher | str) -> Observation:
        """What the teacher says of this batch; asked once however many terms want it.

        A name stands for a module of the network that is trained: no gradient flows into it.
        """
        if isinstance(teacher, str):
            outputs = self.observation.features if self.outputs is None else self.outputs
            if teacher not in outputs:
                raise ValueError(f"nothing is known of the module {teacher!r}, which is to teach")
            return Observation(outputs[teacher].detach())
        if teacher not in self.answers:
            self.answers[teacher] = ask(teacher, self.batch, self.taps.get(teacher, ()))
        return self.answers[teacher]


class Part(Protocol):
    """What a step asks of a term (`objectives.Term` says it to those who write one)."""

    name: str

    @property
    def follows(self) -> bool: ...

    def writings(self) -> tuple[Writing, ...]: ...

    def teachers(self) -> list[Teacher]: ...

    def own(self, step: Step) -> nn.Module | None: ...

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor: ...

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None: ...


class Formula(Protocol):
    """What a step asks of an objective."""

    @property
    def terms(self) -> Iterable[tuple[Number, Part]]: ...

    def symbols(self) -> list[Scalar]: ...

    def student_taps(self) -> tuple[str, ...]: ...

    def teacher_taps(self) -> dict[Teacher, tuple[str, ...]]: ...
