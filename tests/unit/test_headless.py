"""Headless runs: bad input is one sentence, a failure leaves nothing half-written."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Never

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pipeline import ROOT

from kdcourse import headless
from kdcourse.__main__ import _table, main
from kdcourse.headless import execution, interrupts, runs
from kdcourse.headless.runs import _RUNNING as RUNNING

DECLARATIONS = """\
T: float = 4.0  # 0.5..50
seed: int = 0  # 0..1000
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
quick: bool = False"""

CLAIM = """\
from IPython.display import display
claim = {"id": "04.1", "text": "T is warm", "holds": T > 1, "published": "2", "decimals": 1}
claim["measured"] = {"T": T, "points": {"mean": T / 8, "low": "nan", "high": "inf"}, "n": 5}
display({"text/plain": "✓ 04.1 T is warm"}, raw=True, metadata={"kdlib": claim})"""


def write(folder: Path, *code: str, stem: str = "04_temperature", tagged: bool = True) -> Path:
    tags = {"tags": ["parameters"]} if tagged else {}
    cells = [new_markdown_cell("# How soft?"), new_code_cell(DECLARATIONS, metadata=tags)]
    path = folder / f"{stem}.ipynb"
    nbformat.write(new_notebook(cells=cells + [new_code_cell(text) for text in code]), path)
    return path


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write(folder, CLAIM)
    write(folder, stem="05_features")
    return folder


def test_lab_notes_run_where_they_are_asked_for(course: Path) -> None:
    write(course, stem="04_temperature_notes")
    stems = [path.stem for path in headless.notebooks(course, notes=False)]
    assert stems == ["04_temperature", "05_features"]
    assert len(headless.notebooks(course)) == 3
    assert headless.find("04", course).stem == "04_temperature"
    assert headless.find("04_temperature_notes", course).stem == "04_temperature_notes"


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run writes its notebook as it is: for what is asked of names, folders and order."""

    def written(notebook: nbformat.NotebookNode, target: Path, **how: object) -> object:
        nbformat.write(notebook, target)
        return notebook

    monkeypatch.setattr("kdcourse.headless.runs.execute", written)


def test_declarations_are_read_with_their_types_and_ranges(course: Path) -> None:
    found = headless.declared(course / "04_temperature.ipynb")
    assert list(found) == ["T", "seed", "dataset", "quick"]
    assert found["T"] == headless.Parameter("T", float, 4.0, low=0.5, high=50.0)
    assert found["dataset"].choices == ("mnist5k", "mnist", "fashion")
    assert found["T"].parse("8") == 8.0 and isinstance(found["T"].parse(8), float)
    assert found["seed"].parse(" 3 ") == 3
    assert found["quick"].parse("yes") is True and found["quick"].parse(False) is False


@pytest.mark.parametrize(
    "line",
    ["T = 4.0", "T: tensor = 4.0", "import torch", "T: float = x", "T: float = 90.0  # 0.5..50"],
)
def test_a_declaration_that_cannot_be_read_is_an_error(tmp_path: Path, line: str) -> None:
    path = tmp_path / "09_bad.ipynb"
    cell = new_code_cell(line, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), path)
    with pytest.raises(ValueError, match="09_bad: the parameters cell has"):
        headless.declared(path)


