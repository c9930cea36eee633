"""A lesson is one folder: a copy is a new lesson, and a folder that goes leaves no hole."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import COURSE, LESSONS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SKIPPED = shutil.ignore_patterns("__pycache__", ".git", ".venv*", ".*_cache", "runs", "build")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The course as a clone of one's own."""
    return Path(shutil.copytree(ROOT, tmp_path / "clone", ignore=SKIPPED))


def run(clone: Path, *words: str) -> str:
    """What `python -m …` says in the clone, where it must succeed."""
    env = {**os.environ, "PYTHONPATH": str(clone)}
    env = {key: value for key, value in env.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def passes(clone: Path, *words: str) -> str:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-x"]
    return run(clone, "pytest", *options, *words)


def test_a_copied_folder_is_a_new_lesson(clone: Path) -> None:
    """By the recipe in CONTRIBUTING.md: copy, put the new number and name in, build."""
    first = LESSONS[0]
    new = clone / "kdcourse" / "lessons" / "lesson77"
    shutil.copytree(first.folder, new, ignore=SKIPPED)
    (new / f"test_lesson{first.number}.py").rename(new / "test_lesson77.py")
    for file in [*new.glob("*.py"), new / "lesson.toml"]:
        text = file.read_text("utf-8").replace(f"lesson{first.number}", "lesson77")
        text = re.sub(rf'(["\'])(?:exercise )?{first.number}\.(\d)', r"\g<1>77.\2", text)
        text = text.replace(f'slug = "{first.slug}"', 'slug = "one_more"')
        file.write_text(text, encoding="utf-8")

    said = run(clone, "kdcourse", "build", "77")

    assert "✓ 77_one_more · " in said and "its words follow" in said
    page = (clone / "notebooks" / "77_one_more.ipynb").read_text("utf-8")
    assert f"# 77 · {first.page.question}" in page
    readme = (clone / "README.md").read_text("utf-8")
    assert f"| [77 one more](notebooks/77_one_more.ipynb) | {first.page.question} |" in readme
    assert re.search(r"short way through is [\d, ]+, 77\.", readme)
    assert "[77 " in (clone / "RESULTS.md").read_text("utf-8")
    older = (clone / "notebooks" / f"{first.stem}.ipynb").read_text("utf-8")
    assert "[77](77_one_more.ipynb)" in older, "the map on the first page has it"
    passes(clone, "tests/notebooks/test_hygiene.py", str(new), "tests/unit/test_readme.py")
    assert "tests/headless/test_papermill.py::test_other_parameters_and_solutions[77_one" in run(
        clone, "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/headless"
    )


@pytest.mark.parametrize("lesson", [LESSONS[2], LESSONS[-1]], ids=lambda lesson: lesson.stem)
def test_a_folder_that_goes_leaves_no_hole(clone: Path, lesson: object) -> None:
    gone = COURSE.lessons([lesson.stem])[0]  # type: ignore[attr-defined]
    shutil.rmtree(clone / "kdcourse" / "lessons" / gone.folder.name)
    for page in gone.pages:
        (clone / "notebooks" / f"{page.stem}.ipynb").unlink()

    run(clone, "kdcourse", "build", "--words")

    for path in [*(clone / "notebooks").glob("*.ipynb"), clone / "README.md", clone / "RESULTS.md"]:
        assert gone.stem not in path.read_text("utf-8"), path.name
    passes(clone, "--collect-only")  # nothing anywhere imports it
    passes(clone, "tests/notebooks/test_hygiene.py", "tests/unit/test_readme.py")
    passes(clone, "tests/unit/test_floors.py")
