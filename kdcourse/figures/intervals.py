"""The 95 % interval of a mean over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import stdtrit


def interval(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the last axis and its 95 % interval by Student's t.

    values: (..., seeds). Returns mean, low, high, each (...), in the unit of the values. It
    tells what other seeds would give on the same images, not what other images would.
    With one seed low and high are NaN: one run has no spread.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim == 0 or table.shape[-1] == 0:
        raise ValueError("an interval needs at least one value along the last axis")
    seeds = table.shape[-1]
    mean = table.mean(-1)
    if seeds == 1:
        unknown = np.full_like(mean, np.nan)
        return mean, unknown, unknown
    half = stdtrit(seeds - 1, 0.975) * table.std(-1, ddof=1) / np.sqrt(seeds)
    return mean, mean - half, mean + half
