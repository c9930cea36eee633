"""Jobs on processes: one that is killed fails one job; signals are answered once."""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from kdcourse.headless import interrupts, pools


@pytest.fixture(autouse=True)
def a_main_module_as_python_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython puts another into its place, which `spawn` cannot read."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)


def ends(jobs: int, killer: int | None = None) -> tuple[dict[int, Any], list[int]]:
    """What became of each job (a killer ends its process), and which were handed over."""
    ended: dict[int, Any] = {}
    handed: list[int] = []

    def submit(executor: Executor, job: int) -> Future[Any]:
        handed.append(job)
        return executor.submit(os._exit, 9) if job == killer else executor.submit(abs, -job)

    def done(job: int, future: Future[Any]) -> None:
        assert job not in ended
        ended[job] = future.exception() or future.result()

    pools.on_processes(1, range(jobs), submit, done, lambda line: None)
    return ended, handed


@pytest.mark.skipif(os.name == "nt", reason="Windows does not fork")
def test_a_killed_process_fails_the_job_that_kills_it_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By fork, for four pools that are spawned import torch four times; sweeps' tests spawn."""
    monkeypatch.setattr(pools, "get_context", lambda method: multiprocessing.get_context("fork"))
    ended, handed = ends(3, killer=0)
    assert "use fewer --workers, or budget=small" in str(ended[0])
    assert (ended[1], ended[2]) == (1, 2)
    assert handed.count(0) == 2, "what kills twice is not tried again"


def test_processes_that_cannot_begin_are_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "obey", int)  # fails, as a script without its guard does
    ended, handed = ends(3)
    assert all("under `if __name__ == '__main__':`" in str(ended[job]) for job in range(3))
    assert handed.count(0) == 2, handed


@pytest.mark.skipif(os.name == "nt", reason="Windows does not fork")
def test_a_process_killed_while_it_comes_up_costs_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory is short for a moment: nothing had begun, so nothing is suspect."""
    first, obey = tmp_path / "first", interrupts.obey

    def killed_once(parent: Connection) -> None:
        try:
            first.touch(exist_ok=False)
        except FileExistsError:
            return obey(parent)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(interrupts, "obey", killed_once)
    monkeypatch.setattr(pools, "get_context", lambda method: multiprocessing.get_context("fork"))
    ended, _ = ends(3)
    assert ended == {0: 0, 1: 1, 2: 2}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_the_first_signal_interrupts_and_an_ignored_one_stays_so(heard: None) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interrupts.answered_once(*interrupts.ENDINGS):
            signal.raise_signal(signal.SIGHUP)
            assert callable(signal.getsignal(signal.SIGTERM)), "it would end the tests, too"
            with pytest.raises(KeyboardInterrupt) as caught:
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        assert caught.value.args == (signal.SIGTERM,)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)
