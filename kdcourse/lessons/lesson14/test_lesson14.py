"""Notebook 14: its checkers accept the right and reject the wrong; its explorer, swept whole."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson14 import exercises, pairs, starts, stored
from kdcourse.lessons.lesson14.beginnings import Beginnings
from kdlib.data import load
from kdlib.models import fingerprint, predict
from kdlib.objectives import SoftTargets, outputs

# ---- exercises -----------------------------------------------------------------------------------


def kl(z_t: Tensor, z_s: Tensor, classes: int) -> Tensor:
    p, q = (z[:, classes:].softmax(1) for z in (z_t, z_s))
    return (p * (p / q).log()).sum(1).mean()


def by_torch(z_t: Tensor, z_s: Tensor, classes: int) -> float:
    log_p, log_q = (F.log_softmax(z[:, classes:], 1) for z in (z_t, z_s))
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True).item()


def softmax_first(z_t: Tensor, z_s: Tensor, classes: int) -> Tensor:
    p, q = (z.softmax(1)[:, classes:] for z in (z_t, z_s))
    return (p * (p / q).log()).sum(1).mean()


def step(J: Tensor, gap: Tensor) -> Tensor:
    return (J * gap[:, :, None]).sum((0, 1)) / len(J)


def step_by_loop(J: Tensor, gap: Tensor) -> Any:
    return np.mean([np.asarray(a).T @ np.asarray(g) for a, g in zip(J, gap, strict=True)], 0)


def plan(seed: int, m: int, **changed: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"teacher learns": range(10), "student imitates": range(10, 10 + m)}
    return whole | {"same": seed, "other": seed + 1000, "scored by": range(10)} | changed


def as_printed(seed: int, m: int) -> dict[str, Any]:
    every = range(10 + m)
    return plan(seed, m) | {
        "teacher learns": every, "student imitates": range(m), "other": seed + 1, "scored by": every
    }  # fmt: skip


RIGHT = [
    (exercises.auxiliary_kl, kl),
    (exercises.auxiliary_kl, by_torch),
    (exercises.first_step, step),
    (exercises.first_step, step_by_loop),
    (exercises.first_step, lambda J, gap: torch.einsum("now,no->w", J, gap).div(5).tolist()),
    (exercises.mended_plan, plan),
    (exercises.mended_plan, lambda seed, m: plan(seed, m, other=10_000 - seed)),
    (exercises.mended_plan, lambda seed, m: plan(seed, m) | {"scored by": list(range(10))}),
]
WRONG = {
    "a number for each image": (
        exercises.auxiliary_kl,
        lambda a, b, n: (
            a[:, n:].softmax(1) * (a[:, n:].log_softmax(1) - b[:, n:].log_softmax(1))
        ).sum(1),
        "average over the images",
    ),
    "cross-entropy": (
        exercises.auxiliary_kl,
        lambda a, b, n: -(a[:, n:].softmax(1) * b[:, n:].log_softmax(1)).sum(1).mean(),
        "both logarithms",
    ),
    "softmax over all": (exercises.auxiliary_kl, softmax_first, "Cut first"),
    "the classes' KL": (
        exercises.auxiliary_kl,
        lambda a, b, n: kl(a[:, :n], b[:, :n], 0),
        "Cut first",
    ),
    "nothing": (exercises.auxiliary_kl, lambda a, b, n: 0.0, "after the classes"),
    "squared logits": (
        exercises.auxiliary_kl,
        lambda a, b, n: (a[:, n:] - b[:, n:]).square().sum(1).mean(),
        "softmax of one output",
    ),
    "the other direction": (exercises.auxiliary_kl, lambda a, b, n: kl(b, a, n), "KL(q ‖ p)"),
    "mean over outputs, too": (
        exercises.auxiliary_kl,
        lambda a, b, n: kl(a, b, n) / 3,
        "mean over images",
    ),
    "a matrix": (exercises.first_step, lambda J, gap: J.sum(0), "for each weight"),
    "no gap in it": (exercises.first_step, lambda J, gap: J.mean((0, 1)), "no gap, no step"),
    "uphill": (exercises.first_step, lambda J, gap: -step(J, gap), "+Jᵀ gap"),
    "mean over outputs": (
        exercises.first_step,
        lambda J, gap: step(J, gap) / 3,
        "SUMMED over outputs",
    ),
    "as printed": (exercises.mended_plan, as_printed, "must not be among them"),
    "classes, too": (
        exercises.mended_plan,
        lambda seed, m: plan(seed, m) | {"student imitates": range(10 + m)},
        "told the digits",
    ),
    "scored by all": (
        exercises.mended_plan,
        lambda seed, m: plan(seed, m) | {"scored by": range(10 + m)},
        "12 is no digit",
    ),
    "a start of its own": (
        exercises.mended_plan,
        lambda seed, m: plan(seed, m, same=seed + 500),
        "drew the teacher's",
    ),
    "the next teacher's start": (
        exercises.mended_plan,
        lambda seed, m: plan(seed, m, other=seed + 1),
        "teachers' own",
    ),
    "a later teacher's start": (
        exercises.mended_plan,
        lambda seed, m: plan(seed, m, other=seed + 100),
        "teachers' own",
    ),
    "one start for all": (
        exercises.mended_plan,
        lambda seed, m: plan(seed, m, other=1000),
        "teachers' own",
    ),
    "an entry is missing": (exercises.mended_plan, lambda seed, m: {"same": seed}, "same keys"),
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


# ---- starts --------------------------------------------------------------------------------------


def test_a_start_is_what_its_seed_says() -> None:
    assert fingerprint(starts.drawn(3)) == fingerprint(starts.drawn(3))
    assert fingerprint(starts.drawn(3)) != fingerprint(starts.other(3))
    weight = starts.drawn(3).get_parameter("stage1.0.weight")
    assert float(weight.detach().var()) == pytest.approx(1 / 784, rel=0.02)
    parts = starts.joined(starts.drawn(3), starts.other(3)).state_dict()
    own, far = starts.drawn(3).state_dict(), starts.other(3).state_dict()
    for name, value in parts.items():
        assert torch.equal(value, (far if "head" in name else own)[name])


def test_the_network_sees_pixels_from_minus_one_to_one() -> None:
    seen = starts.network().normalise(torch.tensor([0.0, 0.5, 1.0]))
    assert seen.tolist() == [-1, 0, 1]


def test_a_start_in_another_order_is_the_same_function() -> None:
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for other, own in ((starts.shuffled, starts.drawn), (starts.aligned, starts.other)):
        a, b = other(2), own(2)
        assert not torch.equal(a.get_parameter("head.weight"), b.get_parameter("head.weight"))
        torch.testing.assert_close(predict(a, x), predict(b, x), rtol=1e-4, atol=1e-4)


def test_matching_finds_an_order_that_is_there() -> None:
    own, hidden = starts.drawn(1).state_dict(), starts.shuffled(1)
    order = starts._order(own["stage1.0.weight"], hidden.get_parameter("stage1.0.weight"))
    found = hidden.get_parameter("stage1.0.weight")[order]
    assert torch.equal(found, own["stage1.0.weight"])


def test_a_near_start_correlates_as_asked() -> None:
    a, b = (
        n.get_parameter("stage1.0.weight").detach().flatten()
        for n in (starts.drawn(0), starts.near(0, 0.8))
    )
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) == pytest.approx(0.8, abs=0.01)
    assert float(b.var()) == pytest.approx(1 / 784, rel=0.02)


def test_one_output_teaches_nothing() -> None:
    student = starts.other(0)
    loss, _ = outputs(range(10, 11), SoftTargets(starts.drawn(0), T=1))(
        student, starts.noise(load("mnist5k").train, 4).batch()
    )
    slopes = torch.autograd.grad(loss, list(student.parameters()))
    assert loss.item() == 0 and all(not slope.any() for slope in slopes)


def test_kl_is_measured_from_the_teacher_to_student_or_to_one_answer() -> None:
    shown, part = starts.noise(load("mnist5k").train, 16), range(10, 15)
    z_t, z_s = (predict(net, shown)[:, 10:15] for net in (starts.drawn(0), starts.other(0)))
    by_hand = float(kl(z_t, z_s, 0))
    found = starts.apart(starts.drawn(0), starts.other(0), shown, part)
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert starts.apart(starts.drawn(0), starts.drawn(0), shown, part) == pytest.approx(0, abs=1e-6)
    mean = z_t.softmax(1).mean(0).log().expand_as(z_t)
    found = starts.apart(starts.drawn(0), None, shown, part)
    assert found == pytest.approx(float(kl(z_t, mean, 0)), rel=1e-4)


def test_digits_less_their_mean_average_to_grey_and_labels_are_only_shuffled() -> None:
    train = load("mnist5k").train
    grey = starts.images("digits less their mean", train).x.mean(0)
    torch.testing.assert_close(grey, torch.full_like(grey, 0.5), rtol=0, atol=1e-4)
    shuffled = starts.mislabelled(train)
    assert torch.equal(shuffled.y.sort().values, train.y.sort().values)
    assert 0.05 < float((shuffled.y == train.y).float().mean()) < 0.15


# ---- what is stored, and the explorer ------------------------------------------------------------


def test_what_is_stored_is_whole() -> None:
    students = stored.students()
    for first, second in pairs.PAIRS:
        count = min(len(students[name].right) for name in (first, second))
        means = [sum(students[name].right[:count]) / count for name in (first, second)]
        assert stored.more(first, second).mean == pytest.approx(means[0] - means[1], abs=0.02)
    for name in (pairs.SAME, pairs.OTHER):
        assert len(students[name].right) == len(pairs.SEEDS)
    with pytest.raises(KeyError, match="no difference"):
        stored.more(pairs.SAME, "nothing")


def test_the_explorer_is_drawn_in_every_state() -> None:
    shown = Beginnings(stored.students())
    states = list(shown.states())
    assert shown.sweep() == len(states) == len(pairs.MS) * 2 * len(pairs.LENGTHS)
    assert len({shown.sentence(state) for state in states}) == len(states)


def test_the_explorer_says_what_is_stored() -> None:
    shown = Beginnings(stored.students())
    right = stored.students()[pairs.SAME]
    assert f"{right.interval:.1f} % of the digits right, 8 seeds" in shown.sentence(shown.state)
    shown.set(start="other", m=1, epochs=1)
    assert "1 output, 1 epoch, other first weights" in shown.sentence(shown.state)
    assert "<b" in shown.formula(shown.state)
    with pytest.raises(ValueError, match="expected each start"):
        Beginnings({})
