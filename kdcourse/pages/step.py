"""Whether pages, notebooks, tables and results are in step with one another; nothing is run."""

from collections.abc import Iterable, Iterator

from nbformat import NotebookNode

from kdcourse.catalogue import Course, Lesson, Page
from kdcourse.pages import tables
from kdcourse.pages.reading_time import pictures
from kdcourse.pages.results import generated, stored_notebook
from kdcourse.pages.student import student

REBUILD = "run `python3 course.py build`"


def in_step(page: Page, course: Course) -> bool:
    """Whether the page's notebook is its student copy; ValueError for a damaged one."""
    frozen = stored_notebook(page, course)
    return _outline(student(page, course, pictures=pictures(frozen))) == _outline(frozen)


def out_of_step(course: Course, chosen: Iterable[Lesson]) -> Iterator[str]:
    """A sentence for each notebook without page, page without notebook, and difference."""
    for lesson in chosen:
        for page in lesson.pages:
            notebook = course.notebook(page)
            if not notebook.exists():
                yield f"{page.name} has no notebook {notebook.name}; {REBUILD}"
            elif not in_step(page, course):
                yield f"{notebook.name} is not what {page.name} says; {REBUILD}"
        if lesson.maker.exists() and not tables.is_current(lesson.maker):
            yield (
                f"{lesson.folder.name}/table.json was not made by table.py and kdlib as they are; "
                f"{REBUILD} {lesson.number}"
            )
    stems = {page.stem for lesson in course.lessons() for page in lesson.pages}
    for notebook in sorted(course.notebooks.glob("*.ipynb")):
        if notebook.stem not in stems:
            yield f"{notebook.name} has no lesson; write one, or delete it"
    for name, text in generated(course).items():
        written = course.root / name
        if not written.exists() or written.read_text("utf-8", errors="replace") != text:
            yield f"{name} is not what the lessons and their notebooks say; {REBUILD}"


def _outline(notebook: NotebookNode) -> list[tuple[str, str, dict]]:
    return [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]
