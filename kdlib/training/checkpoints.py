"""A run on disk: written after each epoch, and where to go on from."""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from kdlib import files
from kdlib.data import Examples
from kdlib.models import fingerprint, held_still
from kdlib.objectives import Objective
from kdlib.source import described
from kdlib.training.checking import Place
from kdlib.training.optimisers import rates_for_recording
from kdlib.training.settings import Settings


def write_checkpoint(
    path: str | Path, state: dict[str, Any], settings: dict[str, Any], history: list[Any]
) -> None:
    """Writes the state dicts of `state`, what decides the run, and its history so far.

    A file that cannot be written costs a warning, and not the run.
    """
    content = {name: part.state_dict() for name, part in state.items()}
    try:
        files.save(path, content | {"settings": settings, "history": history})
    except OSError as error:
        warnings.warn(f"{error}; training goes on without this checkpoint", stacklevel=3)


def read_checkpoint(
    path: str | Path, state: dict[str, Any], settings: dict[str, Any]
) -> list[dict[str, float]]:
    """Puts a checkpoint's state into `state` and returns the history; [] where there is no file.

    Raises ValueError for a file that is no checkpoint, or one of a run with other settings.
    """
    try:
        content = files.restore(path)
    except FileNotFoundError:
        return []
    written = content.get("settings") if isinstance(content, dict) else None
    if not isinstance(written, dict) or not {*state, "history"} <= content.keys():
        raise ValueError(f"{path} is no checkpoint of a run; choose another checkpoint file")
    for name, mine in settings.items():
        if written.get(name) != mine:
            raise ValueError(
                f"{path} was written with {_difference(name, written.get(name), mine)}"
            )
    for name, part in state.items():
        part.load_state_dict(content[name])
    rates_for_recording(state["optimizer"])
    return content["history"]


def _difference(name: str, theirs: Any, mine: Any) -> str:
    """How the run that wrote a file differs, and what to do; hashes are not shown."""
    if name == "start":
        return (
            "other starting weights; give a fresh copy of those that the run began from (training "
            "has moved the ones in memory), or the seed= that drew them, or another checkpoint file"
        )
    if name in ("examples", "objective", "validate"):
        return f"other {name}; use the same {name}, or another checkpoint file"
    return (
        f"{name}={theirs!r}, this run has {mine!r}; use the same settings, or another checkpoint "
        "file"
    )


def deciding_of(
    student: nn.Module, examples: Examples, objective: Objective, settings: Settings, place: Place
) -> dict[str, Any]:
    """What a checkpoint must agree in with the run that goes on from it."""
    schedule = settings.schedule
    return {
        "objective": objective.key(), "examples": examples.fingerprint, **asdict(settings),
        "schedule": described(schedule) if callable(schedule) else schedule,
        "per domain": place.per_domain, "balanced": place.balanced, "start": fingerprint(student),
        "frozen or in eval mode": held_still(student),
    }  # fmt: skip
