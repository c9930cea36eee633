"""The pipeline: page → student copy → papermill → freeze, and the tables of results."""

import runpy
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from kdcourse import pages
from kdcourse.__main__ import main as kdcourse_main
from kdcourse.catalogue import Course, Lesson, Page
from kdcourse.pages import tables

PAGE = """\
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
claim["measured"] = {"ECE | long": 0.02591, "n": 5}
claim["measured"]["points"] = {"mean": 3.44, "low": 1.8, "high": 5.1}
display({"text/plain": "✓ 04.1 a | b"}, raw=True, metadata={"kdlib": claim})
"""


ABOUT = 'slug = "temperature"\nmove = "T"\ncore = true\n'


@pytest.fixture
def course(tmp_path: Path) -> Course:
    folder = tmp_path / "kdcourse" / "lessons" / "lesson04"
    folder.mkdir(parents=True)
    (folder / "lesson.toml").write_text(ABOUT, encoding="utf-8")
    (folder / "page.py").write_text(PAGE, encoding="utf-8")
    return Course(tmp_path)


def lesson(course: Course) -> Lesson:
    return course.lessons(["04"])[0]


def page(course: Course) -> Page:
    return lesson(course).page


def broken(course: Course, cells: str) -> Page:
    page(course).file.write_text(cells, encoding="utf-8")
    return page(course)


def main(course: Course, *words: str) -> int:
    return kdcourse_main(["build", *words, "--root", str(course.root)])


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_student_copy_has_a_stub_and_a_folded_solution(course: Course) -> None:
    notebook = pages.student(page(course), course)
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


def test_the_solved_copy_has_the_solution_and_no_marks(course: Course) -> None:
    notebook = pages.solved(page(course), course)
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert "return scaled" in everything and "your code here" not in everything
    assert "# SOLUTION" not in everything and "<details>" not in everything
    compile("\n".join(cell.source for cell in code(notebook)), "solved", "exec")


def test_two_solutions_in_a_cell_each_get_their_stub(course: Course) -> None:
    blocks = "def {}():\n    # SOLUTION\n    return {}\n    # END\n"
    cell = '# %% tags=["exercise"]\n' + blocks.format("f", 1) + blocks.format("g", 2)
    exercise = pages.student(broken(course, cell), course).cells[0].source
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
def test_a_broken_exercise_is_an_error(course: Course, cell: str) -> None:
    for copy in (pages.student, pages.solved):
        with pytest.raises(ValueError, match=r"lesson04/page\.py.*mend the marks or the tag"):
            copy(broken(course, cell), course)


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

    frozen = pages.freeze(executed)

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
        return [cell.id for cell in pages.freeze(new_notebook(cells=cells)).cells]

    assert ids("a", "b", "b") == ids("new", "a", "b", "b")[1:]


