"""One hash of the library: what every kept number depends on, besides what it was made of.

Banks, runs of notebooks and stored tables are kept under it, so that none of them outlives the code
that it came from.
"""

import functools
import hashlib
from pathlib import Path

HOME = Path(__file__).resolve().parent


def hash_of(folder: Path) -> str:
    """A hash (SHA-256, hexadecimal) of the names and texts of all modules below a folder."""
    digest = hashlib.sha256()
    for module in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts):
        text = module.read_bytes().replace(b"\r\n", b"\n")  # git writes either, by the system
        name = module.relative_to(folder).as_posix().encode()
        digest.update(b"%d %s %d " % (len(name), name, len(text)) + text)
    return digest.hexdigest()


@functools.cache
def library_hash() -> str:
    """The hash of kdlib as it is, read once a process: what is imported does not change later."""
    return hash_of(HOME)
