"""Plots that the lessons share: images, matrices, class probabilities, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from kdcourse.figures.style import (
    COLOURS,
    DASHES,
    GHOST,
    INKS,
    MARKERS,
    QUIET,
    STYLE,
    TEXT,
    WIDEST,
    figure,
    role_named,
)


def digits(
    images: Any,
    titles: Sequence[str] | None = None,
    columns: int = 10,
    *,
    roles: Sequence[str] | None = None,
    size: float | None = None,
) -> Figure:
    """A strip of images.

    images: (N, H, W), (N, 1, H, W) or (N, 3, H, W), uint8 or floats in [0, 1]; grey ones are
    drawn as ink on paper. titles: N short texts above them, in the colour of `roles` (N role
    names) when given. columns: images in a row. size: inches of a column; fills the page's
    width if left out, but at most 1.1.
    """
    shown = np.asarray(images)
    if shown.ndim == 3:
        shown = shown[:, None]
    if shown.ndim != 4 or shown.shape[1] not in (1, 3) or len(shown) == 0:
        raise ValueError(
            f"images must have shape (N, H, W) or (N, 1 or 3, H, W), not {np.shape(images)}"
        )
    for name, given in (("titles", titles), ("roles", roles)):
        if given is not None and len(given) != len(shown):
            raise ValueError(f"{len(shown)} images need {len(shown)} {name}, not {len(given)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    size = min(WIDEST / columns, 1.1) if size is None else size
    rest = max((str(t).count("\n") + 1 for t in titles), default=0) if titles is not None else 0
    brightest = 255 if shown.dtype == np.uint8 else 1
    with rc_context(STYLE):
        strip, _ = figure(height=rows * (size + 0.16 * rest) + 0.32, width=columns * size)
        strip.clear()
        axes = strip.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for k, image in enumerate(shown):
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0) / brightest
            axes[k].imshow(pixels, cmap="gray_r", vmin=0, vmax=brightest, interpolation="nearest")
            if titles is not None:
                ink = INKS[role_named(roles[k])] if roles is not None else TEXT
                axes[k].set_title(titles[k], fontsize=8.5, color=ink, loc="center", pad=3)
    return strip


def matrix(
    axis: Axes,
    values: Any,
    labels: Sequence[str] | None = None,
    *,
    role: str = "teacher",
    form: str = "{:.0f}",
    across: str = "",
    down: str = "",
    blank_diagonal: bool = False,
    highest: float | None = None,
) -> None:
    """A heat map with its numbers: a confusion or a dark-knowledge matrix.

    values: (rows, columns). labels: class names for both sides (0, 1, 2, … if left out).
    form: how a number is written; one that reads as zero is left empty. across, down: what the
    columns and the rows are. blank_diagonal: hide the diagonal, so that the rest has contrast.
    highest: value of the darkest colour (else the largest one shown).
    """
    table = np.asarray(values, dtype=float).copy()
    if table.ndim != 2:
        raise ValueError(f"a matrix has two dimensions, not shape {table.shape}")
    if labels is not None and len(labels) < max(table.shape):
        raise ValueError(f"{max(table.shape)} classes need as many labels, not {len(labels)}")
    names = [str(name) for name in (labels if labels is not None else range(max(table.shape)))]
    if blank_diagonal:
        np.fill_diagonal(table, np.nan)
    top = highest if highest is not None else (np.nanmax(table) if np.isfinite(table).any() else 1)
    top = top if top > 0 else 1.0
    colours = LinearSegmentedColormap.from_list(role, ["#FFFFFF", COLOURS[role_named(role)]])
    axis.imshow(table, cmap=colours.with_extremes(bad="#EFEFEF"), vmin=0, vmax=top, aspect="auto")
    empty = {form.format(0.0), form.format(-0.0)}
    for (row, column), value in np.ndenumerate(table):
        text = form.format(value) if np.isfinite(value) else ""
        if text and text not in empty:
            ink = "white" if value > 0.6 * top else TEXT
            axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=ink)
    axis.set_xticks(range(table.shape[1]), names[: table.shape[1]])
    axis.set_yticks(range(table.shape[0]), names[: table.shape[0]])
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(across)
    axis.set_ylabel(down)


def bars(
    axis: Axes,
    probabilities: Mapping[str, Any],
    names: Sequence[str] | None = None,
    *,
    truth: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Class probabilities as bars, one group per class.

    probabilities: role → (classes,), 1 to 3 roles ("teacher", "taught", …), drawn side by side.
    names: of the classes. truth: index of the true class; its tick is bold, in the label's ink.
    labels: role → the words written in its colour above the bars (its name if left out).
    """
    if not 1 <= len(probabilities) <= 3:
        raise ValueError(f"bars show 1 to 3 roles, not {len(probabilities)}: use two panels")
    tables = {role_named(role): np.asarray(p, dtype=float) for role, p in probabilities.items()}
    sizes = {table.shape for table in tables.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise ValueError(f"each role needs one probability per class; the shapes are {sizes}")
    classes = np.arange(next(iter(sizes))[0])
    ticks = [str(name) for name in (names if names is not None else classes)]
    if truth is not None and not 0 <= truth < len(ticks):
        raise ValueError(f"truth must be a class from 0 to {len(ticks) - 1}, not {truth}")
    width = 0.8 / len(tables)
    for k, (role, table) in enumerate(tables.items()):
        shift = (k - (len(tables) - 1) / 2) * width
        axis.bar(classes + shift, table, 0.92 * width, color=COLOURS[role])
        said = (labels or {}).get(role, role)
        spot = (1.0, 1.0 - 0.09 * k)
        style: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 8.5, "color": INKS[role]}
        axis.text(*spot, said, transform=axis.transAxes, **style)
    axis.set_xticks(classes, ticks)
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(0, 1)
    axis.set_xlabel("class")
    axis.set_ylabel("probability")
    if truth is not None:
        tick = axis.get_xticklabels()[truth]
        tick.set(color=INKS["label"], fontweight="bold")


