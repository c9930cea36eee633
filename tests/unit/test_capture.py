"""What is recorded on CUDA, held on a CPU to a tape with the rules of a CUDA graph."""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from tape import tape
from torch import Tensor, nn

from kdlib.adaptation import CORAL
from kdlib.bank import Bank, train_bank
from kdlib.bank.planning import make_group
from kdlib.data import Batch, Examples, jitter
from kdlib.models import MLP, cnn, mlp, predict
from kdlib.objectives import (
    Attention,
    Contrastive,
    Cosine,
    Decoupled,
    Dist,
    Flow,
    HardLabels,
    Hint,
    JensenShannon,
    KernelSimilarity,
    LearnedTemperature,
    LogitMSE,
    NeuronSelectivity,
    Objective,
    ParameterL2,
    ProbabilityMSE,
    Regularizer,
    Relational,
    ReverseKL,
    Similarity,
    SoftTargets,
    Standardized,
    TeacherLabels,
    TeacherTable,
    Variational,
    progress,
)  # fmt: skip
from kdlib.training import Run, capture, checking, epochs, fit, loop, optimisers
from kdlib.training.settings import Settings

Recording = Callable[[], contextlib.AbstractContextManager[list[int]]]


@pytest.fixture
def recording() -> Recording:
    """The CPU records, on the tape, within `with recording() as replays`."""
    return on_the_tape


@contextlib.contextmanager
def on_the_tape() -> Iterator[list[int]]:
    """Gives how often each recording was replayed."""
    replays: list[int] = []

    def counted(call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        replay, outputs = tape(call)
        at = len(replays)
        replays.append(0)

        def again() -> None:
            replays[at] += 1
            replay()

        return again, outputs

    with pytest.MonkeyPatch.context() as patch:
        for module in (capture, optimisers):
            patch.setattr(module, "graph_maker", lambda d: counted if d.type == "cpu" else None)
        yield replays


# ---- the tape ------------------------------------------------------------------------------------


def test_the_tape_replays_operators_and_not_python() -> None:
    state, x, number = torch.zeros(3), torch.arange(3.0), 1.0

    def call() -> Tensor:
        state.add_(number * x[1:].sum())
        return state * 2

    replay, out = tape(call)
    replay()  # the first one is the recording itself
    assert state.tolist() == [3, 3, 3] and out.tolist() == [6, 6, 6]
    number = 100.0  # Python's number was recorded as it was
    x[2] = 5.0  # a tensor's is read anew
    replay()
    assert state.tolist() == [9, 9, 9] and out.tolist() == [18, 18, 18]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: x * torch.tensor(2.0),
        lambda x: x if (x > 0).all() else -x,
    ],
)
def test_the_tape_refuses_what_a_cuda_graph_refuses(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match="not permitted"):
        tape(lambda: call(torch.ones(3)))


# ---- what a host draws ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("Python's random", random.random),
        ("NumPy's random", np.random.rand),
        ("PyTorch's generator on the CPU", lambda: float(torch.rand([]))),
    ],
)
def test_a_step_that_draws_on_the_host_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, name: str, draw: Callable[[], float]
) -> None:
    monkeypatch.setattr(capture, "graph_maker", lambda _: tape)
    drawn: list[float] = []

    def step(x: Tensor) -> dict[str, Tensor]:
        drawn.append(draw())
        return {"x": x * drawn[-1]}

    take = capture.RecordedStep(step, torch.device("meta"))  # it holds nothing but shapes
    with pytest.warns(UserWarning, match=f"cannot be recorded .it draws numbers from {name}"):
        for _ in range(capture.WARM_UP + 4):
            take(torch.ones(2, device="meta"))
    assert len(set(drawn)) == capture.WARM_UP + 4


