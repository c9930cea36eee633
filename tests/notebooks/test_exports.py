"""What other tools make of the notebooks: pages of HTML without a network, and nbval by hand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from pipeline import COURSE, LESSONS, ROOT

from kdcourse import headless

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(600)]


def pictures(notebook: Path) -> int:
    """How many of its outputs hold a picture."""
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def html(notebook: Path, folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "nbconvert", "--to", "html", *words, str(notebook)]
    done = subprocess.run(
        [*command, "--output-dir", str(folder)], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return (folder / f"{notebook.stem}.html").read_text(encoding="utf-8")


def test_a_run_page_becomes_html_with_its_explorers_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Widgets need a kernel and a network; nothing of theirs may stand where a picture could."""
    monkeypatch.delenv("KDLIB_STRICT", raising=False)
    notebook = COURSE.notebook(LESSONS[0].page)
    result = headless.run(notebook, {"budget": "small"}, tmp_path / "runs", threads=1)
    assert result.ok, result.error
    for path in (notebook, Path(result.file)):
        page = html(path, tmp_path)
        assert pictures(path) >= 2
        assert len(re.findall(r"<img\b[^>]*src=.data:image/png", page)) == pictures(path)
        assert "application/vnd.jupyter.widget-view+json" not in page


def test_the_classic_template_keeps_the_alt_texts(tmp_path: Path) -> None:
    notebook = COURSE.notebook(LESSONS[0].page)
    page = html(notebook, tmp_path, "--template", "classic")
    alt = re.findall(r"<img\b[^>]*\balt=\"([^\"]+)\"", page)
    assert len(alt) == pictures(notebook) and all(len(text.split()) >= 4 for text in alt)


def test_nbval_by_hand_needs_no_variable(tmp_path: Path) -> None:
    """`pytest --nbval notebooks/`, from the root, with nothing set and nothing kept."""
    ours = ("KDLIB_", "PYTEST_", "OMP_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    notebook = COURSE.notebook(LESSONS[0].page).relative_to(ROOT)
    words = ["--nbval", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", str(notebook)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT, env={**env, "HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_bar_is_shown_while_it_trains_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished bar used to stay in the file as a text that says 0 %."""
    from nbformat.v4 import new_code_cell, new_notebook

    source = "import tqdm.notebook, time\nfrom kdlib.training import progress_bar\nshown = []\n"
    source += "display = tqdm.notebook.display\n"
    source += "tqdm.notebook.display = lambda *a, **k: shown.append(a) or display(*a, **k)\n"
    source += "for _ in progress_bar(range(15)): time.sleep(0.1)\n"
    source += "for _ in progress_bar(range(3)): time.sleep(0.1)\n"
    source += "print(len(shown), 'shown')"
    notebook = new_notebook(cells=[new_code_cell(source)])
    done = headless.execute(
        notebook, tmp_path / "x.ipynb", name="bars", folder=tmp_path, env={"KDLIB_QUIET": "0"}
    )
    texts = [output.get("text") or output.data["text/plain"] for output in done.cells[-1].outputs]
    assert "".join(texts).strip() == "1 shown"
