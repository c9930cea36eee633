"""A file is written under another name and then put in its place: whole, or as it was before."""

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

_OURS = re.compile(r"\.kdlib-[0-9a-f]{16}\.\w+")


@contextmanager
def replacing(path: Path, ending: str = ".part") -> Iterator[BinaryIO]:
    """A new file in the folder of `path`, open for writing; at the end of the block it is `path`.

    It has the rights of the file that it replaces, or those that the umask leaves; a link stays a
    link, and its target is replaced. Where anything fails, `path` stays as it was. What a process
    that was killed left in the folder is removed.
    ending: of the new file's name, for those who write to the name and go by its ending.
    """
    path = Path(os.path.realpath(path))
    tidy_folder(path.parent)
    file = _begun(path.parent, ending)
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())  # a power cut would leave an empty file under the new name
        if path.exists():
            shutil.copymode(path, file.name)
        if sys.platform == "win32":
            file.close()  # only a closed file can be moved there
        os.replace(file.name, path)
    except BaseException:
        with suppress(OSError):  # what the full disk did not take, it does not take now
            file.close()
        Path(file.name).unlink(missing_ok=True)
        raise
    file.close()


def tidy_folder(folder: Path) -> None:
    """Removes files of `replacing` whose process is gone: its lock on them went with it."""
    for left in os.listdir(folder):
        if _OURS.fullmatch(left):
            with suppress(OSError):  # another process is writing it, or has removed it
                if sys.platform == "win32":
                    os.unlink(folder / left)  # Windows removes no file that is open
                else:
                    with open(folder / left, "ab") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(folder / left)


def _begun(folder: Path, ending: str) -> BinaryIO:
    """A new file, locked as long as it is open."""
    while True:
        name = folder / f".kdlib-{secrets.token_hex(8)}{ending}"
        file = open(name, "xb")  # noqa: SIM115 – open as long as its writer works
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: then nothing is tidied there
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):  # else another process tidied it before it was locked
            return file
        file.close()
