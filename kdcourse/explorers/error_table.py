"""Errors of students under sliders: along one axis, seeds as dots, and what else changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import Controls, State, thinned
from kdcourse.figures import DASHES, MARKERS, error_axis
from kdlib.metrics import mean_intervals

SECOND = ("taught", "extra", "label", "teacher", "alone")  # roles of the right panel, in order


class ErrorTable(Explorer):
    """Slide over errors of students that no bank holds; for those of a bank: `BankExplorer`.

    axes: name → values, 1 to 3 of them (T, alpha, width): the sliders.
    errors: (*axes, seeds), test error in percent; nan where no student is.
    alone: (…, seeds), the label-only student, broadcast against the axes as numpy does: (width,
    seeds) goes with axes that end in width. n: test images behind an error.
    along: the axis that the picture is drawn along (the first of numbers if left out).
    second: label → (…) without seeds, broadcast in the same way, drawn on the right;
    second_name: its axis label, with the unit.
    """

    def __init__(
        self,
        axes: Mapping[str, Sequence[Any]],
        errors: Any,
        *,
        n: int,
        alone: Any = None,
        along: str | None = None,
        second: Mapping[str, Any] | None = None,
        second_name: str = "",
        start: Mapping[str, Any] | None = None,
        situations: Mapping[str, Mapping[str, Any]] | None = None,
        notes: Mapping[str, str] | None = None,
        title: str = "Students, trained",
    ) -> None:
        self._axes = {name: list(values) for name, values in axes.items()}
        shape = tuple(len(values) for values in self._axes.values())
        self._errors = np.asarray(errors, dtype=float)
        if self._errors.shape[:-1] != shape or self._errors.ndim != len(shape) + 1:
            raise ValueError(
                f"errors must have shape {(*shape, 'seeds')} to go with axes "
                f"{', '.join(self._axes)}, not {self._errors.shape}"
            )
        drawable = [name for name, values in self._axes.items() if all(map(_is_number, values))]
        if not drawable or along not in (None, *drawable):
            raise ValueError(
                f"along must be an axis of numbers ({', '.join(drawable) or 'there is none'}), "
                f"not {along!r}"
            )
        self._along = drawable[0] if along is None else along
        self._x = np.asarray(self._axes[self._along], dtype=float)
        self._n = n
        self._alone = None if alone is None else _spread(alone, shape, "alone", seeds=True)
        self._second = {
            label: _spread(values, shape, label, seeds=False)
            for label, values in (second or {}).items()
        }
        if len(self._second) > len(SECOND):
            raise ValueError(f"the right panel holds {len(SECOND)} lines, not {len(self._second)}")
        self._second_name = second_name
        super().__init__(
            controls=self._axes, start=start, situations=situations, notes=notes, title=title
        )

    def _row(self, state: State) -> tuple[Any, ...]:
        """Index of the state, with the whole axis that the picture is drawn along."""
        return tuple(
            slice(None) if name == self._along else values.index(state[name])
            for name, values in self._axes.items()
        )

    def _here(self, state: State) -> tuple[int, ...]:
        return tuple(values.index(state[name]) for name, values in self._axes.items())

    def setup(self, figure: Figure) -> None:
        panels = 2 if self._second else 1
        axes = np.atleast_1d(figure.subplots(1, panels, width_ratios=[1.35, 1][:panels]))
        self._setup_errors(axes[0])
        if self._second:
            self._setup_second(axes[1])

    def _setup_errors(self, axis: Axes) -> None:
        tables = [self._errors] + ([] if self._alone is None else [self._alone])
        values = np.concatenate([table[np.isfinite(table)] for table in tables])
        room = 0.06 * float(np.ptp(values)) or 0.1
        axis.set_ylim(float(values.min()) - room, float(values.max()) + room)
        scale_along(axis, self._x, self._along)
        error_axis(axis, self._n)
        self._now = axis.axvline(self._x[0], color="#D0D0D0", linewidth=1, zorder=1, animated=True)
        self._lines: dict[bool, Any] = {}
        self._marks: dict[bool, Any] = {}
        for ghost in (True, False):
            look = self.look("taught", ghost=ghost)
            self._lines[ghost] = axis.plot([], [], linestyle=DASHES["taught"], **look)[0]
            self._marks[ghost] = axis.plot([], [], MARKERS["taught"], markersize=8, **look)[0]
        faint = {**self.look("taught"), "alpha": 0.45}
        self._dots = axis.plot(
            [], [], MARKERS["taught"], markersize=3.4, markeredgewidth=0, **faint
        )[0]
        self._bounds = LineCollection([], linewidths=1.2, **self.look("taught"))
        axis.add_collection(self._bounds, autolim=False)
        if self._alone is None:
            return
        left, right = axis.get_xlim()
        look = self.look("alone")
        self._alone_line = axis.plot([left, right], [0, 0], linestyle=DASHES["alone"], **look)[0]
        band = {**look, "alpha": 0.13, "linewidth": 0, "zorder": 1}
        self._alone_band = Rectangle((left, 0), right - left, 0, **band)
        axis.add_patch(self._alone_band)
        for x, role, words in ((0.0, "taught", "distilled"), (1.0, "alone", "label-only")):
            self._label(axis, x, f"{words} student", role, ha="right" if x else "left")

    def _setup_second(self, axis: Axes) -> None:
        values = np.concatenate([table.ravel() for table in self._second.values()])
        values = values[np.isfinite(values)]
        if (values > 0).all() and values.max() > 30 * values.min():
            axis.set_yscale("log")
            axis.set_ylim(values.min() / 1.5, values.max() * 1.5)
        else:
            room = 0.06 * float(np.ptp(values)) or 0.1
            axis.set_ylim(float(values.min()) - room, float(values.max()) + room)
        scale_along(axis, self._x, self._along)
        axis.set_ylabel(self._second_name)
        self._second_now = axis.axvline(
            self._x[0], color="#D0D0D0", linewidth=1, zorder=1, animated=True
        )
        self._curves: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for k, label in enumerate(self._second):
            role = SECOND[k]
            for ghost in (True, False):
                look = self.look(role, ghost=ghost)
                line = axis.plot([], [], linestyle=DASHES[role], **look)[0]
                self._curves[ghost][label] = line
            self._label(axis, k / len(self._second), label, role)

    def _label(self, axis: Axes, x: float, text: str, role: str, *, ha: str = "left") -> None:
        """Above the panel, in the line's colour: beside a moving line it would collide."""
        style = {"color": self.look(role, text=True)["color"], "fontsize": 8.5, "ha": ha}
        axis.text(x, 1.02, text, transform=axis.transAxes, va="bottom", **style)

    def move(self, state: State, ghost: bool) -> None:
        seeds = self._errors[self._row(state)]
        mean, low, high = mean_intervals(seeds)
        here = self._axes[self._along].index(state[self._along])
        self._lines[ghost].set_data(self._x, mean)
        self._marks[ghost].set_data([self._x[here]], [mean[here]])
        for label, table in self._second.items():
            self._curves[ghost][label].set_data(self._x, table[self._row(state)])
        if ghost:
            return
        now = [self._x[here]] * 2
        self._now.set_xdata(now)
        if self._second:
            self._second_now.set_xdata(now)
        self._dots.set_data(np.repeat(self._x, seeds.shape[1]), seeds.ravel())
        ends = np.stack([self._x, low, self._x, high], axis=1).reshape(-1, 2, 2)  # (x, 2 ends, xy)
        self._bounds.set_segments([] if np.isnan(low).any() else list(ends))
        if self._alone is not None:
            middle, under, over = mean_intervals(self._alone[self._here(state)])
            self._alone_line.set_ydata([middle, middle])
            self._alone_band.set_y(float(np.nan_to_num(under, nan=float(middle))))
            self._alone_band.set_height(float(np.nan_to_num(over - under)))

    def sentence(self, state: State) -> str:
        seeds = self._errors[self._here(state)]
        if np.isnan(seeds).all():
            return f"There is no student at {Controls.sentence(state)}."
        text = f"At {Controls.sentence(state)} the distilled student misses {self._images(seeds)}"
        if self._alone is None:
            return f"{text}."
        alone = self._alone[self._here(state)]
        text = f"{text}; the label-only student {self._images(alone)}"
        if alone.shape != seeds.shape or len(seeds) == 1:
            return f"{text}."
        # The same seeds on both sides: their differences have the narrower interval.
        mean, low, high = (self._count(value) for value in mean_intervals(seeds - alone))
        if low <= 0 <= high:
            span = f"{low:+z.0f} to {high:+z.0f}"
            return f"{text}: these seeds do not resolve the difference ({span})."
        kind = "fewer" if mean < 0 else "more"
        return f"{text}: {abs(mean):.0f} {kind} ({low:+z.0f} to {high:+z.0f})."

    def _count(self, percent: Any) -> float:
        return float(percent) * self._n / 100

    def _images(self, seeds: np.ndarray) -> str:
        mean, low, high = (self._count(value) for value in mean_intervals(seeds))
        text = f"{mean:.0f} of {self._n:,} images ({100 * mean / self._n:.1f} %"
        if len(seeds) == 1:
            return f"{text}, one seed)"
        return f"{text}, 95 % interval {low:.0f} to {high:.0f} over {len(seeds)} seeds)"


def _spread(values: Any, shape: tuple[int, ...], name: str, *, seeds: bool) -> np.ndarray:
    """Broadcast a table that lacks leading axes, or has them with length 1, over all axes."""
    table = np.asarray(values, dtype=float)
    full = (*shape, table.shape[-1]) if seeds and table.ndim else shape
    try:
        return np.broadcast_to(table, full)
    except ValueError:
        wanted = "axes with seeds last" if seeds else "axes"
        raise ValueError(
            f"{name} of shape {table.shape} does not go with the {wanted}, {full}"
        ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def scale_along(axis: Axes, x: np.ndarray, name: str) -> None:
    """Fix an x axis: logarithmic if the values span a factor of eight, ticks at the values."""
    if (x > 0).all() and x.max() >= 8 * x.min():
        axis.set_xscale("log")
        axis.set_xlim(x.min() / 1.15, x.max() * 1.15)
    else:
        room = 0.05 * float(np.ptp(x)) or 0.5
        axis.set_xlim(float(x.min()) - room, float(x.max()) + room)
    ticks = thinned(sorted(x.tolist()), 8)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel(name)
