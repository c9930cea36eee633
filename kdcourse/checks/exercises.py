"""Exercises: each property of a right answer, tried in turn, with a hint for the first that fails.

A checker accepts every correct implementation; what it must reject is listed in its tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Property:
    """What must hold of an answer: a name, a test (truthy when it holds), a hint if it does not."""

    name: str
    holds: Callable[[Any], Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """`exercise(answer)` prints ✓, ✗ with the failed property and a hint, or ○ not attempted.

    attempted: called with the answer; None or Ellipsis from it means that the stub is untouched.
    For a plain value leave it out; for a function give a call, e.g. `lambda f: f(z)`.
    """

    id: str
    title: str
    properties: Sequence[Property]
    attempted: Callable[[Any], Any] = lambda answer: answer

    def __call__(self, answer: Any) -> None:
        print(self.verdict(answer))

    def verdict(self, answer: Any) -> str:
        """The line that the call prints; an answer that raises is told so, and breaks nothing."""
        try:
            tried = self.attempted(answer)
        except NotImplementedError:
            tried = None
        except Exception as error:
            return self._failed(f"runs without an error ({_short(error)})", "Read the error first.")
        if tried is None or tried is ...:
            return f"○ exercise {self.id} not attempted: {self.title}"
        for one in self.properties:
            try:
                holds = bool(one.holds(answer))
            except Exception as error:
                return self._failed(f"{one.name} (it raised {_short(error)})", one.hint)
            if not holds:
                return self._failed(one.name, one.hint)
        return f"✓ exercise {self.id} solved: {self.title}"

    def _failed(self, name: str, hint: str) -> str:
        return f"✗ exercise {self.id} not yet: {name}\n  Hint: {hint}"


def _short(error: Exception) -> str:
    first = str(error).strip().split("\n")[0][:80]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
