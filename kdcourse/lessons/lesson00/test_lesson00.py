"""Notebook 00: its checkers accept the right answers and name what is wrong with the others."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson00 import exercises
from kdlib.models import evaluating, mlp
from kdlib.models import multiply_adds as counted


def by_pairs(widths):
    return sum(m * n for m, n in pairwise(widths))


def by_numpy(widths):
    sizes = np.array(widths)
    return (sizes[:-1] * sizes[1:]).sum()


def by_counting(widths):
    return counted(mlp(*widths), torch.zeros(1, widths[0]))


def with_biases(widths):
    return sum(m * n + n for m, n in pairwise(widths))


def first_layer(widths):
    return widths[0] * widths[1]


def bisected(z, most):
    low, high = 0.001, 10_000.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if (z / middle).softmax(-1).max() > most else (low, middle)
    return high


def from_a_grid(z, most):
    grid = torch.logspace(-3, 4, 20_000, dtype=torch.float64)
    largest = (z / grid[:, None]).softmax(-1).amax(-1)
    return grid[(largest - most).abs().argmin()]


def by_scipy(z, most):
    from scipy.optimize import brentq

    return brentq(lambda T: float((z / T).softmax(-1).max()) - most, 1e-3, 1e5)


def whole_numbers(z, most):
    T = 1
    while (z / T).softmax(-1).max() > most:
        T += 1
    return T


def multiplied(z, most):
    return 1 / bisected(z, most)


def far_too_high(z, most):
    return 10_000.0


def from_one_on(z, most):
    return max(1.0, float(bisected(z, most)))


def up_to_fifty(z, most):
    return min(50.0, float(bisected(z, most)))


def in_eval_mode(network, x):
    modes = {m: m.training for m in network.modules()}
    network.eval()
    with torch.no_grad():
        p = network(x).softmax(-1)
    for m, was in modes.items():
        m.training = was
    return p


def with_kdlib(network, x):
    with evaluating(network):
        return network(x).softmax(-1)


def as_numpy(network, x):
    return in_eval_mode(network, x).numpy()


def only_no_grad(network, x):
    with torch.no_grad():
        return network(x).softmax(-1)


def asked_again_in_train_mode(network, x):
    answer = in_eval_mode(network, x)
    if len(x) > 1:
        network.train()(x)
    return answer


def left_in_eval(network, x):
    network.eval()
    with torch.no_grad():
        return network(x).softmax(-1)


def back_to_train(network, x):
    answer = left_in_eval(network, x)
    network.train()
    return answer


def top_mode_only(network, x):
    was_training = network.training
    answer = left_in_eval(network, x)
    network.train(was_training)
    return answer


def detached(network, x):
    network.eval()
    return network(x).detach().softmax(-1)


def logits(network, x):
    with evaluating(network):
        return network(x)


def nothing(*given):
    sum(range(3))


RIGHT = [
    (exercises.cost_of_mlp, by_pairs),
    (exercises.cost_of_mlp, by_numpy),
    (exercises.cost_of_mlp, by_counting),
    (exercises.temperature_for, bisected),
    (exercises.temperature_for, from_a_grid),
    (exercises.temperature_for, by_scipy),
    (exercises.answers, in_eval_mode),
    (exercises.answers, with_kdlib),
    (exercises.answers, as_numpy),
]
WRONG = [
    (exercises.cost_of_mlp, with_biases, "a bias is added"),
    (exercises.cost_of_mlp, np.prod, "neighbouring widths"),
    (exercises.cost_of_mlp, sum, "sum of 5 products"),
    (exercises.cost_of_mlp, first_layer, "to the last"),
    (exercises.cost_of_mlp, lambda widths: 2 * by_pairs(widths), "sum of 5 products"),
    (exercises.temperature_for, multiplied, "T must be higher"),
    (exercises.temperature_for, lambda z, most: 1.0, "T must be higher"),
    (exercises.temperature_for, lambda z, most: -3.0, "above 0 only"),
    (exercises.temperature_for, far_too_high, "T must be lower"),
    (exercises.temperature_for, whole_numbers, "finer steps"),
    (exercises.temperature_for, from_one_on, "go below 1"),
    (exercises.temperature_for, up_to_fifty, "up to some thousands"),
    (exercises.answers, lambda network, x: network(x).softmax(-1), "network.eval() first"),
    (exercises.answers, only_no_grad, "network.eval() first"),
    (exercises.answers, asked_again_in_train_mode, "running mean"),
    (exercises.answers, logits, "softmax(-1)"),
    (exercises.answers, detached, "too late"),
    (exercises.answers, left_in_eval, "give it back"),
    (exercises.answers, back_to_train, "give it back"),
    (exercises.answers, top_mode_only, "wakes every layer"),
    *((exercise, nothing, "`return` missing") for exercise in exercises_of(exercises)),
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
