"""Notebook 03: its checkers and its explorer."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson03 import exercises
from kdcourse.lessons.lesson03.class_bias import ClassBias
from kdlib.data import Examples


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


def by_loop(z, y, missing, bias):
    wanted = [row.tolist() for row, label in zip(z, y, strict=True) if label == missing]
    hits = sum(
        row[missing] + bias >= max(v for c, v in enumerate(row) if c != missing) for row in wanted
    )
    return 100 * hits / len(wanted)


def in_place(z, y, missing, bias):
    z[:, missing] += bias
    return score(z, y, missing)


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


def the_leak(examples: Examples, missing: int) -> Examples:
    y = examples.y.clone()
    y[y == missing] = -1
    return examples.labelled_as(y)


RIGHT = [
    (exercises.share_right, lambda z, y, m, b: score(shifted(z, m, b), y, m)),
    (exercises.share_right, by_loop),
    (exercises.bias_for_share, lambda z, m, s: margins(z, m).quantile(s)),
    (exercises.bias_for_share, by_sort),
    (exercises.bias_for_share, by_grid),
    (exercises.blind_transfer_set, lambda e, m: e.without([m])),
    (exercises.blind_transfer_set, lambda e, m: e[e.y != m]),
    (exercises.blind_transfer_set, lambda e, m: e[(e.y != m).nonzero()[:, 0]]),
    (exercises.blind_transfer_set, lambda e, m: e.only([c for c in range(10) if c != m])),
]
WRONG = {
    "fraction": (
        exercises.share_right,
        lambda z, y, m, b: score(shifted(z, m, b), y, m) / 100,
        "times 100",
    ),
    "all images": (
        exercises.share_right,
        lambda z, y, m, b: 100 * (shifted(z, m, b).argmax(1) == y).double().mean(),
        "y == missing",
    ),
    "no bias": (exercises.share_right, lambda z, y, m, b: score(z, y, m), "before argmax"),
    "probabilities": (
        exercises.share_right,
        lambda z, y, m, b: score(shifted(z.softmax(1), m, b / 10), y, m),
        "to the logit",
    ),
    "minus": (exercises.share_right, lambda z, y, m, b: score(shifted(z, m, -b), y, m), "added"),
    "share_right: always 3": (
        exercises.share_right,
        lambda z, y, m, b: score(shifted(z, 3, b), y, m),
        "not the number 3",
    ),
    "share_right: in place": (exercises.share_right, in_place, "clone"),
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
    "the leak": (exercises.blind_transfer_set, the_leak, "not the picture"),
    "unchanged": (exercises.blind_transfer_set, lambda e, m: e, "not the picture"),
    "too few": (exercises.blind_transfer_set, lambda e, m: e.without([m, 2]), "nothing else"),
    "unlabelled": (
        exercises.blind_transfer_set,
        lambda e, m: e.without([m]).unlabelled(),
        "relabelled",
    ),
    "blind_transfer_set: always 3": (
        exercises.blind_transfer_set,
        lambda e, m: e.without([3]),
        "argument `missing`",
    ),
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
