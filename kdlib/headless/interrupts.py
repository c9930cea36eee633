"""Ctrl-C, which reaches a process and its workers alike, at any time and more than once."""

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass


@contextmanager
def answered_once() -> Iterator[None]:
    """Answers the first Ctrl-C as ever, and no other before the end of this block.

    A second one would break off the wait for the workers, and the process would then never end.
    """

    def answer(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    usual = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of this block; in a worker begun in it, for `obey`.

    The worker would otherwise answer with a traceback of whatever it is importing.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
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


def obey() -> None:
    """Makes this process a worker that Ctrl-C stops within `stoppable`, and never elsewhere."""
    signal.signal(signal.SIGINT, _Stop())
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


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
