"""Files of tensors: written whole or not at all, verified when read."""

import contextlib
import errno
import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kdlib.replacing import replacing

_PLAIN = (bool, int, float, str, bytes, type(None))


def save(path: str | Path, content: Any) -> None:
    """Writes tensors, numbers and text with their SHA-256: to a temporary name, then replaced.

    For a network: `save(path, network.state_dict())`, then
    `network.load_state_dict(restore(path))`.
    Raises ValueError for what `restore` could not read (a network, a function, a NumPy array), and
    OSError with one sentence when the disk is full or `path` is a folder; what stood at `path` is
    then untouched.
    """
    path = _as_file(path)
    if os.path.isdir(path):
        raise _is_a_folder(path)
    payload = _readable(content).getbuffer()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            digest = hashlib.sha256(payload).hexdigest()
            torch.save(
                {"sha256": digest, "payload": torch.frombuffer(payload, dtype=torch.uint8)}, file
            )
    except (OSError, RuntimeError) as error:  # PyTorch's writer hides a full disk behind its own
        cause = error if isinstance(error, OSError) else error.__context__ or error
        raise OSError(
            f"{path} could not be saved ({cause}); what stood there is untouched: "
            "free some space or choose another folder"
        ) from error


def restore(path: str | Path) -> Any:
    """Reads what `save` wrote, to the CPU wherever it was; no code in the file is run.

    Raises FileNotFoundError, or OSError for a folder and for a file that may not be read, is
    damaged, or is not one of ours.
    """
    path = _as_file(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(512)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; check the name, or train first") from None
    except OSError as error:
        if os.path.isdir(path):
            raise _is_a_folder(path) from None
        raise OSError(
            f"{path} could not be read ({error.strerror}); make it readable, "
            "or choose another folder"
        ) from error
    try:
        envelope = torch.load(path, weights_only=True)
        payload = envelope["payload"].numpy()
        if hashlib.sha256(payload).hexdigest() == envelope["sha256"]:
            content = io.BytesIO(payload)
            del envelope, payload  # content has them
            return torch.load(content, weights_only=True, map_location="cpu")
        damage = "its SHA-256 differs"
    except Exception as error:  # a damaged zip fails in many ways; all mean the same to the reader
        if not (beginning.startswith(b"PK") and b"sha256" in beginning):  # our zip, our first entry
            raise OSError(f"{path} is damaged or not one of ours; choose another name") from error
        if trouble := _trouble(error, path):
            raise OSError(f"{path} could not be read: {trouble}, and try again") from error
        damage = "it cannot be read to its end"
    raise OSError(f"{path} is damaged ({damage}); delete it and train again")


def _as_file(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
        raise ValueError(f"path is {path!r}; expected the name of a file, such as 'run.pt'")
    return Path(path)


def _trouble(error: Exception, path: Path) -> str:
    """What ails the machine, and what to do, where the file may be sound; else ""."""
    if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that: it ends too soon
        return f"{error.strerror or error}; see to its disk"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        with contextlib.suppress(Exception), zipfile.ZipFile(path) as parts:
            if parts.testzip() is None:  # needs little memory itself
                return "not enough memory is free; close other programs"
    return ""


def _readable(content: Any) -> io.BytesIO:
    """`content` in PyTorch's format, which `restore` will read: else it is not worth a file."""
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer)
        buffer.seek(0)
        with torch.serialization.skip_data():  # what it is made of, without the numbers
            torch.load(buffer, weights_only=True, map_location="cpu")
    except (pickle.PickleError, AttributeError, TypeError) as error:
        found = ", ".join(dict.fromkeys(type(leaf).__name__ for leaf in _foreign(content)))
        raise ValueError(
            f"save was given {found or type(content).__name__}; expected tensors, numbers, text, "
            "and lists or dicts of them: for a network save network.state_dict()"
        ) from error
    return buffer


def _foreign(content: Any) -> Iterator[object]:
    """What in `content` is neither tensor, number, text nor a list or dict of them."""
    if isinstance(content, dict):
        content = [*content, *content.values()]
    if isinstance(content, list | tuple):
        for part in content:
            yield from _foreign(part)
    elif not isinstance(content, torch.Tensor) and type(content) not in _PLAIN:
        yield content


def _is_a_folder(path: Path) -> OSError:
    return IsADirectoryError(f"{path} is a folder; name a file in it")
