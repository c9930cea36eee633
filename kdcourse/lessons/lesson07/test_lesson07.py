"""Notebook 07: its checkers accept the right and reject the wrong; its explorer, swept whole."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.lessons.lesson07 import exercises
from kdcourse.lessons.lesson07.frozen_parts import FrozenParts
from kdlib.adaptation import freeze


def share(network: nn.Module) -> float:
    counts = [(w.numel(), w.requires_grad) for w in network.parameters()]
    return 100 * sum(n for n, moves in counts if moves) / sum(n for n, _ in counts)


WRONG_SHARES: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "a fraction": (lambda net: share(net) / 100, "100 %, not 1"),
    "the frozen share": (lambda net: 100 - share(net), "100 %, not 1 and not 0"),
    "all of them": (lambda net: 100.0, "requires_grad is True"),
    "tensors, not weights": (
        lambda net: 100 * np.mean([w.requires_grad for w in net.parameters()]),
        "numel()",
    ),
}


def test_it_accepts_the_share() -> None:
    assert exercises.moving_share.verdict(share).startswith("✓")
    assert exercises.moving_share.verdict(lambda net: torch.tensor(share(net))).startswith("✓")


@pytest.mark.parametrize("name", WRONG_SHARES)
def test_it_rejects_a_wrong_share_with_its_hint(name: str) -> None:
    answer, hint = WRONG_SHARES[name]
    verdict = exercises.moving_share.verdict(answer)
    assert verdict.startswith("✗") and hint in verdict


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


WRONG_READERS: dict[str, tuple[Callable[..., Any], str]] = {
    "up and down": (lambda *given: reader(*given, axes=(-2,)), "last axis"),
    "all pixels backwards": (lambda *given: reader(*given, axes=(-1, -2)), "last axis"),
    "units backwards": (lambda *given: reader(*given, axes=(0,)), "last axis"),
    "height and width exchanged": (lambda net, h, w: reader(net, w, h), "last axis"),
    "in place": (lambda *given: reader(*given, own=False), "deepcopy"),
    "the network itself": (lambda net, h, w: net, "first layer"),
    "head too": (turned_head, "first layer"),
}


@pytest.mark.parametrize("answer", [reader, by_index])
def test_it_accepts_the_mirror_reader(answer: Any) -> None:
    assert exercises.mirror_reader.verdict(answer).startswith("✓")


@pytest.mark.parametrize("name", WRONG_READERS)
def test_it_rejects_a_wrong_reader_with_its_hint(name: str) -> None:
    answer, hint = WRONG_READERS[name]
    verdict = exercises.mirror_reader.verdict(answer)
    assert verdict.startswith("✗") and hint in verdict


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


WRONG_HOLDS: dict[str, tuple[Callable[..., Any], str]] = {
    "as printed": (as_printed, "no switch"),
    "names that begin alike": (too_many, "exactly that name"),
    "weights only": (weights_only, "keeps on averaging"),
    "awake again": (awake_again, "after network.train()"),
    "all in eval mode": (all_in_eval, "Only the stage"),
}


@pytest.mark.parametrize("answer", [hold, hold_by_freeze])
def test_it_accepts_a_stage_held_still(answer: Any) -> None:
    assert exercises.mended_hold.verdict(answer).startswith("✓")


@pytest.mark.parametrize("name", WRONG_HOLDS)
def test_it_rejects_a_loose_hold_with_its_hint(name: str) -> None:
    answer, hint = WRONG_HOLDS[name]
    verdict = exercises.mended_hold.verdict(answer)
    assert verdict.startswith("✗") and hint in verdict


@pytest.mark.parametrize("name", ["moving_share", "mirror_reader", "mended_hold"])
def test_an_untouched_stub_is_not_attempted(name: str) -> None:
    assert getattr(exercises, name).verdict(lambda *given: ...).startswith("○")


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
