"""Notebook 03: its checkers and its explorer."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson03 import exercises, ten_thousand
from kdcourse.lessons.lesson03.class_bias import ClassBias


def shifted(z: Tensor, missing: int, bias: float) -> Tensor:
    moved = z.clone()
    moved[:, missing] += bias
    return moved


def score(z: Tensor, y: Tensor, missing: int) -> float:
    return 100 * float((z.argmax(1) == missing)[y == missing].double().mean())


def margins(z: Tensor, missing: int) -> Tensor:
    others = [c for c in range(z.shape[1]) if c != missing]
    return z[:, others].amax(1) - z[:, missing]


# ---- 03.1 ----------------------------------------------------------------------------------------


def by_rank(z, y, missing, k):
    own = z[y == missing]
    higher = (own > own[:, missing : missing + 1]).sum(1)
    return 100 * (higher < k).float().mean()


def by_loop(z, y, missing, k):
    hits = [
        missing in sorted(range(len(row)), key=lambda c: -row[c])[:k]
        for row, label in zip(z.tolist(), y.tolist(), strict=True)
        if label == missing
    ]
    return 100 * sum(hits) / len(hits)


def by_numpy(z, y, missing, k):
    places = np.argsort(-z.numpy()[y.numpy() == missing], axis=1)[:, :k]
    return 100 * (places == missing).any(1).mean()


def emptying(z, y, missing, k):
    z[y != missing] = -torch.inf
    return by_rank(z, y, missing, k)


# ---- 03.2 ----------------------------------------------------------------------------------------


def by_sort(z, missing, share):
    return margins(z, missing).sort().values[round(share * len(z))].item() - 1e-6


def by_grid(z, missing, share):
    grid = torch.arange(-15, 15, 0.005)
    shares = (margins(z, missing)[:, None] < grid).double().mean(0)
    return float(grid[(shares - share).abs().argmin()])


def writing(z, missing, share):
    own = z[:, missing].clone()
    z[:, missing] = -torch.inf
    return float((z.amax(1) - own).quantile(share))


# ---- 03.3 ----------------------------------------------------------------------------------------


def error(z, y, missing, bias):
    return 100 * (shifted(z, missing, bias).argmax(1) != y).double().mean()


def reported(z, y, missing, biases, *, choose=slice(0, 200), report=slice(200, None), worst=False):
    errors = [float(error(z[choose], y[choose], missing, b)) for b in biases]
    best = biases[errors.index(max(errors) if worst else min(errors))]
    return error(z[report], y[report], missing, best)


def reported_by_numpy(z, y, missing, biases):
    z, y, half = z.numpy(), y.numpy(), len(y) // 2
    column = np.eye(z.shape[1])[missing]
    wrong = [((z + b * column).argmax(1) != y) for b in biases]
    return 100 * wrong[int(np.argmin([one[:half].mean() for one in wrong]))][half:].mean()


def accumulating(z, y, missing, biases):
    z, half, errors = z.clone(), len(y) // 2, []
    for bias in biases:
        z[:, missing] += bias
        errors.append((z.argmax(1) != y).double())
    best = min(errors, key=lambda one: float(one[:half].mean()))
    return 100 * best[half:].mean()


def as_printed(z, y, missing, biases):
    errors = []
    for bias in biases:
        z[:, missing] += bias
        errors.append(100 * (z.argmax(1) != y).double().mean())
    return min(errors)


def in_place(z, y, missing, biases):
    answer = reported(z, y, missing, biases)
    z[:, missing] += 1
    return answer


RIGHT = [
    (exercises.among_first, by_rank),
    (exercises.among_first, by_loop),
    (exercises.among_first, by_numpy),
    (exercises.bias_for_share, lambda z, m, s: margins(z, m).quantile(s)),
    (exercises.bias_for_share, by_sort),
    (exercises.bias_for_share, by_grid),
    (exercises.held_out_error, reported),
    (exercises.held_out_error, reported_by_numpy),
]
FIRST, SECOND, WHOLE = slice(0, 200), slice(200, None), slice(None)
WRONG = {
    "fraction": (exercises.among_first, lambda z, y, m, k: by_rank(z, y, m, k) / 100, "times 100"),
    "all images": (
        exercises.among_first,
        lambda z, y, m, k: 100 * ((z.topk(k).indices == m).any(1) & (y == m)).double().mean(),
        "of that class only",
    ),
    "always the first": (
        exercises.among_first,
        lambda z, y, m, k: by_rank(z, y, m, 1 if k < 5 else k),
        "Among the k largest",
    ),
    "one too many": (
        exercises.among_first,
        lambda z, y, m, k: by_rank(z, y, m, k + 1),
        "their largest logit",
    ),
    "always 3": (
        exercises.among_first,
        lambda z, y, m, k: by_rank(z, y, 3 if m != 1 else m, k),
        "not the number 3",
    ),
    "among_first: in place": (exercises.among_first, emptying, "clone"),
    "wrong tail": (
        exercises.bias_for_share,
        lambda z, m, s: margins(z, m).quantile(1 - s),
        "margin",
    ),
    "sign": (exercises.bias_for_share, lambda z, m, s: -margins(z, m).quantile(s), "margin"),
    "own logit": (
        exercises.bias_for_share,
        lambda z, m, s: (z.amax(1) - z[:, m]).quantile(s),
        "own logit out",
    ),
    "always a tenth": (
        exercises.bias_for_share,
        lambda z, m, s: margins(z, m).quantile(0.1),
        "The share is the argument",
    ),
    "clamped": (
        exercises.bias_for_share,
        lambda z, m, s: margins(z, m).quantile(s).clamp(min=0),
        "nor clamp",
    ),
    "bias_for_share: always 3": (
        exercises.bias_for_share,
        lambda z, m, s: margins(z, 3 if m == 4 else m).quantile(s),
        "argument `missing`",
    ),
    "bias_for_share: in place": (exercises.bias_for_share, writing, "Clone"),
    "as printed": (exercises.held_out_error, as_printed, "second half only"),
    "all images reported": (
        exercises.held_out_error,
        partial(reported, report=WHOLE),
        "second half only",
    ),
    "the first half reported": (
        exercises.held_out_error,
        partial(reported, choose=SECOND, report=FIRST),
        "second half only",
    ),
    "a share": (
        exercises.held_out_error,
        lambda z, y, m, b: reported(z, y, m, b) / 100,
        "in percent",
    ),
    "accumulating": (exercises.held_out_error, accumulating, "a clone each time"),
    "the second half chooses": (
        exercises.held_out_error,
        partial(reported, choose=SECOND),
        "lets those images choose",
    ),
    "all images choose": (
        exercises.held_out_error,
        partial(reported, choose=WHOLE),
        "first half",
    ),
    "the worst": (exercises.held_out_error, partial(reported, worst=True), "first half"),
    "held_out_error: always 3": (
        exercises.held_out_error,
        lambda z, y, m, b: reported(z, y, 3, b),
        "not the number 3",
    ),
    "held_out_error: in place": (exercises.held_out_error, in_place, "Clone"),
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


# ---- the stored table ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["label-only", "class means", "T = 1", "T = 4"])
def test_the_stored_table_has_every_row_that_the_page_shows(way: str) -> None:
    for rule in ("as trained", "by share", "on validation", "on test"):
        assert 0 <= ten_thousand.right(way, rule).mean <= 100
    assert ten_thousand.errors(way).mean < ten_thousand.errors("label-only", "as trained").high
    if way != "T = 4":
        assert ten_thousand.ahead(way).low < ten_thousand.ahead(way).high


def test_a_row_that_was_not_trained_is_an_error() -> None:
    with pytest.raises(ValueError, match="no row '3,500 images', 'T = 3'"):
        ten_thousand.right("T = 3")


# ---- the explorer --------------------------------------------------------------------------------

BIASES = [-2.0, 0.0, 1.5, 3.0]


def made_up(seeds: int = 3, n: int = 60, *, shy: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = np.arange(n) % 4
    z = random.normal(size=(seeds, n, 4)) + 3 * np.eye(4)[y]
    z[..., 3] -= shy
    return z.astype(np.float32), y


def explorer(**options) -> ClassBias:
    z, y = made_up()
    rules = {
        "by share": {"taught at T = 20": 2.2, "taught at T = 1": 99.0},
        "on test": {"taught at T = 20": 1.4, "taught at T = 1": -99.0},
    }
    both = {"taught at T = 20": z, "taught at T = 1": made_up(shy=5.0)[0]}
    given = {"missing": 3, "biases": BIASES, "rules": rules} | options
    return ClassBias(both, y, **given)


def test_every_state_of_the_explorer_can_be_drawn() -> None:
    assert explorer().sweep() == len(BIASES) * 2


def test_the_explorer_with_one_student_has_one_slider() -> None:
    z, y = made_up(seeds=1)
    one = ClassBias({"taught": z}, y, missing=3, biases=BIASES)
    assert one.sweep() == len(BIASES)
    assert one.state == {"bias": 0.0}


@pytest.mark.parametrize("bias", BIASES)
def test_the_explorer_counts_what_scoring_by_hand_counts(bias: float) -> None:
    z, y = made_up()
    counted = explorer().wrong({"bias": bias, "student": "taught at T = 20"})
    for seed, logits in enumerate(torch.from_numpy(z)):
        wrong = shifted(logits, 3, bias).argmax(1).numpy() != y
        assert counted["total"][seed] == wrong.sum()
        assert counted["missing"][seed] == wrong[y == 3].sum()
        assert counted["others"][seed] == wrong[y != 3].sum()


def test_a_button_jumps_to_the_nearest_bias_of_its_rule() -> None:
    made = explorer()
    made.set(bias=3.0, student="taught at T = 1")
    assert made.situations["by share"] == {"bias": 1.5, "student": "taught at T = 20"}
    assert made.situations["as trained"] == {"bias": 0.0}


def test_the_sentence_tells_the_counts() -> None:
    made = explorer()
    made.set(bias=3.0)
    right = 15 - made.wrong(made.state)["missing"].mean()
    assert f"gets {right:.0f} of 15 images of class 3 right" in made.sentence(made.state)


def test_the_explorer_rejects_what_does_not_fit() -> None:
    z, y = made_up()
    with pytest.raises(ValueError, match="expected \\(seeds, N, C\\)"):
        ClassBias({"taught": z[0]}, y, missing=3, biases=BIASES)
    with pytest.raises(ValueError, match="no image of class 7"):
        ClassBias({"taught": z}, y, missing=7, biases=BIASES)
    with pytest.raises(ValueError, match="disagree about \\['alone'\\]"):
        rules = {"by share": {"taught": 1.0, "alone": 1.0}}
        ClassBias({"taught": z}, y, missing=3, biases=BIASES, rules=rules)
