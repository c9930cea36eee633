"""Notebook 11: its checkers accept the right, reject the wrong; its transfer sets; its rows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.explorers import ErrorTable
from kdcourse.lessons.lesson11 import exercises, stored, table, transfer
from kdlib.data import Examples, load
from kdlib.models import initialise, observe

# ---- the exercises ------------------------------------------------------------------------------


def verdict(t: float, d: float, alone: float) -> str:
    if t + d < alone:
        return "helps"
    return "harms" if t - d > alone else "open"


def interval_verdict(t: float, d: float, alone: float) -> Any:
    low, high = np.float64(t) - d, np.float64(t) + d
    return np.where(high < alone, "helps", np.where(low > alone, "harms", "open")).item()


def used(z: Tensor) -> float:
    r = z.argmax(1).bincount().double() / len(z)
    return float(torch.special.entr(r).sum().exp())


def usable(answers: dict[str, Tensor], least: float) -> list[str]:
    kept = [name for name in answers if used(answers[name]) > least]
    return sorted(kept, key=lambda name: used(answers[name]), reverse=True)


def usable_by_numpy(answers: dict[str, Tensor], least: float) -> tuple[str, ...]:
    numbers = {}
    for name, z in answers.items():
        _, counts = np.unique(z.numpy().argmax(-1), return_counts=True)
        r = counts / counts.sum()
        numbers[name] = np.exp(-(r * np.log(r)).sum())
    order = sorted(numbers, key=lambda name: -numbers[name])
    return tuple(name for name in order if numbers[name] > least)


def wrongly_used(number: Any, order: bool = True) -> Any:
    """An answer with another number of classes."""

    def answer(answers: dict[str, Tensor], least: float) -> list[str]:
        kept = [name for name in answers if number(answers[name]) > least]
        return sorted(kept, key=lambda name: -float(number(answers[name]))) if order else kept

    return answer


def shares(z: Tensor) -> Tensor:
    return z.argmax(1).bincount(minlength=z.shape[1]) / len(z)


def plan(
    train: Examples, test: Examples, n: int, draw: int, epochs: int = 20, **changes: Any
) -> dict[str, Any]:
    labelled = train.per_class(n, seed=draw)
    steps = epochs * math.ceil(len(train) / 128)
    right: dict[str, Any] = {"teacher": labelled, "label-only": labelled}
    right["transfer set"] = train.unlabelled()
    right["label-only epochs"] = round(steps / math.ceil(len(labelled) / 128))
    for name, change in changes.items():
        right[name.replace("_", " ").replace("label only", "label-only")] = change(locals())
    return right


def without_labelled(
    train: Examples, test: Examples, n: int, draw: int, epochs: int = 20
) -> dict[str, Any]:
    labelled = train.per_class(n, seed=draw)
    rest = train[~torch.isin(train.ids, labelled.ids)].unlabelled()
    made = plan(train, test, n, draw, epochs)
    made["transfer set"] = rest
    steps = epochs * -(-len(rest) // 128)
    made["label-only epochs"] = np.round(steps / -(-len(labelled) // 128))
    return made


def changed(**changes: Any) -> Any:
    return lambda train, test, n, draw, epochs=20: plan(train, test, n, draw, epochs, **changes)


RIGHT = [
    (exercises.verdict, verdict),
    (exercises.verdict, interval_verdict),
    (exercises.usable, usable),
    (exercises.usable, usable_by_numpy),
    (exercises.mended_plan, plan),
    (exercises.mended_plan, without_labelled),
]
WRONG = {
    "teacher only": (
        exercises.verdict,
        lambda t, d, a: "helps" if t < a else "harms",
        "add the disagreement",
    ),
    "no harm": (
        exercises.verdict,
        lambda t, d, a: "helps" if t + d < a else "open",
        "the first minus the second",
    ),
    "no way open": (
        exercises.verdict,
        lambda t, d, a: "helps" if t + d < a else "harms",
        "add the disagreement",
    ),
    "harm by the teacher alone": (
        exercises.verdict,
        lambda t, d, a: "helps" if t + d < a else "harms" if t > a else "open",
        "take the disagreement off",
    ),
    "at most": (
        exercises.verdict,
        lambda t, d, a: "helps" if t + d <= a else "harms" if t - d >= a else "open",
        "strictly",
    ),
    "always open": (exercises.verdict, lambda t, d, a: "open", "at most the sum"),
    "a boolean": (exercises.verdict, lambda t, d, a: t + d < a, "at most the sum"),
    "nan": (
        exercises.usable,
        wrongly_used(lambda z: (-(shares(z) * shares(z).log()).sum()).exp(), order=False),
        "not nan",
    ),
    "all of them": (exercises.usable, lambda answers, least: list(answers), "No class but one"),
    "by confidence": (
        exercises.usable,
        lambda answers, least: [
            name
            for name, z in answers.items()
            if used(z) > least and z.softmax(1).amax(1).mean() > 0.5
        ],
        "do not matter",
    ),
    "mean probability": (
        exercises.usable,
        wrongly_used(lambda z: torch.special.entr(z.softmax(1).mean(0)).sum().exp()),
        "argmax before",
    ),
    "different answers": (
        exercises.usable,
        wrongly_used(lambda z: len(z.argmax(1).unique())),
        "Not the number of different",
    ),
    "in bits": (
        exercises.usable,
        wrongly_used(lambda z: (torch.special.entr(shares(z)).sum() / math.log(2)).exp()),
        "in nats",
    ),
    "a fixed number": (
        exercises.usable,
        lambda answers, least: usable(answers, 3.0),
        "`least`",
    ),
    "least first": (
        exercises.usable,
        lambda answers, least: usable(answers, least)[::-1],
        "the largest first",
    ),
    "as printed": (
        exercises.mended_plan,
        lambda train, test, n, draw, epochs=20: {
            "teacher": train,
            "label-only": train.per_class(n),
            "transfer set": (train + test).unlabelled(),
            "label-only epochs": epochs,
        },
        "a leak",
    ),
    "one entry": (exercises.mended_plan, lambda *a, **k: {"teacher": a[0]}, "A dictionary"),
    "unlabelled student": (
        exercises.mended_plan,
        changed(label_only=lambda here: here["labelled"].unlabelled()),
        "with its labels",
    ),
    "one draw": (
        exercises.mended_plan,
        lambda train, test, n, draw, epochs=20: plan(train, test, n, 0, epochs),
        "every draw is the same",
    ),
    "another draw": (
        exercises.mended_plan,
        changed(teacher=lambda here: here["train"].per_class(here["n"], seed=here["draw"] + 100)),
        "give both the same",
    ),
    "test images": (
        exercises.mended_plan,
        changed(transfer_set=lambda here: (here["train"] + here["test"]).unlabelled()),
        "no longer tested",
    ),
    "labelled transfer set": (
        exercises.mended_plan,
        changed(transfer_set=lambda here: here["train"]),
        ".unlabelled()",
    ),
    "only the labelled": (
        exercises.mended_plan,
        changed(transfer_set=lambda here: here["labelled"].unlabelled()),
        "All of `train`",
    ),
    "equal epochs": (
        exercises.mended_plan,
        changed(label_only_epochs=lambda here: here["epochs"]),
        "math.ceil",
    ),
    "a share of an epoch": (
        exercises.mended_plan,
        changed(
            label_only_epochs=lambda here: (
                here["steps"] / math.ceil(len(here["labelled"]) / 128) + 0.25
            )
        ),
        "round",
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


# ---- transfer sets and tasks --------------------------------------------------------------------


def test_every_transfer_set_has_images_of_the_right_size_and_no_label() -> None:
    train = load("mnist5k").train
    labelled = train.per_class(2, seed=1)
    for name in table.SETS:
        made = transfer.images(name, train, labelled, seed=1)
        assert made.x.shape[1:] == (1, 28, 28) and made.x.dtype == torch.uint8, name
        assert (made.y == -1).all(), name
    moved = transfer.images("moved, of the labels", train, labelled, seed=1)
    assert len(moved) == transfer.COUNT
    assert (moved.x.flatten(1).sum(1)[:20] <= labelled.x.flatten(1).sum(1)).all()


def test_signs_count_first_answers_and_confidence() -> None:
    z = torch.full((100, 10), -20.0)
    z[torch.arange(100), torch.arange(100) % 4] = 20.0
    signs = transfer.signs(z)
    assert signs["classes"] == pytest.approx(4) and signs["confidence"] == pytest.approx(1)
    assert transfer.signs(torch.zeros(5, 10))["confidence"] == pytest.approx(0.1)


def test_a_teacher_of_few_labels_takes_the_steps_of_the_courses_teacher() -> None:
    train = load("mnist5k").train
    for n in (1, 20, 350):
        part = train.per_class(n)
        steps = transfer.epochs(part) * math.ceil(len(part) / 64)
        assert steps == pytest.approx(transfer.STEPS, rel=0.02)


def test_an_image_is_turned_by_the_angle_that_is_said() -> None:
    bar = torch.zeros(1, 1, 29, 29, dtype=torch.uint8)
    bar[..., 14, 14:] = 255  # from the middle to the right
    images = Examples(bar, torch.zeros(1, dtype=torch.int64))
    for seed in range(5):
        turned, angle = transfer.turned(images, 60, seed=seed)
        weight = turned.x[0, 0].double()
        place = torch.arange(29, dtype=torch.float64) - 14
        right, down = (weight * place).sum() / weight.sum(), (weight.T * place).sum() / weight.sum()
        seen = math.atan2(-down, right)  # against the clock, up is positive
        said = math.atan2(angle[0, 1], angle[0, 0])
        assert abs(seen) == pytest.approx(abs(said), abs=0.05)


def test_the_distance_of_a_head_is_the_mean_square_not_centred() -> None:
    train = load("mnist5k").train[:3]
    turned, angles = transfer.turned(train, 60, seed=0)
    network = initialise(transfer.TwoHeads(8), 0)
    loss, _ = transfer.two_tasks(turned, angles, 2.0)(network, turned.batch())
    seen = observe(network, turned.batch().x, ["angle"])
    hard = torch.nn.functional.cross_entropy(seen.logits, turned.y)
    expected = hard + 2 * (seen.features["angle"] - angles).square().mean()
    torch.testing.assert_close(loss, expected)


# ---- what is stored -----------------------------------------------------------------------------


def test_every_point_of_every_curve_lies_within_the_bound() -> None:
    for name in table.WAYS:
        if name.startswith(("transfer", "same")):
            teacher, student = stored.curve("teacher"), stored.curve(name)
            apart = stored.curve(name, "disagreement")
            assert (student <= teacher + apart + 0.02).all(), name
            assert (student >= teacher - apart - 0.02).all(), name


def test_the_explorer_is_drawn_in_every_state() -> None:
    grid = stored.grid()
    shown = ErrorTable(
        grid["axes"],
        grid["errors"],
        n=10_000,
        alone=[grid["alone"]],
        along="images per class",
        second={"classes used": grid["classes"]},
    )
    assert shown.sweep() == len(table.SETS) * len(table.SET_COUNTS)
