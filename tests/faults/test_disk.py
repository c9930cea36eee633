"""Full disks, folders that cannot be written, two processes on one cache, false downloads."""

import contextlib
import gzip
import http.server
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from trials import DOWNLOADS, FULL, PAIRS, ended, forked, small_bank, taught

from kdcourse import headless
from kdcourse.__main__ import main
from kdcourse.pages import tables
from kdlib import vision
from kdlib.data import load, sources
from kdlib.files import restore, save

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")


@contextlib.contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file of this process can grow beyond so many bytes: what the system itself refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def write_table(path: Path, number: int) -> None:
    tables.write(path.with_suffix(".py"), [{"number": number, "text": "x" * 5000}])


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "save": lambda path, number: save(path, {"w": torch.full((2000,), float(number))}),
    "write_atomically": lambda path, n: headless.write_atomically(path, f"{n}\n" * 4000),
    "tables.write": write_table,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_the_old_file_and_says_so(
    tmp_path: Path, write: Callable[[Path, int], None]
) -> None:
    draw, path = random.Random(3), tmp_path / "table.json"
    path.with_suffix(".py").write_text("")
    write(path, 1)
    whole = path.read_bytes()
    for _ in range(FULL):
        with full_at(draw.randrange(len(whole))), pytest.raises(OSError) as caught:
            write(path, 2)
        assert "File too large" in str(caught.value) and "\n" not in str(caught.value)
        assert path.read_bytes() == whole
        assert sorted(file.name for file in tmp_path.iterdir()) == ["table.json", "table.py"]
    write(path, 2)
    assert path.read_bytes() != whole


def test_training_and_banks_go_on_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    whole, bank = taught(), small_bank(cache=False)
    with full_at(500):
        with pytest.warns(UserWarning, match="File too large.*goes on without this checkpoint"):
            run = taught(tmp_path / "run.pt")
        with pytest.warns(UserWarning, match="File too large.*used without being kept"):
            again = small_bank()
    assert run.history == whole.history
    assert torch.equal(again.logits["test"], bank.logits["test"])
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


CACHES: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("mine"),
    "a link to nowhere": lambda path: path.symlink_to(path / "gone"),
    "in a folder that is a file": lambda path: path.parent.joinpath("f").write_text("mine"),
    "under /proc": lambda path: path.symlink_to("/proc/self/task"),
}


@pytest.mark.parametrize("kind", CACHES)
def test_a_cache_that_cannot_be_used_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    cache = tmp_path / "cache"
    CACHES[kind](cache)
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path / "f" / "c" if "folder" in kind else cache))
    with pytest.warns(UserWarning, match="used without being kept") as heard:
        bank = small_bank()
    assert bank.errors().isfinite().all()
    assert all("\n" not in str(warning.message) for warning in heard)
    if kind == "a file":
        assert cache.read_text() == "mine"


def test_without_home_or_name_banks_are_trained(tmp_path: Path) -> None:
    """A container's user that is a mere number; only root can become it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")

    def work() -> None:
        os.environ.pop("HOME", None)
        os.environ.pop("KDLIB_CACHE")
        os.environ.pop("XDG_CACHE_HOME", None)
        os.setgroups([])
        os.setuid(54_321)
        with pytest.warns(UserWarning, match="set KDLIB_CACHE to a folder of your own"):
            assert small_bank().errors().isfinite().all()

    assert ended(forked(work)) == 0


@pytest.mark.slow
def test_processes_share_a_cache_a_checkpoint_and_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path / "cache"))
    whole, bank = taught(epochs=2), small_bank(cache=False)
    for number in range(PAIRS):
        path = tmp_path / f"{number}.pt"

        def work() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert taught(path, epochs=2).history == whole.history  # noqa: B023
                assert torch.equal(small_bank().logits["test"], bank.logits["test"])

        children = [forked(work) for _ in range(2)]
        assert [ended(child) for child in children] == [0, 0]
        assert restore(path)["history"] == whole.history
        (kept,) = (tmp_path / "cache" / "banks").iterdir()
        restore(kept)
        kept.unlink()
    assert len(list(tmp_path.iterdir())) == PAIRS + 1, "no litter"


def test_a_run_whose_disk_is_full_says_so_and_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(node: nbformat.NotebookNode, target: Path, **how: object) -> object:
        nbformat.write(node, target)
        return node

    monkeypatch.setattr("kdcourse.headless.runs.execute", execute)
    cell = new_code_cell("T: float = 4.0  # 0.5..50", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "04_tiny.ipynb")
    words = ["run", str(tmp_path / "04_tiny.ipynb"), "--out", str(tmp_path / "runs")]
    with full_at(100):
        assert main(words) == 1
    said = capsys.readouterr().err
    assert "could not write or read: " in said and "Traceback" not in said
    assert not list((tmp_path / "runs").glob("*.json"))
    assert main(words) == 0


FALSE: dict[str, tuple[int, bytes, int]] = {  # status, body, how many bytes too few
    "not found": (404, b"", 0),
    "a log-in page": (200, b"<html>please log in</html>", 0),
    "cut off": (200, gzip.compress(bytes(range(256)) * 20), 1000),
    "other numbers": (200, gzip.compress(b"\0\0\x08\x01" + b"\0" * 5000), 0),
    "nothing": (200, b"", 0),
    "no HTTP": (0, b"\xff" * 100, 0),
}
assert len(FALSE) == DOWNLOADS


@pytest.fixture
def answer() -> Iterator[dict[str, object]]:
    """What a server on this machine answers, in place of the mirrors."""
    given: dict[str, object] = {"asked": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *what: object) -> None:
            pass

        def do_GET(self) -> None:
            given["asked"] += 1  # type: ignore[operator]
            status, body, lacking = given["how"]  # type: ignore[misc]
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) + lacking))
                self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        given["address"] = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield given
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("checked", [True, False], ids=["md5", "sha only"])
@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_a_false_download_is_one_sentence_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, object], name: str,
    checked: bool,
) -> None:  # fmt: skip
    """Also where it passes torchvision's own check, which knows a hash that can be forged."""
    kind = getattr(vision.datasets, sources._TORCHVISION[name][0])
    monkeypatch.setattr(kind, "mirrors", [answer["address"]])
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    monkeypatch.delenv("KDLIB_OFFLINE", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    if not checked:
        monkeypatch.setattr("torchvision.datasets.utils.check_md5", lambda *what, **how: True)
    for how, false in FALSE.items():
        answer["how"] = false
        with pytest.raises(FileNotFoundError, match="could not be fetched to") as caught:
            load(name)
        said = str(caught.value)
        assert "\n" not in said and said.endswith("use 'mnist5k', which needs none"), how
        assert not [file for file in tmp_path.rglob("*") if file.is_file()], how
    assert answer["asked"] >= len(FALSE)  # type: ignore[operator]


@pytest.mark.slow
def test_a_stream_that_takes_nothing_ends_a_command_in_one_sentence() -> None:
    """/dev/full is a disk that is always full."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    command = [sys.executable, "-m", "kdcourse", "doctor"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 1 and said.startswith("could not write or read: [Errno 28] No space")
