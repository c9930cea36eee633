"""SIGKILL at random moments: nothing finished is lost, nothing is half there, no one is left."""

import multiprocessing
import multiprocessing.context
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from trials import (
    GROUPS,
    KERNELS,
    KILLS,
    alive,
    ended,
    forked,
    killed,
    left_over,
    seconds_of,
    small_bank,
    taught,
)

from kdcourse import headless, pages
from kdcourse.catalogue import Course
from kdcourse.headless import interrupts, pools
from kdlib.bank.processes import each
from kdlib.files import restore, save

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork"),
]


@pytest.fixture
def draw() -> random.Random:
    return random.Random(8)


@pytest.fixture(autouse=True)
def no_one_is_left() -> Iterator[None]:
    yield
    deadline = time.perf_counter() + 10
    while left := left_over():
        if time.perf_counter() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"{len(left)} processes work on for nobody")
        time.sleep(0.01)
    GROUPS.clear()


def trial(work: Callable[[], object], draw: random.Random, check: Callable[[], object]) -> None:
    """Kills the work `KILLS` times, and looks each time at what it left."""
    longest, kills = seconds_of(work), 0
    for _ in range(4 * KILLS):
        kills += killed(work, 1.1 * longest, draw)
        check()
        if kills == KILLS:
            return
    pytest.fail(f"only {kills} of {4 * KILLS} came before the end")


