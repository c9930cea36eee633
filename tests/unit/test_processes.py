"""Students side by side: the same results, errors where they belong, and no process left behind."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from blobs import blobs
from torch import nn

from kdlib.bank import Bank, train_bank
from kdlib.bank.processes import each, side_by_side
from kdlib.data import Examples
from kdlib.models import cnn
from kdlib.objectives import HardLabels, SoftTargets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere students train alone")


class Odd(Exception):
    """An error that does not come back whole from pickling."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def no_one_is_left() -> bool:
    return multiprocessing.active_children() == []


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_each_result_comes_once(processes: int) -> None:
    scale = torch.tensor([2.0, 3.0])
    found = list(each(lambda i: (os.getpid(), torch.get_num_threads(), i * scale), 4, processes))
    if processes == 1:
        assert [i for i, _ in found] == [0, 1, 2, 3]
    assert sorted(i for i, _ in found) == [0, 1, 2, 3]
    assert len({pid for _, (pid, _, _) in found}) == min(processes, 4)
    assert (os.getpid() in {pid for _, (pid, _, _) in found}) == (processes == 1)
    for i, (_, _, tensor) in found:
        assert tensor.tolist() == [2 * i, 3 * i]
    if processes > 1:
        assert {count for _, (_, count, _) in found} == {1}
    assert no_one_is_left()


def test_errors_are_raised_here() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise ValueError("three is too many")
        return i

    with pytest.raises(ValueError, match="three is too many"):
        list(each(work, 6, 2))
    assert no_one_is_left()

    def odd(i: int) -> int:
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Odd: 1 and 2"):
        list(each(odd, 2, 2))


def test_a_process_that_is_ended_from_outside_is_told() -> None:
    def work(i: int) -> int:
        if i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(RuntimeError, match=r"was ended with \d of 6 to go"):
        list(each(work, 6, 2))
    assert no_one_is_left()


def test_who_stops_asking_ends_the_processes() -> None:
    started = time.monotonic()
    for i, _ in each(lambda i: time.sleep(60 * (i > 1)), 4, 2):
        if i == 1:
            break
    assert time.monotonic() - started < 30 and no_one_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["break", "killed while it sends"])
def test_a_full_pipe_holds_nobody(how: str) -> None:
    """A child blocked on its pipe, and a program with a SIGTERM handler of its own."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        if how == "break":
            for _ in each(lambda i: (time.sleep(0.1), b"x" * 300_000), 6, 2):
                time.sleep(0.5)  # meanwhile both send their next, larger than a pipe's buffer
                break
        else:

            def work(i: int) -> bytes:
                if i == 1:
                    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGKILL)).start()
                return b"x" * 300_000

            with pytest.raises(RuntimeError, match="was ended with"):
                for _ in each(work, 4, 2):
                    time.sleep(2.0)
        assert no_one_is_left()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    def work(i: int) -> bytes:
        (tmp_path / f"{i}").write_text(str(os.getpid()))
        return b"x" * 300_000

    parent = os.fork()
    if not parent:
        for _ in each(work, 8, 2):
            time.sleep(60)
        os._exit(1)
    wait_until(lambda: (tmp_path / "1").exists() and (tmp_path / "0").exists())
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    children = [int((tmp_path / name).read_text()) for name in ("0", "1")]
    wait_until(lambda: not any(alive(child) for child in children))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(300):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to pass within 30 seconds")


def test_a_daemon_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlib.bank.processes.threads", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(side_by_side()), daemon=True)
    child.start()
    assert ours.poll(30) and ours.recv() == 1
    child.join()


def test_as_many_as_threads_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlib.bank.processes.threads", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert side_by_side() == 3
    monkeypatch.setattr("kdlib.bank.processes.threads", lambda: 2)
    assert side_by_side() == 2
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert side_by_side() == 1
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("sys.platform", "darwin")
    assert side_by_side() == 1


# ---- banks ---------------------------------------------------------------------------------------


@pytest.fixture
def images() -> Examples:
    return Examples(blobs(96).x.repeat(1, 1, 2, 2), blobs(96).y)


def bank(images: Examples, **how: object) -> Bank:
    torch.manual_seed(0)
    teacher: nn.Module = cnn(3, 4).eval()
    return train_bank(
        lambda T: HardLabels() + SoftTargets(teacher, T), student=cnn(2, 4), examples=images,
        grid={"T": [1.0, 4.0]}, seeds=2, epochs=2, batch=32, lr=1e-3, evaluate={"t": images},
        cache=False, **how,
    )  # fmt: skip


def test_a_bank_of_convolutions_is_the_same_side_by_side(
    images: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = bank(images)
    drawn = torch.rand(())
    monkeypatch.setattr("kdlib.bank.sequential.side_by_side", lambda: 2)
    both = bank(images)
    assert torch.rand(()) == drawn, "a bank draws nothing that others would miss"
    assert alone.engine == both.engine == "sequential"
    assert torch.equal(alone.logits["t"], both.logits["t"])
    assert torch.equal(alone.losses, both.losses) and not alone.losses.isnan().any()
    for one, other in zip(alone.weights, both.weights, strict=True):
        assert one is not None and other is not None and one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("processes", [1, 2])
def test_students_are_shown_as_they_come_and_a_stop_keeps_them(
    images: Examples, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr("kdlib.bank.sequential.side_by_side", lambda: processes)
    seen: list[tuple[float, int]] = []

    def watch(done: float, errors: dict[str, torch.Tensor]) -> bool:
        seen.append((done, int((~errors["t"].isnan()).sum())))
        return len(seen) < 3

    stopped = bank(images, watch=watch)
    assert seen == [(0.25, 1), (0.5, 2), (0.75, 3)]
    assert sum(weights is not None for weights in stopped.weights) == 3
    assert int(stopped.losses.isnan().all(-1).sum()) == 1
    missing = stopped.losses.isnan().all(-1).nonzero()[0].tolist()
    T, seed = stopped.axes["T"][missing[0]], stopped.seeds[missing[1]]
    with pytest.raises(ValueError, match="stopped before the student"):
        stopped.network(T=T, seed=seed)
    assert no_one_is_left()
