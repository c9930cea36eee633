"""Notebooks found by their name, and what they declare.

papermill itself accepts an unknown name, a wrong type and a value out of range in silence, and
runs for minutes on them. Here each is one sentence before anything starts.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat

from kdcourse.parameters import Parameter, Value, declarations


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
            return declarations(cell.source, stem)
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
