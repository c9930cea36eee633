"""Notebook 10: its checkers accept the right and reject the wrong; its explorer, swept whole."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson10 import exercises, stored, table
from kdlib.objectives import TeacherTable, merge


def as_one(
    z: Tensor, w: Tensor, T: float, *, inside: bool = True, times: bool = True,
    log: bool = True, logits: bool = False, equal: bool = False, dim: int = 0,
) -> Tensor:  # fmt: skip
    """Exercise 1, with each of its mistakes to be switched on."""
    w = torch.full_like(w, 1 / len(w)) if equal else w
    soft = (z / T if inside else z).softmax(-1)
    soft = (z / T).log_softmax(-1) if logits else soft
    mean = (w[:, None, None] * soft).sum(dim)
    made = mean.log() if log and not logits else mean
    return T * made if times else made


def as_one_by_logsumexp(z: Tensor, w: Tensor, T: float) -> Any:
    parts = (z / T).log_softmax(-1) + w.log()[:, None, None]
    return (T * parts.logsumexp(0)).numpy()


def as_one_shifted(z: Tensor, w: Tensor, T: float) -> Any:
    return (as_one(z, w, T) + 3.0).tolist()


def as_one_by_kdlib(z: Tensor, w: Tensor, T: float) -> Tensor:
    tables = [TeacherTable(torch.arange(z.shape[1]), part / T) for part in z]
    return T * merge(tables, "probabilities", weights=w).logits


def scores(
    z: list[Tensor], known: list[list[int]], *, zero: int = -1, mean: bool = True,
    last: bool = False, ordered: bool = False, cut: bool = True,
) -> Tensor:  # fmt: skip
    """Exercise 2, with each of its mistakes to be switched on."""
    total, counts = torch.zeros(len(z[0]), 4), torch.zeros(4)
    for logits, classes in zip(z, known, strict=True):
        own = logits[:, :-1] - logits[:, [zero]] if cut else logits[:, :-1]
        at = sorted(classes) if ordered else classes
        if last:
            total[:, at] = own
        else:
            total[:, at] += own
        counts[at] += 1
    return total / counts if mean and not last else total


def scores_of_probabilities(z: list[Tensor], known: list[list[int]]) -> Any:
    columns = []
    for c in range(4):
        parts = [
            (logits.softmax(1)[:, classes.index(c)] / logits.softmax(1)[:, -1]).log()
            for logits, classes in zip(z, known, strict=True)
            if c in classes
        ]
        columns.append(torch.stack(parts).mean(0))
    return torch.stack(columns, 1).numpy()


def scores_by_kdlib(z: list[Tensor], known: list[list[int]]) -> Tensor:
    ids = torch.arange(len(z[0]))
    return merge([TeacherTable(ids, part) for part in z], classes=known, rest=True).logits


def compared(
    train: Any, teacher: Any, helper: Any, student: Any, images: Any, few: Any, steps: int, *,
    copies: tuple[bool, bool, bool] = (True, True, True), factor: float = 2, swapped: bool = False,
    fresh: bool = False, late: bool = False, other: bool = False, control: Any = "few",
) -> Any:  # fmt: skip
    """Exercise 3, with each of its mistakes to be switched on."""
    first, middle, second = (
        copy.deepcopy(network) if own else network
        for network, own in zip((student, helper, student), copies, strict=True)
    )
    start, third = copy.deepcopy(helper), copy.deepcopy(student)
    direct = train(first, teacher, images if other else few, int(factor * steps))
    untrained = copy.deepcopy(middle)
    taught = train(middle, teacher, few if control == "turned" else images, steps)
    chain = train(second, teacher if late else untrained if fresh else taught, few, steps)
    if control is None:
        return direct, chain
    if control == "same helper":  # goes on training the chain's
        same = train(copy.deepcopy(taught), teacher, few, steps)
    else:
        same = train(start, teacher, few if control == "few" else images, steps)
    last = train(third, same, few, steps)
    return (chain, direct, last) if swapped else (direct, chain, last)


def compared_in_halves(
    train: Any, teacher: Any, helper: Any, student: Any, images: Any, few: Any, steps: int
) -> Any:
    """The same sum for all: half for the helper, half for its student."""
    chains = []
    for seen in (images, few):
        middle = train(copy.deepcopy(helper), teacher, seen, steps // 2)
        chains.append(train(copy.deepcopy(student), middle, few, steps - steps // 2))
    return [train(copy.deepcopy(student), teacher, few, steps), *chains]


def as_printed(
    train: Any, teacher: Any, helper: Any, student: Any, images: Any, few: Any, steps: int
) -> Any:
    direct = train(student, teacher, few, steps)
    helper = train(helper, teacher, images, steps)
    chain = train(student, helper, few, steps)
    return direct, chain


def printed_and_a_control(train: Any, teacher: Any, helper: Any, student: Any, *more: Any) -> Any:
    direct, chain = as_printed(train, teacher, helper, student, *more)
    return direct, chain, train(student, helper, more[1], more[2])


RIGHT = [
    (exercises.as_one, as_one),
    (exercises.as_one, as_one_by_logsumexp),
    (exercises.as_one, as_one_shifted),
    (exercises.as_one, as_one_by_kdlib),
    (exercises.specialists, scores),
    (exercises.specialists, scores_of_probabilities),
    (exercises.specialists, scores_by_kdlib),
    (exercises.compared, compared),
    (exercises.compared, compared_in_halves),
]
WRONG = {
    "softened last": (exercises.as_one, partial(as_one, inside=False, times=False), "before the"),
    "not times T": (exercises.as_one, partial(as_one, times=False), "Multiply the logarithm by T"),
    "probabilities": (exercises.as_one, partial(as_one, log=False, times=False), "the logarithm"),
    "mean of log-probabilities": (exercises.as_one, partial(as_one, logits=True), "not logits"),
    "equal weights": (exercises.as_one, partial(as_one, equal=True), "weights given"),
    "over images": (exercises.as_one, partial(as_one, dim=1), "dimension 0"),
    "no difference": (exercises.specialists, partial(scores, cut=False), "difference of two"),
    "the first is the rest": (exercises.specialists, partial(scores, zero=0), "LAST"),
    "classes sorted": (exercises.specialists, partial(scores, ordered=True), "need not be sorted"),
    "the sum": (exercises.specialists, partial(scores, mean=False), "neither the sum"),
    "the last one's": (exercises.specialists, partial(scores, last=True), "neither the sum"),
    "side by side": (
        exercises.specialists,
        lambda z, known: torch.cat([part[:, :-1] for part in z], 1),
        "Begin with torch.zeros",
    ),
    "as printed": (exercises.compared, as_printed, "three students"),
    "no control": (exercises.compared, partial(compared, control=None), "three students"),
    "printed, and a control": (exercises.compared, printed_and_a_control, "in place"),
    "the control sees all": (exercises.compared, partial(compared, control="all"), "second copy"),
    "the control goes on": (
        exercises.compared,
        partial(compared, control="same helper"),
        "second copy",
    ),
    "the helper sees few": (exercises.compared, partial(compared, control="turned"), "on `images`"),
    "half the steps": (exercises.compared, partial(compared, factor=1), "Count the helper's"),
    "too many steps": (exercises.compared, partial(compared, factor=3), "Count the helper's"),
    "one student": (exercises.compared, partial(compared, copies=(False, True, False)), "in place"),
    "the caller's student": (
        exercises.compared,
        partial(compared, copies=(True, True, False)),
        "train copies",
    ),
    "the caller's helper": (
        exercises.compared,
        partial(compared, copies=(True, False, True)),
        "train copies",
    ),
    "the teacher twice": (exercises.compared, partial(compared, late=True), "a copy of its own"),
    "an untrained helper": (exercises.compared, partial(compared, fresh=True), "First train"),
    "turned round": (exercises.compared, partial(compared, swapped=True), "a copy of its own"),
    "other images": (exercises.compared, partial(compared, other=True), "Pass `few`"),
}


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


# ---- the explorer and the stored table -----------------------------------------------------------


def test_the_explorer_is_drawn_in_every_state() -> None:
    shown = stored.hospitals()
    assert shown.sweep() == len(table.COUNTS) * len(stored.MERGED) * len(table.TEMPERATURES)


def test_every_seed_of_a_setting_is_stored() -> None:
    for setting in ("gap", "hospitals", "specialists", "small", "peers", "joint", "cut", "tilted"):
        counts = {len(row["errors"]) for row in stored.rows(setting).values()}
        assert len(counts) == 1 and counts.pop() >= 5, setting


def test_no_seed_lies_outside_the_explorer() -> None:
    shown = stored.hospitals()
    low, high = stored.SCALE
    assert low < shown._errors.min() and shown._errors.max() < high
