"""Predictions that a reader commits to before looking, shown again beside the result."""

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets
from IPython.display import display


class Prediction(ipywidgets.VBox):
    """Buttons for a guess; `recall(answer)` later shows what was measured, once there is a guess.

    The measurement waits for the reader, also after Run All. Where no kernel runs it is folded
    away, and its text is the same whatever was guessed.
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
        """Shows the guess beside the option that the measurement supports, now or when it comes."""
        if answer not in self.options:
            raise ValueError(f"{answer!r} is no option; there are {', '.join(self.options)}")
        display(Recall(self, answer))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = f"Prediction: {self.question} ({' / '.join(self.options)})"
        return bundle


class Recall(ipywidgets.HTML):
    """One line that answers a prediction as soon as it is made, and again when it is changed."""

    def __init__(self, prediction: Prediction, answer: str) -> None:
        super().__init__()
        self._prediction, self._answer = prediction, answer
        prediction._choice.observe(lambda _: self._tell(), names="value")
        self._tell()

    def _tell(self) -> None:
        guess, answer = (escape(text or "") for text in (self._prediction.guess, self._answer))
        if not guess:
            told = "○ Make your prediction above; what was measured then stands here."
        elif guess == answer:
            told = f"✓ You predicted <b>{guess}</b>, and so it was measured."
        else:
            told = f"✗ You predicted <b>{guess}</b>; measured: <b>{answer}</b>."
        self.value = f'<div role="status">{told}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = f"Measured, for your prediction: {self._answer}"
        folded = f"<summary>What was measured, for your prediction</summary>{escape(self._answer)}"
        data["text/html"] = f"<details>{folded}</details>"
        return bundle
