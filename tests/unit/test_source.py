"""The hash of the library: every room counts, the other wing does not, every keeper asks it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kdcourse.headless import source_hash
from kdlib import source

ROOT = Path(source.HOME).parent
ROOMS = sorted(path.relative_to(source.HOME).as_posix() for path in source.HOME.rglob("*.py"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of kdlib, to touch."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(source.HOME, tmp_path / "kdlib", ignore=ignored))


def test_the_same_library_elsewhere_has_the_same_hash(copied: Path) -> None:
    (copied / "notes.txt").write_text("no module")
    (copied / "device.py").write_bytes((copied / "device.py").read_bytes().replace(b"\n", b"\r\n"))
    assert source.hash_of(copied) == source.library_hash()
    (copied / "losses" / "answers.py").rename(copied / "losses" / "answer.py")
    assert source.hash_of(copied) != source.library_hash()


def test_every_module_of_the_library_counts(copied: Path) -> None:
    hashes = {source.library_hash()}
    for module in ROOMS:  # each edited on top of those before
        with (copied / module).open("a", encoding="utf-8") as file:
            file.write("\n")
        edited = source.hash_of(copied)
        assert edited not in hashes, f"{module} does not count"
        hashes.add(edited)


def test_runs_of_notebooks_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = new_notebook(cells=[new_code_cell("1 + 1")])
    before = source_hash(notebook)
    assert source_hash(notebook) == before
    assert source_hash(new_notebook(cells=[new_code_cell("1 + 2")])) != before
    monkeypatch.setattr("kdcourse.headless.execution.library_hash", lambda: "edited")
    assert source_hash(notebook) != before


MMD_BANK = """
from kdlib.adaptation import MMD
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.models import mlp
from kdlib.objectives import HardLabels
digits = load("digits").train
domains = digits[:40] + digits[40:80].unlabelled().as_domain(1)
for _ in range(2):
    bank = train_bank(lambda w: HardLabels() + w * MMD("stage1"), student=mlp(64, 8, 10),
        examples=domains, grid={"w": [1.0]}, seeds=1, evaluate={"test": digits[80:120]}, epochs=1)
    print(bank.cached, f"{float(bank.losses.sum()):.3f}")
"""


@pytest.mark.slow
def test_an_edited_distance_trains_the_bank_that_used_it_anew(copied: Path, tmp_path: Path) -> None:
    """Once it was not in the list of rooms, and a bank of MMD kept its old losses for ever."""

    def run() -> list[str]:
        """What a bank says that is asked for twice: was it cached, and its loss."""
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "KDLIB_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", MMD_BANK]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    trained, before, cached, again = run()
    assert (trained, cached, again) == ("False", "True", before)
    kernels = copied / "distances" / "kernels.py"
    text = kernels.read_text(encoding="utf-8")
    assert text.count("return within_a.mean()") == 1
    kernels.write_text(text.replace("return within_a.mean()", "return 100 + within_a.mean()"))
    cached, after, *_ = run()
    assert cached == "False" and float(after) == pytest.approx(float(before) + 100, abs=1e-3)
