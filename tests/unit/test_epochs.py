"""One order of batches for `fit` and every bank engine; and a step that can be followed."""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from blobs import blobs
from torch import Tensor

import kdlib
from kdlib.bank import train_bank
from kdlib.data import Examples, jitter
from kdlib.models import MLP, cnn, mlp
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit
from kdlib.training.epochs import Epoch, Epochs, epoch_seed
from kdlib.training.settings import Settings

HOME = Path(kdlib.__file__).parent


def settings(**others: Any) -> Settings:
    usual = dict(
        epochs=3, lr=1e-2, batch=32, order_seed=5, weight_decay=0.0, schedule="one-cycle",
        precision="fp32",
    )  # fmt: skip
    return Settings(**{**usual, **others})


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("size", [2, 3, 7, 32, 1000])
@pytest.mark.parametrize("target", [0, 1, 40])
def test_batches_are_counted_without_an_order(balanced: bool, size: int, target: int) -> None:
    examples = blobs(65) + blobs(target, seed=2).as_domain(1) if target else blobs(65)
    epochs = Epochs(examples, settings(batch=size), balanced=balanced)
    assert epochs.steps == len(examples.order(size, balanced=balanced))
    assert epochs.total_steps == 3 * epochs.steps == 3 * len(epochs[1].batches())


def test_a_batch_must_hold_every_domain() -> None:
    both = blobs(8) + blobs(8).as_domain(1)
    with pytest.raises(ValueError, match="a batch of 1 examples; expected at least 2"):
        Epochs(both, settings(batch=1), balanced=True)
    assert Epochs(both, settings(batch=1), balanced=False).steps == 16


def test_each_epoch_has_an_order_of_its_own_and_says_how_far() -> None:
    examples = blobs(65)
    epochs = Epochs(examples, settings(), balanced=False)
    progress = []
    for number in range(3):
        generator = torch.Generator().manual_seed(epoch_seed(5, number))
        batches = epochs[number].batches()
        order = torch.cat([index for index, _ in batches])
        assert torch.equal(order, torch.randperm(65, generator=generator))
        progress += [done for _, done in batches]
    assert progress == [i / 9 for i in range(9)]


def test_dropout_of_an_epoch_begins_anew_and_leaves_no_trace() -> None:
    epochs = Epochs(blobs(8), settings(), balanced=False)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draws = []
    for number in (1, 1, 2):
        with epochs[number].seeded():
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.rand(2), expected)


def test_fit_and_every_engine_take_the_same_images_at_the_same_time(
    train: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[list[int], float]] = []
    batches = Epoch.batches

    def noted(epoch: Epoch) -> list[tuple[Tensor, float]]:
        made = batches(epoch)
        taken.extend((index.tolist(), done) for index, done in made)
        return made

    monkeypatch.setattr(Epoch, "batches", noted)
    common: dict[str, Any] = dict(epochs=2, batch=50, order_seed=4)
    fit(mlp(16, 8, 4), train, seed=0, **common)
    expected = list(taken)
    assert len(expected) == 2 * 7
    for engine in ("fast", "reference", "sequential"):
        taken.clear()
        train_bank(
            student=mlp(16, 8, 4), examples=train, seeds=1, engine=engine, cache=False,
            evaluate={"test": train}, **common,
        )  # fmt: skip
        assert taken == expected, engine


@pytest.mark.parametrize("augmented", [False, True])
def test_each_batch_is_gathered_once(augmented: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty steps are twenty gathers; what is checked beforehand costs no more for more steps."""
    calls: Counter[str] = Counter()
    for name in ("batch", "order"):
        plain = getattr(Examples, name)

        def counted(*given: Any, plain: Any = plain, name: str = name, **more: Any) -> Any:
            calls[name] += 1
            return plain(*given, **more)

        monkeypatch.setattr(Examples, name, counted)
    images = Examples(blobs(320).x.repeat(1, 1, 3, 3), blobs(320).y)
    gathers = {}
    for epochs in (1, 2):
        calls.clear()
        augment = jitter(1) if augmented else None
        fit(mlp(144, 8, 4), images, epochs=epochs, batch=32, seed=0, augment=augment)
        gathers[epochs] = calls["batch"]
        assert calls["order"] == epochs
    assert gathers[2] - gathers[1] == 10 and gathers[1] <= 10 + 1 + augmented


def steps_of(run: Any) -> list[Counter[str]]:
    """kdlib's files, and how many Python calls each had, between two steps of an optimiser."""
    steps: list[Counter[str]] = [Counter()]

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and HOME in file.parents:
            steps[-1][file.relative_to(HOME).as_posix()] += 1
        elif event == "call" and frame.f_code.co_name == "zero_grad":
            steps.append(Counter())

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return steps[1:-1]  # the first has what comes before training, the last what comes after


@pytest.mark.parametrize("tabulated", [False, True])
def test_a_step_can_be_followed(teacher: MLP, train: Examples, tabulated: bool) -> None:
    """Nine files, the loop's own among them, and forty calls."""
    knows = tabulate(teacher, train) if tabulated else teacher
    objective = 0.3 * HardLabels() + 0.7 * SoftTargets(knows, 4)
    steps = steps_of(lambda: fit(mlp(16, 8, 4), train, objective, epochs=1, batch=32, seed=0))
    assert len(steps) == 9
    for step in steps:
        assert "training/loop.py" in step and len(step) <= 9, step
        assert sum(step.values()) <= 40, step


def test_what_decides_a_run_stands_in_one_place() -> None:
    """NumPy's numbers are Python's."""
    numpy = pytest.importorskip("numpy")
    given = settings(epochs=numpy.int64(2), lr={"": numpy.float32(0.5)})
    assert type(given.epochs) is int and given.lr == {"": 0.5} and type(given.lr[""]) is float  # type: ignore[index]
    with pytest.raises(ValueError, match="schedule='steps'"):
        settings(schedule="steps").check()


def test_networks_say_of_what_kind_they_are() -> None:
    from kdlib.models import convolves, normalises

    assert convolves(cnn(2, 4)) and normalises(cnn(2, 4))
    assert not convolves(mlp(16, 8, 4)) and not normalises(mlp(16, 8, 4))
    assert normalises(torch.nn.BatchNorm1d(3)) and convolves(torch.nn.Conv2d(1, 1, 1))
