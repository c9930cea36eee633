"""How long a page takes to read, computed from the page itself."""

import math
import re

from nbformat import NotebookNode

WORDS_A_MINUTE, SECONDS_A_LINE, SECONDS_A_PICTURE = 180, 4, 20
_UNREAD = re.compile(r"<details>.*?</details>|<!-- map -->.*?<!-- /map -->", re.DOTALL)


def words(notebook: NotebookNode) -> int:
    """Words of prose, without what is folded and without the map of the course."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return sum(len(_UNREAD.sub("", text).split()) for text in prose)


def lines(notebook: NotebookNode) -> int:
    """Lines of code that are shown, exercises apart."""
    shown = [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code"
        and not cell.metadata.get("jupyter", {}).get("source_hidden")
        and "exercise" not in cell.metadata.get("tags", [])
    ]
    return sum(bool(line.strip()) for text in shown for line in text.splitlines())


def pictures(notebook: NotebookNode) -> int:
    """Pictures among the outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def minutes(notebook: NotebookNode, shown: int | None = None) -> int:
    """Whole minutes, rounded up. shown: how many pictures; by default those among the outputs."""
    count = pictures(notebook) if shown is None else shown
    seconds = SECONDS_A_LINE * lines(notebook) + SECONDS_A_PICTURE * count
    return math.ceil(words(notebook) / WORDS_A_MINUTE + seconds / 60)
