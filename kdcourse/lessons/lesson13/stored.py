"""What `table.json` holds, as the page and its notes ask for it."""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from matplotlib.figure import Figure

from kdcourse import figures
from kdcourse.lessons.lesson13 import table
from kdcourse.lessons.lesson13.students import FRESH, KEYS, WARM
from kdcourse.pages import tables
from kdlib.metrics import Interval, interval

Row = Mapping[str, Any]
DECIMALS = {"share": 2, "coverage": 2, "kl": 1, "acceptance": 2, "first": 3, "later": 2}
HEAD = ["share", "coverage", "KL, nats"]


# ---- rows and their intervals --------------------------------------------------------------------


@cache
def every() -> tuple[dict[str, Any], ...]:
    return tuple(tables.read(table.__file__))


def rows(of: str, **where: Any) -> list[dict[str, Any]]:
    """The rows of a kind for which these keys have these values."""
    return [
        row for row in every()
        if row["of"] == of and all(row[key] == value for key, value in where.items())
    ]  # fmt: skip


def row(of: str, **where: Any) -> dict[str, Any]:
    """The only such row; KeyError where there is none, or more than one."""
    found = rows(of, **where)
    if len(found) != 1:
        raise KeyError(f"{len(found)} rows of {of!r} with {where}; expected one")
    return found[0]


def grid(
    grammar: int = 0, n: int = FRESH, *, own: bool = False, direction: float = 0.0,
    warm: float = WARM, of: str = "grid",
) -> dict[str, Any]:  # fmt: skip
    """A cell of direction × prefixes × warm-up × number of sequences."""
    return row(of, grammar=grammar, n=n, own=own, direction=direction, warm=warm)


def mean(row: Row, key: str = "share") -> Interval:
    """With its interval over students' seeds."""
    return interval(row[key])


def more(row: Row, than: Row, key: str = "share") -> Interval:
    """How much more of a score a row has than another, paired by seed."""
    return interval([a - b for a, b in zip(row[key], than[key], strict=True)])


def by_grammar(key: str, first: Row, second: Row) -> dict[str, Interval]:
    """Second minus first, of two cells without their grammar: a name for each grammar."""
    return {
        f"{key}, grammar {g}": more(grid(g, **second), grid(g, **first), key)
        for g in table.GRAMMARS
    }


def cells(row: Row, keys: Iterable[str] = KEYS) -> list[str]:
    """`0.46 (0.42 to 0.49)` for each score; `0.46` of a single network."""
    found = {key: mean(row, key) for key in keys}
    shown = {key: one.mean if math.isnan(one.low) else one for key, one in found.items()}
    return [f"{one:.{DECIMALS[key]}f}" for key, one in shown.items()]


# ---- tables --------------------------------------------------------------------------------------


def from_scratch() -> list[list[str]]:
    """Reverse KL on own prefixes by length of warm-up: all scores of grammar 0, others' shares."""
    lines = []
    for warm in table.WARM_UPS:
        asked = table.GRAMMARS if warm in (0.0, 0.2, WARM) else table.GRAMMARS[:1]
        found = [warm_row(g, warm)["share"] for g in asked]
        spans = [f"{min(shares):.2f} … {max(shares):.2f}" for shares in found]
        lines.append(
            [f"{100 * warm:g} %", *cells(warm_row(0, warm)), *spans, *[""] * (3 - len(spans))]
        )
    return lines


def warm_row(grammar: int, warm: float) -> dict[str, Any]:
    """Reverse KL on own prefixes, fresh sequences, after a warm-up of this length."""
    of = "grid" if warm == WARM or (grammar, warm) == (0, 0) else "warm"
    return grid(grammar, own=True, direction=1.0, warm=warm, of=of)


SCRATCH_HEAD = ["warm-up", *(f"grammar 0: {name}" for name in HEAD),
                *(f"lowest … highest share, grammar {g}" for g in table.GRAMMARS)]  # fmt: skip
