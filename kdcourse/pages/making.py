"""page.py → reader's copy → papermill → freeze → notebooks/NN_title.ipynb, and the results."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat

from kdcourse.catalogue import Course, Lesson, Page
from kdcourse.headless import NotebookFailed, execute, harvest, write_atomically
from kdcourse.pages import tables
from kdcourse.pages.freeze import freeze, refreshed, stderr
from kdcourse.pages.reading_time import pictures
from kdcourse.pages.results import generated, stored_notebook
from kdcourse.pages.step import in_step
from kdcourse.pages.student import student

# One thread: floating-point sums keep their order, so a rebuild changes no number.
STRICT = {"KDLIB_STRICT": "1", "KDLIB_QUIET": "1", "OMP_NUM_THREADS": "1"}


def build(
    course: Course,
    names: Sequence[str] = (),
    *,
    timeout: float = 600,
    report: Callable[[str], None] = print,
) -> None:
    """Makes the notebooks of all lessons, or of those named; then `follow`.

    Raises NotebookFailed, and ValueError for unknown names.
    """
    chosen = course.lessons(names)
    for lesson in chosen:
        make_table(lesson, report=report)
        for page in lesson.pages:
            report(f"▶ {page.stem}")
            claims = make_notebook(page, course, timeout=timeout, report=report)
            report(f"✓ {page.stem} · {len(claims)} claims hold")
    follow(course, report=report)


def follow(course: Course, *, report: Callable[[str], None] = print) -> None:
    """Brings words into step that need no run: prose, links, RESULTS.md, the README's tables."""
    for page in (page for lesson in course.lessons() for page in lesson.pages):
        notebook = course.notebook(page)
        if notebook.exists() and not in_step(page, course):
            stored = stored_notebook(page, course)
            copy = student(page, course, pictures=pictures(stored))
            followed = refreshed(copy, stored)
            if followed is not None:
                write_atomically(notebook, nbformat.writes(followed) + "\n")
                report(f"✓ {page.stem} · its words follow")
    for name, text in generated(course).items():
        write_atomically(course.root / name, text)


def make_table(lesson: Lesson, *, report: Callable[[str], None] = print) -> None:
    """Makes the lesson's stored table, unless it is of its script and library as they are."""
    if lesson.maker.exists() and not tables.is_current(lesson.maker):
        report(f"  training {lesson.folder.name}/table.json")
        try:
            tables.make(lesson.maker, STRICT)
        except subprocess.CalledProcessError as error:
            raise NotebookFailed(f"{lesson.maker} stopped with code {error.returncode}") from error


def make_notebook(
    page: Page,
    course: Course,
    *,
    timeout: float = 600,
    report: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Makes one notebook and returns its claims; when it fails, the old one stays as it was."""
    course.notebooks.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{page.stem}.ipynb"
        copy = student(page, course)
        how = {"folder": course.notebooks, "timeout": timeout, "env": STRICT}
        executed = execute(copy, target, name=page.stem, **how)  # type: ignore[arg-type]
    for number, text in stderr(executed):
        said = f"  In [{number}] writes to stderr, and nbval will object: {text}"
        print(said, file=sys.stderr)
    frozen = freeze(executed)
    finished = refreshed(student(page, course, pictures=pictures(frozen)), frozen)
    if finished is None:  # else the same code, now with the minutes that it takes
        raise NotebookFailed(f"{page.name} was changed while it ran; build it again")
    write_atomically(course.notebook(page), nbformat.writes(finished) + "\n")
    return harvest(finished)
