"""A run on disk: written after each epoch, and where to go on from."""

import warnings
from pathlib import Path
from typing import Any

from kdlib.training import files
from kdlib.training.optimisers import rates_for_recording


def keep(
    path: str | Path, state: dict[str, Any], settings: dict[str, Any], history: list[Any]
) -> None:
    content = {name: part.state_dict() for name, part in state.items()}
    try:
        files.save(path, content | {"settings": settings, "history": history})
    except OSError as error:
        warnings.warn(f"{error}; training goes on without this checkpoint", stacklevel=3)


def resume(
    path: str | Path, state: dict[str, Any], settings: dict[str, Any]
) -> list[dict[str, float]]:
    content = files.load(path)
    known = content.get("settings") if isinstance(content, dict) else None
    if not isinstance(known, dict) or not {*state, "history"} <= content.keys():
        raise ValueError(f"{path} is no checkpoint of a run; choose another checkpoint file")
    differing = [name for name in settings if known.get(name) != settings[name]]
    if differing:
        name = differing[0]
        raise ValueError(
            f"{path} was written with {name}={known.get(name)!r}, this run has "
            f"{settings[name]!r}; use the same settings, or another checkpoint file"
        )
    for name, part in state.items():
        part.load_state_dict(content[name])
    rates_for_recording(state["optimizer"])
    return content["history"]
