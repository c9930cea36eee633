"""RESULTS.md and the README's tables, from the lessons and the claims of their notebooks."""

import re
from typing import Any

import nbformat
from nbformat import NotebookNode

from kdcourse.catalogue import Course, Lesson, Page
from kdcourse.headless import harvest
from kdcourse.headless.finding import read_notebook
from kdcourse.measured import phrase

_HEAD = "| | claim | measured | published |\n|---|---|---|---|\n"


def generated(course: Course) -> dict[str, str]:
    """The pages that are written by the build: RESULTS.md, and the README's tables."""
    pages = {"RESULTS.md": results(course)}
    readme = course.root / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        for name, table in {"map": _map(course), "results": _short_table(course)}.items():
            text = _between(name, text, table)
        pages["README.md"] = text
    return pages


def results(course: Course) -> str:
    """RESULTS.md: every claim of the frozen notebooks, measured and published."""
    parts = [
        "# Results\n\n"
        "Generated from the claims in the executed notebooks by `python3 course.py build`; do not\n"
        "edit. A claim that does not hold stops the build. Brackets hold 95 % intervals;\n"
        "*published* is what the cited source reports, on its own data and networks.\n"
    ]
    for page in (page for lesson in course.lessons() for page in lesson.pages):
        rows = [_row(claim) for claim in _claims(page, course)]
        if rows:
            head = f"## [{page.number} {page.question}](notebooks/{page.stem}.ipynb)\n\n"
            parts.append(head + _HEAD + "".join(rows))
    return "\n".join(parts)


def stored_notebook(page: Page, course: Course) -> NotebookNode:
    """The page's notebook as it was built; ValueError for a file that holds none any more."""
    notebook = course.notebook(page)
    try:
        stored = read_notebook(notebook)
        nbformat.validate(stored)  # reading has only logged what is wrong
        return stored
    except (ValueError, nbformat.ValidationError):
        mend = f"run `python3 course.py build {page.number}`"
        raise ValueError(f"{notebook} is damaged; {mend}") from None


def _between(name: str, text: str, table: str) -> str:
    """The text with the table between its marks, <!-- name: … --> and <!-- /name -->."""
    marks = re.compile(rf"(<!-- {name}:[^>]*-->)\n.*?(<!-- /{name} -->)", re.DOTALL)
    return marks.sub(lambda match: f"{match[1]}\n{table}{match[2]}", text)


def _map(course: Course) -> str:
    rows = [
        f"| [{lesson.number} {lesson.slug.replace('_', ' ')}](notebooks/{lesson.stem}.ipynb) "
        f"| {lesson.page.question} | {lesson.move} | {_notes(lesson)} |\n"
        for lesson in course.lessons()
    ]
    short = ", ".join(lesson.number for lesson in course.lessons() if lesson.core)
    head = "| | question | you move | |\n|---|---|---|---|\n"
    return f"{head}{''.join(rows)}\nThe short way through is {short}.\n"


def _notes(lesson: Lesson) -> str:
    return f"[lab notes](notebooks/{lesson.notes.stem}.ipynb)" if lesson.notes else ""


def _short_table(course: Course) -> str:
    """The first two claims of each notebook that stand beside a published value."""
    claims: list[dict[str, Any]] = []
    for lesson in course.lessons():
        claims += [claim for claim in _claims(lesson.page, course) if claim.get("published")][:2]
    return _HEAD + "".join(map(_row, claims))


def _claims(page: Page, course: Course) -> list[dict[str, Any]]:
    return harvest(stored_notebook(page, course)) if course.notebook(page).exists() else []


def _row(claim: dict[str, Any]) -> str:
    return (
        f"| {claim['id']} | {_cell(claim['text'])} | {_cell(phrase(claim))} "
        f"| {_cell(claim.get('published') or '')} |\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
