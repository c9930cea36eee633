"""Strict nbval: a fresh kernel puts out, cell by cell, the text that the notebook stores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, name, present

CELL_TIMEOUT = 300  # seconds


def nbval(notebook: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own: a notebook a process is what xdist can spread."""
    words = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT}"]
    words += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout", "-p", "no:randomly"]
    words += ["-c", os.devnull, f"--rootdir={notebook.parent}", "-q", "-x", "--color=no"]
    fresh = {"KDLIB_STRICT": "1", "KDLIB_QUIET": "1", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, **fresh, "PYTHONPATH": path}
    # The outer pytest's options and its worker's name are not this one's.
    env = {key: value for key, value in env.items() if not key.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(notebook)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.notebooks
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("notebook", present(), ids=name)
def test_a_fresh_run_says_what_is_stored(notebook: Path, tmp_path: Path) -> None:
    run = nbval(notebook, tmp_path)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


@pytest.mark.notebooks
@pytest.mark.parametrize(("stored", "accepted"), [("2", True), ("3", False)])
def test_nbval_can_fail(tmp_path: Path, stored: str, accepted: bool) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    output = new_output("execute_result", data={"text/plain": stored}, execution_count=1)
    cell = new_code_cell("1 + 1", execution_count=1, outputs=[output])
    notebook = tmp_path / "99_demo.ipynb"
    nbformat.write(new_notebook(cells=[cell]), notebook)
    run = nbval(notebook, tmp_path)
    assert run.returncode == (0 if accepted else 1), run.stdout + run.stderr
