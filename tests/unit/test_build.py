"""The pipeline: source → student copy → papermill → freeze, and the table of results."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from pipeline import build

SOURCE = """\
# %% [markdown]
# # How soft?

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50

# %%
print("one")
print("two")

# %% tags=["nbval-ignore-output"]
import os
os.environ["KDLIB_STRICT"], os.environ["KDLIB_QUIET"], os.environ["OMP_NUM_THREADS"]

# %% tags=["exercise"]
def soften(z, T):
    # SOLUTION
    scaled = z / T
    return scaled
    # END


print("○ exercise 04.1 not attempted" if soften(8, 2) is None else "✓ exercise 04.1")

# %%
from IPython.display import display
claim = {"id": "04.1", "text": "a | b", "holds": True, "published": "0.9 (Hinton)"}
claim["measured"] = {"accuracy": [0.91234, 0.905, 0.919], "n": 5}
display({"text/plain": "✓ 04.1 a | b"}, raw=True, metadata={"kdlib": claim})
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "04_temperature.py").write_text(SOURCE, encoding="utf-8")
    return folder


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_student_copy_has_a_stub_and_a_folded_solution(here: Path) -> None:
    notebook = build.student(here / "source" / "04_temperature.py")
    place = [cell.metadata.get("tags") for cell in notebook.cells].index(["exercise"])
    exercise, folded = notebook.cells[place : place + 2]
    assert exercise.source.startswith("def soften(z, T):\n    ...  # your code here\n\n\nprint(")
    assert folded.cell_type == "markdown"
    assert folded.source.startswith("<details><summary>Solution</summary>\n\n```python\ndef soften")
    assert "    scaled = z / T\n    return scaled\n" in folded.source
    assert folded.source.endswith("```\n\n</details>")
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert "# SOLUTION" not in everything and "# END" not in everything
    assert all("scaled" not in cell.source for cell in code(notebook))
    nbformat.validate(notebook)


def test_the_solved_copy_has_the_solution_and_no_marks(here: Path) -> None:
    notebook = build.solved(here / "source" / "04_temperature.py")
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert "return scaled" in everything and "your code here" not in everything
    assert "# SOLUTION" not in everything and "<details>" not in everything
    compile("\n".join(cell.source for cell in code(notebook)), "solved", "exec")


def test_two_solutions_in_a_cell_each_get_their_stub(tmp_path: Path) -> None:
    blocks = "def {}():\n    # SOLUTION\n    return {}\n    # END\n"
    source = tmp_path / "04_two.py"
    source.write_text('# %% tags=["exercise"]\n' + blocks.format("f", 1) + blocks.format("g", 2))
    exercise = build.student(source).cells[0].source
    assert exercise.count("    ...  # your code here") == 2 and "return" not in exercise


@pytest.mark.parametrize(
    "cell",
    [
        '# %% tags=["exercise"]\nx = 1\n',  # no solution
        "# %%\n# SOLUTION\nx = 1\n# END\n",  # no tag
        '# %% tags=["exercise"]\n# SOLUTION\nx = 1\n',  # no end
        '# %% tags=["exercise"]\nif True:\n    # SOLUTION\n    x = 1\n# END\n',  # indentation
    ],
)
def test_a_broken_exercise_is_an_error(tmp_path: Path, cell: str) -> None:
    source = tmp_path / "04_broken.py"
    source.write_text(cell)
    for copy in (build.student, build.solved):
        with pytest.raises(ValueError, match=r"04_broken\.py.*mend the marks or the tag"):
            copy(source)


def test_freeze_keeps_what_is_true_everywhere_and_drops_the_rest() -> None:
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    picture = {"image/png": "aGk=", "text/plain": "Explorer(T)", **widget}
    alt = {"image/png": {"alt": "bars"}, "papermill": {"x": 1}}
    claim = {"kdlib": {"id": "04.1", "holds": True}}
    outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stderr", text="warning\n"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("display_data", data=picture, metadata=alt),
        new_output("display_data", data=dict(widget)),
        new_output("display_data", data={"text/plain": "✓ 04.1"}, metadata=claim),
        new_output("stream", name="stdout", text="c\n"),
        new_output("execute_result", data={"text/plain": "3"}, execution_count=17),
    ]
    papermill = {"papermill": {"duration": 3.0}, "execution": {"iopub.status.busy": "2026"}}
    cells = [
        new_code_cell("T = 8", metadata={"tags": ["injected-parameters"]}, execution_count=3),
        new_code_cell("an error", metadata={"tags": ["papermill-error-cell-tag"]}),
        new_code_cell(
            "show()",
            metadata={"tags": ["nbval-ignore-output"], **papermill},
            outputs=outputs,
            execution_count=17,
        ),
        new_code_cell("", metadata={"tags": [], "scrolled": True}),
        new_code_cell("show()", execution_count=18),
    ]
    executed = new_notebook(cells=cells, metadata={"widgets": {"state": {}}, "papermill": {}})
    executed.metadata.kernelspec = {"name": "venv", "display_name": "mine", "language": "python"}

    frozen = build.freeze(executed)

    assert [cell.source for cell in frozen.cells] == ["show()", "", "show()"]
    assert [cell.execution_count for cell in frozen.cells] == [1, None, 2]
    assert [dict(cell.metadata) for cell in frozen.cells] == [
        {"tags": ["nbval-ignore-output"]},
        {},
        {},
    ]
    assert len({cell.id for cell in frozen.cells}) == 3
    assert set(frozen.metadata) == {"kernelspec", "language_info"}
    assert frozen.metadata.kernelspec.name == "python3"
    kept = frozen.cells[0].outputs
    assert [output.output_type for output in kept] == [
        "stream",
        "display_data",
        "display_data",
        "stream",
        "execute_result",
    ]
    assert kept[0].text == "a\nb\n" and kept[3].text == "c\n"
    assert kept[1].data == {"image/png": "aGk=", "text/plain": "Explorer(T)"}
    assert kept[1].metadata == {"image/png": {"alt": "bars"}}
    assert kept[2].metadata == claim
    assert kept[4].execution_count == 1
    nbformat.validate(frozen)


