"""Folders named after their process: what one that was killed leaves, the next one removes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def marked_folder(folder: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder in `folder`; prefix: with the machine, where several write there."""
    remove_left(folder, prefix)
    name = f"{prefix}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=name, dir=folder, ignore_cleanup_errors=True) as made:
        yield Path(made)


def remove_left(folder: Path, prefix: str) -> None:
    """Removes the marked folders whose process, one of this machine, is gone."""
    import psutil

    for left in folder.glob(f"{prefix}*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
