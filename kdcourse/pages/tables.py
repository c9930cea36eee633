"""Stored tables: what a page shows but has no minute to train, made by the lesson's `table.py`.

`table.json` lies beside it and says under "made by" of which script and library it is.
"""

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from kdcourse.headless.runs import write_atomically
from kdlib.source import library_hash

library_hash()  # now, and not when the table is done: the code that was imported is what counts


HOME = Path(__file__).resolve().parents[2]
DECIDING = ("kdcourse.ground.", "kdcourse.lessons.")  # whose modules may change a table's numbers


def key(maker: Path) -> str:
    """A hash of the script, of what it imports of the course, and of the library."""
    texts = [file.read_bytes().replace(b"\r\n", b"\n") for file in sources(maker)]
    return hashlib.sha256(b"".join([*texts, library_hash().encode()])).hexdigest()[:16]


def sources(script: Path) -> list[Path]:
    """The script, and every module of common ground or lessons that it imports, or these do."""
    found, left = [script], [script]
    while left:
        for file in _imported(left.pop()):
            if file not in found:
                found.append(file)
                left.append(file)
    return [script, *sorted(found[1:])]


def _imported(script: Path) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    files = [HOME / (name.replace(".", "/") + ".py") for name in names if name.startswith(DECIDING)]
    return [file for file in files if file.exists()]


def is_current(maker: Path) -> bool:
    """Whether the stored table was made by this very script and library, and is whole."""
    try:
        stored = _stored(maker)
    except ValueError:
        return False
    return stored.get("made by") == key(maker)


def read(maker: str | Path) -> list[dict[str, Any]]:
    """The rows of the table beside a script; ValueError for one that is not as it was stored."""
    return _stored(Path(maker))["cells"]


def _stored(maker: Path) -> dict[str, Any]:
    file = maker.with_suffix(".json")
    try:
        content = json.loads(file.read_text("utf-8"), parse_constant=_no_number)
        if content["sha256"] == _hash(content["cells"]):
            return content
        wrong = "was changed by hand, or damaged"
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        wrong = "is damaged"
    number = maker.parent.name.removeprefix("lesson")
    mend = f"get it again from the repository, or make it: python3 course.py build {number}"
    raise ValueError(f"the table {file} {wrong}; {mend}")


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _hash(rows: list[Any]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write(maker: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Stores the rows beside their script, one a line; whole, or not at all.

    Raises ValueError for a row that holds nan or inf.
    """
    rows = [dict(row) for row in rows]
    for row in rows:
        try:
            json.dumps(row, allow_nan=False)
        except ValueError:
            raise ValueError(
                f"the row {row} holds nan or inf, so the table is not stored; see why a training "
                "diverged, or leave the row out"
            ) from None
    about = {"made by": key(Path(maker)), "torch": torch.__version__.split("+")[0]}
    about["sha256"] = _hash(json.loads(json.dumps(rows)))
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = json.dumps(about)[:-1] + ', "cells": [\n' + lines + "\n]}\n"
    write_atomically(Path(maker).with_suffix(".json"), text)


def make(maker: Path, env: Mapping[str, str]) -> None:
    """Runs the script, quietly; raises CalledProcessError where it fails."""
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    how = {**os.environ, **env, "PYTHONPATH": path}
    subprocess.run([sys.executable, maker], check=True, env=how, stdout=subprocess.DEVNULL)
