"""Figures of the course: one set of colours, one width, direct labels, seeds as dots.

`figure()` makes an empty one, the plots draw into its axes, `show()` puts it on the page with
its finding as the title and one sentence beneath, which is also the picture's alt text.
Nothing here touches pyplot or matplotlib's global settings.
"""

from kdcourse.figures.picture import Picture, png, show
from kdcourse.figures.plots import bars, digits, error_axis, matrix, reliability_diagram
from kdcourse.figures.rows import show_table
from kdcourse.figures.seeds import lines_with_dots, place_end_labels, seed_dots
from kdcourse.figures.style import COLOURS, DASHES, GHOST, INKS, MARKERS, STYLE, figure, role_named

__all__ = [
    "COLOURS",
    "DASHES",
    "GHOST",
    "INKS",
    "MARKERS",
    "STYLE",
    "Picture",
    "bars",
    "digits",
    "error_axis",
    "figure",
    "lines_with_dots",
    "matrix",
    "place_end_labels",
    "png",
    "reliability_diagram",
    "role_named",
    "seed_dots",
    "show",
    "show_table",
]
