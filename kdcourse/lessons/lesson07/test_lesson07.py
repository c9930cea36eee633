"""Notebook 07: its checkers accept the right and reject the wrong; its explorer, swept whole."""

import copy
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


def share(network: nn.Module) -> float:
    counts = [(w.numel(), w.requires_grad) for w in network.parameters()]
    return 100 * sum(n for n, moves in counts if moves) / sum(n for n, _ in counts)


def reader(
    network: Any, height: int, width: int, *, axes: tuple[int, ...] = (-1,), own: bool = True
) -> Any:
    """Exercise 2, with its mistakes to be switched on."""
    made = copy.deepcopy(network) if own else network
    with torch.no_grad():
        rows = network.stage1[0].weight.view(-1, height, width).flip(axes).flatten(1)
        made.stage1[0].weight.copy_(rows.clone())
    return made


def turned_head(network: Any, height: int, width: int) -> Any:
    made = reader(network, height, width)
    with torch.no_grad():
        made.head.weight.copy_(network.head.weight.flip(0))
    return made


def by_index(network: Any, height: int, width: int) -> Any:
    place = torch.arange(height * width).view(height, width).flip(-1).flatten()
    state = network.state_dict() | {"stage1.0.weight": network.stage1[0].weight[:, place]}
    made = copy.deepcopy(network)
    made.load_state_dict(state)
    return made


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


RIGHT = [
    (exercises.moving_share, share),
    (exercises.moving_share, lambda network: torch.tensor(share(network))),
    (exercises.mirror_reader, reader),
    (exercises.mirror_reader, by_index),
    (exercises.mended_hold, hold),
    (exercises.mended_hold, hold_by_freeze),
]
WRONG = {
    "a fraction": (exercises.moving_share, lambda net: share(net) / 100, "100 %, not 1"),
    "the frozen share": (
        exercises.moving_share,
        lambda net: 100 - share(net),
        "100 %, not 1 and not 0",
    ),
    "all of them": (exercises.moving_share, lambda net: 100.0, "requires_grad is True"),
    "tensors, not weights": (
        exercises.moving_share,
        lambda net: 100 * np.mean([w.requires_grad for w in net.parameters()]),
        "numel()",
    ),
    "up and down": (
        exercises.mirror_reader,
        lambda *given: reader(*given, axes=(-2,)),
        "last axis",
    ),
    "all pixels backwards": (
        exercises.mirror_reader,
        lambda *given: reader(*given, axes=(-1, -2)),
        "last axis",
    ),
    "units backwards": (
        exercises.mirror_reader,
        lambda *given: reader(*given, axes=(0,)),
        "last axis",
    ),
    "height and width exchanged": (
        exercises.mirror_reader,
        lambda net, h, w: reader(net, w, h),
        "last axis",
    ),
    "in place": (exercises.mirror_reader, lambda *given: reader(*given, own=False), "deepcopy"),
    "the network itself": (exercises.mirror_reader, lambda net, h, w: net, "first layer"),
    "head too": (exercises.mirror_reader, turned_head, "first layer"),
    "as printed": (exercises.mended_hold, as_printed, "no switch"),
    "names that begin alike": (exercises.mended_hold, too_many, "exactly that name"),
    "weights only": (exercises.mended_hold, weights_only, "keeps on averaging"),
    "awake again": (exercises.mended_hold, awake_again, "after network.train()"),
    "all in eval mode": (exercises.mended_hold, all_in_eval, "Only the stage"),
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

STILL = ["nothing", "stage1", "the head"]


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
        "situations": {"one label": {"labels per class": 1, "held still": "the head"}},
    }  # fmt: skip
    return FrozenParts([1, 10, 30], STILL, **{**given, **changes})


@pytest.mark.parametrize("draws", [5, 1])
def test_the_explorer_is_drawn_in_every_state(draws: int) -> None:
    assert explorer(draws).sweep() == 9


def test_the_explorer_says_which_side_of_training_anew_it_is_on() -> None:
    shown = explorer()
    says = [
        shown.sentence({"labels per class": count, "held still": "nothing"})
        for count in (1, 10, 30)
    ]
    assert "fewer" in says[0] and "of 1,000 images" in says[0]
    assert "do not resolve" in says[1]
    assert "more" in says[2]
    assert "do not" not in explorer(1).sentence({"labels per class": 10, "held still": "nothing"})


@pytest.mark.parametrize("name", ["errors", "anew", "moved"])
def test_the_explorer_refuses_tables_that_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has shape"):
        explorer(**{name: np.zeros((2, 3, 7)[: 2 if name == "anew" else 3])})
