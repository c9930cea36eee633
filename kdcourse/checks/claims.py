"""Claims: sentences of the course that the build holds true."""

import os
from collections.abc import Mapping
from typing import Any

from IPython.display import display


class ClaimFailed(AssertionError):
    """A sentence of the course is not true where it must be (KDLIB_STRICT=1)."""


def claim(
    id: str,
    text: str,
    condition: Any,
    *,
    measured: Mapping[str, Any] | str,
    published: str | None = None,
) -> None:
    """Prints `✓ id text` if the condition holds; the text never depends on the machine.

    Otherwise raises ClaimFailed under KDLIB_STRICT=1 (build and tests), and for a reader, with
    other parameters or another processor, prints `○ id not reproduced here: measured …`.
    measured: name -> value (or Interval), kept in the output's metadata for RESULTS.md;
    published: the value that others report, with its source.
    """
    if not text or not measured:
        raise ValueError(f"claim {id!r} needs a sentence and what was measured; give both")
    values = (
        {"value": measured}
        if isinstance(measured, str)
        else {name: _shown(value) for name, value in measured.items()}
    )
    holds = bool(condition)
    said = ", ".join(f"{name} {value}" for name, value in values.items())
    if not holds and os.environ.get("KDLIB_STRICT") == "1":
        raise ClaimFailed(f"claim {id} does not hold: {text} (measured: {said})")
    line = f"✓ {id} {text}" if holds else f"○ {id} not reproduced here: measured {said}"
    record = {"id": id, "text": text, "holds": holds, "measured": values, "published": published}
    display({"text/plain": line}, metadata={"kdlib": record}, raw=True)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
