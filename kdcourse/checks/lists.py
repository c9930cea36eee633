"""What a lesson's lists say of its exercises: accepted, rejected with a hint, not attempted.

Each function raises an AssertionError that names the answer and shows what was printed.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from kdcourse.checks.exercises import Exercise


def exercises_of(module: ModuleType) -> list[Exercise]:
    """Every exercise that the module defines, in its order."""
    return [value for value in vars(module).values() if isinstance(value, Exercise)]


def accepts(exercise: Exercise, answer: Any) -> None:
    """The answer is right: the checker prints ✓."""
    verdict = exercise.verdict(answer)
    if not verdict.startswith("✓"):
        raise _misjudged(exercise, answer, "should be accepted", verdict)


def rejects(exercise: Exercise, wrong: Any, hint: str) -> None:
    """The answer is wrong: the checker prints ✗, and a hint that holds these words."""
    verdict = exercise.verdict(wrong)
    printed = verdict.partition("Hint:")[2]
    if not verdict.startswith("✗") or hint not in printed:
        raise _misjudged(exercise, wrong, f"should be rejected with a hint of {hint!r}", verdict)


def untouched(exercise: Exercise) -> None:
    """The stub of the notebooks, a function of `...` or that alone, counts as not attempted."""
    for stub in (_stub, lambda *given, **named: ..., ...):
        verdict = exercise.verdict(stub)
        if not verdict.startswith("○"):
            raise _misjudged(exercise, stub, "should count as not attempted", verdict)


def _stub(*given: Any, **named: Any) -> None:
    """As in the notebooks, with a docstring."""
    ...


def _misjudged(exercise: Exercise, answer: Any, expected: str, verdict: str) -> AssertionError:
    return AssertionError(
        f"exercise {exercise.id}: {_described(answer)} {expected}, but it printed\n  {verdict}"
    )


def _described(answer: Any) -> str:
    """`by_hand (test_lesson00.py:12)`, `band(extremes=True) (…)`, or the value itself."""
    if isinstance(answer, functools.partial):
        given = [repr(value) for value in answer.args]
        given += [f"{name}={value!r}" for name, value in answer.keywords.items()]
        return f"{_name(answer.func)}({', '.join(given)}){_place(answer.func)}"
    return f"{_name(answer)}{_place(answer)}"


def _name(answer: Any) -> str:
    return getattr(answer, "__name__", None) or repr(answer)


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f" ({code.co_filename.replace(chr(92), '/').split('/')[-1]}:{code.co_firstlineno})"
