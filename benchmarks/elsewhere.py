"""Contenders in a process of their own, whose memory is managed as kdlib found it."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks.contenders import Contender, Taken

_made: dict[int, Contender] = {}  # in that process
_numbers = itertools.count()


def elsewhere(make: Callable[..., Contender], *given: Any) -> Contender:
    """`make(*given)` over there: kdlib has glibc keep freed memory, which people's loops do not."""
    number = next(_numbers)
    _process().submit(_make, number, make, given).result()
    return lambda steps: _process().submit(_run, number, steps).result()


@functools.cache
def _process() -> ProcessPoolExecutor:
    afresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, afresh, torch.set_num_threads, (1,))


def _make(number: int, make: Callable[..., Contender], given: tuple[Any, ...]) -> None:
    _made[number] = make(*given)


def _run(number: int, steps: int) -> Taken:
    return _made[number](steps)
