"""A bank that trains at the press of a button: streams, stops, says what went wrong."""

import itertools
import threading
from typing import Any

import pytest
import torch

from kdcourse.explorers import LiveBank
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import MLP, mlp
from kdlib.objectives import HardLabels, SoftTargets, tabulate

AXES = {"T": [1.0, 4.0, 20.0], "alpha": [0.5, 0.9]}


@pytest.fixture
def live(teacher: MLP, train: Examples, test: Examples) -> LiveBank:
    table = tabulate(teacher, train)

    def again(watch: Any, width: int, epochs: int) -> Any:
        return train_bank(
            lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(table, T),
            student=mlp(16, width, 4), examples=train, grid=AXES, seeds=2, epochs=epochs,
            evaluate={"test": test}, cache=False, watch=watch,
        )  # fmt: skip

    choices = {"width": [4, 8], "epochs": [3, 200]}
    return LiveBank(again, choices=choices, axes=AXES, n=len(test))


def test_it_draws_every_epoch_and_keeps_the_bank(live: LiveBank) -> None:
    pictures, words = [live.picture.value], [live.readout.value]
    live.picture.observe(lambda change: pictures.append(change["new"]), names="value")
    live.readout.observe(lambda change: words.append(change["new"]), names="value")
    live.start()
    live.wait(60)
    assert not live.training
    assert len(set(pictures)) == 1 + 1 + 3 + 1  # before, untrained, three epochs, the end
    assert "12 students trained in" in words[-1] and "fast engine" in words[-1]
    assert live.bank.errors("test").shape == (3, 2, 2)
    assert torch.isfinite(live.bank.errors("test")).all()
    assert live._bar.value == 1.0
    assert live._button_stop.disabled and not live._button_train.disabled


@pytest.mark.parametrize("height", [0.0, 20.0, 75.0])
def test_labels_keep_apart_also_at_the_edges(live: LiveBank, height: float) -> None:
    live._errors[:] = height
    live._move()
    heights = sorted(label.get_position()[1] for _, label in live._lines)
    assert all(b - a > 2 for a, b in itertools.pairwise(heights))
    assert heights[0] > 0 and heights[-1] < 40


def test_stop_keeps_what_there_is(live: LiveBank) -> None:
    begun = threading.Event()
    live.picture.observe(lambda _: begun.set(), names="value")
    live._sliders["epochs"].value = 200
    live.start()
    assert begun.wait(30)
    live.stop()
    live.wait(60)
    assert "12 students stopped in" in live.readout.value
    assert live.bank.losses.isnan().any()
    assert torch.isfinite(live.bank.errors("test")).all()


def test_a_failure_is_said_and_the_button_comes_back(live: LiveBank) -> None:
    def fails(watch: Any, **state: Any) -> None:
        raise ValueError("no <room>")

    live._train = fails
    live.start()
    live.wait(30)
    assert "could not be trained: ValueError: no &lt;room&gt;" in live.readout.value
    assert not live._button_train.disabled


def test_its_formula_is_that_of_its_students(live: LiveBank, test: Examples) -> None:
    assert live._formula.value.endswith("></div>")  # no bank, and nobody said what it will be
    live.start()
    live.wait(60)
    assert ">loss = (1 − alpha) · CE + alpha · T² · KL(p_T ‖ q_T)<" in live._formula.value
    told = LiveBank(
        live._train, choices={"width": [4]}, axes=AXES, n=len(test),
        objective=lambda T, alpha: alpha * HardLabels(T / 100),
    )  # fmt: skip
    assert ">loss = alpha · CE(smoothing (T / 100))<" in told._formula.value


def test_it_says_what_it_is_without_a_kernel(live: LiveBank) -> None:
    data, metadata = live._repr_mimebundle_()
    assert data["text/plain"] == "Live bank: Train this bank again (choices: width, epochs)"
    assert data["image/png"].startswith(b"\x89PNG")
    assert "Press Train" in metadata["image/png"]["alt"]


def test_two_axes_are_needed() -> None:
    with pytest.raises(ValueError, match="has two axes, not 1"):
        LiveBank(lambda watch: None, choices={"width": [4]}, axes={"T": [1, 2]}, n=10)
