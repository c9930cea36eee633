"""Files of tensors: written whole or not at all, verified when read."""

import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import torch


def save(path: str | Path, content: Any) -> None:
    """Writes tensors, numbers and text with their SHA-256: to a temporary name, then replaced.

    Raises OSError with one sentence when the disk is full; what stood at `path` is then untouched.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "wb") as file:
            digest = hashlib.sha256(payload).hexdigest()
            content = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
            torch.save({"sha256": digest, "payload": content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # PyTorch's writer wraps a full disk in RuntimeError
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise OSError(
            f"{path} could not be saved ({error}); what stood there is untouched: "
            "free some space or choose another folder"
        ) from error


def load(path: str | Path) -> Any:
    """Reads what `save` wrote, to the CPU wherever it was; no code in the file is run.

    Raises FileNotFoundError, or OSError for a truncated, damaged or foreign file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the name, or train first")
    try:
        envelope = torch.load(path, weights_only=True)
        payload = envelope["payload"].numpy().tobytes()
        intact = hashlib.sha256(payload).hexdigest() == envelope["sha256"]
    except Exception as error:  # a damaged zip fails in many ways; all mean the same to the reader
        raise OSError(f"{path} is damaged or not one of ours; delete it and train again") from error
    if not intact:
        raise OSError(f"{path} is damaged (its SHA-256 differs); delete it and train again")
    return torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
