"""After Run All, every single cell can be run again, and says the same.

A page is run once in a process of its own; then each of its cells again, each in a fork of that
state. A name that means two things on a page, and a cell that eats what it was given, show here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, name, present

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the state is kept by a fork"),
]
PROGRAM = r"""
import json, os, re, sys
import nbformat
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

torch.set_num_threads(1)
shell = InteractiveShell.instance()
notebook = nbformat.read(sys.argv[1], as_version=4)
cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
cells = [source.replace('budget: str = "full"', 'budget: str = "small"') for source in cells]


def run(source):
    with capture_output() as shown:
        result = shell.run_cell(source)
    error = result.error_in_exec or result.error_before_exec
    texts = [str(output.data.get("text/plain", "")) for output in shown.outputs]
    text = "\n".join([shown.stdout, *texts])
    text = re.sub(r"Out\[\d+\]:|0x[0-9a-f]+|\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"\(\d+×\)|[\d.,]+ (?:ms|µs|s)\b", "", text)  # counters and clocks may go on
    return f"{type(error).__name__}: {error}" if error else text.strip()


def again(source):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            pipe.write(run(source))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


first = [run(source) for source in cells]
second = [again(source) for source in cells]
print(json.dumps([part for part in zip(cells, first, second) if part[1] != part[2]]))
"""
CLOCKS = (
    "timeit",
    "perf_counter",
    "latenc",
    "µs",
)  # what measures time says another number each time


def differing(notebook: Path, folder: Path) -> list[tuple[str, str, str]]:
    """(cell, what it said at first, what it says again) of each cell that says something else."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "agg"}
    env.pop("KDLIB_STRICT", None)  # with the small budget some claims do not hold
    words = [sys.executable, "-c", PROGRAM, str(notebook)]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    cells: list[tuple[str, str, str]] = json.loads(done.stdout.splitlines()[-1])
    return [part for part in cells if not any(clock in part[0] for clock in CLOCKS)]


@pytest.mark.parametrize("notebook", present(), ids=name)
def test_any_cell_can_be_run_again(notebook: Path, tmp_path: Path) -> None:
    found = differing(notebook, tmp_path)
    texts = [f"{cell}\n-- first:\n{a[:500]}\n-- again:\n{b[:500]}" for cell, a, b in found]
    assert not found, f"{len(found)} cells differ\n\n" + "\n\n".join(texts)


def test_a_name_that_changes_its_meaning_is_found(tmp_path: Path) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    cells = ["x = 1", "print(x)", "x = x + 1\nprint(x)", "y = [3]", "print(y.pop())"]
    notebook = tmp_path / "99_demo.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in cells]), notebook)
    assert [part[0] for part in differing(notebook, tmp_path)] == [cells[1], cells[2], cells[4]]
