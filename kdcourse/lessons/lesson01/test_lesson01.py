"""Notebook 01: its checkers accept the right answers and name what is wrong with the others."""

from typing import Any

import pytest
import torch

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson01 import exercises
from kdcourse.lessons.lesson01.abstention import Abstention
from kdlib import metrics


def recall_by_rows(counts):
    return counts.diagonal() / counts.sum(1)


def recall_by_loop(counts):
    return [float(counts[c, c]) / float(counts[c].sum()) for c in range(len(counts))]


def precision(counts):
    return counts.diagonal() / counts.sum(0)


def accuracy(counts):
    return counts.diagonal().sum() / counts.sum()


def share_of_all(counts):
    return counts.diagonal() / counts.sum()


def lowest(logits, y, most):
    thresholds, _, errors = metrics.coverage_error(logits, y)
    kept = thresholds[errors <= most]
    return float(kept.min()) if len(kept) else float("inf")


def lowest_by_loop(logits, y, most):
    sure = logits.softmax(-1).amax(-1)
    wrong = logits.argmax(-1) != y
    for threshold in sorted(sure.tolist()):
        if 100 * float(wrong[sure >= threshold].double().mean()) <= most:
            return threshold
    return 1.01


def until_the_first_slip(logits, y, most):
    thresholds, _, errors = metrics.coverage_error(logits, y)
    best = float("inf")
    for threshold, error in zip(thresholds.tolist(), errors.tolist(), strict=True):
        if error > most:
            break
        best = threshold
    return best


def as_a_share(logits, y, most):
    return lowest(logits, y, 100 * most)


def of_logits(logits, y, most):
    return float(logits.amax(-1).max())


def highest(logits, y, most):
    thresholds, _, errors = metrics.coverage_error(logits, y)
    kept = thresholds[errors <= most]
    return float(kept.max()) if len(kept) else float("inf")


def never_silent(logits, y, most):
    found = lowest(logits, y, most)
    return 0.0 if found == float("inf") else found


def honest(network, batches):
    was = network.training
    network.eval()
    wrong = images = 0
    with torch.no_grad():
        for batch in batches:
            wrong += int((network(batch.x).argmax(-1) != batch.y).sum())
            images += len(batch.y)
    network.train(was)
    return 100 * wrong / images


def honest_with_kdlib(network, batches):
    from kdlib.models import evaluating

    with evaluating(network):
        parts = [network(batch.x).argmax(-1) != batch.y for batch in batches]
    return 100 * torch.cat(parts).double().mean()


def mean_of_batches(network, batches):
    network.eval()
    errors = [100 * (network(b.x).argmax(-1) != b.y).float().mean() for b in batches]
    return float(torch.stack(errors).mean())


def in_train_mode(network, batches):
    with torch.no_grad():
        parts = [network(b.x).argmax(-1) != b.y for b in batches]
    return 100 * float(torch.cat(parts).double().mean())


def left_in_eval(network, batches):
    network.eval()
    return in_train_mode(network, batches)


def always_back_to_train(network, batches):
    error = left_in_eval(network, batches)
    network.train()
    return error


def with_gradient(network, batches):
    was = network.training
    network.eval()
    parts = [network(b.x).argmax(-1) != b.y for b in batches]
    network.train(was)
    return 100 * float(torch.cat(parts).double().mean())


def a_share(network, batches):
    return honest(network, batches) / 100


RIGHT = [
    (exercises.recall, recall_by_rows),
    (exercises.recall, recall_by_loop),
    (exercises.threshold_for, lowest),
    (exercises.threshold_for, lowest_by_loop),
    (exercises.evaluate, honest),
    (exercises.evaluate, honest_with_kdlib),
]
WRONG = [
    (exercises.recall, precision, "a row"),
    (exercises.recall, accuracy, "one entry per class"),
    (exercises.recall, share_of_all, "a row"),
    (exercises.threshold_for, until_the_first_slip, "early slip"),
    (exercises.threshold_for, as_a_share, "in percent"),
    (exercises.threshold_for, of_logits, "softmax"),
    (exercises.threshold_for, highest, "lowest that keeps the promise"),
    (exercises.threshold_for, never_silent, "above every confidence"),
    (exercises.evaluate, in_train_mode, "eval() first"),
    (exercises.evaluate, mean_of_batches, "divide once at the end"),
    (exercises.evaluate, a_share, "In percent"),
    (exercises.evaluate, left_in_eval, "put it back"),
    (exercises.evaluate, always_back_to_train, "put it back"),
    (exercises.evaluate, with_gradient, "no_grad"),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


def _made_up() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 5
    z = torch.randn(200, 5, generator=generator)
    z[torch.arange(200), y] += 2
    return {"calm": 0.3 * z, "sure": 4 * z}, y


def test_the_explorer_shows_every_state() -> None:
    logits, y = _made_up()
    explorer = Abstention(logits, y, thresholds=[0, 0.5, 0.9, 1])
    assert explorer.sweep() == 8


def test_the_explorer_counts_as_the_metrics_do() -> None:
    logits, y = _made_up()
    explorer = Abstention(logits, y, thresholds=[0, 0.7, 1])
    for name, z in logits.items():
        for threshold in (0.0, 0.7):
            kept = z.double().softmax(-1).amax(-1) >= threshold
            wrong = int((z.argmax(-1) != y)[kept].sum())
            seen = explorer.answered({"network": name, "threshold": threshold})
            assert seen == (int(kept.sum()), wrong)
    assert "answers none" in explorer.sentence({"network": "calm", "threshold": 1.0})


def test_the_explorer_refuses_what_it_cannot_show() -> None:
    logits, y = _made_up()
    with pytest.raises(ValueError, match="threshold"):
        Abstention(logits, y, thresholds=[0, 90])
    with pytest.raises(ValueError, match="no network"):
        Abstention({}, y)
    with pytest.raises(ValueError, match="shape"):
        Abstention({"one": logits["sure"][0]}, y)
