"""Every notebook in JupyterLab in a real browser: cells run, sliders move, nothing leaves here.

KDLIB_SHOTS=folder keeps screenshots of every screenful.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyterlab import Reader, chromium, reader, server
from nbformat.v4 import new_code_cell, new_notebook
from pipeline import name, present

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
RUN_ALL = 400  # seconds; Binder's processors are slower than ours
ROUND_TRIP = 2000  # ms; the goal is 100, and a loaded machine may not hold it


@pytest.fixture(scope="module")
def executable() -> str:
    found = chromium()
    if found is None and os.environ.get("CI"):
        pytest.fail("CI is set and there is no Chromium: install it, .ci/run shows how")
    if found is None:
        pytest.skip("no Chromium or Chrome here; install one to test the notebooks as a reader")
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab over copies, so that no test can change a notebook of the course."""
    folder = tmp_path_factory.mktemp("reader")
    for notebook in present():
        shutil.copy(notebook, folder)
    for title, source in {"works": WORKS, "broken": BROKEN}.items():
        demo = new_notebook(cells=[new_code_cell(source)])
        demo.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(demo, folder / f"{title}.ipynb")
    with server(folder) as url:
        yield url


@pytest.fixture
def one(executable: str) -> Iterator[Reader]:
    with reader(executable) as opened:
        yield opened
        opened.stop_kernels()


@pytest.mark.parametrize("notebook", present(), ids=name)
def test_a_reader_can_run_it_and_move_every_slider(
    notebook: Path, one: Reader, address: str
) -> None:
    one.open(address.format(notebook.name))
    seconds = one.run_all(RUN_ALL)
    shots = os.environ.get("KDLIB_SHOTS")
    if shots:
        one.shoot(Path(shots), notebook.stem)
    explorers = one.explorers()
    assert explorers, f"{notebook.name} has no explorer"
    trips = []
    for explorer in explorers:
        sliders = explorer.locator(".kdlib-control").all()
        assert sliders, "an explorer without a slider"
        for slider in sliders:
            trips.append(one.press(explorer, slider))
    print(f"\n{notebook.stem}: ran in {seconds:.0f} s, sliders answer in", *map(round, trips), "ms")
    assert all(0 <= trip < ROUND_TRIP for trip in trips), trips
    assert not one.errors()


WORKS = """
import torch
from kdlib.explorers import SoftenedLogits
SoftenedLogits(torch.randn(3, 10), torch.arange(3), torch.rand(3, 1, 8, 8))
"""
BROKEN = """
import torch
from kdlib.explorers import SoftenedLogits
class Stuck(SoftenedLogits):
    def _moved(self, _):
        pass
Stuck(torch.randn(3, 10), torch.arange(3), torch.rand(3, 1, 8, 8))
"""


def test_a_slider_that_answers_nothing_is_noticed(one: Reader, address: str) -> None:
    one.open(address.format("broken.ipynb"))
    one.run_all(60)
    explorer = one.explorers()[0]
    assert one.press(explorer, explorer.locator(".kdlib-control").first) == -1


def test_a_request_off_this_machine_is_noticed(one: Reader, address: str) -> None:
    one.open(address.format("works.ipynb"))
    one.page.evaluate("fetch('http://192.0.2.1/').catch(() => null)")
    one.page.wait_for_timeout(200)
    assert any("off this machine" in fault for fault in one.errors())