def test_a_training_goes_on_from_its_last_epoch(tmp_path: Path, draw: random.Random) -> None:
    whole = taught()
    path, seen = tmp_path / "run.pt", [0]

    def check() -> None:
        if path.exists():
            seen.append(len(restore(path)["history"]))
            assert seen[-1] >= seen[-2], "an epoch that was finished is lost"
            if seen[-1] == len(whole.history):
                again = taught(path)
                assert again.history == whole.history
                for one, other in zip(
                    again.network.parameters(), whole.network.parameters(), strict=True
                ):
                    assert torch.equal(one, other), "the end is bit-equal"
                path.unlink()
                seen.append(0)

    trial(lambda: taught(path), draw, check)
    taught(path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"], "nothing else is left"


def test_a_save_leaves_the_old_file_or_the_new(tmp_path: Path, draw: random.Random) -> None:
    path, numbers = tmp_path / "run.pt", torch.arange(500_000)
    number = 0

    def write() -> None:
        save(path, {"number": number, "numbers": numbers + number})

    def check() -> None:
        nonlocal number
        content = restore(path)
        assert content["number"] in (number - 1, number)
        assert torch.equal(content["numbers"], numbers + content["number"])
        number = content["number"] + 1

    write()
    trial(write, draw, check)
    write()
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_bank_is_kept_whole_or_not_at_all(
    tmp_path: Path, draw: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small_bank(cache=False)
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    banks = tmp_path / "banks"

    def check() -> None:
        if list(banks.glob("*.pt")):
            again = small_bank()
            assert again.cached and torch.equal(again.logits["test"], whole.logits["test"])
            next(banks.glob("*.pt")).unlink()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial(small_bank, draw, check)
        assert torch.equal(small_bank().logits["test"], whole.logits["test"])
    assert len(list(banks.iterdir())) == 1


def test_workers_of_a_bank_end_with_their_parent(tmp_path: Path, draw: random.Random) -> None:
    def work(i: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(60)  # a large student

    for _ in range(KILLS):
        parent = forked(lambda: list(each(work, 4, 2)))
        while len(workers := list(tmp_path.iterdir())) < 2:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.02))
        os.kill(parent, signal.SIGKILL)
        assert ended(parent) == -signal.SIGKILL
        gone = time.perf_counter() + 5
        while any(alive(int(worker.name)) for worker in workers):
            assert time.perf_counter() < gone, "they work on for nobody"
            time.sleep(0.002)
        for worker in workers:
            worker.unlink()


def written(notebook: nbformat.NotebookNode, target: Path, **how: object) -> object:
    """In a kernel's place: some work, and its notebook."""
    time.sleep(0.02)
    nbformat.write(notebook, target)
    return notebook


CELL = new_code_cell("T: float = 4.0  # 0.5..50", metadata={"tags": ["parameters"]})


def forking(monkeypatch: pytest.MonkeyPatch) -> multiprocessing.context.ForkContext:
    """Processes by fork, without the ends of pipes that one begun by spawn has not."""
    context, obey = multiprocessing.context.ForkContext(), interrupts.obey
    ours, theirs = context.Pipe()
    context.Pipe = lambda: (ours, theirs)  # type: ignore[method-assign]

    def alone(parent: Connection) -> None:
        ours.close()
        obey(parent)

    monkeypatch.setattr(interrupts, "obey", alone)
    return context


def test_a_sweep_goes_on_with_what_is_missing(
    tmp_path: Path, draw: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes are forked and its kernels played, or each kill would take seconds."""
    monkeypatch.setattr("kdcourse.headless.runs.execute", written)
    monkeypatch.setattr(pools, "get_context", lambda method: forking(monkeypatch))
    notebook, out = tmp_path / "04_tiny.ipynb", tmp_path / "runs"
    nbformat.write(new_notebook(cells=[CELL]), notebook)
    grid = {"T": [1, 2, 3, 4, 5, 6]}
    before: dict[str, float] = {}

    def sweep(report: Callable[[str], None] | None = None) -> list[headless.Result]:
        return headless.sweep(notebook, grid, out, workers=2, report=report)

    def check() -> None:
        deadline = time.perf_counter() + 15
        while any(".running" in child.name for child in out.iterdir() if writer_of(child)):
            assert time.perf_counter() < deadline, "its workers work on for nobody"
            time.sleep(0.01)
        finished = {file.name: file.stat().st_mtime for file in out.glob("04*.json")}
        assert before.items() <= finished.items(), "what was finished is lost, or run again"
        before.update(finished)
        if len(before) == len(grid["T"]):
            heard: list[str] = []
            assert all(result.ok and result.skipped for result in sweep(heard.append))
            shutil.rmtree(out)  # with what one that was killed in its last moment may have left
            out.mkdir()
            before.clear()

    trial(sweep, draw, check)
    assert all(result.ok for result in sweep())
    kept = [child for child in out.iterdir() if ".running" not in child.name]
    assert len(kept) == 2 * len(grid["T"]) + 2, "sweep.json and .csv, no litter"


def writer_of(folder: Path) -> bool:
    """Whether the process still lives that a folder of a run is named after."""
    pid = folder.name.removesuffix(folder.name.rpartition("-")[2])[:-1].rpartition("-")[2]
    return pid.isdecimal() and alive(int(pid))


PAGE = """\
# %% [markdown]
# # How soft?

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
"""


def test_a_build_leaves_old_or_new_notebooks(
    tmp_path: Path, draw: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernels are played, too."""
    monkeypatch.setattr("kdcourse.pages.making.execute", written)
    course = Course(tmp_path)
    for number in ("04", "05"):
        folder = tmp_path / "kdcourse" / "lessons" / f"lesson{number}"
        folder.mkdir(parents=True)
        about = f'slug = "page{number}"\nmove = "T"\ncore = true\n'
        (folder / "lesson.toml").write_text(about, encoding="utf-8")
        (folder / "page.py").write_text(PAGE, encoding="utf-8")

    def build() -> None:
        pages.build(course, report=lambda line: None)

    def check() -> None:
        for file in course.notebooks.glob("*.ipynb"):
            nbformat.validate(nbformat.read(file, as_version=4))
        if not list(pages.out_of_step(course, course.lessons())):
            (course.root / "RESULTS.md").unlink()
            next(course.notebooks.glob("*.ipynb")).unlink()

    trial(build, draw, check)
    build()
    assert not list(pages.out_of_step(course, course.lessons()))
    assert sorted(file.name for file in course.notebooks.iterdir()) == [
        "04_page04.ipynb", "05_page05.ipynb",
    ]  # fmt: skip
    assert {file.name for file in tmp_path.iterdir()} == {"kdcourse", "notebooks", "RESULTS.md"}


@pytest.mark.parametrize("tried", range(KERNELS))
def test_a_killed_kernel_is_one_sentence_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: int
) -> None:
    sockets = Path(tempfile.mkdtemp(prefix="k"))  # a short name, as pytest's are long
    monkeypatch.setattr("tempfile.tempdir", str(sockets))
    notebook, out = tmp_path / "04_tiny.ipynb", tmp_path / "runs"
    die = new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    nbformat.write(new_notebook(cells=[CELL, *[new_code_cell("1")] * tried, die]), notebook)
    result = headless.run(notebook, {}, out)
    assert f"stopped in code cell {tried + 2} of" in str(result.error)
    assert "its kernel died, most often for want of memory" in str(result.error)
    assert {file.name for file in out.iterdir()} == {
        "04_tiny-failed.ipynb", "04_tiny-failed.json",
    }  # fmt: skip
    sockets.rmdir()  # empty: sockets and connection files are gone


def test_a_command_ends_with_course_py(tmp_path: Path) -> None:
    """Which could not tell it, as it was killed."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent is gone")
    import course

    told_by, teller = os.pipe()
    script = f"import os, time; os.write({teller}, b'{{}}' % os.getpid()); time.sleep(60)"
    script = script.replace("{}", "%d")
    os.set_inheritable(teller, True)
    popen = course.subprocess.Popen

    def start() -> None:
        course.subprocess.Popen = lambda *what, **how: popen(*what, close_fds=False, **how)
        course.start([sys.executable, "-c", script], dict(os.environ), None)

    parent = forked(start)
    command = int(os.read(told_by, 20))
    os.kill(parent, signal.SIGKILL)
    assert ended(parent) == -signal.SIGKILL
    deadline = time.perf_counter() + 5
    while alive(command):
        assert time.perf_counter() < deadline, "it runs on, unseen"
        time.sleep(0.01)
    os.close(told_by)
    os.close(teller)
