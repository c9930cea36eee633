"""Notebook 00: its checkers accept the right answers and name what is wrong with the others."""

from typing import Any

import pytest
import torch

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson00 import exercises
from kdlib.models import evaluating


def by_hand(z, T):
    weights = (z / T - (z / T).amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


def sum_of_logs(p, q):
    return (p * (p.log() - q.log())).sum(-1)


def row_by_row(p, q):
    return torch.stack([(a * (a / b).log()).sum() for a, b in zip(p, q, strict=True)])


def in_eval_mode(network, x):
    network.eval()
    with torch.no_grad():
        return network(x).softmax(-1)


def as_it_was(network, x):
    with evaluating(network):
        z = network(x)
    return z.exp() / z.exp().sum(-1, keepdim=True) if z.max() < 50 else z.softmax(-1)


def only_no_grad(network, x):
    with torch.no_grad():
        return network(x).softmax(-1)


def asked_again_in_train_mode(network, x):
    said = in_eval_mode(network, x)
    if len(x) > 1:
        network.train()(x)
    return said


RIGHT = [
    (exercises.softened, by_hand),
    (exercises.softened, lambda z, T: (z / T).softmax(-1)),
    (exercises.softened, lambda z, T: (z / T).log_softmax(dim=1).exp()),
    (exercises.divergence, sum_of_logs),
    (exercises.divergence, row_by_row),
    (exercises.answers, in_eval_mode),
    (exercises.answers, as_it_was),
]
WRONG = [
    (exercises.softened, lambda z, T: (z / T).softmax(0), "last axis"),
    (exercises.softened, lambda z, T: z.softmax(-1) / T, "softmax(z / T), not softmax(z) / T"),
    (exercises.softened, lambda z, T: (z * T).softmax(-1), "multiplying sharpens"),
    (exercises.softened, lambda z, T: z.softmax(-1), "Divide the logits by T"),
    (exercises.softened, lambda z, T: (z / T**0.5).softmax(-1), "divide first"),
    (exercises.softened, lambda z, T: (z / T).exp() / (z / T).exp().sum(-1, True), "infinite"),
    (exercises.divergence, lambda p, q: sum_of_logs(q, p), "swapped"),
    (exercises.divergence, lambda p, q: sum_of_logs(p, q).mean(), "last axis only"),
    (exercises.divergence, lambda p, q: sum_of_logs(p, q) / 3, "averaged"),
    (exercises.divergence, lambda p, q: -(p * q.log()).sum(-1), "KL(p || p)"),
    (exercises.answers, lambda network, x: network(x).softmax(-1), "network.eval() first"),
    (exercises.answers, only_no_grad, "network.eval() first"),
    (exercises.answers, asked_again_in_train_mode, "running mean"),
    (exercises.answers, lambda network, x: network.eval()(x).softmax(-1), "no_grad"),
    (exercises.answers, lambda network, x: torch.zeros(len(x)), "softmax(-1)"),
    (exercises.answers, lambda network, x: network.eval()(x).detach(), "softmax(-1)"),
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
