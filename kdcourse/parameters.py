"""What a notebook lets one change: its parameters cell, read and enforced.

papermill itself accepts an unknown name, a wrong type and a value out of range in silence, and
runs for minutes on them. Here each is one sentence before anything starts.
"""

import ast
import math
import re
from dataclasses import dataclass
from typing import Any

Value = int | float | str | bool
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_DECLARATION = re.compile(
    r"(?P<name>[A-Za-z_]\w*)\s*:\s*(?P<type>\w+)\s*=\s*"
    r"(?P<default>\"[^\"]*\"|'[^']*'|[^#]+?)\s*(?:#\s*(?P<allowed>.*))?"
)


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell, e.g. `T: float = 4.0  # 0.5..50`."""

    name: str
    type: type
    default: Value
    choices: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def expected(self) -> str:
        """What may be given, in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        article = "an" if self.type is int else "a"
        bounds = "" if self.low is None else f" in {self.low:g}..{self.high:g}"
        return f"{article} {self.type.__name__}{bounds}"

    def parse(self, given: object) -> Value:
        """The value of this parameter's type that `given` (text or a value) stands for.

        Raises ValueError for a wrong type, a value out of range, or none of the choices.
        """
        value = self._typed(str(given).strip())
        inside = self.low is None or self.high is None or self.low <= float(value) <= self.high
        if not inside or (self.choices and value not in self.choices):
            raise ValueError(
                f"{self.name}={given} is not allowed: expected {self.expected}, "
                f"for instance {self.name}={self.default}"
            )
        return value

    def _typed(self, text: str) -> Value:
        try:
            if self.type is bool:
                return _BOOLS[text.lower()]
            value: Value = self.type(text)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError
            return value
        except (KeyError, ValueError):
            raise ValueError(
                f"{self.name}={text!r} has the wrong type: expected {self.expected}, "
                f"for instance {self.name}={self.default}"
            ) from None


def declarations(source: str, name: str) -> dict[str, Parameter]:
    """The parameters that a cell declares, in order; ValueError for a line that declares none."""
    lines = [line.strip() for line in source.splitlines()]
    found = [_declaration(line, name) for line in lines if line and line[0] != "#"]
    return {parameter.name: parameter for parameter in found}


def check_parameters() -> None:
    """Checks the values of this notebook's parameters cell where they stand, in any kernel.

    JupyterLab and plain papermill take any value; this line under the cell refuses what `course.py
    run` refuses. Raises ValueError for a wrong type, a value out of range, or none of the choices.
    """
    from IPython import get_ipython  # which `--help` does not need

    shell: Any = get_ipython()
    history = [] if shell is None else shell.user_ns["In"]
    if not any(history) and shell is not None:
        return  # nbval's kernels keep none, and run pages as they are
    for source in reversed(history):
        lines = [line.strip() for line in source.splitlines()]
        matches = [_DECLARATION.fullmatch(line) for line in lines if line and line[0] != "#"]
        if matches and all(match and match["type"] in _TYPES for match in matches):
            for match in matches:
                assert match is not None
                _check_value(match, shell.user_ns[match["name"]])
            return
    raise ValueError("no parameters cell was run before this line; run the cells above it first")


def _check_value(match: re.Match[str], value: Any) -> None:
    name, kind = match["name"], _TYPES[match["type"]]
    parameter = Parameter(name, kind, "…", *_allowed(match["allowed"] or "", kind))
    number = kind is float and type(value) is int
    if type(value) is not kind and not number:
        raise ValueError(f"{name}={value!r} has the wrong type: expected {parameter.expected}")
    try:
        parameter.parse(value)
    except ValueError:
        raise ValueError(
            f"{name}={value!r} is not allowed: expected {parameter.expected}; change the cell "
            "above, and run it again"
        ) from None


def _declaration(line: str, stem: str) -> Parameter:
    match = _DECLARATION.fullmatch(line)
    kind = _TYPES.get(match["type"]) if match else None
    if match is None or kind is None:
        raise ValueError(
            f"{stem}: the parameters cell has {line!r}: expected `name: type = default  # range` "
            f"with a type of {', '.join(_TYPES)}"
        )
    try:
        default = Parameter(match["name"], kind, "…").parse(ast.literal_eval(match["default"]))
        choices, low, high = _allowed(match["allowed"] or "", kind)
        parameter = Parameter(match["name"], kind, default, choices, low, high)
        parameter.parse(default)  # an author's default obeys the author's range
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{stem}: the parameters cell has {line!r}: {error}") from None
    return parameter


def _allowed(comment: str, kind: type) -> tuple[tuple[Value, ...], float | None, float | None]:
    """`0.5..50` or `a | b | c`; words may follow after a comma."""
    allowed = comment.split(",")[0].strip()
    if "|" in allowed and kind is not bool:
        return tuple(kind(choice.strip()) for choice in allowed.split("|")), None, None
    if ".." in allowed and kind in (int, float):
        low, high = map(float, allowed.split(".."))
        return (), low, high
    return (), None, None
