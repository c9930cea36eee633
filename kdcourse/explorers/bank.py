"""A bank of students under sliders, with the formula that they were trained under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdcourse.explorers.controls import State
from kdcourse.explorers.error_table import ErrorTable
from kdlib.bank import Bank


class BankExplorer(ErrorTable):
    """Slide over the axes of a bank, 1 to 3 of them: its errors on a split, and its own formula.

    alone: (…, seeds), errors of the label-only student in percent, broadcast against the bank's
    axes as numpy does: (width, seeds) goes with axes that end in width.
    along: the axis that the picture is drawn along (the first of numbers if left out).
    second: label → (…) without seeds, broadcast in the same way, drawn on the right;
    second_name: its axis label, with the unit.
    The bank's objective becomes the formula, with the values that the sliders stand at; an axis
    that it does not ask for (width, lr) does not appear there.
    """

    def __init__(
        self,
        bank: Bank,
        split: str = "test",
        *,
        alone: Any = None,
        along: str | None = None,
        second: Mapping[str, Any] | None = None,
        second_name: str = "",
        start: Mapping[str, Any] | None = None,
        situations: Mapping[str, Mapping[str, Any]] | None = None,
        notes: Mapping[str, str] | None = None,
        title: str = "A bank of distilled students",
    ) -> None:
        if not isinstance(bank, Bank):
            raise ValueError(
                f"a bank explorer was given a {type(bank).__name__}; give the bank itself, or show "
                "errors that no bank holds by ErrorTable(axes, errors, n=…)"
            )
        self._objective = bank.objective
        super().__init__(
            bank.axes,
            bank.errors(split),
            n=len(bank.labels[split]),
            alone=alone,
            along=along,
            second=second,
            second_name=second_name,
            start=start,
            situations=situations,
            notes=notes,
            title=title,
        )

    def formula(self, state: State) -> str:
        return self.loss(self._objective, state)
