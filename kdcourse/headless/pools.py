"""Jobs on processes of this machine: these end with it, and one that is killed fails one job."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from kdcourse.headless import interrupts

ENDED = (
    "its process was ended from outside, often for want of memory; "
    "use fewer --workers, or budget=small"
)
NEVER_BEGAN = (
    "no process could begin, and none at a second try (for want of memory? use fewer --workers); "
    "in a script, sweep under `if __name__ == '__main__':`"
)
Submit = Callable[[Executor, int], "Future[Any]"]  # hands job number i to an executor
Done = Callable[[int, "Future[Any]"], None]  # hears of its end


def on_executor(executor: Executor, jobs: Iterable[int], submit: Submit, done: Done) -> None:
    """Run jobs on any executor; an interrupt cancels those that have not begun."""
    futures: dict[Future[Any], int] = {}
    try:
        for job in jobs:
            futures[submit(executor, job)] = job
        for future in as_completed(futures):
            done(futures[future], future)
    except KeyboardInterrupt:
        for future in futures:
            future.cancel()
        raise


def on_processes(
    workers: int, jobs: Iterable[int], submit: Submit, done: Done, say: Callable[[str], None]
) -> None:
    """Run jobs on `workers` processes, begun by spawn.

    Nobody knows which job lost its process, so those that may have been at work are run again, each
    in a process of its own; one that loses this, too, is done, with a ChildProcessError. Where a
    process was lost before any had begun, all begin again, once.
    """
    left, stuck = list(jobs), False
    while left:
        left, begun = _together(left, workers, submit, done)
        if left and not begun and stuck:
            for job in left:
                done(job, _lost(NEVER_BEGAN))
            return
        stuck = not begun
        # Jobs begin in order: each process had one at work, and may have ended one unheard.
        suspects = left[: 2 * workers] if begun else []
        left = left[len(suspects) :]
        if suspects:
            say("a process was ended from outside: what it may have run is run again, one by one")
        for job in suspects:
            if _together([job], 1, submit, done)[0]:
                done(job, _lost(ENDED))


def _together(jobs: list[int], workers: int, submit: Submit, done: Done) -> tuple[list[int], bool]:
    """Run jobs on one pool: those not done when it lost a process, and whether one had begun."""
    futures: dict[Future[Any], int] = {}
    left = dict.fromkeys(jobs)
    with _processes(workers) as (pool, told):
        with suppress(BrokenProcessPool), interrupts.held_back():
            for job in jobs:
                futures[submit(pool, job)] = job
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                del left[futures[future]]
                done(futures[future], future)
        return list(left), told.poll()


@contextmanager
def _processes(workers: int) -> Iterator[tuple[ProcessPoolExecutor, Connection]]:
    """A pool, and what its processes tell; they leave their jobs when that is closed."""
    spawn = get_context("spawn")  # a forked copy of this process could hang in torch's threads
    ours, theirs = spawn.Pipe()
    with interrupts.held_back():  # from the tracker of its locks, too, which SIGHUP would end
        pool = ProcessPoolExecutor(workers, spawn, interrupts.obey, (theirs,))
    with ours, theirs, pool:
        try:
            yield pool, ours
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            ours.close()
            raise


def _lost(reason: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(ChildProcessError(reason))
    return future
