"""Plots in which every seed is a dot: one position, or a line over several."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from kdcourse.figures.style import COLOURS, DASHES, INKS, MARKERS, role_named
from kdlib.metrics import interval, mean_intervals

END_LABEL = "end label"  # marks the texts that place_end_labels may move


def _end_label(axis: Axes, text: str, at: tuple[float, float], role: str, gap: float) -> None:
    made = axis.annotate(
        text,
        at,
        xytext=(gap, 0),
        textcoords="offset points",
        color=INKS[role],
        fontsize=8.5,
        va="center",
        annotation_clip=False,
    )
    made.set_gid(END_LABEL)


def seed_dots(axis: Axes, x: float, values: Any, role: str, label: str | None = None) -> None:
    """Draw seeds at position x: dots, their mean as a bar, its 95 % interval as a line.

    values: (seeds,), or (seeds, images): then the interval is the one over both that tables print.
    role: fixes the colour. label: written to the right of the mean.
    """
    role = role_named(role)
    table = np.asarray(values, dtype=float)
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(
            f"values must have shape (seeds,) or (seeds, images), not {table.shape}: "
            "pass one position"
        )
    (mean,), (low,), (high,) = _means_and_ends(table[None])
    seeds = table if table.ndim == 1 else table.mean(1)
    # A fixed spread, not a random one: the picture of the same numbers is the same picture.
    spread = np.linspace(-0.09, 0.09, seeds.size) if seeds.size > 1 else np.zeros(1)
    colour = COLOURS[role]
    axis.plot(
        x + spread, seeds, MARKERS[role], color=colour, markersize=4, alpha=0.45, markeredgewidth=0
    )
    if seeds.size > 1:
        axis.plot([x, x], [low, high], color=INKS[role], linewidth=1.4, solid_capstyle="butt")
    axis.plot([x - 0.16, x + 0.16], [mean, mean], color=INKS[role], linewidth=2.4)
    if label:
        # From the end of the mean's bar in data units, then a small gap in points.
        _end_label(axis, label, (x + 0.16, float(mean)), role, gap=5)


def _means_and_ends(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and ends of intervals, (positions,) each, over seeds or over seeds and images."""
    if table.ndim == 2:
        return mean_intervals(table)
    found = [interval(torch.from_numpy(part)) for part in table]
    mean, low, high = ([getattr(one, end) for one in found] for end in ("mean", "low", "high"))
    return np.array(mean), np.array(low), np.array(high)


def lines_with_dots(
    axis: Axes, x: Any, values: Any, role: str, label: str | None = None, *, log: bool = False
) -> None:
    """Draw the mean over seeds as a line along x, each seed as a dot, the 95 % interval as a band.

    x: (positions,). values: (positions, seeds), or (positions, seeds, images): then the band is the
    interval over both that tables print. label: written at the line's end, in its colour.
    log: x on a logarithmic scale, ticks at the values themselves.
    """
    role = role_named(role)
    where = np.asarray(x, dtype=float)
    table = np.asarray(values, dtype=float)
    if table.ndim not in (2, 3) or where.shape != table.shape[:1]:
        raise ValueError(
            f"values must have shape ({where.size}, seeds) to go with x, not {table.shape}"
        )
    mean, low, high = _means_and_ends(table)
    table = table if table.ndim == 2 else table.mean(2)
    if table.shape[1] > 1:
        axis.fill_between(where, low, high, color=COLOURS[role], alpha=0.13, linewidth=0)
    axis.plot(
        np.repeat(where, table.shape[1]),
        table.ravel(),
        MARKERS[role],
        color=COLOURS[role],
        markersize=3.2,
        alpha=0.4,
        markeredgewidth=0,
    )
    axis.plot(where, mean, linestyle=DASHES[role], color=COLOURS[role])
    if log:
        axis.set_xscale("log")
        axis.set_xticks(where, [f"{value:g}" for value in where])
        axis.set_xticks([], minor=True)
    if label:
        last = int(np.argmax(where))
        _end_label(axis, label, (float(where[last]), float(mean[last])), role, gap=6)


def place_end_labels(drawn: Figure) -> None:
    """Move labels at line ends apart, vertically, until none covers another.

    `show` calls it last, when the scales are final.
    """
    drawn.draw_without_rendering()
    for axis in drawn.axes:
        labels = [
            text
            for text in axis.texts
            if isinstance(text, Annotation) and text.get_gid() == END_LABEL
        ]
        ends: dict[int, list[tuple[float, Annotation]]] = {}
        for text in labels:
            across, up = axis.transData.transform(text.xy)
            ends.setdefault(round(across / 10), []).append((float(up), text))
        for column in ends.values():
            _spread(column, points=72.0 / drawn.dpi)


def _spread(column: list[tuple[float, Annotation]], *, points: float) -> None:
    """column: heights in pixels and their labels. points: points per pixel."""
    column.sort(key=lambda pair: pair[0])
    wanted = np.array([up * points for up, _ in column])
    heights = [10.5 * (text.get_text().count("\n") + 1) for _, text in column]
    placed = wanted.copy()
    for k in range(1, len(placed)):
        placed[k] = max(placed[k], placed[k - 1] + (heights[k] + heights[k - 1]) / 2)
    placed += (wanted - placed).mean()  # as a group, stay centred on where they belong
    for (_, text), target, up in zip(column, placed, wanted, strict=True):
        gap, _ = text.xyann
        text.xyann = (gap, float(target - up))
