"""What the stored table says, as the page and its notes ask for it."""

from kdcourse.lessons.lesson04 import table
from kdcourse.pages import tables
from kdlib.metrics import Interval

ROWS = tables.read(table.__file__)


def rows(what: str) -> list[dict]:
    """The rows of one kind: "width", "fold", "patience", …"""
    return [row for row in ROWS if row["what"] == what]


def saved(width: int, T: float, alpha: float = 0.9) -> Interval:
    """Points saved against the label-only student of that width, on MNIST's 10,000 test images."""
    for row in rows("width"):
        if (row["width"], row["T"], row["alpha"]) == (width, T, alpha):
            return Interval(*row["saves"])
    raise ValueError(f"no row of width={width}, T={T}, alpha={alpha}; expected those of table.py")


def folds() -> dict[tuple[float, float], list[float]]:
    """(alpha, T), from simple to complex → held-out error % of each fold; 100 units."""
    return {(row["alpha"], row["T"] or 1.0): row["errors"] for row in rows("fold")}
