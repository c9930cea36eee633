"""page.py → a notebook: the reader's copy, with stubs and folded solutions, or the solved one."""

import hashlib
import re
from collections import Counter

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from kdcourse.catalogue import Course, Page
from kdcourse.pages.reading_time import minutes

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
STUB = "...  # your code here"
_CLAIM = re.compile(r"^claim\(", re.MULTILINE)
_SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)# SOLUTION[ \t]*\n(?P<body>.*?)^(?P=indent)# END[ \t]*(?=\n|\Z)",
    re.MULTILINE | re.DOTALL,
)


def student(page: Page, course: Course, *, pictures: int = 0) -> NotebookNode:
    """The notebook a reader gets: each solution is a stub, and stands folded under its exercise.

    pictures: how many its run shows, for the minutes that it takes.
    """
    notebook = _read(page, course)
    cells = []
    for cell in notebook.cells:
        exercise = _is_exercise(cell, page)
        solution = _solved(cell.source)
        if exercise:
            cell.source = _SOLUTION.sub(lambda match: match["indent"] + STUB, cell.source)
        cells.append(cell)
        if exercise:
            folded = f"```python\n{solution}\n```\n\n</details>"
            cells.append(new_markdown_cell(f"<details><summary>Solution</summary>\n\n{folded}"))
    return with_minutes(with_metadata(notebook, cells), pictures)


def solved(page: Page, course: Course) -> NotebookNode:
    """The notebook with every exercise solved: what the tests run."""
    notebook = _read(page, course)
    for cell in notebook.cells:
        if _is_exercise(cell, page):
            cell.source = _solved(cell.source)
    return with_metadata(notebook, notebook.cells)


def with_metadata(notebook: NotebookNode, cells: list[NotebookNode]) -> NotebookNode:
    """Cells with ids from their content, counts 1..n, tags and nothing else that changes."""
    seen: Counter[str] = Counter()
    count = 0
    for cell in cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1  # the same text twice: two ids
        cell.id = hashlib.sha256(f"{seen[text]}\n{text}".encode()).hexdigest()[:8]
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code" and _CLAIM.search(cell.source):
            # Its sentence is what is read; its numbers are the machine's, so nbval only runs it.
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["tags"] = list(dict.fromkeys([*tags, "nbval-ignore-output"]))
        if cell.cell_type == "code":
            ran = cell.execution_count is not None
            count += ran
            cell.execution_count = count if ran else None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    notebook.cells = cells
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    about = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(about)
    return notebook


def with_minutes(notebook: NotebookNode, pictures: int) -> NotebookNode:
    """The notebook with the minutes that it takes, computed, where its words say {minutes}."""
    taken = str(minutes(notebook, pictures))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("{minutes}", taken)
    return notebook


def _read(page: Page, course: Course) -> NotebookNode:
    """The page with its number, links to other pages' notebooks, and the map of the course."""
    notebook = jupytext.reads(page.text, fmt="py:percent")
    numbered = False
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        text = course.linked(cell.source.replace("{map}", _map(page, course)))
        if not numbered:
            heading = f"# {page.number} · "
            text, found = re.subn(r"^# ", heading, text, count=1, flags=re.MULTILINE)
            numbered = bool(found)
        cell.source = text
    return notebook


def _map(page: Page, course: Course) -> str:
    """The other lessons: link, question, whether on the short way, lab notes."""
    rows = [
        f"| [{lesson.number}]({lesson.stem}.ipynb) | {lesson.page.question} | "
        f"{'core' if lesson.core else 'deeper'} | "
        f"{f'[lab notes]({lesson.notes.stem}.ipynb)' if lesson.notes else ''} |"
        for lesson in course.lessons()
        if lesson.number != page.number
    ]
    table = ["| | question | | |", "|---|---|---|---|", *rows]
    return "\n".join(["<!-- map -->", *table, "<!-- /map -->"])


def _is_exercise(cell: NotebookNode, page: Page) -> bool:
    """Whether the cell holds a solution; ValueError where the tag and the marks disagree."""
    tagged = "exercise" in cell.metadata.get("tags", [])
    marks = len(re.findall(r"^\s*# (?:SOLUTION|END)\s*$", cell.source, re.MULTILINE))
    if cell.cell_type != "code":
        return False
    if marks != 2 * len(_SOLUTION.findall(cell.source)) or tagged != bool(marks):
        first = cell.source.strip().splitlines()[:1]
        raise ValueError(
            f"{page.name}: the cell {first} has a broken exercise: expected the "
            "tag `exercise`, and `# SOLUTION` … `# END` at the same indentation; mend the marks or "
            "the tag"
        )
    return tagged


def _solved(code: str) -> str:
    return _SOLUTION.sub(lambda match: match["body"].rstrip("\n"), code)
