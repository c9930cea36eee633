"""What a notebook lets one change: its parameters cell, read and enforced.

papermill itself accepts an unknown name, a wrong type and a value out of range in silence, and
runs for minutes on them. Here each is one sentence before anything starts.
"""

import ast
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat

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


def notebooks(folder: str | Path | None = None, *, notes: bool = True) -> list[Path]:
    """The course's notebooks in reading order, with or without lab notes.

    `folder` defaults to `notebooks/` beside kdcourse.
    """
    home = Path(folder) if folder is not None else Path(__file__).parents[2] / "notebooks"
    if not home.is_dir():
        raise ValueError(
            f"there is no folder of notebooks at {home}; name the one of a clone of the course "
            "with --notebooks FOLDER"
        )
    every = sorted(home.glob("[0-9][0-9]_*.ipynb"))
    return [path for path in every if notes or not path.stem.endswith("_notes")]


def find(name: str | Path, folder: str | Path | None = None) -> Path:
    """The notebook that "04", "04_temperature" or a path stands for; ValueError for none."""
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    if len(path.parts) > 1:  # a path means that file, never one of the same name elsewhere
        wrong = "is no .ipynb file" if path.exists() else "does not exist"
        raise ValueError(f"{name} {wrong}; give 04, 04_temperature, or the path of a notebook")
    known = notebooks(folder)
    for notebook in known:
        if path.name in (notebook.name, notebook.stem, notebook.stem[:2]):
            return notebook
    stems = [notebook.stem for notebook in known]
    if not stems:
        raise ValueError(f"no notebook {str(name)!r}: the folder of notebooks is empty; build it")
    raise ValueError(
        f"no notebook {str(name)!r}: the closest is {closest(str(name), stems)!r} "
        f"(there are {', '.join(stems)})"
    )


def closest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that looks most like `name`, capitals apart."""
    return max(
        names, key=lambda known: difflib.SequenceMatcher(a=name.lower(), b=known.lower()).ratio()
    )


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file, as version 4; ValueError for a file that holds none."""
    try:
        return nbformat.read(path, as_version=4)
    except OSError:
        raise
    except Exception as error:  # nbformat stumbles over other JSON in many ways
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"{path} is no Jupyter notebook: {reason}; give a notebook saved by JupyterLab"
        ) from None


def declared(notebook: str | Path | nbformat.NotebookNode) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in order.

    Raises ValueError when it has no cell tagged `parameters`, or one that cannot be read.
    """
    if isinstance(notebook, nbformat.NotebookNode):
        node, stem = notebook, "the notebook"
    else:
        path = find(notebook)
        node, stem = read_notebook(path), path.stem
    for cell in node.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            lines = [line.strip() for line in cell.source.splitlines()]
            found = [_declaration(line, stem) for line in lines if line and line[0] != "#"]
            return {parameter.name: parameter for parameter in found}
    raise ValueError(
        f"{stem} has no cell tagged 'parameters': expected one declaration a line, like "
        "`T: float = 4.0  # 0.5..50`; tag the cell, or run the notebook in JupyterLab"
    )


def validate(notebook: str | Path, given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters of a notebook: those given, checked, and the defaults of the others."""
    known = declared(notebook)
    stem = Path(notebook).stem
    for name in given:
        if name not in known:
            nearest = f"the closest is {closest(name, known)!r} " if known else ""
            raise ValueError(
                f"{stem} has no parameter {name!r}: {nearest}(it has {', '.join(known) or 'none'})"
            )
    return {
        name: parameter.parse(given[name]) if name in given else parameter.default
        for name, parameter in known.items()
    }


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