def reliability_diagram(
    axis: Axes,
    confidence: Any,
    accuracy: Any,
    low: Any = None,
    high: Any = None,
    *,
    role: str = "teacher",
    label: str | None = None,
) -> None:
    """A reliability diagram: accuracy against confidence, bin by bin.

    confidence, accuracy: (bins,) in [0, 1]. low, high: (bins,), the 95 % band in which the
    accuracy of a perfectly calibrated model with these confidences falls at this n.
    """
    role = role_named(role)
    sure, right = np.asarray(confidence, dtype=float), np.asarray(accuracy, dtype=float)
    if sure.shape != right.shape or sure.ndim != 1:
        raise ValueError(
            f"confidence and accuracy need one value per bin: {sure.shape}, {right.shape}"
        )
    if (low is None) != (high is None):
        raise ValueError("the null band needs both low and high")
    axis.plot([0, 1], [0, 1], color=GHOST, linewidth=1, zorder=1)
    order = np.argsort(sure)
    if low is not None:
        edges = np.asarray(low, dtype=float)[order], np.asarray(high, dtype=float)[order]
        axis.fill_between(sure[order], *edges, color=GHOST, alpha=0.3, linewidth=0, zorder=1)
    axis.plot(
        sure[order],
        right[order],
        linestyle=DASHES[role],
        marker=MARKERS[role],
        markersize=4,
        linewidth=1.4,
        color=COLOURS[role],
        label=label,
    )
    lowest = max(0.0, float(np.floor(10 * min(sure.min(), right.min())) / 10) - 0.02)
    axis.set(xlim=(lowest, 1.02), ylim=(lowest, 1.02), xlabel="confidence", ylabel="accuracy")
    if label:
        ink: dict[str, Any] = {"color": INKS[role], "fontsize": 8.5, "ha": "right", "va": "bottom"}
        axis.text(0.98, 0.12, label, transform=axis.transAxes, **ink)
    if low is not None:
        note: dict[str, Any] = {"color": QUIET, "fontsize": 8.5, "ha": "right", "va": "bottom"}
        axis.text(0.98, 0.04, "grey: perfectly calibrated", transform=axis.transAxes, **note)


def error_axis(axis: Axes, n: int, *, which: str = "y") -> None:
    """Label an axis of errors so that a point can be read as images.

    n: how many images were tested. which: "y" or "x".
    """
    if n < 1:
        raise ValueError(f"n counts test images, so it is at least 1, not {n}")
    if which not in ("x", "y"):
        raise ValueError(f"which must be 'x' or 'y', not {which!r}")
    text = f"error %  (1 point = {n / 100:g} of {n:,} images)"
    if which == "x":
        axis.set_xlabel(text, fontsize=8.5)
    else:
        axis.set_ylabel(text, fontsize=8.5)
