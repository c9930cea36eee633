"""Banks on disk: found again under a hash of all that decides them, verified when read."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdlib.bank.engines import Group
from kdlib.data import Examples
from kdlib.models import fingerprint, initialise
from kdlib.source import library_hash
from kdlib.training import files

KEPT = {"logits", "losses", "weights", "seconds"}
HASHED = ("kdlib", "torch", "torchvision")  # packages whose code, or version, is in the key


def hashable(groups: list[tuple[dict[str, Any], Group]]) -> bool:
    """Whether all that trains is our code or PyTorch's; that of other classes may change unseen."""
    held: list[Any] = []
    for _, group in groups:
        teachers = [one for one in group.objective.teachers() if isinstance(one, nn.Module)]
        held += [part for network in (group.build(), *teachers) for part in network.modules()]
        held += [term for _, term in group.objective.terms]
    return all(str(code.__module__).split(".")[0] in HASHED for one in held for code in _code(one))


def _code(one: Any) -> Iterator[Any]:
    """What `one` runs: its class, functions that it holds, hooks."""
    own = getattr(one, "__dict__", {})
    yield type(one)
    yield from (value for value in own.values() if hasattr(value, "__module__") and callable(value))
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        yield from own.get(hooks, {}).values()


def bank_key(
    axes: dict[str, list[Any]], seeds: list[int], groups: list[tuple[dict[str, Any], Group]],
    chosen: list[str], evaluate: Mapping[str, Examples],
) -> str:  # fmt: skip
    """A hash of all that decides the result, teachers' weights and versions included."""
    parts: list[Any] = [library_hash(), torch.__version__, axes, seeds, chosen]
    parts += [[split, one.fingerprint] for split, one in evaluate.items()]
    for state, group in groups:
        network = initialise(group.build(), 0)
        parts += [state, group.objective.key(), group.examples.fingerprint]
        parts += [fingerprint(network), asdict(group.settings), group.examples.device.type]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def read(path: Path) -> dict[str, Any] | None:
    try:
        known = files.load(path)
        if not (isinstance(known, dict) and set(known) >= KEPT):
            raise OSError(f"{path} holds no bank")
        return {**known, "cached": True}
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
