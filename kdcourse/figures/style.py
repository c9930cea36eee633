"""Colours with fixed roles, line styles by role, and the empty figure they are drawn into."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito (2008): eight colours that stay apart under every common colour blindness.
COLOURS: dict[str, str] = {
    "teacher": "#0072B2",  # blue
    "taught": "#009E73",  # bluish green
    "alone": "#D55E00",  # vermillion
    "label": "#CC79A7",  # reddish purple
    "extra": "#E69F00",  # orange
}
GHOST = "#A9A9A9"

# The same hues, dark enough for small text on white (contrast of at least 4.5 to 1).
INKS: dict[str, str] = {
    "teacher": "#0069A3",
    "taught": "#00754F",
    "alone": "#B34F00",
    "label": "#A04A7B",
    "extra": "#8A5F00",
}

# A printed page has no colours, so a role is a dash pattern and a marker as well.
DASHES: dict[str, Any] = {
    "teacher": (0, (6, 1.5, 1, 1.5)),
    "taught": "-",
    "alone": (0, (5, 2)),
    "label": (0, (1, 1.5)),
    "extra": (0, (3, 1.5, 1, 1.5, 1, 1.5)),
}
MARKERS: dict[str, str] = {"teacher": "D", "taught": "o", "alone": "s", "label": "^", "extra": "v"}

TEXT = "#222222"
QUIET = "#666666"
WIDEST = 7.0  # inches; a page of JupyterLab and of a printed paper both hold it
DPI = 110

# Any: matplotlib's stubs want each key as a literal.
STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so a page looks the same everywhere
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E9E9E9",
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def role_named(role: str) -> str:
    """Return `role` if it has a colour, else raise a ValueError that names the nearest role."""
    if role not in COLOURS:
        nearest = get_close_matches(str(role), COLOURS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"no role {role!r}: a role is one of {', '.join(COLOURS)}; did you mean {nearest!r}?"
        )
    return role


def figure(
    height: float = 3.0, panels: int = 1, width: float = WIDEST, **options: Any
) -> tuple[Figure, Any]:
    """Make an empty figure in the course's style.

    height, width: inches. panels: axes side by side, 1 to 3. options: passed on to
    `Figure.subplots` (for instance `width_ratios=`, `sharey=`).
    Returns the figure and its axes: one Axes for one panel, else an array of them.
    """
    if not 1 <= panels <= 3:
        raise ValueError(f"a figure has 1 to 3 panels, not {panels}: split it in two")
    if not 0 < width <= WIDEST:
        raise ValueError(f"a figure is at most {WIDEST:g} inches wide, not {width:g}")
    if not 0 < height <= 10:
        raise ValueError(f"a figure is at most 10 inches high, not {height:g}")
    with rc_context(STYLE):
        made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(made)
        axes = made.subplots(1, panels, **options)
    return made, axes
