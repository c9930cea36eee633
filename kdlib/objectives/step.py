"""What a term sees of one training step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kdlib.data import Batch
from kdlib.models import Observation
from kdlib.objectives import symbols
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher, TeacherTable, ask


@dataclass
class Step:
    """What a term sees: the student's observation of one batch, and everything around it.

    bindings: symbol name -> value, "progress" among them · taps: teacher -> layers to tap.
    """

    student: nn.Module
    observation: Observation
    batch: Batch
    bindings: Mapping[Any, Any] = field(default_factory=lambda: {"progress": 0.0})
    taps: Mapping[Teacher, tuple[str, ...]] = field(default_factory=dict)
    tables: dict[nn.Module, TeacherTable] = field(default_factory=dict)

    def value(self, number: Number) -> Any:
        """A plain number, or the value of an expression at this step."""
        return symbols.value(number, self.bindings)

    def teacher(self, teacher: Teacher) -> Observation:
        """What the teacher says of this batch; asked once however many terms want it."""
        return ask(teacher, self.batch, self.taps.get(teacher, ()), self.tables)