class Dropped(nn.Module):
    """A block that is left out by chance, as Python draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
        self.taken: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.taken.append(random.random() < 0.5)
        return self.head(self.first(x) if not self.training or self.taken[-1] else x)


def test_a_student_that_drops_blocks_in_python_goes_on_doing_so(recording: Recording) -> None:
    student = Dropped()
    with recording() as replays, pytest.warns(UserWarning, match="Python's random"):
        fit(student, blobs(160), epochs=2, batch=16)
    assert not replays and len(student.taken) == 20 and set(student.taken) == {True, False}


# ---- steps ---------------------------------------------------------------------------------------


def test_each_shape_is_recorded_once(recording: Recording) -> None:
    seen, total = [], torch.zeros(())

    def step(x: Tensor, by: Tensor) -> dict[str, Tensor]:
        seen.append(len(x))
        total.add_((x * by).sum())
        return {"total": total.clone()}

    expected = 0.0
    kept = []
    with recording() as replays:
        take = capture.RecordedStep(step, torch.device("cpu"))
        for i in range(12):
            x = torch.full((2 + i % 2,), float(i))
            expected += float(x.sum()) * 0.5 * i
            kept.append(take(x, 0.5 * i)["total"])
            assert float(kept[-1]) == expected
    assert len(seen) == 2 * (capture.WARM_UP + 1)
    assert replays == [6 - capture.WARM_UP] * 2
    assert len({one.data_ptr() for one in kept}) == len(kept), "a replay's outputs are its own"


def test_a_batch_is_an_input_too(recording: Recording) -> None:
    """Each replay sees the new batch's tensors, those of the images before their change as well."""
    images, sums = blobs(12), []

    def step(batch: Batch, by: Tensor) -> dict[str, Tensor]:
        assert batch.original is not None and batch.ids is None
        return {"sum": (batch.x - batch.original).sum() * by + batch.y.sum()}

    with recording() as replays:
        take = capture.RecordedStep(step, torch.device("cpu"))
        for i in range(6):
            batch = images.batch(slice(i, i + 4))
            moved = batch.changed(batch.x + i)
            sums.append(float(take(moved, 0.5)["sum"]))
            assert sums[-1] == pytest.approx(
                0.5 * i * batch.x.numel() + int(batch.y.sum()), abs=1e-3
            )
    assert replays == [6 - capture.WARM_UP] and len(set(sums)) == 6


def test_where_nothing_is_recorded_the_step_is_called_itself(recording: Recording) -> None:
    def step(x: Tensor) -> dict[str, Tensor]:
        return {"x": x}

    place = torch.device("cpu")
    assert capture.record(step, place) is step
    with recording():
        assert isinstance(capture.record(step, place), capture.RecordedStep)
        assert capture.record(step, place, allowed=False) is step


def test_a_step_that_cannot_be_recorded_goes_on_with_one_warning(recording: Recording) -> None:
    total, x = torch.zeros(()), torch.ones(4)

    def step(x: Tensor) -> dict[str, Tensor]:
        if float(x.sum()) > 0:  # reads a number off the device
            total.add_(1)
        return {"total": total.clone()}

    with recording() as replays, pytest.warns(UserWarning, match="cannot be recorded") as told:
        take = capture.RecordedStep(step, torch.device("cpu"))
        results = [float(take(x)["total"]) for _ in range(8)]
    assert results == list(range(1, 9)) and len(told) == 1 and replays == []


