"""The lab notes' tables: controls and second settings, as `table.json` holds them."""

from typing import Any

from kdcourse.lessons.lesson13 import table
from kdcourse.lessons.lesson13.stored import (
    CORNERS,
    DECIMALS,
    HEAD,
    cells,
    grid,
    mean,
    more,
    row,
    rows,
)
from kdcourse.lessons.lesson13.students import FRESH, KEYS, WARM

DIRECTED = {0.0: "forward", 1.0: "reverse"}
WAYS = ("labels", "samples", "samples at T = 0.5", "distributions")

COLD_HEAD = ["given, fresh; r = 1", "from scratch: share", "KL, nats", "after a warm-up: share",
             "KL, nats"]  # fmt: skip


def cold_rows() -> list[list[str]]:
    """Reverse KL under other settings, from scratch and after the warm-up."""
    lines = []
    places: dict[str, dict[str, Any]] = {
        "as on the page": {"of": "grid", "own": False, "n": FRESH, "grammar": 0}
    }
    places |= {found["name"]: {"of": "cold", "name": found["name"]} for found in rows("cold")}
    for name, place in places.items():
        line = [name]
        for warm in (0.0, WARM):
            found = rows(**place, warm=warm, direction=1.0)
            line += cells(found[0], ("share", "kl")) if found else ["", ""]
        lines.append(line)
    return lines


NULL_HEAD = ["own minus given", "grammar", *HEAD]


def null_rows() -> list[list[str]]:
    """What own prefixes change with fresh sequences."""
    lines = []
    for r, word in DIRECTED.items():
        for g in table.GRAMMARS:
            given, own = (grid(g, own=flag, direction=r) for flag in (False, True))
            lines.append(
                [word, str(g), *(f"{more(own, given, key):.{DECIMALS[key]}f}" for key in KEYS)]
            )
    return lines


SLIP_HEAD = ["errors of tokens, grammar 0", "24 sequences: before any", "after one",
             "fresh: before any", "after one"]  # fmt: skip


def slip_rows() -> list[list[str]]:
    """Rates of wrong tokens before and after a first error."""
    return [
        [name, *(cell for n in (table.COUNTS[0], FRESH)
                 for cell in cells(grid(0, n, **corner), ("first", "later")))]
        for name, corner in CORNERS.items()
    ]  # fmt: skip


FEW_HEAD = ["24 sequences", "prefixes", "direction", *HEAD]


def few_rows() -> list[list[str]]:
    """Given and own, at the page's setting and at others."""
    found = [("400 steps", row) for row in rows("grid", grammar=0, n=24, warm=WARM)]
    found += [(row["name"], row) for row in rows("few")]
    found += [("1,600 steps", row) for row in rows("long", n=24)]
    return [
        [name, "own" if row["own"] else "given", DIRECTED[row["direction"]], *cells(row)]
        for name, row in found if row["direction"] in DIRECTED
    ]  # fmt: skip


LONG_HEAD = ["given, fresh", "steps", *HEAD]


def long_rows() -> list[list[str]]:
    """Both directions at two lengths of training."""
    return [
        [word, steps, *cells(grid(of=of, own=False, direction=r))]
        for steps, of in (("400", "grid"), ("1,600", "long")) for r, word in DIRECTED.items()
    ]  # fmt: skip


ATTENDING_HEAD = ["transformer", "sequences", "direction", *HEAD]


def attending_rows() -> list[list[str]]:
    """The corners again; and from scratch."""
    return [
        [("own" if row["own"] else "given") + (", from scratch" if not row["warm"] else ""),
         "24" if row["n"] == 24 else "fresh", DIRECTED[row["direction"]], *cells(row)]
        for row in rows("transformer") if row["warm"] or row["direction"]
    ]  # fmt: skip


TAKEN_HEAD = ["taught by", "sequences", "steps", "share", "KL, nats", "acceptance",
              "tokens a call"]  # fmt: skip


def taken_rows() -> list[list[str]]:
    """Labels, samples, distributions, by how often the teacher takes their tokens."""
    lines = []
    for found in rows("words"):
        if found["name"] in WAYS and found["how"] in ("400 steps", "1,600 steps"):
            a = mean(found, "acceptance").mean
            line = [found["name"], f"{found['n']:,}", found["how"].removesuffix(" steps")]
            line += cells(found, ("share", "kl", "acceptance"))
            lines.append([*line, f"{sum(a**i for i in range(5)):.2f}"])
    return lines


HOT_HEAD = ["fresh sequences", "softened", *HEAD]


def hot_rows() -> list[list[str]]:
    """T = 1, 2, 4 in other settings."""
    return [
        [row["how"], row["name"], *cells(row)]
        for row in rows("words", n=FRESH) if row["name"].startswith("T = ")
    ]  # fmt: skip


SCRATCH_BETA_HEAD = ["beta, from scratch, given", "published: share", "normalised: share"]


def scratch_beta_rows() -> list[list[str]]:
    """Both forms where the divergence is there from the first step."""
    return [
        [f"{b:g}", *(f"{mean(row('beta', name=name, beta=b, how='from scratch, given')):.2f}"
                     for name in ("published", "normalised"))]
        for b in table.BETAS
    ]  # fmt: skip
