"""Where the notebooks are, which there must be, and `notebooks/build.py` as a module."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
EXPECTED = [
    "00_start_here",
    "01_teacher",
    "02_soft_targets",
    "03_unseen_classes",
    "04_temperature",
    "05_features",
    "06_distances",
    "07_fine_tuning",
    "08_adaptation",
    "09_across_domains",
]


def present() -> list[Path]:
    """The notebooks on disk, in reading order."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def name(path: Path) -> str:
    """The id of a parametrised test."""
    return path.stem


def said(notebook: NotebookNode) -> str:
    """All plain text that the notebook's cells put out."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


def checked(notebook: NotebookNode) -> dict[str, str]:
    """What the exercise checkers said last: {"04.1": "✓ exercise 04.1 …"} (or ✗, or ○)."""
    lines = re.finditer(r"^[✓✗○] exercise (\d\d\.\w+).*$", said(notebook), re.MULTILINE)
    return {line[1]: line[0] for line in lines}


def exercises(notebook: NotebookNode) -> int:
    """How many cells are exercises."""
    return sum("exercise" in cell.metadata.get("tags", []) for cell in notebook.cells)


def _load_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_build", NOTEBOOKS / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load_build()
