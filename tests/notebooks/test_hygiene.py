"""What every stored notebook keeps to: few, short cells; nothing of the machine it was built on."""

import re
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest
from nbformat import NotebookNode
from pipeline import COURSE, LESSONS, PAGES, checked, exercises, name, present, said

from kdcourse import headless, pages
from kdcourse.catalogue import Page
from kdcourse.pages import reading_time

LARGEST = 300_000  # bytes
LONGEST = 20  # lines of a code cell
HOMES = "home|Users|root|tmp|var|opt|mnt|private"
ABSOLUTE = re.compile(rf"(?<![\w./:<\\])(?:/(?:{HOMES})/|[A-Z]:\\)\w")
MOST = {"cells": 50, "words": 1500, "minutes": 25}  # of a page; lab notes may be longer
UNFINISHED: set[str] = set()  # pages still too long: none
INSTALL = re.compile(r"^\s*[!%]\s*(?:pip|conda|uv)\b", re.MULTILINE)
TORCHVISION = re.compile(r"^\s*(?:import|from)\s+torchvision\b", re.MULTILINE)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def lines(cell: NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def folded(cell: NotebookNode) -> bool:
    """Whether its code is folded away, as a claim's is."""
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


every = pytest.mark.parametrize("path", present(), ids=name)


def test_the_notebooks_of_the_course_are_there() -> None:
    assert [path.stem for path in present()] == [page.stem for page in PAGES]


def test_pages_notebooks_tables_and_results_are_in_step() -> None:
    faults = list(pages.out_of_step(COURSE, LESSONS))
    assert not faults, "\n".join(faults)


@every
def test_it_declares_parameters_with_a_seed_and_a_budget(path: Path) -> None:
    parameters = headless.declared(path)
    assert parameters["seed"].type is int and parameters["seed"].low == 0
    assert set(parameters["budget"].choices) == {"full", "small"}
    for parameter in parameters.values():
        bounded = parameter.type is bool or parameter.choices or parameter.low is not None
        assert bounded, f"{parameter.name} declares no range and no choices"


@every
def test_it_opens_with_any_python_3_kernel(path: Path) -> None:
    metadata = read(path).metadata
    assert metadata.kernelspec.name == "python3"
    assert set(metadata) == {"kernelspec", "language_info"}


@every
def test_it_installs_nothing_and_takes_torchvision_through_the_guard(path: Path) -> None:
    for cell in code(read(path)):
        assert not INSTALL.search(cell.source), cell.source
        assert not TORCHVISION.search(cell.source), f"use kdlib.vision: {cell.source}"


@every
def test_it_was_run_whole_in_order_without_error_or_warning(path: Path) -> None:
    cells = [cell for cell in code(read(path)) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


@every
def test_it_is_small(path: Path) -> None:
    size = path.stat().st_size
    assert size <= LARGEST, f"{size:,} bytes: fewer or smaller pictures"


@every
def test_its_cells_are_short(path: Path) -> None:
    cells = [cell for cell in code(read(path)) if lines(cell) and not folded(cell)]
    for cell in cells:
        assert len(lines(cell)) <= LONGEST, f"{len(lines(cell))} lines:\n{cell.source}"
    plain = [[line for line in lines(cell) if line.strip()[0] != "#"] for cell in cells]
    typical = median(map(len, plain))
    assert typical <= 9, f"the median code cell has {typical} lines"


def size_of(notebook: NotebookNode) -> dict[str, int]:
    words, minutes = reading_time.words(notebook), reading_time.minutes(notebook)
    return {"cells": len(notebook.cells), "words": words, "minutes": minutes}


@pytest.mark.parametrize("page", [lesson.page for lesson in LESSONS], ids=name)
def test_a_page_takes_the_minutes_that_it_promises(page: Page) -> None:
    size = size_of(read(COURSE.notebook(page)))
    too_long = {part: count for part, count in size.items() if count > MOST[part]}
    if page.number in UNFINISHED:
        assert too_long, f"page {page.number} has become short: strike it off UNFINISHED"
    else:
        assert not too_long, f"{size}, of {MOST}: move what is not needed to the lab notes"


def test_a_long_page_is_found() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("word " * 4600)])
    assert size_of(notebook) == {"cells": 1, "words": 4600, "minutes": 26}


