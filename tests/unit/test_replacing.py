"""Files are replaced whole; their rights and links stay, and nothing is left of killed writers."""

import io
import os
import stat
import sys
from pathlib import Path

import pytest
import torch

from kdcourse.headless import write_atomically
from kdlib.files import restore, save
from kdlib.replacing import replacing

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="rights and locks of POSIX")
WRITERS = {
    "save": lambda path: save(path, {"w": torch.ones(3)}),
    "write_atomically": lambda path: write_atomically(path, "text"),
}


def killed_while_writing(path: Path) -> None:
    """A process that ends without any tidying up, as by SIGKILL."""
    child = os.fork()
    if child == 0:
        with replacing(path) as file:
            file.write(b"half")
            file.flush()
            os._exit(9)
    os.waitpid(child, 0)


@POSIX
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_killed_writers_left_goes_and_no_other_file(write: object, tmp_path: Path) -> None:
    mine = tmp_path / ".kdlib-notes.part"
    mine.write_text("of the user")
    killed_while_writing(tmp_path / "a")
    assert len(list(tmp_path.iterdir())) == 2, "the killed writer left its file"
    with replacing(tmp_path / "b") as file:  # another process that is at work
        write(tmp_path / "c")  # type: ignore[operator]
        assert {left.name for left in tmp_path.iterdir()} == {
            mine.name, "c", Path(file.name).name
        }  # fmt: skip
    assert {left.name for left in tmp_path.iterdir()} == {mine.name, "b", "c"}


@POSIX
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_rights_and_links_stay(write: object, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new")  # type: ignore[operator]
        (tmp_path / "old").write_text("old")
        (tmp_path / "old").chmod(0o664)
        (tmp_path / "link").symlink_to("old")
        write(tmp_path / "link")  # type: ignore[operator]
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640, "what the umask leaves"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o664, "what its owner chose"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()


def test_a_file_that_another_process_tidied_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([False, True])
    there = os.path.exists
    monkeypatch.setattr(
        "os.path.exists", lambda name: next(seen, True) and there(name) if name else False
    )
    with replacing(tmp_path / "a") as file:
        file.write(b"whole")
    monkeypatch.undo()
    assert not list(seen), "two were begun"
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory is free; close other programs, and try again"),
        (RuntimeError("can't allocate memory: 9 bytes"), "not enough memory is free; close"),
        (OSError(5, "Input/output error"), "Input/output error; see to its disk, and try again"),
    ],
    ids=["python", "pytorch", "disk"],
)
def test_a_sound_file_is_not_called_damaged(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told to delete it would delete hours of training."""

    def refuse(*what: object, **how: object) -> None:
        raise error

    path = tmp_path / "run.pt"
    save(path, {"w": torch.ones(3)})
    monkeypatch.setattr("torch.load", refuse)
    with pytest.raises(OSError, match=f"run.pt could not be read: {said}"):
        restore(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if not isinstance(error, OSError):
        with pytest.raises(OSError, match="damaged"):
            restore(path)


def test_a_full_disk_is_named_whatever_pytorch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        name = str(tmp_path / "part")

        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdlib.replacing._begun", lambda folder, ending: Full())
    for size in (10, 500_000):
        with pytest.raises(OSError, match=r"could not be saved \(.*No space left on device"):
            save(tmp_path / "run.pt", {"w": torch.ones(size)})


@pytest.mark.parametrize("path", [None, 5, b"run.pt", "run\0.pt", ["run.pt"]])
def test_a_path_is_the_name_of_a_file(path: object) -> None:
    with pytest.raises(
        ValueError, match=r"path is .*expected the name of a file, such as 'run.pt'"
    ):
        save(path, {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected the name of a file"):
        restore(path)  # type: ignore[arg-type]
