"""Lessons' folders → notebooks, RESULTS.md and the README's tables."""

from kdcourse.pages.freeze import freeze
from kdcourse.pages.making import build, follow, make_notebook, make_table
from kdcourse.pages.reading_time import minutes
from kdcourse.pages.results import generated, results
from kdcourse.pages.step import in_step, out_of_step
from kdcourse.pages.student import solved, student

__all__ = [
    "build",
    "follow",
    "freeze",
    "generated",
    "in_step",
    "make_notebook",
    "make_table",
    "minutes",
    "out_of_step",
    "results",
    "solved",
    "student",
]