def test_a_step_that_waits_is_not_tried(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording that fails half-way leaves CUDA in doubt, so the last warm-up step is watched."""
    watched: list[int] = []

    @contextlib.contextmanager
    def waits(device: torch.device) -> Iterator[list[str]]:
        watched.append(len(watched))
        yield ["it waits for the GPU at loss.py:3"]

    monkeypatch.setattr(capture, "waits", waits)
    total = torch.zeros(())
    with recording() as replays, pytest.warns(UserWarning, match=r"waits .* loss.py:3") as told:
        take = capture.RecordedStep(lambda x: {"total": total.add_(x).clone()}, torch.device("cpu"))
        results = [float(take(torch.ones(()))["total"]) for _ in range(8)]
    assert results == list(range(1, 9)) and len(told) == len(watched) == 1 and replays == []


def test_what_went_wrong_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def graph_maker(call: Callable[[], Any]) -> Any:
        try:
            raise RuntimeError("the operation that failed")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(capture, "graph_maker", lambda _: graph_maker)
    take = capture.RecordedStep(lambda x: {"x": x}, torch.device("cpu"))
    with pytest.warns(UserWarning, match="the operation that failed"):
        for _ in range(5):
            take(torch.ones(()))


def test_nothing_is_recorded_on_a_cpu() -> None:
    assert capture.graph_maker(torch.device("cpu")) is None
    assert capture.graph_maker(torch.device("cuda")) is not None


# ---- training ------------------------------------------------------------------------------------


def place(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


PAIR, PAIRS = {"stage1": "stage1"}, {"stage1": "stage1", "stage2": "stage2"}
CENTRES = torch.rand(4, 32, generator=torch.Generator().manual_seed(0))
ON_VECTORS: dict[str, Callable[[nn.Module], Objective]] = {
    "labels": lambda t: HardLabels(smoothing=0.1),
    "soft targets": lambda t: 0.3 * HardLabels() + 0.7 * SoftTargets(t, T=4),
    "progress": lambda t: progress * HardLabels() + SoftTargets(t, T=8 - 7 * progress),
    "learned T": lambda t: SoftTargets(t, LearnedTemperature(1, 5)),
    "reverse": lambda t: ReverseKL(t, 4),
    "jensen": lambda t: JensenShannon(t, 4, beta=0.3),
    "teacher labels": lambda t: TeacherLabels(t) + LogitMSE(t) + ProbabilityMSE(t, 2),
    "decoupled": lambda t: Decoupled(t, 4),
    "dist": lambda t: Dist(t, 2) + Standardized(t, 2),
    "hint": lambda t: HardLabels() + Hint(t, PAIR) + Cosine(t, PAIR),
    "relations": lambda t: Similarity(t, PAIR) + Relational(t, PAIR) + Contrastive(t, PAIR),
    "kernel": lambda t: KernelSimilarity(t, PAIR, CENTRES.to(place(t))),
    "owned": lambda t: HardLabels() + Variational(t, PAIR),
    "weights": lambda t: (
        HardLabels() + 0.1 * Regularizer() + 0.1 * ParameterL2(mlp(16, 8, 4).to(place(t)))
    ),
}
ON_MAPS: dict[str, Callable[[nn.Module], Objective]] = {
    "attention": lambda t: HardLabels() + Attention(t, PAIR) + NeuronSelectivity(t, PAIR),
    "flow": lambda t: HardLabels() + Flow(t, PAIRS),
}


def same(one: Run, other: Run) -> None:
    for mine, theirs in zip(one.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    for buffer, others in zip(one.network.buffers(), other.network.buffers(), strict=True):
        torch.testing.assert_close(buffer, others, rtol=1e-3, atol=1e-4)
    for row, expected in zip(one.history, other.history, strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)


def one_hot(y: Tensor, classes: int) -> Tensor:
    """As on CUDA: PyTorch's reads the smallest and the largest label off a CPU to check them."""
    return (y[..., None] == torch.arange(classes)).long()


@pytest.mark.parametrize("kind", ON_VECTORS)
def test_a_recorded_fit_is_the_plain_one(
    teacher: MLP, recording: Recording, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """325 images in 11 batches of two sizes; rates, progress and dropout change with each step."""
    monkeypatch.setattr(nn.functional, "one_hot", one_hot)

    def run() -> Run:
        torch.manual_seed(0)  # for networks made within the objective
        how: dict[str, Any] = dict(epochs=3, batch=32, seed=1, lr=5e-3, weight_decay=0.02)
        objective = ON_VECTORS[kind](teacher)
        return fit(mlp(16, 8, 4, dropout=0.2), blobs(325), objective, **how, validate=blobs(40))

    with recording() as replays:
        taken = run()
    assert len(replays) == 2 and sum(replays) == 3 * 11 - 2 * capture.WARM_UP
    same(taken, run())


@pytest.mark.parametrize("kind", ON_MAPS)
def test_convolutions_an_asked_teacher_and_changed_images(recording: Recording, kind: str) -> None:
    """BatchNorm's statistics move in replays, too, and the teacher answers within them."""
    torch.manual_seed(0)
    teacher = cnn(3, 4).eval()
    images = Examples(blobs(130).x.repeat(1, 1, 3, 3), blobs(130).y)

    def run() -> Run:
        how: dict[str, Any] = dict(epochs=2, batch=16, seed=1, lr=1e-3, precision="fp32")
        return fit(cnn(2, 4), images, ON_MAPS[kind](teacher), **how, augment=jitter(1))

    with recording() as replays:
        taken = run()
    assert sum(replays) == 2 * 9 - len(replays) * capture.WARM_UP
    same(taken, run())


def test_a_recorded_run_resumes_bit_equal(
    train: Examples, recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(file: str) -> Run:
        where = tmp_path / file
        return fit(mlp(16, 8, 4), train, epochs=4, batch=32, seed=1, checkpoint=where)

    with recording():
        whole = run("whole")
        with monkeypatch.context() as patch:
            patch.setattr(loop, "row_of", stopping())
            assert run("cut").interrupted
    with recording():
        resumed = run("cut")
    assert resumed.history == whole.history
    for one, other in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_a_checkpoint_of_one_device_goes_on_recorded_on_another(
    train: Examples, recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    schedule: str,
) -> None:  # fmt: skip
    def run(file: str) -> Run:
        where = tmp_path / file
        return fit(
            mlp(16, 8, 4), train, epochs=4, batch=32, seed=1, checkpoint=where, schedule=schedule
        )

    def cut(file: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "row_of", stopping())
            assert run(file).interrupted

    whole = run("whole")
    cut("begun plain")
    with recording() as replays:
        same(run("begun plain"), whole)
    assert sum(replays) == 2 * 10 - capture.WARM_UP
    with recording():
        cut("begun recorded")
    same(run("begun recorded"), whole)


def stopping() -> Any:
    """`row_of`, interrupted in the third epoch."""
    row = loop.row_of

    def cut(run: Run, *rest: Any) -> dict[str, float]:
        if len(run.history) == 2:
            raise KeyboardInterrupt
        return row(run, *rest)

    return cut


def test_domains_and_mean_teachers_are_not_recorded(train: Examples, recording: Recording) -> None:
    both = train + blobs(80, seed=5).as_domain(1).unlabelled()
    objective = HardLabels() + 0.1 * CORAL("stage1")
    with recording() as replays, warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(mlp(16, 8, 4), both, objective, epochs=1, batch=32, seed=1)
    assert not replays


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
def test_a_recorded_bank_is_the_plain_one(teacher: MLP, recording: Recording, engine: str) -> None:
    """325 images, of which 80 have no label; a weight that changes with progress."""
    images = blobs(245) + blobs(80, seed=3).unlabelled()

    def run() -> Bank:
        return train_bank(
            lambda T: progress * HardLabels() + (1 - progress) * SoftTargets(teacher, T),
            student=mlp(16, 8, 6, 4), examples=images, grid={"T": [1.0, 4.0]}, seeds=2, epochs=3,
            batch=32, weight_decay=0.05, evaluate={"test": images}, engine=engine, cache=False,
        )  # fmt: skip

    with recording() as replays:
        taken = run()
    assert sum(replays) == len(replays) // 2 * (3 * 11 - 2 * capture.WARM_UP)
    plain = run()
    torch.testing.assert_close(taken.logits["test"], plain.logits["test"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(taken.losses, plain.losses, rtol=1e-4, atol=1e-5)


def test_convolutional_students_together_are_recorded_too(recording: Recording) -> None:
    """What a GPU runs: all students' convolutions in one, within the recorded step."""
    images = Examples(blobs(130).x.repeat(1, 1, 3, 3), blobs(130).y)
    torch.manual_seed(0)
    teacher = cnn(3, 4).eval()

    def run(engine: str) -> Bank:
        return train_bank(
            lambda T: HardLabels() + SoftTargets(teacher, T), student=cnn(2, 4), examples=images,
            grid={"T": [1.0, 4.0]}, seeds=2, epochs=2, batch=16, lr=1e-3, precision="fp32",
            evaluate={"test": images}, engine=engine, cache=False,
        )  # fmt: skip

    with recording() as replays:
        taken = run("reference")
    assert sum(replays) == 2 * 9 - len(replays) * capture.WARM_UP
    plain = run("sequential")
    torch.testing.assert_close(taken.logits["test"], plain.logits["test"], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(taken.losses, plain.losses, rtol=1e-3, atol=1e-4)


# ---- another device ------------------------------------------------------------------------------


def first(ids: Tensor | None) -> Tensor | None:
    return None if ids is None else torch.zeros_like(ids)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """PyTorch's "meta" device, which computes shapes and refuses to mix with the CPU, as a GPU.

    Only what reads values is set aside: searching tables, counting domains, a row of history.
    """
    nothing = contextlib.nullcontext()
    monkeypatch.setattr(epochs, "seeded", lambda *_: nothing)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nothing)
    monkeypatch.setattr(loop, "made", lambda _, groups, decay: torch.optim.SGD(groups))
    monkeypatch.setattr(checking, "check_taught", lambda *_: None)
    monkeypatch.setattr("kdlib.objectives.teachers._check_finite", lambda *_: None)
    monkeypatch.setattr(loop, "row_of", lambda *_: {"loss": 0.0})
    monkeypatch.setattr(Examples, "domains", [0])
    monkeypatch.setattr(TeacherTable, "rows", lambda _, ids, taps=(): first(ids))
    return "meta"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*ON_VECTORS, *ON_MAPS])
def test_all_of_a_step_is_where_the_student_trains(elsewhere: str, kind: str) -> None:
    """Images start on the CPU; batches, tables, what objectives own and changed images follow."""
    images, maps = blobs(64), kind in ON_MAPS
    _ = images.ids
    if maps:
        images = Examples(images.x.repeat(1, 1, 3, 3), images.y)
        _ = images.ids
    teacher = (cnn(3, 4) if maps else mlp(16, 32, 4)).eval().to(elsewhere)
    student = cnn(2, 4) if maps else mlp(16, 8, 4, dropout=0.2)
    how: dict[str, Any] = {"augment": jitter(1)} if maps else {}
    objective = {**ON_VECTORS, **ON_MAPS}[kind](teacher)
    run = fit(student, images, objective, epochs=2, batch=16, device=elsewhere, **how)
    assert len(run.history) == 2 and place(student).type == elsewhere


def test_what_was_left_behind_is_named(elsewhere: str) -> None:
    teacher = mlp(16, 32, 4).to(elsewhere)
    for term in (KernelSimilarity(teacher, PAIR, CENTRES), ParameterL2(mlp(16, 8, 4))):
        with pytest.raises(
            ValueError, match=f"{term.name} holds .* on cpu .* trains on meta; move"
        ):
            fit(mlp(16, 8, 4), blobs(64), term, epochs=1, device=elsewhere)


def test_answers_come_back_to_where_the_images_are() -> None:
    images = blobs(40)
    _ = images.ids
    network = mlp(16, 8, 4).to("meta")
    assert predict(network, images.to("meta")).shape == (40, 4)
    for given in (images, images.batch(), images.batch().x):  # meta's answers cannot come back
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
            predict(network, given)


def test_a_bank_is_where_its_images_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a device named, the values of its axes are there, too."""
    images = blobs(64)
    _ = images.ids
    monkeypatch.setattr(HardLabels, "validate", lambda *_: None)  # it reads labels
    monkeypatch.setattr("kdlib.bank.planning.check_answers", lambda *_: None)  # so does this
    settings = Settings(1, 1e-2, 16, 0, 0.0, "one-cycle", "fp32")
    axes: dict[str, list[Any]] = {"T": [1.0, 2.0]}
    group = make_group(
        lambda T: T * HardLabels(), mlp(16, 8, 4), images.to("meta"), axes, ["T"], [0, 1], {},
        settings,
    )  # fmt: skip
    assert group.bindings["T"].device.type == "meta" and group.bindings["T"].shape == (4,)