WAY_HEAD = ["taught by", "sequences", *HEAD]


def way_rows(
    names: Iterable[str], counts: Iterable[int], how: str = "400 steps"
) -> list[list[str]]:
    """Labels, samples, distributions: a row each."""
    names = list(names)
    return [
        [name, f"{n:,}", *cells(row("words", name=name, n=n, how=how))]
        for n in counts for name in names
    ]  # fmt: skip


BETA_HEAD = ["beta", *(f"{name}: {score}" for name in ("published", "normalised", "mixture")
                       for score in ("share", "coverage"))]  # fmt: skip


def beta_rows() -> list[list[str]]:
    """Share and coverage of three sliders; the mixture's own r in the ends and the middle."""
    lines = []
    for b in (0.0, *table.BETAS, 1.0):
        mixture = grid(own=True, direction=b) if b in table.DIRECTIONS else None
        end = mixture if b in (0, 1) else None
        line = [f"{b:g}"]
        for name in ("published", "normalised"):
            found = end or row("beta", name=name, beta=b, how="after a warm-up, own")
            line += [f"{mean(found, key).mean:.2f}" for key in KEYS[:2]]
        line += [f"{mean(mixture, key).mean:.2f}" if mixture else "" for key in KEYS[:2]]
        lines.append(line)
    return lines


COOLED_HEAD = ["fresh, given", "writes at", *(f"grammar {g}: {name}" for g in table.GRAMMARS
                                              for name in ("share", "coverage", "KL"))]  # fmt: skip


def cooled(of: Row, tau: float) -> dict[str, Any]:
    """The scores of the same students where they write at another temperature."""
    return of["cooled"][f"{tau:g}"]


def cooled_rows() -> list[list[str]]:
    """Forward at T = 1 and at 0.7; reverse at 1."""
    lines = []
    for word, r, tau in (("forward", 0.0, 1.0), ("forward", 0.0, 0.7), ("reverse", 1.0, 1.0)):
        line = [word, f"T = {tau:g}"]
        for g in table.GRAMMARS:
            found = grid(g, direction=r)
            found = found if tau == 1 else cooled(found, tau)
            line += [f"{mean(found, key).mean:.{DECIMALS[key]}f}" for key in KEYS]
        lines.append(line)
    return lines


# ---- pictures ------------------------------------------------------------------------------------

CORNERS: dict[str, dict[str, Any]] = {
    "given, forward": {"own": False, "direction": 0.0},
    "given, reverse": {"own": False, "direction": 1.0},
    "own, forward": {"own": True, "direction": 0.0},
    "own, reverse": {"own": True, "direction": 1.0},
}
_LIMITS = {"share": (0, 1), "coverage": (0, 1), "kl": (0, 12.5)}
_NAMES = {"share": "share", "coverage": "coverage", "kl": "KL, nats"}


def draw_corners() -> Figure:
    """Share, coverage and KL of the four corners, 24 and fresh sequences, three grammars."""
    picture, axes = figures.figure(height=3.2, panels=3, sharey=True)
    for axis, key in zip(axes, KEYS, strict=True):
        for place, corner in enumerate(CORNERS.values()):
            for n, role in ((table.COUNTS[0], "alone"), (FRESH, "teacher")):
                for g in table.GRAMMARS:
                    found = mean(grid(g, n, **corner), key)
                    y = -place + 0.23 * (1 - g) + (0.055 if role == "teacher" else -0.055)
                    look: Any = {"color": figures.COLOURS[role], "linewidth": 1.2}
                    axis.plot([found.low, found.high], [y, y], **look)
                    axis.plot([found.mean], [y], figures.MARKERS[role], markersize=4, **look)
        axis.set(xlim=_LIMITS[key], xlabel=_NAMES[key])
    axes[0].set_yticks([-place for place in range(4)], list(CORNERS))
    return picture
