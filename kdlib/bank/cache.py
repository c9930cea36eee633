"""Banks on disk: found again under a hash of all that decides them, verified when read."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import kdlib
from kdlib.bank.engines import Group
from kdlib.data import Examples
from kdlib.models import fingerprint, initialise
from kdlib.training import files


def bank_key(
    axes: dict[str, list[Any]], seeds: list[int], groups: list[tuple[dict[str, Any], Group]],
    chosen: list[str], evaluate: Mapping[str, Examples],
) -> str:  # fmt: skip
    """A hash of all that decides the result, teachers' weights and versions included."""
    parts: list[Any] = [kdlib.__version__, torch.__version__, axes, seeds, chosen]
    parts += [[split, one.fingerprint] for split, one in evaluate.items()]
    for state, group in groups:
        network = initialise(group.build(), 0)
        parts += [state, group.objective.key(), group.examples.fingerprint]
        parts += [fingerprint(network), asdict(group.settings), group.examples.device.type]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def read(path: Path) -> dict[str, Any] | None:
    try:
        return files.load(path) | {"cached": True}
    except FileNotFoundError:
        return None
    except OSError as error:
        warnings.warn(f"{error}; the bank is trained anew", stacklevel=4)
        return None


def keep(path: Path, known: dict[str, Any]) -> None:
    try:
        files.save(path, known)
    except OSError as error:
        warnings.warn(f"{error}; the bank is used without being kept", stacklevel=4)
