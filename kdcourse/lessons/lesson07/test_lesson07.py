"""Notebook 07: its checkers accept the right and reject the wrong; its explorer, swept whole."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson07 import exercises
from kdcourse.lessons.lesson07.frozen_parts import FrozenParts
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


def weights(p: Any, y: Any) -> Any:
    return 1 / (p.amax(1) - p.gather(1, y[:, None])[:, 0])


def weights_by_numpy(p: Any, y: Any) -> Any:
    values = p.numpy()
    gap = values.max(1) - values[range(len(y)), y.numpy()]
    return np.divide(1, gap, out=np.full(len(y), np.inf), where=gap > 0)


def weights_by_loop(p: Any, y: Any) -> list[float]:
    gaps = [float(row.max() - row[label]) for row, label in zip(p, y, strict=True)]
    return [1 / gap if gap else math.inf for gap in gaps]


def weights_by_search(p: Any, y: Any) -> list[float]:
    found = []
    for row, label in zip(p, y, strict=True):
        low, high = 0.0, 1e6
        for _ in range(80):
            middle = (low + high) / 2
            w = middle * row
            w[label] += 1
            low, high = (middle, high) if w[label] >= w.max() else (low, middle)
        found.append(math.inf if high == 1e6 else low)
    return found


def label_without_share(p: Any, y: Any) -> Any:
    return torch.where(p.argmax(1) == y, math.inf, 1 / p.amax(1))


def runner_up(p: Any, y: Any) -> Any:
    first, second = p.topk(2).values.T
    return 1 / (first - second)


def gaps(p: Any, y: Any) -> Any:
    return torch.where(p.argmax(1) == y, math.inf, 1 / weights(p, y))


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
    (exercises.largest_weight, weights),
    (exercises.largest_weight, weights_by_numpy),
    (exercises.largest_weight, weights_by_loop),
    (exercises.largest_weight, weights_by_search),
    (exercises.hold_still, hold),
    (exercises.hold_still, hold_by_freeze),
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
    "one too few": (exercises.largest_weight, lambda p, y: weights(p, y)[1:], "in its order"),
    "the runner-up": (exercises.largest_weight, runner_up, "not with the second"),
    "always inf": (
        exercises.largest_weight,
        lambda p, y: torch.full((len(y),), math.inf),
        "only where",
    ),
    "the wrong way round": (
        exercises.largest_weight,
        lambda p, y: torch.where(p.argmax(1) == y, math.inf, -weights(p, y)),
        "other way round",
    ),
    "twice the weight": (
        exercises.largest_weight,
        lambda p, y: 2 * weights(p, y),
        "already wins",
    ),
    "the gap itself": (exercises.largest_weight, gaps, "may be larger"),
    "the label without its share": (
        exercises.largest_weight,
        label_without_share,
        "share of p",
    ),
    "as printed": (exercises.hold_still, as_printed, "no switch"),
    "names that begin alike": (exercises.hold_still, too_many, "exactly that name"),
    "weights only": (exercises.hold_still, weights_only, "keeps on averaging"),
    "awake again": (exercises.hold_still, awake_again, "after network.train()"),
    "all in eval mode": (exercises.hold_still, all_in_eval, "Only the stage"),
    "everything frozen": (exercises.hold_still, frozen, "Everything is frozen"),
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
