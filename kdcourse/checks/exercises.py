"""Exercises: each property of a right answer, tried in turn, with a hint for the first that fails.

A checker accepts every correct implementation; what it must reject is listed in its tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdcourse.checks.stubs import is_stub


@dataclass(frozen=True)
class Property:
    """What must hold of an answer: a name, a test (truthy when it holds), a hint if it does not."""

    name: str
    holds: Callable[[Any], Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """`exercise(answer)` prints ✓, ✗ with the failed property and a hint, or ○ not attempted.

    attempted: called with an answer that is no stub any more; None or Ellipsis from it means that
    it returned nothing. For a plain value leave it out; for a function give a call, e.g.
    `lambda f: f(z)`; for one that works in place return something yourself.
    """

    id: str
    title: str
    properties: Sequence[Property]
    attempted: Callable[[Any], Any] = lambda answer: answer

    def __call__(self, answer: Any) -> None:
        print(self.verdict(answer))

    def verdict(self, answer: Any) -> str:
        """The line that the call prints; an answer that raises is told so, and breaks nothing."""
        untried = f"○ exercise {self.id} not attempted: {self.title}"
        if is_stub(answer):
            return untried
        try:
            tried = self.attempted(answer)
        except NotImplementedError:
            return untried
        except Exception as error:
            return self._failed(f"runs without an error ({_short(error)})", "Read the error first.")
        if tried is None or tried is ...:
            return self._failed("it ran, but returned nothing", "Is `return` missing?")
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


def close(a: Any, b: Any, *, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Whether two numbers, lists or tensors have one shape and, to rounding, the same values.

    Shapes are not broadcast: (1,) is not close to (). The bounds leave room for float32.
    """
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    return a.shape == b.shape and torch.allclose(a, b, rtol=rtol, atol=atol)


def _short(error: Exception) -> str:
    first = str(error).strip().split("\n")[0][:80]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
