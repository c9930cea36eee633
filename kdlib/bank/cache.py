"""Banks on disk: found again under a hash of all that decides them, verified when read."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdlib import files
from kdlib.bank.group import Group, Outcome
from kdlib.data import Examples, cache_root
from kdlib.models import fingerprint, held_still
from kdlib.source import library_hash

KEPT = {part.name for part in fields_of(Outcome)} - {"stopped"}
HASHED = ("kdlib", "torch", "torchvision")  # packages whose code, or version, is in the key


def hashable(groups: list[Group]) -> bool:
    """Whether all that trains is our code or PyTorch's; that of other classes may change unseen."""
    held: list[Any] = []
    for group in groups:
        teachers = [t for t in group.objective.teachers() if isinstance(t, nn.Module)]
        held += [part for network in (group.build(), *teachers) for part in network.modules()]
        held += [term for _, term in group.objective.terms]
        own = (group.settings.schedule, group.optimizer)
        held += [part for part in own if callable(part)]
    return all(
        str(code.__module__).split(".")[0] in HASHED for part in held for code in _code(part)
    )


def _code(part: Any) -> Iterator[Any]:
    """What it runs: its class, functions that it holds, hooks."""
    fields = getattr(part, "__dict__", {})
    yield type(part)
    yield from (v for v in fields.values() if hasattr(v, "__module__") and callable(v))
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        yield from fields.get(hooks, {}).values()


def bank_key(
    axes: dict[str, list[Any]], seeds: list[int], groups: list[Group],
    evaluate: Mapping[str, Examples],
) -> str:  # fmt: skip
    """A hash of all that decides the result, teachers' weights and versions included."""
    engines = [group.engine for group in groups]
    parts: list[Any] = [library_hash(), torch.__version__, axes, seeds, engines]
    parts += [[split, examples.fingerprint] for split, examples in evaluate.items()]
    for group in groups:
        network = group.begun(group.seeds[0])  # a pruned one, which begins somewhere, isn't drawn
        begun = [] if group.start is None else map(group.start, dict.fromkeys(group.seeds))
        parts += [fingerprint(one) for one in begun]
        parts += [group.state, group.objective.key(), group.examples.fingerprint]
        parts += [fingerprint(network), asdict(group.settings), group.examples.device.type]
        parts += [held_still(group.build())]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def bank_file(key: str) -> Path | None:
    """Where the bank of this key is kept; None (a warning) where there is no place for any."""
    try:
        return cache_root() / "banks" / f"{key}.pt"
    except OSError as error:
        warnings.warn(f"{error}; the bank is used without being kept", stacklevel=4)
        return None


def find_bank(path: Path) -> Outcome | None:
    """What stands there of a bank; None where nothing does, or (a warning) no sound one."""
    try:
        content = files.restore(path)
        if not (isinstance(content, dict) and set(content) >= KEPT):
            raise OSError(f"{path} holds no bank")
        return Outcome(**{name: content[name] for name in KEPT})
    except FileNotFoundError:
        return None
    except OSError as error:
        warnings.warn(f"{error}; the bank is trained anew", stacklevel=4)
        return None


def store_bank(path: Path, outcome: Outcome) -> None:
    """Writes a whole bank; what cannot be written costs a warning."""
    try:
        files.save(path, {name: getattr(outcome, name) for name in sorted(KEPT)})
    except OSError as error:
        warnings.warn(f"{error}; the bank is used without being kept", stacklevel=4)


def diverged(outcome: Outcome) -> int:
    """How many students have weights or answers that are no numbers."""
    sound = torch.tensor([
        state is not None and all(bool(t.isfinite().all()) for t in state.values())
        for state in outcome.weights
    ])  # fmt: skip
    for logits in outcome.logits.values():  # a class that shall not be chosen may have -inf
        sound &= logits.amax(-1).isfinite().flatten(1).all(-1).cpu()
    return int((~sound).sum())
