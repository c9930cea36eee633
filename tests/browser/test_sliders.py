"""JupyterLab in headless Chromium: run all cells, move every slider by keyboard."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from labpage import LabPage, Move
from labserver import LabServer
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pipeline import name, present
from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SLOWEST = 4000  # milliseconds; generous, for a busy machine: the measured ones are printed
MOVES = 3  # keys for each slider

MADE_UP = """
import torch
from kdcourse.explorers import SoftenedLogits

generator = torch.Generator().manual_seed(0)
logits = 4 * torch.randn(6, 10, generator=generator)
images = torch.rand(6, 1, 28, 28, generator=generator)
"""


def written(folder: Path, *cells: str) -> Path:
    """A notebook with these code cells, stored without outputs."""
    words = new_markdown_cell("# A made-up notebook\n\n$p_T = softmax(z / T)$")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = new_notebook(cells=[words, *map(new_code_cell, cells)], metadata=kernel)
    path = folder / "made_up.ipynb"
    nbformat.write(made, path)
    return path


@contextmanager
def opened(web: Browser, lab: LabServer, notebook: Path) -> Iterator[LabPage]:
    page = LabPage(web, lab.add(notebook, small=True))  # nbval runs the pages as they are
    try:
        yield page
    finally:
        page.close()
        lab.end_kernels()


def move_all(page: LabPage) -> list[Move]:
    """Each slider of each explorer, MOVES times."""
    moves = []
    for explorer in page.explorers():
        for number in range(explorer.locator(".kdlib-control").count()):
            moves += [page.move(explorer, number) for _ in range(MOVES)]
    return moves


def try_out(page: LabPage, stem: str, shots: Path | None) -> list[Move]:
    """What every notebook has to stand: Run All Cells, every slider, no trouble."""
    seconds = page.run_all()
    if shots:
        page.screenshot(shots / f"{stem}_run.png")
    assert page.failed_cells() == []
    moves = move_all(page)
    if shots:
        page.screenshot(shots / f"{stem}_moved.png")
    for live in page.live_banks():
        print(
            f"\n{stem}: a live bank, {page.train(live):.1f} s from the button to the last picture"
        )
    times = [move.milliseconds for move in moves] or [0.0]
    print(
        f"\n{stem}: all cells in {seconds:.1f} s; {len(moves)} slider moves, "
        f"median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms end to end"
    )
    assert max(times) <= SLOWEST
    assert all(move.before != move.after for move in moves)
    assert page.trouble.errors == []
    assert page.trouble.requests == []
    return moves


def test_a_made_up_notebook(web: Browser, lab: LabServer, shots: Path | None, tmp_path: Path):
    path = written(tmp_path, MADE_UP, "SoftenedLogits(logits, logits.argmax(1), images)")
    with opened(web, lab, path) as page:
        moves = try_out(page, "made_up", shots)
        assert [move.slider for move in moves] == ["T"] * MOVES + ["image"] * MOVES
        assert [(move.before, move.after) for move in moves[:2]] == [("1", "1.5"), ("1.5", "2")]
        explorer = page.explorers()[0]
        explorer.get_by_role("button", name="T = 20").click()
        page.page.wait_for_function(
            "() => document.querySelector('.kdlib-readout').innerText.includes('At T = 20 ')"
        )


def test_the_harness_sees_a_cell_that_fails(web: Browser, lab: LabServer, tmp_path: Path) -> None:
    path = written(tmp_path, "1 / 0", "print('not reached')")
    with opened(web, lab, path) as page:
        page.run_all()
        (text,) = page.failed_cells()
        assert "ZeroDivisionError" in text


def test_the_harness_sees_a_picture_that_stands_still(
    web: Browser, lab: LabServer, tmp_path: Path
) -> None:
    stuck = "explorer = SoftenedLogits(logits, logits.argmax(1), images)\n"
    stuck += "explorer._sliders['T'].unobserve_all()\nexplorer"
    with opened(web, lab, written(tmp_path, MADE_UP, stuck)) as page:
        page.run_all()
        page.move_timeout = 2
        with pytest.raises(Exception, match="Timeout"):
            page.move(page.explorers()[0], 0)


def test_the_harness_sees_an_error_and_a_request_to_others(
    web: Browser, lab: LabServer, tmp_path: Path
) -> None:
    script = "setTimeout(() => { throw new Error('ours') }); fetch('http://192.0.2.1/').catch(e=>e)"
    cell = f"from IPython.display import Javascript\nJavascript({script!r})"
    with opened(web, lab, written(tmp_path, cell)) as page:
        page.run_all()
        page.page.wait_for_timeout(500)
        assert any("ours" in error for error in page.trouble.errors)
        assert page.trouble.requests == ["http://192.0.2.1/"]


@pytest.mark.parametrize("notebook", present(), ids=name)
def test_a_notebook(notebook: Path, web: Browser, lab: LabServer, shots: Path | None) -> None:
    with opened(web, lab, notebook) as page:
        moves = try_out(page, notebook.stem, shots)
        is_notes = notebook.stem.endswith("_notes")  # lab notes may be without an explorer
        assert moves or is_notes, f"{notebook.stem} has no slider to move"
