"""Whether an answer is still the stub that the reader was given."""

import dis
import functools
import inspect
from types import CodeType
from typing import Any

_SILENT = {"RESUME", "NOP", "COPY_FREE_VARS", "MAKE_CELL", "CACHE"}  # they do nothing by themselves
_RETURNS = {"LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


def is_stub(answer: Any) -> bool:
    """True for what nobody has touched: `...` or None, or what holds nothing but that.

    A function counts as a stub when all it does is to return None or Ellipsis (its docstring
    aside), read from its code, not from a call: code that does something and returns nothing is
    an attempt. So do a partial, a method, a decorated function (`__wrapped__`), an object with
    such a `__call__`, and a class whose body defines stubs only.
    """
    if answer is None or answer is ...:
        return True
    if isinstance(answer, functools.partial):
        return is_stub(answer.func)
    if isinstance(answer, staticmethod | classmethod):
        return is_stub(answer.__func__)
    if isinstance(answer, type):
        own = [value for name, value in vars(answer).items() if name not in vars(_Empty)]
        return all(callable(value) and is_stub(value) for value in own)
    if not callable(answer):
        return False
    answer = inspect.unwrap(answer)
    code = getattr(answer, "__code__", None)  # a method has its function's
    if code is None:
        code = getattr(type(answer).__call__, "__code__", None)
    return isinstance(code, CodeType) and _returns_nothing(code)


class _Empty:
    """Has what every class has."""


def _returns_nothing(code: CodeType) -> bool:
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
    return all(
        step.opname in _RETURNS and (step.opname == "RETURN_VALUE" or step.argval in (None, ...))
        for step in steps
    )