@pytest.mark.parametrize("name", ["04", "04_temperature", "04_temperature.ipynb"])
def test_a_notebook_is_found_by_number_or_name(course: Path, name: str) -> None:
    assert headless.find(name, course) == course / "04_temperature.ipynb"
    assert headless.find(course / "05_features.ipynb") == course / "05_features.ipynb"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "04", "-p", "temp=8"], "has no parameter 'temp': the closest is 'T'"),
        (["run", "04", "-p", "Seed=8"], "the closest is 'seed'"),
        (["run", "04", "-p", "T=warm"], "T='warm' has the wrong type: expected a float in 0.5..50"),
        (["run", "04", "-p", "T=nan"], "wrong type"),
        (["run", "04", "-p", "seed=1.5"], "expected an int in 0..1000"),
        (["run", "04", "-p", "quick=maybe"], "expected a bool"),
        (["run", "04", "-p", "T=0.1"], "T=0.1 is not allowed: expected a float in 0.5..50"),
        (["run", "04", "-p", "dataset=mnits"], "expected one of mnist5k, mnist, fashion"),
        (["run", "04", "-p", "T"], "'T' is not a setting"),
        (["run", "04", "-p", "T=1", "-p", "T=2"], "T is given twice"),
        (["run", "4_temprature"], "no notebook '4_temprature': the closest is '04_temperature'"),
        (["run", "06_bare"], "has no cell tagged 'parameters'"),
        (["run"], "run needs names of notebooks"),
        (["run", "04", "--notes"], "--notes goes with --all"),
        (["run", "04", "--timeout", "0"], "not a positive number of seconds"),
        (["run", "04", "--timeout", "abc"], "'abc' is not a positive number of seconds"),
        (["run", "04", "--workers", "two"], "'two' is not a positive whole number of processes"),
        (["run", "04", "--workers", "0"], "not a positive whole number of processes"),
        (["run", "nope/04"], "nope/04 does not exist; give 04, 04_temperature, or the path of"),
        (["run", "/nope/04_temperature.ipynb"], "/nope/04_temperature.ipynb does not exist"),
        (["run", __file__], "is no .ipynb file; give 04, 04_temperature, or the path of"),
        (["sweep", "04"], "sweep needs a grid"),
        (["sweep", "04", "-g", "seed=5:0"], "names no value"),
        (["sweep", "04", "-g", "seed=0:x"], "wrong type"),
        (["sweep", "04", "-g", "T=1,400"], "T=400 is not allowed"),
        (["sweep", "04", "-g", "temp=1"], "the closest is 'T'"),
        (["run", "-p", "T=1", "04", "-p", "seed=3", "nope"], "no notebook 'nope'"),
        (["run", "04", "--oops", "05"], "unrecognized arguments: --oops 05"),
        (["sweep", "04", "05", "-g", "T=1"], "unrecognized arguments: 05"),
        (["sweep", "04", "-g", "T=1", "-p", "quick=True"], "hold a value fixed by -g NAME=VALUE"),
        (["swap"], "invalid choice"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    course: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    write(course, stem="06_bare", tagged=False)
    out = course.parent / "runs"
    tail = ["--notebooks", str(course), "--out", str(out)] if words != ["swap"] else []
    try:
        status = main([*words, *tail])
    except SystemExit as exit:  # argparse's own way out
        status = exit.code
    printed = capsys.readouterr()
    assert status == 2
    assert sentence in printed.err
    assert len(printed.err.strip().splitlines()) == 1 and printed.out == ""
    assert not out.exists(), "something started before the input was checked"


@pytest.mark.parametrize(
    ("text", "reason"), [("{}", "missing a key"), ("[]", "no attribute"), ("no json", "be JSON")]
)
@pytest.mark.parametrize("word", ["run", "sweep"])
def test_a_file_that_is_no_notebook_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, text: str, reason: str
) -> None:
    path = tmp_path / "e.ipynb"
    path.write_text(text)
    assert main([word, str(path), *(["-g", "T=1"] if word == "sweep" else [])]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{path} is no Jupyter notebook: ") and reason in said


@pytest.mark.parametrize("word", ["run", "sweep"])
@pytest.mark.parametrize("kind", ["file", "under a file", "nothing", "refused"])
def test_a_folder_that_cannot_take_results_is_told_before_a_run(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str,
    kind: str,
) -> None:  # fmt: skip
    def refuse(*what: object, **how: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = course.parent / "file"
    file.write_text("mine")
    out, said = {
        "file": (str(file), f"{file} is a file"),
        "under a file": (str(file / "x"), f"{file / 'x'} cannot be written to (Not a directory)"),
        "nothing": ("", "'' names no folder"),
        "refused": (str(course), f"{course} cannot be written to (Permission denied)"),
    }[kind]
    if kind == "refused":
        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    words = [word, "04", *(["-g", "T=1,2"] if word == "sweep" else [])]
    assert main([*words, "--notebooks", str(course), "--out", out]) == 2
    assert capsys.readouterr().err == f"{said}; name a folder for the results with --out\n"
    assert file.read_text() == "mine" and len(list(course.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "--rounds 0: expected 1 or more"),
        (["--out", __file__], "is a file; name"),
    ],
)
def test_benchmarks_check_their_words_before_they_measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    from benchmarks import __main__ as benchmarks

    monkeypatch.setattr("sys.argv", ["benchmarks", *words])
    monkeypatch.setattr(benchmarks, "machine", lambda: pytest.fail("it began to measure"))
    with pytest.raises(SystemExit) as end:
        benchmarks.main()
    assert end.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.usefixtures("no_kernel")
def test_a_notebook_named_twice_is_run_once(course: Path) -> None:
    out = course.parent / "runs"
    results = headless.run_many(["05", "05_features"], {}, out, folder=course)
    assert len(results) == 1 and results[0].ok


@pytest.mark.usefixtures("no_kernel")
def test_what_a_killed_run_left_is_removed_and_what_goes_on_is_not(course: Path) -> None:
    out = course.parent / "runs"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = (out / f"{RUNNING}{pid}-abc" for pid in (gone.pid, os.getpid()))
    other = out / ".running-another.machine-1-abc"
    for folder in (dead, alive, other):
        folder.mkdir(parents=True)
        (folder / "half.ipynb").write_text("half")
    assert headless.run("05", {}, out, folder=course).ok
    assert alive.exists() and other.exists() and not dead.exists()


def test_one_bad_name_stops_a_run_of_all_before_the_first(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(course, stem="06_bare", tagged=False)
    out = course.parent / "runs"
    status = main(["run", "--all", "--notebooks", str(course), "--out", str(out)])
    assert status == 2 and not out.exists()
    assert "06_bare" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_all_keeps_the_order_and_one_failure_loses_no_other(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(course, "raise RuntimeError('no room')", stem="03_full")
    out = course.parent / "runs"
    assert main(["run", "--all", "--notebooks", str(course), "--out", str(out)]) == 1
    printed = capsys.readouterr().out.splitlines()
    order = ["03_full-failed", "04_temperature", "05_features"]
    assert [line.split()[0] for line in printed[1:4]] == order
    assert {path.stem for path in out.glob("*.ipynb")} == set(order)


def test_a_run_writes_notebook_and_record_and_is_not_repeated(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = course.parent / "new" / "runs"
    words = ["run", "04", "-p", "T=8", "--notebooks", str(course), "--out", str(out)]
    assert main(words) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "04_temperature__T=8.ipynb",
        "04_temperature__T=8.json",
    ]
    record = json.loads((out / "04_temperature__T=8.json").read_text(encoding="utf-8"))
    assert record["status"] == "ok" and record["seconds"] > 0
    assert record["parameters"]["T"] == 8.0 and record["parameters"]["dataset"] == "mnist5k"
    assert record["claims"][0] == {
        "id": "04.1",
        "text": "T is warm",
        "holds": True,
        "measured": {"T": 8.0, "points": {"mean": 1.0, "low": "nan", "high": "inf"}, "n": 5},
        "published": "2",
        "decimals": 1,
    }
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert "1 of 1 hold" in capsys.readouterr().out

    written = (out / "04_temperature__T=8.ipynb").stat().st_mtime_ns
    assert main(words) == 0
    assert "finished before" in capsys.readouterr().err
    assert (out / "04_temperature__T=8.ipynb").stat().st_mtime_ns == written

    write(course, CLAIM, "1 + 1")  # another notebook under the same name: not finished
    result = headless.run("04", {"T": 8}, out, folder=course)
    assert result.ok and not result.skipped


@pytest.mark.slow
def test_the_kernel_is_this_interpreter_quiet_and_as_strict_as_the_user(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KDLIB_STRICT", raising=False)
    monkeypatch.delenv("KDLIB_QUIET", raising=False)
    checks = [
        "import os, sys",
        f"assert sys.executable == {sys.executable!r}",
        "assert os.environ['KDLIB_QUIET'] == '1' and 'KDLIB_STRICT' not in os.environ",
        "assert os.environ['OMP_NUM_THREADS'] == '3'",
        f"assert os.getcwd() == {str(course)!r}",
        "import kdlib",
    ]
    write(course, "\n".join(checks))
    assert headless.run("04", {}, course.parent / "runs", folder=course, threads=3).ok


@pytest.mark.slow
def test_a_user_kernel_of_the_same_name_is_not_taken(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = course.parent / "share" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    broken = {"argv": ["no-such-python"], "display_name": "mine", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(broken))
    monkeypatch.setenv("JUPYTER_PATH", str(course.parent / "share"))
    assert headless.run("05", {}, course.parent / "runs", folder=course).ok


def test_a_failed_notebook_is_kept_apart_and_named(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(course, CLAIM, "# the reason\nraise RuntimeError('no teacher')")
    out = course.parent / "runs"
    assert main(["run", "04", "--notebooks", str(course), "--out", str(out)]) == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "04_temperature-failed.ipynb",
        "04_temperature-failed.json",
    ]
    record = json.loads((out / "04_temperature-failed.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert "stopped in cell In [3] (# the reason): RuntimeError: no teacher" in record["error"]
    assert "no teacher" in capsys.readouterr().err

    write(course, CLAIM)
    assert headless.run("04", {}, out, folder=course).ok
    assert not list(out.glob("*-failed*")), "the failure is mended, its traces go"


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_stopped_and_named(course: Path) -> None:
    write(course, "import time\ntime.sleep(60)")
    result = headless.run("04", {}, course.parent / "runs", folder=course, timeout=1)
    assert not result.ok
    assert (
        result.error == "04_temperature stopped in code cell 2 of 2 (import time): it took over 1 s"
    )
    assert not (course.parent / "runs" / "04_temperature.ipynb").exists()


@pytest.mark.slow
def test_a_part_of_a_second_is_a_timeout_too(course: Path) -> None:
    assert headless.run("04", {}, course.parent / "runs", folder=course, timeout=59.5).ok


@pytest.mark.slow
def test_a_kernel_that_dies_is_a_sentence(course: Path) -> None:
    write(course, "import os\nos._exit(1)")
    result = headless.run("04", {}, course.parent / "runs", folder=course)
    assert not result.ok and result.error is not None
    assert "code cell 2 of 2 (import os): its kernel died" in result.error


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, *interrupts.ENDINGS])
def test_an_interrupt_leaves_nothing_and_exits_with_the_signal(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def interrupted(notebook: object, target: Path, **how: object) -> None:
        target.write_text("half")
        assert callable(signal.getsignal(number)), "it would end the tests, too"
        signal.raise_signal(number)

    monkeypatch.setattr("kdcourse.headless.runs.execute", interrupted)
    out = course.parent / "runs"
    assert main(["run", "04", "--notebooks", str(course), "--out", str(out)]) == 128 + number
    assert list(out.iterdir()) == []
    assert "interrupted" in capsys.readouterr().err


def full(*what: object, **how: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    headless.write_atomically(path, "old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/result\.json'"):
        headless.write_atomically(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_text() == "old"


def test_a_run_names_the_folder_whose_disk_is_full(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("papermill.iorw.LocalHandler.write", full)
    out = course.parent / "runs"
    assert main(["run", "05", "--notebooks", str(course), "--out", str(out)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"No space left on device: '{out}'; make room there, or name" in said


def test_names_say_the_parameters_and_stay_safe() -> None:
    from kdcourse.headless.runs import run_name

    given = {"T": 8.0, "dataset": "mnist"}
    assert run_name("04_temperature", given) == "04_temperature__T=8__dataset=mnist"
    odd = run_name("04", {"tap": "a/b"})
    assert "/" not in odd and odd != run_name("04", {"tap": "a-b"}) != run_name(
        "04", {"tap": "a:b"}
    )


@pytest.mark.slow
def test_a_sweep_is_the_product_and_one_failure_loses_no_other(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(course, CLAIM, "assert not (T == 20 and seed == 1), 'too hot'")
    out = course.parent / "runs"
    grid = ["-g", "T=1,20,20", "-g", "seed=0:2"]
    words = ["sweep", "04", *grid, "--notebooks", str(course), "--out", str(out)]
    assert main([*words, "--workers", "2"]) == 1
    assert "3 of 4 runs finished" in capsys.readouterr().out
    assert (out / "04_temperature__T=20__seed=1-failed.ipynb").exists()
    assert not (out / "04_temperature__T=20__seed=1.ipynb").exists()

    rows = list(csv.DictReader((out / "sweep.csv").open(encoding="utf-8")))
    assert [(row["T"], row["seed"], row["status"]) for row in rows] == [
        ("1.0", "0", "ok"),
        ("1.0", "1", "ok"),
        ("20.0", "0", "ok"),
        ("20.0", "1", "failed"),
    ]
    assert [row["04.1"] for row in rows] == ["False", "False", "True", ""]
    assert rows[2]["04.1 T"] == "20.0" and "too hot" in rows[3]["error"]
    records = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert [record["claims"][0]["holds"] for record in records[:3]] == [False, False, True]
    assert records[2]["claims"][0]["measured"]["points"]["mean"] == 2.5


def test_the_command_line_says_what_was_measured_instead() -> None:
    points = {"mean": 3.44, "low": 1.8, "high": 5.1}
    claim = {"id": "04.1", "text": "T is warm", "holds": False, "measured": {"points": points}}
    result = headless.Result("04", {}, "04.ipynb", "", "ok", 1.0, [claim])
    line = "    ○ 04.1 T is warm · not reproduced: measured points 3.4 (1.8 to 5.1)"
    assert _table([result]).splitlines()[-1] == line


def test_a_program_reads_a_sweep_as_numbers(course: Path) -> None:
    out = course.parent / "runs"
    with ThreadPoolExecutor(1) as executor:
        headless.sweep("04", {"T": [1, 20]}, out, executor=executor, folder=course)
    table = pd.read_csv(out / "sweep.csv")
    kinds = {"04.1": bool, "04.1 T": float, "04.1 n": int, "04.1 points": float}
    kinds |= {"04.1 points low": float, "04.1 points high": float}
    assert {name: table[name].dtype for name in table if name.startswith("04.1")} == kinds
    assert table["04.1 points"].tolist() == [0.125, 2.5] and table["04.1"].tolist() == [False, True]
    assert table["04.1 points low"].isna().all() and np.isinf(table["04.1 points high"]).all()


@pytest.mark.usefixtures("no_kernel")
def test_a_sweep_takes_any_executor_and_skips_what_is_finished(course: Path) -> None:
    out = course.parent / "runs"
    with ThreadPoolExecutor(2) as executor:
        first = headless.sweep("04", {"T": [2, 3.0]}, out, executor=executor, folder=course)
        again = headless.sweep("04", {"T": "2,3"}, out, executor=executor, folder=course)
        assert executor.submit(int, "1").result() == 1, "the caller's executor stays open"
    assert [result.parameters["T"] for result in first] == [2.0, 3.0]
    assert all(result.ok for result in first) and not any(result.skipped for result in first)
    assert all(result.skipped for result in again)


def test_an_interrupted_sweep_removes_what_a_dead_worker_left(course: Path) -> None:
    """A worker that is asked to end between making its folder and entering it leaves it behind."""
    out = course.parent / "runs"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *what: object, **how: object) -> Never:
            (out / f"{RUNNING}{ended.pid}-x").mkdir()
            raise KeyboardInterrupt

    with Interrupted(1) as executor, pytest.raises(KeyboardInterrupt):
        headless.sweep("04", {"T": [1]}, out, executor=executor, folder=course)
    assert not list(out.glob(".running-*"))


@pytest.mark.parametrize("values", [5, [], ""])
def test_a_grid_that_is_no_list_is_told(course: Path, values: object) -> None:
    said = "seed=5 is one value: expected several" if values == 5 else "names no value"
    with pytest.raises(ValueError, match=said):
        headless.sweep("04", {"seed": values}, course.parent / "runs", folder=course)
    assert not (course.parent / "runs").exists()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@contextmanager
def sweeping(course: Path, out: Path, busy: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep of six runs by two workers, once these are `busy` "starting" or "running"."""
    words = ["sweep", "04", "-g", "seed=0:6", "--workers", "2", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdcourse", *words, "--notebooks", str(course)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in a terminal
    )
    try:
        deadline = time.monotonic() + 60
        seen = {"running": lambda: out.glob(".running-*"), "starting": lambda: workers_of(process)}
        while len(list(seen[busy]())) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no process group to interrupt")


@pytest.mark.slow
@unix
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("when", "gaps"), [("running", [0.0]), ("running", [0.0, 0.0]), ("starting", [0.0])]
)
def test_ctrl_c_ends_a_sweep_at_once_and_leaves_nothing(
    course: Path, when: str, gaps: list[float]
) -> None:
    """Pressed once or again and again, while cells run or while the workers still import."""
    write(course, "import time\ntime.sleep(60)")
    out = course.parent / "runs"
    with sweeping(course, out, when) as process:
        for gap in gaps:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(gap)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert said == "interrupted; what was finished is kept\n"
    assert list(out.iterdir()) == []


@pytest.mark.slow
@unix
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_sweep_that_is_ended_leaves_no_worker_and_keeps_what_finished(
    course: Path, name: str
) -> None:
    """By `kill`, which its workers do not hear; by a closed terminal, which they do."""
    number = getattr(signal, name)
    write(course, "import time\ntime.sleep(60 * (seed > 0))")
    out = course.parent / "runs"
    with sweeping(course, out, "running") as process:
        while not list(out.glob("*.json")) or len(list(out.glob(".running-*"))) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        workers = workers_of(process)
        (os.killpg if name == "SIGHUP" else os.kill)(process.pid, number)
        said = process.communicate(timeout=30)[1].splitlines()
    assert len(workers) == 2 and not psutil.wait_procs(workers, timeout=30)[1]
    kept = {"04_temperature__seed=0.ipynb", "04_temperature__seed=0.json"}
    if name == "SIGKILL":
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert said[1:] == ["interrupted; what was finished is kept"]
        assert len((out / "sweep.csv").read_text().splitlines()) == 2
        kept |= {"sweep.csv", "sweep.json"}
    assert {path.name for path in out.iterdir()} == kept


def test_the_doctor_names_a_pair_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdcourse import doctor

    assert doctor.agreement("ipywidgets", "jupyterlab_widgets").mark == "✓"
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1.0.0")
    line = doctor.agreement("ipywidgets", "jupyterlab_widgets")
    assert line.broken and "it wants" in str(line) and "→" in str(line)


def test_the_doctor_goes_on_after_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdcourse import doctor
    from kdlib import data

    def broken(name: str) -> str:
        return f"{name} is truncated" if name == "digits" else "ok"

    monkeypatch.setattr(data, "verify", broken)
    monkeypatch.setattr("shutil.disk_usage", lambda path: 1 / 0)
    lines = list(doctor.report())
    assert [line.what for line in lines if line.broken] == [
        "data digits: digits is truncated",
        "disk: ZeroDivisionError: division by zero",
    ]
    assert any(line.what.startswith("memory") for line in lines)


@pytest.mark.skipif(os.name != "posix", reason="sockets with names are POSIX's")
def test_kernels_share_no_ports_that_another_program_could_take(tmp_path: Path) -> None:
    manager = execution._kernel_of_this_interpreter({}, tmp_path)()
    assert manager.transport == "ipc" and Path(manager.ip).parent == tmp_path
    assert Path(manager.connection_file).parent == tmp_path


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """What runs the cells of a notebook."""
    made = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: made)
    return made


CHECKED = "from kdcourse.parameters import check_parameters\ncheck_parameters()"


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (DECLARATIONS, None),
        (DECLARATIONS.replace("T: float = 4.0", "T: float = 8"), None),
        (DECLARATIONS.replace("4.0", "800.0"), "T=800.0 is not allowed: expected a float in"),
        (DECLARATIONS.replace("4.0", "'8'"), "T='8' has the wrong type: expected a float in"),
        (DECLARATIONS.replace('"mnist5k"', '"MNIST"'), "dataset='MNIST' is not allowed: expected"),
        (DECLARATIONS.replace("False", "'no'"), "quick='no' has the wrong type: expected a bool"),
        (DECLARATIONS.replace("seed: int = 0", "seed: int = True"), "seed=True has the wrong type"),
        ("T = 4.0", "no parameters cell was run before this line"),
    ],
)
def test_values_are_checked_where_they_stand(
    shell: InteractiveShell, cell: str, sentence: str | None
) -> None:
    """In JupyterLab a reader edits the cell; plain papermill injects another below it."""
    shell.run_cell(cell, store_history=True).raise_error()
    ran = shell.run_cell(CHECKED, store_history=True)
    assert (ran.error_in_exec is None) == (sentence is None)
    if sentence is not None:
        assert sentence in str(ran.error_in_exec)


def test_injected_values_are_checked_too(shell: InteractiveShell) -> None:
    for cell in (DECLARATIONS, "# Parameters\nT = 99.0\n"):
        shell.run_cell(cell, store_history=True).raise_error()
    assert "T=99.0 is not allowed" in str(shell.run_cell(CHECKED).error_in_exec)


def test_where_no_history_is_kept_nothing_is_checked(shell: InteractiveShell) -> None:
    """As in nbval's kernels."""
    for cell in (DECLARATIONS, CHECKED):
        shell.run_cell(cell, store_history=False).raise_error()


@pytest.mark.parametrize("where", ["there", "not there yet", "locked"])
def test_the_doctor_looks_where_banks_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from kdcourse import doctor

    cache = tmp_path / "cache"
    if where != "not there yet":
        cache.mkdir()
    monkeypatch.setenv("KDLIB_CACHE", str(cache))
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)
    usage = doctor.shutil.disk_usage
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda p: seen.append(Path(p)) or usage(p))
    monkeypatch.setattr(doctor.os, "access", lambda p, mode: where != "locked")
    seen: list[Path] = []
    lines = [str(line) for line in doctor._disk()]
    if where == "locked":
        assert "KDLIB_CACHE" in lines[0] and str(cache) in lines[0] and not seen
        assert "set HOME" in lines[1] and str(tmp_path / "nobody") in lines[1]
    else:
        assert seen == [cache if where == "there" else tmp_path] and len(lines) == 1


def test_the_doctor_knows_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdcourse import doctor

    monkeypatch.setenv("KDLIB_CACHE", "~nobody-of-this-name")
    (line,) = doctor._disk()
    assert not line.broken and line.what.startswith("cache: KDLIB_CACHE='~nobody")
    assert line.mend.startswith("set KDLIB_CACHE to a folder of your own; meanwhile")


def test_the_doctor_has_no_mend_for_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """To delete .venv would not help, and costs everybody on a shared checkout theirs."""
    from kdcourse import doctor

    def fails() -> None:
        raise FileNotFoundError("/nonexistent")

    monkeypatch.setattr(doctor, "_disk", fails)
    (line,) = [line for line in doctor.report() if "/nonexistent" in line.what]
    assert line.broken and ".venv" not in line.mend


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_without_our_signs_gets_words(encoding: str) -> None:
    from kdcourse import console

    held = io.BytesIO()
    stream = io.TextIOWrapper(held, encoding=encoding)
    stream.reconfigure(errors="plainly")
    print("✓ data → there, 老师", file=stream, flush=True)
    told = held.getvalue().decode(encoding)
    assert told == {"utf-8": "✓ data → there, 老师\n"}.get(encoding, "ok data -> there, ??\n")
    assert console._PLAIN["✗"] != console._PLAIN["✓"]


def test_a_reader_who_leaves_does_not_stop_the_command() -> None:
    from kdcourse import console

    reading, writing = os.pipe()
    stream = console._Patient(os.fdopen(writing, "w", buffering=1))
    print("first", file=stream)
    os.close(reading)
    for _ in range(3):
        print("nobody hears this", file=stream, flush=True)
    assert stream._stream is None and not stream.isatty()


@pytest.mark.slow
def test_the_doctor_answers_in_any_locale_and_into_any_pipe() -> None:
    command = [sys.executable, "-m", "kdcourse", "doctor"]
    for odd in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **odd}, capture_output=True)
        assert done.returncode == 0 and b"Python" in done.stdout, done.stderr
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as one:
        assert one.stdout is not None and one.stderr is not None
        one.stdout.close()
        assert (one.wait(), one.stderr.read()) == (0, b"")


def test_a_damaged_result_is_no_result(tmp_path: Path) -> None:
    """A flipped bit of the record or the notebook, an empty file: it is run again."""
    final, record = tmp_path / "a.ipynb", tmp_path / "a.json"
    final.write_text('{"cells": []}')
    fields = {
        "notebook": "a", "parameters": {"T": 4.0}, "file": "a.ipynb", "source": "s", "status": "ok",
        "seconds": 1.5, "claims": [{"id": "1", "holds": True, "measured": {"error %": 3.25}}],
        "error": None, "versions": {},
    }  # fmt: skip
    fields["checksum"] = runs.checksum(fields, final)
    record.write_text(json.dumps(fields, indent=1))

    def finished() -> bool:
        return runs._finished(record, final, {"T": 4.0}, "s") is not None

    assert finished()
    for file in (record, final):
        whole = file.read_bytes()
        for damaged in [whole[: len(whole) // 2], b"", *flipped(whole)]:
            file.write_bytes(damaged)
            assert finished() == (file == record and reads_as(damaged, fields))
        file.write_bytes(whole)


def flipped(whole: bytes) -> Iterator[bytes]:
    """Every 13th bit, each alone, the other way."""
    for bit in range(0, 8 * len(whole), 13):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def reads_as(text: bytes, fields: dict) -> bool:
    """Whether what was flipped is nothing but the space between two fields."""
    try:
        return json.loads(text) == fields
    except ValueError:
        return False


def test_a_kernel_that_never_answers_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import papermill

    def dies(*args: object, **how: object) -> None:
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(papermill, "execute_notebook", dies)
    with pytest.raises(execution.NotebookFailed, match="tiny did not begin: its kernel died"):
        execution.execute(new_notebook(), tmp_path / "o.ipynb", name="tiny", folder=tmp_path)
