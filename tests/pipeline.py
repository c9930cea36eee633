"""The course as it lies here: its lessons, its notebooks, and what they put out."""

import re
from pathlib import Path

from nbformat import NotebookNode

from kdcourse.catalogue import Course, Page

COURSE = Course()
ROOT, NOTEBOOKS = COURSE.root, COURSE.notebooks
LESSONS = COURSE.lessons()
PAGES = [page for lesson in LESSONS for page in lesson.pages]


def present() -> list[Path]:
    """The notebooks on disk, in reading order."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def name(path: Path | Page) -> str:
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
