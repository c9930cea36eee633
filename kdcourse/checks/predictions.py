"""Predictions that a reader commits to before looking, shown again beside the result."""

from collections.abc import Sequence
from typing import Any

import ipywidgets


class Prediction(ipywidgets.VBox):
    """Buttons for a guess; `recall(answer)` later prints the guess beside what was measured.

    Headless, where nobody guesses, the text stays the same on every machine.
    """

    def __init__(self, question: str, options: Sequence[str]) -> None:
        if len(options) < 2:
            raise ValueError(f"{len(options)} options for {question!r}; give at least two")
        self.question, self.options = question, list(options)
        self._choice = ipywidgets.ToggleButtons(
            options=self.options,
            value=None,
            description="",
            style={"button_width": "auto"},
        )
        label = ipywidgets.HTML(f"<b>Your prediction.</b> {question}")
        super().__init__([label, self._choice])

    @property
    def guess(self) -> str | None:
        """What was chosen, None as long as nothing is."""
        return self._choice.value

    def choose(self, option: str) -> None:
        """Chooses from code, as a click does."""
        if option not in self.options:
            raise ValueError(f"{option!r} is no option; there are {', '.join(self.options)}")
        self._choice.value = option

    def recall(self, answer: str) -> None:
        """Prints the guess beside the option that the measurement supports."""
        if answer not in self.options:
            raise ValueError(f"{answer!r} is no option; there are {', '.join(self.options)}")
        if self.guess is None:
            print(f"○ no prediction was made · measured: {answer}")
        elif self.guess == answer:
            print(f"✓ you predicted: {self.guess} · measured: the same")
        else:
            print(f"✗ you predicted: {self.guess} · measured: {answer}")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = f"Prediction: {self.question} ({' / '.join(self.options)})"
        return bundle
