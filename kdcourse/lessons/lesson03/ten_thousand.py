"""What the stored table says of MNIST's 10,000 test images, as page and notes ask for it."""

from typing import Any

from kdcourse.lessons.lesson03 import table
from kdcourse.pages import tables
from kdlib.metrics import Interval

ROWS = tables.read(table.__file__)


def row(setting: str, way: str, rule: str = "as trained") -> dict[str, Any]:
    """One row of the table: which images taught, which student, which rule chose its bias."""
    for one in ROWS:
        if (one["setting"], one["way"], one.get("rule", rule)) == (setting, way, rule):
            return one
    raise ValueError(f"no row {setting!r}, {way!r}, {rule!r}; expected those of table.py")


def right(way: str, rule: str = "by share", setting: str = "3,500 images") -> Interval:
    """Images of the missing class that are answered right, in percent."""
    return Interval(*row(setting, way, rule)["right"])


def errors(way: str, rule: str = "by share", setting: str = "3,500 images") -> Interval:
    """Wrong answers among all images, in percent."""
    return Interval(*row(setting, way, rule)["errors"])


def ahead(way: str, rule: str = "by share") -> Interval:
    """Points by which T = 4 gets more of the missing class right, paired by seed and image."""
    return Interval(*row("T = 4 against", way, rule)["right"])