@pytest.mark.slow
def test_a_build_is_strict_idempotent_and_in_step(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook, table = course.notebooks / "04_temperature.ipynb", course.root / "RESULTS.md"
    assert main(course) == 0
    first = notebook.read_bytes(), table.read_bytes()
    frozen = nbformat.read(notebook, as_version=4)
    outputs = [cell.outputs for cell in code(frozen)]
    assert outputs[1][0].text == "one\ntwo\n"
    assert outputs[2][0].data["text/plain"] == "('1', '1', '1')"
    assert outputs[3][0].text == "○ exercise 04.1 not attempted\n"

    text = table.read_text(encoding="utf-8")
    assert "## [04 How soft?](notebooks/04_temperature.ipynb)" in text
    assert (
        "| 04.1 | a \\| b | ECE \\| long 0.0259, n 5, points 3.4 (1.8 to 5.1) | 0.9 (Hinton) |"
        in text
    )

    assert main(course, "04") == 0
    assert (notebook.read_bytes(), table.read_bytes()) == first
    assert main(course, "--check") == 0
    assert [path.name for path in course.notebooks.iterdir()] == ["04_temperature.ipynb"]


def test_what_is_out_of_step_is_said(course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    source, notebook = page(course).file, course.notebooks / "04_temperature.ipynb"
    course.notebooks.mkdir()

    def check() -> str:
        assert main(course, "--check") == 1
        return capsys.readouterr().out

    assert "lesson04/page.py has no notebook" in check()
    nbformat.write(pages.student(page(course), course), notebook)
    (course.root / "RESULTS.md").write_text(pages.results(course), encoding="utf-8")
    assert main(course, "--check") == 0
    capsys.readouterr()

    source.write_text(PAGE.replace("one", "uno"), encoding="utf-8")
    assert "04_temperature.ipynb is not what lesson04/page.py says" in check()
    source.write_text(PAGE.replace("nbval-ignore-output", "nbval-skip"), encoding="utf-8")
    assert "04_temperature.ipynb is not what lesson04/page.py says" in check(), "tags count"
    source.write_text(PAGE, encoding="utf-8")
    nbformat.write(new_notebook(), course.notebooks / "07_orphan.ipynb")
    assert "07_orphan.ipynb has no lesson" in check()
    (course.notebooks / "07_orphan.ipynb").unlink()
    (course.root / "RESULTS.md").write_text("mine", encoding="utf-8")
    assert "RESULTS.md is not what the lessons and their notebooks say" in check()


@pytest.mark.parametrize("damage", ["cut off", "no text", "no cells", "no notebook"])
def test_a_damaged_notebook_is_named_and_made_anew(
    course: Course, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    notebook = course.notebooks / "04_temperature.ipynb"
    course.notebooks.mkdir()
    whole = nbformat.writes(pages.student(page(course), course)).encode()
    parts = {
        "cut off": whole[: len(whole) // 2],
        "no text": whole.replace(b"cells", b"\xff"),
        "no cells": whole.replace(b'"cell_type"', b'"cell_tipe"'),
        "no notebook": b"[]",
    }
    notebook.write_bytes(parts[damage])
    assert main(course, "--check") == 2
    said = capsys.readouterr().err
    assert "04_temperature.ipynb is damaged; run `python3 course.py build 04`" in said
    assert len(said.splitlines()) == 1
    if damage == "cut off":
        assert main(course, "04") == 0, "as it was told"
        assert main(course, "--check") == 0


def test_a_failed_build_names_the_cell_and_keeps_the_old_notebook(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    old = course.notebooks / "04_temperature.ipynb"
    course.notebooks.mkdir()
    nbformat.write(new_notebook(), old)
    before = old.read_bytes()
    with page(course).file.open("a", encoding="utf-8") as file:
        file.write("\n# %%\nassert T > 5, 'claim 04.2 does not hold'\n")
    assert main(course) == 1
    said = capsys.readouterr().err
    assert "04_temperature stopped in cell In [6] (assert T > 5, " in said
    assert "AssertionError: claim 04.2 does not hold; the old notebook is kept" in said
    assert old.read_bytes() == before and not (course.root / "RESULTS.md").exists()


def test_words_that_change_alone_are_not_run_again(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(course) == 0
    notebook = course.notebooks / "04_temperature.ipynb"
    before = nbformat.read(notebook, as_version=4)
    page(course).file.write_text(PAGE.replace("How soft?", "How hard?"), encoding="utf-8")
    monkeypatch.setattr("kdcourse.pages.making.make_notebook", lambda *_, **__: pytest.fail("ran"))
    other = course.root / "kdcourse" / "lessons" / "lesson05"
    other.mkdir()
    (other / "lesson.toml").write_text(ABOUT.replace("temperature", "other"), encoding="utf-8")
    (other / "page.py").write_text("# %% [markdown]\n# # Else?\n", encoding="utf-8")
    monkeypatch.setattr("kdcourse.pages.making.make_notebook", lambda *_, **__: [])
    assert main(course, "05") == 0
    after = nbformat.read(notebook, as_version=4)
    assert after.cells[0].source == "# 04 · How hard?"
    assert [cell.outputs for cell in code(after)] == [cell.outputs for cell in code(before)]
    assert "[04 How hard?]" in (course.root / "RESULTS.md").read_text(encoding="utf-8")

    page(course).file.write_text(PAGE.replace("one", "uno"), encoding="utf-8")
    assert main(course, "05") == 0
    assert nbformat.read(notebook, as_version=4) == after  # its code must run: it stays


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("lesson.toml", 'slug = "temperature"\ncore = true', "move = None; expected a str"),
        ("lesson.toml", ABOUT.replace("true", '"yes"'), "core = 'yes'; expected a bool"),
        ("lesson.toml", "slug = ", "lesson.toml cannot be read"),
        ("lesson.toml", None, "slug = None; expected a str"),
        ("lesson.toml", ABOUT.replace("temperature", "../evil"), "small letters and _"),
        ("page.py", None, "has no page.py; write one, or delete the folder"),
        ("page.py", "# %%\n1 + 1\n", "asks no question: begin it with a heading"),
    ],
)
def test_a_broken_lesson_is_a_sentence(
    course: Course, capsys: pytest.CaptureFixture[str], name: str, text: str | None, sentence: str
) -> None:
    file = lesson(course).folder / name
    file.unlink() if text is None else file.write_text(text, encoding="utf-8")
    assert main(course, "--check") == 2 if "question" not in sentence else True
    if "question" in sentence:
        with pytest.raises(ValueError, match=sentence):
            _ = page(course).question
    else:
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("see [04](lesson04).", "see [04](04_temperature.ipynb)."),
        ("Next: [](lesson04)", "Next: [04 · How soft?](04_temperature.ipynb)"),
        ("see [them](lesson12) and [](lesson12)", "see them and notebook 12"),
        ("[x](https://lesson04.org) ![lesson04](a.png)", None),
    ],
)
def test_links_follow_the_lessons_that_there_are(
    course: Course, text: str, linked: str | None
) -> None:
    assert course.linked(text) == (text if linked is None else linked)


def test_an_unknown_lesson_is_a_sentence(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(course, "09") == 2
    assert "no lesson '09': expected one of 04_temperature" in capsys.readouterr().err
    assert main(Course(course.notebooks)) == 2
    assert "has no lessons; name a clone of the course with --root" in capsys.readouterr().err


TABLE = """\
import runpy
from pathlib import Path
from kdcourse.pages import tables

runs = Path(__file__).with_suffix(".runs")
runs.write_text("x" + (runs.read_text() if runs.exists() else ""))
tables.write(__file__, [{"a": 1}, {"a": 2}])
"""


@pytest.mark.slow
def test_a_table_is_made_by_a_process_of_its_own(course: Course) -> None:
    maker = lesson(course).maker
    maker.write_text(TABLE, encoding="utf-8")
    tables.make(maker, {})
    assert tables.read(maker) == [{"a": 1}, {"a": 2}] and tables.is_current(maker)


def test_a_table_that_was_changed_is_not_read(tmp_path: Path) -> None:
    """Nor is it current, so that the build makes it anew."""
    maker = tmp_path / "lesson03" / "table.py"
    maker.parent.mkdir()
    maker.write_text("")
    tables.write(maker, [{"error %": 3.25, "seeds": [1, 2]}, {"error %": 0.5}])
    stored = maker.with_suffix(".json")
    whole = stored.read_text()
    assert tables.is_current(maker) and tables.read(maker)[0] == {"error %": 3.25, "seeds": [1, 2]}
    for damaged in (
        whole.replace("3.25", "3.24"),
        whole.replace("3.25", "NaN"),
        whole[:-9],
        "",
        "[]",
        whole.replace("[1", "[0"),
    ):
        stored.write_text(damaged)
        assert not tables.is_current(maker)
        with pytest.raises(ValueError, match=r"(damaged|changed by hand).*course.py build 03"):
            tables.read(maker)
    for bad in (float("nan"), [1, float("inf")], {"low": float("-inf")}):
        with pytest.raises(ValueError, match=r"holds nan or inf, so the table is not stored"):
            tables.write(maker, [{"error %": 1.0}, {"error %": bad}])
    assert stored.read_text() == whole.replace("[1", "[0"), "what stood there is untouched"
    stored.unlink()
    assert not tables.is_current(maker)


def test_a_table_is_of_what_its_script_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of common ground and its lesson, however it is imported; not of the course's machine."""
    monkeypatch.setattr(tables, "HOME", tmp_path)
    files = {
        "kdcourse/lessons/lesson01/table.py": (
            "from kdcourse.lessons.lesson01 import rooms\nfrom kdcourse.pages import tables\n"
        ),
        "kdcourse/lessons/lesson01/rooms.py": "import kdcourse.ground.mnist\n",
        "kdcourse/ground/mnist.py": "a = 1\n", "kdcourse/pages/tables.py": "a = 1\n",
        "kdcourse/ground/domains.py": "a = 1\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    maker = tmp_path / next(iter(files))
    before = tables.key(maker)
    for name, text in files.items():
        (tmp_path / name).write_text(text + "# changed\n")
        decides = name not in ("kdcourse/pages/tables.py", "kdcourse/ground/domains.py")
        assert (tables.key(maker) != before) == decides, name
        (tmp_path / name).write_text(text)
    assert tables.key(maker) == before


def test_a_stored_table_is_trained_when_its_script_or_the_library_has_changed(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its script is run here: when is what is asked."""
    monkeypatch.setattr(tables, "make", lambda maker, env: runpy.run_path(str(maker)))
    maker = lesson(course).maker
    runs = maker.with_suffix(".runs")
    maker.write_text(TABLE, encoding="utf-8")
    pages.make_table(lesson(course))
    pages.make_table(lesson(course))
    assert runs.read_text() == "x"  # the second time it was there
    assert tables.read(maker) == [{"a": 1}, {"a": 2}]

    maker.write_text(TABLE + "# changed", encoding="utf-8")
    faults = " ".join(pages.out_of_step(course, course.lessons()))
    assert "lesson04/table.json was not made by table.py and kdlib as they are" in faults
    pages.make_table(lesson(course))
    assert runs.read_text() == "xx"
    assert "was not made" not in " ".join(pages.out_of_step(course, course.lessons()))

    monkeypatch.setattr(tables, "library_hash", lambda: "edited")
    assert "was not made" in " ".join(pages.out_of_step(course, course.lessons()))


def test_a_table_whose_script_fails_stops_the_build(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    lesson(course).maker.write_text("1 / 0", encoding="utf-8")
    assert main(course) == 1
    assert "table.py stopped with code 1; the old notebook is kept" in capsys.readouterr().err


NOTES = """\
# %% [markdown]
# # How soft, once more?
#
# *{minutes} minutes*, after [the page](lesson04); see [](lesson04/notes).

# %%
print("more")
"""


def test_lab_notes_are_made_beside_their_page(course: Course) -> None:
    (lesson(course).folder / "notes.py").write_text(NOTES, encoding="utf-8")
    assert main(course) == 0
    made = sorted(path.name for path in course.notebooks.iterdir())
    assert made == ["04_temperature.ipynb", "04_temperature_notes.ipynb"]
    notes = nbformat.read(course.notebooks / made[1], as_version=4)
    assert notes.cells[0].source == (
        "# 04 · How soft, once more?\n\n*1 minutes*, after [the page](04_temperature.ipynb); see "
        "[04 · How soft, once more?](04_temperature_notes.ipynb)."
    )
    assert code(notes)[0].outputs[0].text == "more\n"
    assert main(course, "--check") == 0
    (course.notebooks / made[1]).unlink()
    faults = " ".join(pages.out_of_step(course, course.lessons()))
    assert "lesson04/notes.py has no notebook 04_temperature_notes.ipynb" in faults


def test_minutes_are_computed_from_words_lines_and_pictures() -> None:
    folded = "<details><summary>Hint</summary>" + 500 * "word " + "</details>"
    picture = new_output("display_data", data={"image/png": "aGk="})
    hidden = {"jupyter": {"source_hidden": True}}
    cells = [
        new_markdown_cell(360 * "word " + folded),
        new_code_cell("a = 1\n\nb = 2\n" * 15, outputs=[picture] * 6),
        new_code_cell("c = 3\n" * 900, metadata={"tags": ["exercise"]}),
        new_code_cell("claim()\n" * 900, metadata=hidden),
    ]
    notebook = new_notebook(cells=cells)
    assert pages.minutes(notebook) == 2 + 2 + 2  # 360 words, 30 lines, 6 pictures
    assert pages.minutes(notebook, 0) == 4 and pages.minutes(notebook, 7) == 7


def test_the_code_of_a_claim_is_folded_away(course: Course) -> None:
    cell = "\n# %%\ngap = 3\nclaim('04.2', 'text', gap > 2, measured={'gap': gap})\n"
    cell += "\n# %%\nsaid = [claim]\n"
    with page(course).file.open("a", encoding="utf-8") as file:
        file.write(cell)
    *_, claimed, other = code(pages.student(page(course), course))
    folded = {"jupyter": {"source_hidden": True}, "tags": ["nbval-ignore-output"]}
    assert claimed.metadata == folded and other.metadata == {}
    assert pages.freeze(new_notebook(cells=[claimed])).cells[0].metadata == claimed.metadata


def test_a_page_that_is_edited_while_it_runs_is_built_again(
    course: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited(notebook: NotebookNode, *where: object, **how: object) -> NotebookNode:
        page(course).file.write_text(PAGE.replace("one", "uno"), encoding="utf-8")
        return notebook

    monkeypatch.setattr("kdcourse.pages.making.execute", edited)
    assert main(course) == 1
    said = "lesson04/page.py was changed while it ran; build it again; the old notebook is kept"
    assert said in capsys.readouterr().err


def test_files_that_are_not_utf_8_are_named(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    course.notebooks.mkdir()
    nbformat.write(new_notebook(), course.notebooks / "04_temperature.ipynb")
    page(course).file.write_bytes(b"\xff\xfe\x00")
    assert main(course, "--check") == 2
    assert "lesson04/page.py is not UTF-8" in capsys.readouterr().err
    (lesson(course).folder / "lesson.toml").write_bytes(b"\xff\xfe\x00")
    assert main(course, "--check") == 2
    assert "lesson.toml cannot be read" in capsys.readouterr().err
    assert main(course, "04", "--words") == 2
