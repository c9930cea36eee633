"""Contenders in a process of their own, whose memory is managed as kdlib found it.

python -m benchmarks.elsewhere  # that process: pickled questions in, pickled answers out
"""

from __future__ import annotations

import atexit
import functools
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import Contender


def elsewhere(make: Callable[..., Contender], *given: Any) -> Contender:
    """`make(*given)` over there: kdlib has glibc keep freed memory, which people's loops do not."""
    number = _answer(make, given)
    return lambda steps: _answer(number, steps)


@functools.cache
def _process() -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "benchmarks.elsewhere"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen(words, cwd=Path(__file__).parents[1], **pipes)
    atexit.register(child.kill)
    return child


def _answer(*question: Any) -> Any:
    child = _process()
    assert child.stdin is not None and child.stdout is not None
    pickle.dump(question, child.stdin)
    child.stdin.flush()
    try:
        return pickle.load(child.stdout)
    except EOFError as error:
        raise RuntimeError("the process of people's loops ended; it said why above") from error


def _serve() -> None:
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else may come between
    made: list[Contender] = []
    while True:
        what, given = pickle.load(sys.stdin.buffer)
        if callable(what):
            made.append(what(*given))
            pickle.dump(len(made) - 1, answers)
        else:
            pickle.dump(made[what](given), answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
