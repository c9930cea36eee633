"""Every notebook with other parameters, every exercise with its solution in it."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from pipeline import COURSE, PAGES, checked, exercises, name

from kdcourse import headless, pages
from kdcourse.catalogue import Page
from kdcourse.parameters import Value

pytestmark = [pytest.mark.headless, pytest.mark.timeout(900)]
every = pytest.mark.parametrize("page", PAGES, ids=name)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's own run: claims that other parameters don't reproduce do not stop it."""
    monkeypatch.delenv("KDLIB_STRICT", raising=False)


def other(parameter: headless.Parameter) -> Value:
    """A value that is allowed and, where another one can be had offline, not the default."""
    if parameter.name == "budget":
        return "small"
    if parameter.name in ("dataset", "device"):  # others need files or hardware of their own
        full = os.environ.get("KDLIB_DATA") and "mnist" in parameter.choices
        return "mnist" if full else parameter.default
    if parameter.choices:
        return parameter.choices[parameter.choices.index(parameter.default) - 1]
    if parameter.type is bool:
        return not parameter.default
    if parameter.low is None or parameter.high is None:
        return parameter.default
    nudged = parameter.default + (1 if parameter.type is int else parameter.default / 4 or 0.1)
    return parameter.parse(nudged if nudged <= parameter.high else parameter.low)


def test_other_values_are_other_and_allowed() -> None:
    cases = [
        headless.Parameter("T", float, 4.0, low=0.5, high=50.0),
        headless.Parameter("T", float, 50.0, low=0.5, high=50.0),
        headless.Parameter("alpha", float, 0.0, low=0.0, high=1.0),
        headless.Parameter("seed", int, 1000, low=0, high=1000),
        headless.Parameter("kind", str, "a", choices=("a", "b")),
        headless.Parameter("budget", str, "full", choices=("full", "small")),
        headless.Parameter("quick", bool, True),
    ]
    for parameter in cases:
        assert other(parameter) != parameter.default
        assert parameter.parse(other(parameter)) == other(parameter)


@every
def test_other_parameters_and_solutions(page: Page, tmp_path: Path) -> None:
    """It runs with them and records its claims; the checkers accept its solutions."""
    path = COURSE.notebook(page)
    declared = headless.declared(path)
    given = {key: other(parameter) for key, parameter in declared.items()}
    given = {key: value for key, value in given.items() if value != declared[key].default}
    assert given.get("budget") == "small"
    stored, solved = nbformat.read(path, as_version=4), tmp_path / path.name
    notebook = pages.solved(page, COURSE)
    nbformat.write(notebook, solved)

    result = headless.run(solved, given, tmp_path / "runs", threads=1)

    assert result.ok, result.error
    done = Path(result.file)
    record = json.loads(done.with_suffix(".json").read_text(encoding="utf-8"))
    claims = [claim["id"] for claim in headless.harvest(stored)]
    assert [claim["id"] for claim in record["claims"]] == claims
    assert record["parameters"] == {key: given.get(key, declared[key].default) for key in declared}
    assert record["seconds"] > 0 and record["versions"]["torch"]
    lines = checked(nbformat.read(done, as_version=4))
    assert len(lines) >= exercises(notebook), f"exercises checked: {sorted(lines)}"
    assert set(lines) == set(checked(stored))
    assert all(line.startswith("✓") for line in lines.values()), "\n".join(lines.values())