def test_ids_come_from_content_so_a_new_cell_moves_no_other() -> None:
    def ids(*sources: str) -> list[str]:
        cells = [new_code_cell(source) for source in sources]
        return [cell.id for cell in build.freeze(new_notebook(cells=cells)).cells]

    assert ids("a", "b", "b") == ids("new", "a", "b", "b")[1:]


def test_a_build_is_strict_idempotent_and_in_step(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook, table = here / "04_temperature.ipynb", here.parent / "RESULTS.md"
    assert build.main([], here) == 0
    first = notebook.read_bytes(), table.read_bytes()
    frozen = nbformat.read(notebook, as_version=4)
    outputs = [cell.outputs for cell in code(frozen)]
    assert outputs[1][0].text == "one\ntwo\n"
    assert outputs[2][0].data["text/plain"] == "('1', '1', '1')"
    assert outputs[3][0].text == "○ exercise 04.1 not attempted\n"

    text = table.read_text(encoding="utf-8")
    assert "## [04 How soft?](notebooks/04_temperature.ipynb)" in text
    assert "| 04.1 | a \\| b | accuracy 0.9123 [0.905, 0.919], n 5 | 0.9 (Hinton) |" in text

    assert build.main(["04"], here) == 0
    assert (notebook.read_bytes(), table.read_bytes()) == first
    assert build.main(["--check"], here) == 0
    assert sorted(path.name for path in here.iterdir()) == ["04_temperature.ipynb", "source"]


def test_what_is_out_of_step_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = here / "source" / "04_temperature.py"

    def check() -> str:
        assert build.main(["--check"], here) == 1
        return capsys.readouterr().out

    assert "04_temperature.py has no notebook" in check()
    nbformat.write(build.student(source), here / "04_temperature.ipynb")
    (here.parent / "RESULTS.md").write_text(build.results(here), encoding="utf-8")
    assert build.main(["--check"], here) == 0
    capsys.readouterr()

    source.write_text(SOURCE.replace("one", "uno"), encoding="utf-8")
    assert "04_temperature.ipynb is not what 04_temperature.py says" in check()
    source.write_text(SOURCE.replace("nbval-ignore-output", "nbval-skip"), encoding="utf-8")
    assert "04_temperature.ipynb is not what 04_temperature.py says" in check(), "tags count"
    source.write_text(SOURCE, encoding="utf-8")
    nbformat.write(new_notebook(), here / "07_orphan.ipynb")
    assert "07_orphan.ipynb has no source" in check()
    (here / "07_orphan.ipynb").unlink()
    (here.parent / "RESULTS.md").write_text("mine", encoding="utf-8")
    assert "RESULTS.md is not what the notebooks measured" in check()


def test_a_failed_build_names_the_cell_and_keeps_the_old_notebook(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = here / "04_temperature.ipynb"
    nbformat.write(new_notebook(), old)
    before = old.read_bytes()
    with (here / "source" / "04_temperature.py").open("a", encoding="utf-8") as file:
        file.write("\n# %%\nassert T > 5, 'claim 04.2 does not hold'\n")
    assert build.main([], here) == 1
    said = capsys.readouterr().err
    assert "04_temperature stopped in cell In [6] (assert T > 5, " in said
    assert "AssertionError: claim 04.2 does not hold; the old notebook is kept" in said
    assert old.read_bytes() == before and not (here.parent / "RESULTS.md").exists()


def test_an_unknown_source_is_a_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["09"], here) == 2
    assert "no source '09': expected one of 04_temperature" in capsys.readouterr().err


TABLE = """\
import hashlib, json, pathlib

here = pathlib.Path(__file__)
made_by = hashlib.sha256(here.read_bytes()).hexdigest()[:16]
runs = here.with_suffix(".runs")
runs.write_text("x" + (runs.read_text() if runs.exists() else ""))
here.with_suffix(".json").write_text(json.dumps({"script": made_by}))
"""


def test_a_stored_table_is_trained_when_its_script_has_changed(here: Path) -> None:
    source, table = here / "source" / "04_temperature.py", here / "data" / "04_temperature.py"
    table.parent.mkdir()
    table.write_text(TABLE, encoding="utf-8")
    build.build(source, here)
    build.build(source, here)
    assert table.with_suffix(".runs").read_text() == "x"  # the second time it was there
    table.write_text(TABLE + "# changed", encoding="utf-8")
    faults = list(build.out_of_step(here, build.sources(here)))
    assert "04_temperature.json was not made by 04_temperature.py" in " ".join(faults)
    build.build(source, here)
    assert table.with_suffix(".runs").read_text() == "xx"
    assert "was not made" not in " ".join(build.out_of_step(here, build.sources(here)))
