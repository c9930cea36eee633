"""Notebook 07: its checkers accept the right and reject the wrong; its explorer, swept whole."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson07 import exercises
from kdcourse.lessons.lesson07.frozen_parts import FrozenParts
from kdlib import losses
from kdlib.adaptation import freeze


def rates(errors: Any, *, by: Any = np.mean, ordered: bool = True) -> dict[str, float]:
    """Exercise 1, with its mistakes to be switched on."""
    return {
        way: min(sorted(tried) if ordered else tried, key=lambda lr: by(tried[lr]))
        for way, tried in errors.items()
    }


def rates_by_loop(errors: Any) -> dict[str, Any]:
    best: dict[str, Any] = {}
    for way, tried in errors.items():
        lrs = torch.tensor(sorted(tried))
        means = torch.stack([torch.tensor(tried[lr]).mean() for lr in sorted(tried)])
        best[way] = sorted(tried)[int(means.argmin())] if len(lrs) else None
    return best


def one_rate(errors: Any) -> dict[str, float]:
    return dict.fromkeys(errors, 0.01)


def keeping(
    z_s: Any,
    z_t: Any,
    y: Any,
    domain: Any,
    lam: float,
    *,
    old: Any = None,
    labelled: Any = None,
    of: Any = None,
    size: Any = None,
) -> Any:
    """Exercise 2, with its mistakes to be switched on."""
    old = domain == 0 if old is None else old(y, domain)
    labelled = y >= 0 if labelled is None else labelled(y, domain)
    of = of or (lambda z: z.softmax(1))
    square = (of(z_t) - of(z_s)).pow(2)
    size = size or (lambda square: square.sum(1).mean())
    return F.cross_entropy(z_s[labelled], y[labelled]) + lam * size(square[old])


def keeping_by_loop(z_s: Any, z_t: Any, y: Any, domain: Any, lam: float) -> float:
    p, q = z_t.softmax(-1).numpy(), z_s.softmax(-1).numpy()
    squares = [float(((p[i] - q[i]) ** 2).sum()) for i in range(len(y)) if domain[i] == 0]
    hard = F.cross_entropy(z_s, y, ignore_index=-1)
    return float(hard) + lam * sum(squares) / len(squares)


def keeping_by_kl(z_s: Any, z_t: Any, y: Any, domain: Any, lam: float) -> Any:
    hard = F.cross_entropy(z_s, y, ignore_index=-1)
    return hard + lam * losses.soft_targets(z_s, z_t, 1.0, where=domain == 0)


def keeping_by_kdlib(z_s: Any, z_t: Any, y: Any, domain: Any, lam: float) -> Any:
    square = losses.probability_mse(z_s, z_t, 1.0, where=domain == 0)
    return losses.hard_labels(z_s, y) + lam * square


def hold(network: nn.Module, name: str) -> nn.Module:
    network.train()
    network.get_submodule(name).requires_grad_(False).eval()
    return network


def hold_by_freeze(network: nn.Module, name: str) -> nn.Module:
    freeze(network, name).train()
    network.get_submodule(name).eval()
    return network


def as_printed(network: nn.Module, name: str) -> nn.Module:
    for own, module in network.named_modules():
        if name in own:
            module.requires_grad = False  # type: ignore[assignment]
    return network.train()


def too_many(network: nn.Module, name: str) -> nn.Module:
    for own, module in network.train().named_modules():
        if name in own:
            module.requires_grad_(False).eval()
    return network


def weights_only(network: nn.Module, name: str) -> nn.Module:
    network.get_submodule(name).requires_grad_(False)
    return network.train()


def awake_again(network: nn.Module, name: str) -> nn.Module:
    network.get_submodule(name).requires_grad_(False).eval()
    return network.train()


def all_in_eval(network: nn.Module, name: str) -> nn.Module:
    network.get_submodule(name).requires_grad_(False)
    return network.eval()


def frozen(network: nn.Module, name: str) -> nn.Module:
    network.train().requires_grad_(False).get_submodule(name).eval()
    return network


RIGHT = [
    (exercises.fair_rates, rates),
    (exercises.fair_rates, rates_by_loop),
    (exercises.keeping_loss, keeping),
    (exercises.keeping_loss, keeping_by_loop),
    (exercises.keeping_loss, keeping_by_kdlib),
    (exercises.mended_hold, hold),
    (exercises.mended_hold, hold_by_freeze),
]
WRONG = {
    "a lucky draw": (exercises.fair_rates, lambda e: rates(e, by=min), "lowest single draw"),
    "one for all": (exercises.fair_rates, one_rate, "not one rate for all"),
    "the highest": (
        exercises.fair_rates,
        lambda e: {way: max(t, key=lambda lr: np.mean(t[lr])) for way, t in e.items()},
        "not the highest error",
    ),
    "the error": (
        exercises.fair_rates,
        lambda e: {way: min(np.mean(t[lr]) for lr in t) for way, t in e.items()},
        "not its error",
    ),
    "the first of equals": (
        exercises.fair_rates,
        lambda e: rates(e, ordered=False),
        "Sort the rates",
    ),
    "a sum": (exercises.fair_rates, lambda e: rates(e, by=sum), "not a sum"),
    "one way only": (
        exercises.fair_rates,
        lambda e: {"all": rates(e)["all"]},
        "the same ways",
    ),
    "no average": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, size=lambda square: square.sum(1)),
        "a single number",
    ),
    "all images": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, old=lambda y, domain: domain >= 0),
        "Only the old images",
    ),
    "the unlabelled": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, old=lambda y, domain: y < 0),
        "Only the old images",
    ),
    "labels of the new alone": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, labelled=lambda y, d: (y >= 0) & (d == 1)),
        "whatever the domain",
    ),
    "logits": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, of=lambda z: z),
        "Softmax both",
    ),
    "mean over classes": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, size=torch.mean),
        "a sum over the classes",
    ),
    "a root": (
        exercises.keeping_loss,
        lambda *given: keeping(*given, size=lambda square: square.sum(1).sqrt().mean()),
        "no root",
    ),
    "KL": (exercises.keeping_loss, keeping_by_kl, "a sum over the classes"),
    "without the teacher": (
        exercises.keeping_loss,
        lambda z_s, z_t, *given: keeping(z_s, 0 * z_t, *given),
        "z_t belongs",
    ),
    "as printed": (exercises.mended_hold, as_printed, "no switch"),
    "names that begin alike": (exercises.mended_hold, too_many, "exactly that name"),
    "weights only": (exercises.mended_hold, weights_only, "keeps on averaging"),
    "awake again": (exercises.mended_hold, awake_again, "after network.train()"),
    "all in eval mode": (exercises.mended_hold, all_in_eval, "Only the stage"),
    "everything frozen": (exercises.mended_hold, frozen, "Everything is frozen"),
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

KINDS = ["head only", "front only", "all"]


def explorer(draws: int = 5, **changes: Any) -> FrozenParts:
    noise = np.random.default_rng(0)
    errors = 20 + np.array([20, 5, 0])[:, None, None] + noise.random((3, 3, draws))
    given: dict[str, Any] = {
        "errors": errors,
        "anew": 20 + np.array([40, 5.2, -8])[:, None] + noise.random((3, draws)),
        "as_is": 66.0,
        "n": 1000,
        "parts": ["stage1", "stage2", "head"],
        "moved": noise.random((3, 3, 3)) * 100,
        "start": {"labels per class": 10},
        "situations": {"one label": {"labels per class": 1, "what moves": "head only"}},
    }  # fmt: skip
    return FrozenParts([1, 10, 30], KINDS, **{**given, **changes})


@pytest.mark.parametrize("draws", [5, 1])
def test_the_explorer_is_drawn_in_every_state(draws: int) -> None:
    assert explorer(draws).sweep() == 9


def test_the_explorer_says_which_side_of_training_anew_it_is_on() -> None:
    shown = explorer()
    says = [
        shown.sentence({"labels per class": count, "what moves": "head only"})
        for count in (1, 10, 30)
    ]
    assert "fewer" in says[0] and "of 1,000 images" in says[0]
    assert "do not resolve" in says[1]
    assert "more" in says[2]
    assert "do not" not in explorer(1).sentence({"labels per class": 10, "what moves": "head only"})


@pytest.mark.parametrize("name", ["errors", "anew", "moved"])
def test_the_explorer_refuses_tables_that_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has shape"):
        explorer(**{name: np.zeros((2, 3, 7)[: 2 if name == "anew" else 3])})
