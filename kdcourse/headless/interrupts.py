"""Ctrl-C, and what else asks a process and its workers to end, at any time and more than once."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection

# `kill`, and a terminal that is closed, which Windows does not tell.
ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def answered_once(*more: int) -> Iterator[None]:
    """Answers the first Ctrl-C as ever, and no other before the end of this block.

    A second one would break off the wait for the workers, and the process would then never end.
    The signals `more` are answered alike, except where the process does so itself or ignores them
    (`nohup`). KeyboardInterrupt's argument is the signal's number.
    """

    def answer(number: int, frame: object) -> None:
        for one in usual:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    usual: dict[int, object] = {signal.SIGINT: signal.default_int_handler}
    usual |= dict.fromkeys(more, signal.SIG_DFL)
    main = threading.current_thread() is threading.main_thread()
    usual = {one: how for one, how in usual.items() if main and signal.getsignal(one) is how}
    for one in usual:
        signal.signal(one, answer)
    try:
        yield
    finally:
        for one, how in usual.items():
            signal.signal(one, how)  # type: ignore[arg-type]


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C and `ENDINGS` wait for the end of this block; in a worker begun in it, for `obey`.

    The worker would otherwise answer with a traceback of whatever it is importing.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDINGS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _Stop:
    """A worker's answer: leave the job at hand, and begin no other."""

    asked: bool = False
    working: bool = False

    def __call__(self, number: int, frame: object) -> None:
        again, self.asked = self.asked, True
        if self.working and not again:  # a second one would break off the tidying up
            sys.exit(130)


def obey(parent: Connection) -> None:
    """Makes this process a worker that Ctrl-C stops within `stoppable`, and never elsewhere.

    So does the end of `parent`, which is told that a worker has begun: its other end was closed,
    or the process that held it is gone, and then this one goes, too.
    """
    stop = _Stop()
    signal.signal(signal.SIGINT, stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent hears it, and closes its end
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, *ENDINGS})
    with suppress(OSError):
        parent.send_bytes(b"begun")
    threading.Thread(target=_follow, args=(parent, stop), daemon=True).start()


def _follow(parent: Connection, stop: _Stop) -> None:
    with suppress(EOFError, OSError):
        parent.recv_bytes()  # nothing is sent: this waits for the end
    _thread.interrupt_main()
    if (process := parent_process()) is not None:
        process.join()
    for _ in range(100):  # ten seconds to tidy up; what stays is removed by the next run
        if not stop.working:
            break
        time.sleep(0.1)
    os._exit(130)


@contextmanager
def stoppable() -> Iterator[None]:
    """A job of a worker; raises CancelledError where Ctrl-C came before it."""
    stop = signal.getsignal(signal.SIGINT)
    if not isinstance(stop, _Stop):  # an executor of the caller's, with answers of its own
        yield
        return
    stop.working = True
    try:
        if stop.asked:  # a pool hands out a job or two in advance
            raise CancelledError
        yield
    finally:
        stop.working = False
