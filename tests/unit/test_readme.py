"""The README keeps its promises: its example runs, its links lead somewhere."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    names: dict = {}
    exec(compile(example[1], "README.md", "exec"), names)
    assert names["bank"].shape == (2, 2, 3)
    assert names["bank"].errors("validation").max() < 20
    assert "error %" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, README.count("```python")))
def test_the_other_examples_run(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?://|#)([^)]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists(), f"README links to {link}, which is not there"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "python3 course.py test" in README
    assert "python3 course.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_speed_table_is_the_measured_one() -> None:
    text = (ROOT / "benchmarks" / "results" / "benchmarks.json").read_text(encoding="utf-8")
    measured = {(c["contender"], c["work"]): c["seconds"] for c in json.loads(text)["cells"]}
    head, _, *rows = README.split("## How fast")[1].split("\n\n| |")[1].split("\n\n")[0].split("\n")
    works = [cell.strip() for cell in head.split("|") if cell.strip()]
    assert len(works) == 2 and len(rows) == 7
    for row in rows:
        name, *said = (cell.strip() for cell in row.strip("|").split("|"))
        for work, text in zip(works, said, strict=True):
            number = float(text.removesuffix(" s").replace(",", ""))
            assert number == pytest.approx(measured[name, work], rel=0.03), (name, work)


def test_contributing_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:kdlib|kdcourse|tests|benchmarks)/[\w./]+)`", text))
    lost = [name for name in named if "NN" not in name and not (ROOT / name).exists()]
    assert len(named) > 6 and lost == []
