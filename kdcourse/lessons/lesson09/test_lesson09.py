"""Notebook 09: its checkers accept the right and reject the wrong; its explorers, swept whole."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.explorers import BankExplorer, ErrorTable
from kdcourse.lessons.lesson09 import exercises
from kdlib import losses
from kdlib.adaptation import feature_gaussian, gaussian
from kdlib.bank import Bank
from kdlib.models import mlp
from kdlib.objectives import HardLabels, SoftTargets, Symbol


def across(
    z_s: Tensor, z_t: Tensor, y: Tensor, T: float, lam: float,
    *, ignore: bool = True, power: int = 2, swapped: bool = False, reverse: bool = False,
    mean: bool = False, where: bool = False, guarded: bool = True, labelled: bool = False,
    plain: bool = False, empty: bool = True,
) -> Tensor:  # fmt: skip
    """The loss of exercise 1, with each of its mistakes to be switched on."""
    log_p, log_q = (z_t / T).log_softmax(-1), (z_s / T).log_softmax(-1)
    log_p, log_q = (log_q, log_p) if reverse else (log_p, log_q)
    kl = log_p.exp() * (log_p - log_q)
    kl = kl[y < 0] if where and (bool((y < 0).any()) or not guarded) else kl
    kl = kl[y >= 0] if labelled else kl
    soft = T**power * (kl.mean() if mean else kl.sum(-1).mean())
    if plain:
        hard = F.cross_entropy(z_s, y)  # no ignore_index: raises where y is -1
        return (1 - lam) * hard + lam * soft
    each = F.cross_entropy(z_s, y, ignore_index=-1, reduction="none")
    hard = each.sum() / ((y >= 0).sum().clamp(min=1) if empty else (y >= 0).sum())
    hard = hard if ignore else each.mean()
    return lam * hard + (1 - lam) * soft if swapped else (1 - lam) * hard + lam * soft


def by_where(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, lam: float) -> Tensor:
    """Asks first whether there is a label."""
    hard = F.cross_entropy(z_s, y, ignore_index=-1) if bool((y >= 0).any()) else 0.0
    return (1 - lam) * hard + lam * losses.soft_targets(z_s, z_t, T)


def by_nan_to_num(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, lam: float) -> Tensor:
    hard = F.cross_entropy(z_s, y, ignore_index=-1).nan_to_num()
    return (1 - lam) * hard + lam * losses.soft_targets(z_s, z_t, T)


def by_a_branch(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, lam: float) -> Tensor:
    """0 where there is no label, by a branch of torch.where whose slope is nan."""
    labelled = y >= 0
    nll = -z_s.log_softmax(-1).gather(-1, y.clamp(min=0)[:, None])[:, 0]
    hard = torch.where(labelled.any(), (labelled * nll).sum() / labelled.sum(), 0.0)
    return (1 - lam) * hard + lam * losses.soft_targets(z_s, z_t, T)


def by_ignore_index(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, lam: float) -> Tensor:
    """Right wherever there is a label, and nan where there is none."""
    hard = F.cross_entropy(z_s, y, ignore_index=-1)
    return (1 - lam) * hard + lam * losses.soft_targets(z_s, z_t, T)


def the_library(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, lam: float) -> Tensor:
    return (1 - lam) * losses.hard_labels(z_s, y) + lam * losses.soft_targets(z_s, z_t, T)


def right_weights(m: Tensor, S: Tensor) -> Tensor:
    raw = torch.exp(-torch.einsum("nd,de,ne->n", m, torch.linalg.inv(S), m) / (2 * m.shape[1]))
    return raw / raw.mean()


def weights_by_softmax(m: Tensor, S: Tensor) -> Tensor:
    return len(m) * (-feature_gaussian.squared_mahalanobis(m, S) / (2 * m.shape[1])).softmax(0)


def _scaled(raw: Tensor) -> Tensor:
    return raw / raw.mean()


def _delta(m: Tensor, S: Tensor) -> Tensor:
    return feature_gaussian.squared_mahalanobis(m, S)


def the_noise(eps_i: Any, eps_c: Any, classes: Any, beta: Any, gamma: Any, kappa: Any) -> Any:
    return gaussian.mixed_noise(eps_i, eps_c[classes], beta, gamma, kappa)


RIGHT = [
    (exercises.across, across),
    (exercises.across, the_library),
    (exercises.across, by_where),
    (exercises.across, by_nan_to_num),
    (exercises.weights, right_weights),
    (exercises.weights, weights_by_softmax),
    (exercises.mended_noise, the_noise),
    (exercises.mended_noise, lambda i, c, k, b, g, kappa: b * (1 - g) * i + b * g * kappa * c[k]),
]
WRONG = {
    "weights swapped": (exercises.across, partial(across, swapped=True), "lam the teacher"),
    "divided by the whole batch": (
        exercises.across,
        partial(across, ignore=False),
        "labelled images only",
    ),
    "no ignore_index": (exercises.across, partial(across, plain=True), "labelled images only"),
    "target images only": (
        exercises.across,
        partial(across, where=True),
        "averaged over *all* images",
    ),
    "target images only, nan without": (
        exercises.across,
        partial(across, where=True, guarded=False),
        "pick out none",
    ),
    "source images only": (
        exercises.across,
        partial(across, labelled=True),
        "averaged over *all* images",
    ),
    "KL turned round": (exercises.across, partial(across, reverse=True), "p the teacher's"),
    "mean over classes": (exercises.across, partial(across, mean=True), "summed over classes"),
    "no T²": (exercises.across, partial(across, power=0), "T**2"),
    "T": (exercises.across, partial(across, power=1), "T**2"),
    "nan without a label": (exercises.across, partial(across, empty=False), "clamp(min=1)"),
    "centred again": (
        exercises.weights,
        lambda m, S: right_weights(m - m.mean(0), S),
        "do not centre it again",
    ),
    "per feature": (exercises.weights, lambda m, S: torch.exp(-(m**2)), "one number each"),
    "sign": (exercises.weights, lambda m, S: _scaled(torch.exp(_delta(m, S) / 6)), "minus"),
    "without d": (
        exercises.weights,
        lambda m, S: _scaled(torch.exp(-_delta(m, S) / 2)),
        "number d of features",
    ),
    "not squared": (
        exercises.weights,
        lambda m, S: _scaled(torch.exp(-_delta(m, S).sqrt() / 6)),
        "*squared*",
    ),
    "Euclid": (
        exercises.weights,
        lambda m, S: _scaled(torch.exp(-m.square().sum(1) / 6)),
        "inverse of S",
    ),
    "S itself": (
        exercises.weights,
        lambda m, S: _scaled(torch.exp(-((m @ S) * m).sum(1) / 6)),
        "inverse of S",
    ),
    "not scaled": (exercises.weights, feature_gaussian.raw_weights, "Divide by their mean"),
    "sum 1": (exercises.weights, lambda m, S: right_weights(m, S) / len(m), "not by their sum"),
    "as printed": (
        exercises.mended_noise,
        lambda i, c, k, b, g, kappa: b * kappa * (1 - g) * i + g * c[: len(i)],
        "both parts in brackets",
    ),
    "beta on one part": (
        exercises.mended_noise,
        lambda i, c, k, b, g, kappa: b * (1 - g) * i + g * kappa * c[k],
        "both parts in brackets",
    ),
    "kappa on both": (
        exercises.mended_noise,
        lambda i, c, k, b, g, kappa: b * kappa * ((1 - g) * i + g * c[k]),
        "kappa belongs to the class",
    ),
    "by place, not by class": (
        exercises.mended_noise,
        lambda i, c, k, b, g, kappa: b * ((1 - g) * i + g * kappa * c[: len(i)]),
        "eps_c[classes]",
    ),
    "no kappa": (
        exercises.mended_noise,
        lambda i, c, k, b, g, kappa: b * ((1 - g) * i + g * c[k]),
        "gamma * kappa",
    ),
    "nan without a label, by ignore_index": (exercises.across, by_ignore_index, "clamp(min=1)"),
    "nan without a label, by a branch": (exercises.across, by_a_branch, "clamp(min=1)"),
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


def bank(axes: dict[str, list[Any]], split: str, errors: np.ndarray) -> Bank:
    """Students that err on `errors` (*axes, seeds) percent of 500 images, to the nearest."""
    right = torch.arange(500) >= torch.from_numpy(5 * errors).round()[..., None]
    logits = F.one_hot((~right).long(), 10).float()
    seeds, weights = list(range(errors.shape[-1])), [None] * errors.size
    lam, T = map(Symbol, ("lam", "T"))
    objective = (1 - lam) * HardLabels() + lam * SoftTargets(mlp(784, 4, 10), T)
    return Bank(
        axes, seeds, {split: logits}, {split: torch.zeros(500, dtype=torch.long)},
        torch.zeros(*errors.shape, 1), weights, "fast", 0.0, mlp(784, 4, 10), objective=objective,
    )  # fmt: skip


def test_the_explorer_of_lam_T_and_width_is_drawn_in_every_state() -> None:
    chance = np.random.default_rng(0)
    axes = {"lam": [0.2, 0.5, 0.9], "T": [1.0, 2.0, 8.0], "width": [4, 6, 12]}
    shown = BankExplorer(
        bank(axes, "target", 20 + 4 * chance.random((3, 3, 3, 5))),
        "target",
        alone=35 + chance.random((3, 5)),  # (width, seeds)
        second={"source error %": 30 + chance.random((3, 3, 3))},
        second_name="error on the source %",
        start={"lam": 0.9, "T": 2.0, "width": 6},
        situations={"4 units": {"lam": 0.9, "width": 4}, "hot": {"T": 8.0}},
        notes={"lam": "λ, the weight of the teacher"},
        title="Big source teacher, small target student",
    )
    assert shown.sweep() == 27
    said = shown.sentence({"lam": 0.9, "T": 2.0, "width": 6})
    assert "of 500 images" in said and "fewer" in said and "the student alone" in said
    formula = shown.formula({"lam": 0.9, "T": 2.0, "width": 6})
    assert formula.startswith("loss = (1 − lam) · CE + lam · T² · KL(p_T ‖ q_T) = ")
    assert ">0.9</b> · <b" in formula and ">2</b>²" in formula and "6" not in formula


def test_the_explorer_of_the_noise_is_drawn_in_every_state() -> None:
    chance = np.random.default_rng(0)
    shown = ErrorTable(
        {"transfer_rate": [0.2, 0.5, 0.9], "noise_at": ["target", "feature"]},
        50 + chance.random((3, 2, 5)),
        n=500,
        alone=50.5 + chance.random(5),
        second={"source error %": 20 + chance.random((3, 2))},
        second_name="error on the source %",
        start={"transfer_rate": 0.5, "noise_at": "target"},
        notes={"transfer_rate": "λ of the recipe"},
        title="Where does the noise go?",
    )
    assert shown.sweep() == 6
    assert "noise_at = feature" in shown.sentence({"transfer_rate": 0.5, "noise_at": "feature"})
