"""Trains what page 13 shows but has no minute for, and stores it beside: table.json.

Three grammars, each with one teacher: gru(V, 64), 500 steps of 96 fresh sequences. Students:
gru(V, 16), 400 steps of 48 sequences that their teacher wrote, Adam 2e-2, clip 1; N sequences are
repeated, so that all rows have equal steps and tokens. Scores are exact, over all 1,536 strings;
every list is over students' seeds. Kinds of rows ("of"):

grid: direction × given or own prefixes × warm-up × N, grammar 0 whole, the others at their corners
· warm: lengths of the warm-up · cold, few, long: what rivals would answer · words: labels, samples,
distributions · beta: sliders between the directions · transformer: the corners again · teacher.
Run by `course.py build 13`; five to six minutes of one core.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from kdcourse.lessons.lesson13.students import (
    FRESH,
    WARM,
    language,
    lists,
    recipe,
    repeated,
    slips,
    students,
    teacher,
    written,
)
from kdcourse.pages import tables
from kdlib.data import Sequences
from kdlib.metrics import acceptance
from kdlib.models import predict, sample
from kdlib.objectives import HardLabels, JensenShannon, Objective, SoftTargets, after, prefixes

Row = dict[str, Any]

GRAMMARS = range(3)
COUNTS = (24, 128, FRESH)
DIRECTIONS = (0.0, 0.5, 1.0)
WARM_UPS = (0.0, 0.1, 0.2, WARM, 0.7)
FEW = (64, 1024)
BETAS = (0.1, 0.5, 0.9)
COOLED = (0.8, 0.7, 0.6)  # students that write at lower temperatures


# ---- direction, whose prefixes, how many sequences -----------------------------------------------


def corner(
    grammar: int, n: int, own: bool, warms: tuple[float, ...], directions: tuple[float, ...],
    *, kind: str = "gru", total: int = FRESH, **how: Any,
) -> Iterator[Row]:  # fmt: skip
    """Rows of these warm-ups and directions, on n sequences."""
    net = teacher(grammar, kind)

    def objective(warm: Any, direction: Any) -> Objective:
        return recipe(net, direction, warm, 1.0 if own else None)

    train = repeated(written(grammar, kind), n, total)
    grid = {"warm": list(warms), "direction": list(directions)}
    bank = students(objective, train, grammar, grid=grid, kind=kind, **how)
    for i, warm in enumerate(warms):
        for j, direction in enumerate(directions):
            row: Row = {"grammar": grammar, "n": n, "own": own}
            row |= {"warm": warm, "direction": direction}
            z = bank.logits["strings"][i, j]
            row |= lists(z, grammar)
            if warm == WARM and direction in BOTH:
                state = {"warm": warm, "direction": direction}
                row |= slips([bank.network(**state, seed=s) for s in bank.seeds], grammar)
                row["cooled"] = {f"{tau:g}": lists(z / tau, grammar) for tau in COOLED}
            yield row


def grid() -> Iterator[Row]:
    for n in COUNTS:
        yield from corner(0, n, False, (0.0, WARM), DIRECTIONS)
        yield from corner(0, n, True, (WARM,), DIRECTIONS)
    yield from corner(0, FRESH, True, (0.0,), DIRECTIONS)  # the same for every n
    for grammar in GRAMMARS[1:]:
        for n in (COUNTS[0], FRESH):
            yield from corner(grammar, n, False, (WARM,), (0.0, 1.0))
            yield from corner(grammar, n, True, (WARM,), (0.0, 1.0))


def warm() -> Iterator[Row]:
    """Lengths of the warm-up, reverse KL, own prefixes; the others from scratch and at 20 %."""
    yield from corner(0, FRESH, True, (0.1, 0.2, 0.7), (1.0,))
    for grammar in GRAMMARS[1:]:
        yield from corner(grammar, FRESH, True, (0.0, 0.2), (1.0,))


# ---- rivals --------------------------------------------------------------------------------------

BOTH, REVERSE = (0.0, 1.0), (1.0,)
OTHERS: dict[str, Row] = {  # name → directions, and what is not as everywhere
    "lr 5e-3": {"directions": BOTH, "lr": 5e-3},
    "width 32": {"directions": BOTH, "width": 32},
    "clip 0.1": {"directions": REVERSE, "clip": 0.1},
    "no clip": {"directions": REVERSE, "clip": None},
    "other seeds": {"directions": REVERSE, "seeds": range(5, 10)},
}


def cold() -> Iterator[Row]:
    """Given, fresh sequences, without and with a warm-up, under other settings."""
    for name, how in OTHERS.items():
        for row in corner(0, FRESH, False, (0.0, WARM), **how):
            yield {"name": name} | row
    for row in corner(0, FRESH, False, (0.0,), REVERSE, epochs=4):
        yield {"name": "4 × steps"} | row


def few() -> Iterator[Row]:
    """24 sequences: would the given ones do with fewer steps, or a lower rate?"""
    for row in corner(0, COUNTS[0], False, (WARM,), BOTH, total=48 * 200):
        yield {"name": "200 steps"} | row
    for own in (False, True):
        for row in corner(0, COUNTS[0], own, (WARM,), BOTH, lr=5e-3):
            yield {"name": "lr 5e-3"} | row


def long() -> Iterator[Row]:
    """The corners with 1,600 steps."""
    for n, own in ((COUNTS[0], False), (COUNTS[0], True), (FRESH, False)):
        yield from corner(0, n, own, (WARM,), BOTH, epochs=4)


# ---- labels, samples, distributions --------------------------------------------------------------


def taught(
    names: list[str], n: int, how: str = "400 steps", *, total: int = FRESH, **settings: Any
) -> Iterator[Row]:
    """Students of n sequences: the language's own, or, "samples", the teacher's."""
    tokens, grid = language().draw(FRESH, seed=5), {"soft": [0.0, 1.0]}
    if "samples" in names[0]:
        tokens = written(0, "gru", 0.5 if "0.5" in names[0] else 1.0)
        grid = {"soft": [0.0]}
    elif names[0].startswith("T"):
        grid = {"T": [float(name[4:]) for name in names]}

    def mixed(soft: Any) -> Objective:
        return (1 - soft) * HardLabels() + soft * SoftTargets(teacher(), T=1)

    def softened(T: Any) -> Objective:
        return 1.0 * SoftTargets(teacher(), T)

    asked: Any = softened if "T" in grid else mixed
    bank = students(asked, repeated(tokens, n, total), grid=grid, **settings)
    z_t = answers(sample(teacher(), 500, 10, seed=2))
    for i, name in enumerate(names):
        taken = [round(a, 4) for a in acceptance(bank.logits["written"][i], z_t).tolist()]
        row = {"name": name, "n": n, "how": how} | lists(bank.logits["strings"][i])
        yield row | {"acceptance": taken}


LABELS, HOT = ["labels", "distributions"], ["T = 1", "T = 2", "T = 4"]


def words() -> Iterator[Row]:
    for n in FEW:
        yield from taught(LABELS, n)
        yield from taught(["samples"], n)
        yield from taught(["samples at T = 0.5"], n)
        yield from taught(LABELS, n, "1,600 steps", epochs=4)
    yield from taught(LABELS, FEW[0], "200 steps", total=48 * 200)
    yield from taught(HOT, FEW[0])
    yield from taught(HOT, FRESH)
    yield from taught(HOT[::2], FRESH, "width 48", width=48)
    yield from taught(HOT[::2], FRESH, "1,600 steps", epochs=4)


# ---- sliders; another network; the teachers ------------------------------------------------------


def beta() -> Iterator[Row]:
    """Jensen–Shannon as published and normalised: after a warm-up; and from scratch."""
    net, train = teacher(), repeated(written(), FRESH)

    def late(normalised: bool, beta: Any) -> Objective:
        on = after(WARM)
        js = JensenShannon(net, T=1, beta=beta, normalised=normalised)
        return prefixes("student", (1 - on) * SoftTargets(net, T=1) + on * js, share=on)

    def at_once(normalised: bool, beta: Any) -> Objective:
        return 1.0 * JensenShannon(net, T=1, beta=beta, normalised=normalised)

    for how, made in (("after a warm-up, own", late), ("from scratch, given", at_once)):
        for normalised in (False, True):

            def objective(beta: Any, made: Any = made, normalised: bool = normalised) -> Objective:
                return made(normalised, beta)

            bank = students(lambda beta, f=objective: f(beta), train, grid={"beta": list(BETAS)})
            for i, value in enumerate(BETAS):
                row = {"name": "normalised" if normalised else "published", "how": how}
                yield row | {"beta": value} | lists(bank.logits["strings"][i])


def attending() -> Iterator[Row]:
    """Transformers, 300 steps."""
    how: Row = {"kind": "transformer", "lr": 1e-2, "total": 300 * 48}
    for n in (COUNTS[0], FRESH):
        warms = (0.0, WARM) if n == FRESH else (WARM,)
        yield from corner(0, n, False, warms, (0.0, 1.0), **how)
    yield from corner(0, COUNTS[0], True, (WARM,), (0.0, 1.0), **how)


def answers(tokens: Tensor, grammar: int = 0, kind: str = "gru") -> Tensor:
    """The teacher's logits."""
    return predict(teacher(grammar, kind), Sequences(tokens))


def teachers() -> Iterator[Row]:
    for kind, grammar in (*(("gru", grammar) for grammar in GRAMMARS), ("transformer", 0)):
        z = answers(language(grammar).support, grammar, kind)
        yield {"kind": kind, "grammar": grammar} | lists(z[None], grammar)


KINDS: dict[str, Callable[[], Iterator[Row]]] = {
    "grid": grid, "warm": warm, "cold": cold, "few": few, "long": long, "words": words,
    "beta": beta, "transformer": attending, "teacher": teachers,
}  # fmt: skip


def rows() -> Iterator[Row]:
    for kind, made in KINDS.items():
        yield from ({"of": kind} | row for row in made())


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, list(rows()))


if __name__ == "__main__":
    main()