@every
def test_prose_stands_between_its_code_cells(path: Path) -> None:
    kinds = [cell.cell_type for cell in read(path).cells if not folded(cell)]
    for number, three in enumerate(zip(kinds, kinds[1:], kinds[2:], strict=False)):
        assert three != ("code", "code", "code"), f"cells {number} to {number + 2} are all code"


@every
def test_no_line_ends_with_a_semicolon(path: Path) -> None:
    for cell in code(read(path)):
        assert not re.search(r";\s*$", cell.source, re.MULTILINE), cell.source


@every
def test_it_names_no_place_on_a_machine(path: Path) -> None:
    notebook = read(path)
    for text in [*(cell.source for cell in notebook.cells), said(notebook)]:
        found = ABSOLUTE.search(text)
        assert not found, text[found.start() : found.start() + 80]


@every
def test_its_pictures_have_alt_text(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert "![](" not in cell.source, cell.source
            for image in re.findall(r"<img\b[^>]*>", cell.source):
                assert re.search(r"\balt=['\"]\S", image), image
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt.split()) >= 4, f"alt text {alt!r} of the picture of:\n{cell.source}"


@every
def test_it_keeps_no_widget_view_and_a_text_for_each_output(path: Path) -> None:
    for cell in code(read(path)):
        for output in cell.outputs:
            if "data" in output:
                assert not any("widget" in kind for kind in output.data), cell.source
                assert "text/plain" in output.data, cell.source


@every
def test_it_makes_claims_under_its_number_and_they_hold(path: Path) -> None:
    claims = headless.harvest(read(path))
    assert claims, "a notebook that claims nothing teaches nothing"
    number = path.stem[:2]
    for claim in claims:
        assert claim["holds"], claim
        assert re.fullmatch(rf"{number}\.\d+", claim["id"]), claim["id"]
        assert claim.get("measured") not in (None, "", {}), f"{claim['id']} measured nothing"
    ids = [claim["id"] for claim in claims]
    assert len(set(ids)) == len(ids), ids
    order = [int(claim_id.split(".")[1]) for claim_id in ids]
    assert all(first < second for first, second in pairwise(order)), ids


def test_no_claim_has_the_number_of_another() -> None:
    ids = [claim["id"] for path in present() for claim in headless.harvest(read(path))]
    assert len(set(ids)) == len(ids), sorted(one for one in ids if ids.count(one) > 1)


@every
def test_its_stubs_are_not_attempted_say_their_own_checkers(path: Path) -> None:
    notebook = read(path)
    lines = checked(notebook)
    assert len(lines) >= exercises(notebook), f"exercises checked: {sorted(lines)}"
    judged = [line for line in lines.values() if not line.startswith("○")]
    assert not judged, f"a stub was taken for an attempt: {judged}"
    solutions = [cell for cell in notebook.cells if "<summary>Solution</summary>" in cell.source]
    assert len(solutions) == exercises(notebook)


@every
def test_an_exercise_offers_two_hints_before_its_solution(path: Path) -> None:
    for before, _, after in zip(*(read(path).cells[start:] for start in range(3)), strict=False):
        if "<summary>Solution</summary>" in after.source:
            hints = re.findall(r"<summary>(Hint \d)</summary>", before.source)
            assert hints == ["Hint 1", "Hint 2"], before.source


@every
def test_every_folded_part_is_closed_and_shows_no_markdown_marks(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert cell.source.count("<details") == cell.source.count("</details>"), cell.source
            for line in re.findall(r"^<details>.*</details>$", cell.source, re.MULTILINE):
                assert not re.search(r"`|\*\w[^*]*\w\*", line), f"HTML takes no Markdown: {line}"
