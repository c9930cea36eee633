"""How often each fault is tried, as CONTRIBUTING.md says, and what the trials share."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import torch
from tqdm.auto import tqdm
from unit.blobs import blobs

from kdlib.bank import Bank, train_bank
from kdlib.models import initialise, mlp
from kdlib.objectives import HardLabels, SoftTargets
from kdlib.training import Run, fit

KILLS = 20  # of each kind of work
KERNELS = 2  # killed for good, seconds each
FLIPS = CUTS = 40  # of each kind of file
PICKLES_TRIED = 6  # in each of four kinds of file
FULL = 20  # disks for each way of writing
PAIRS = 5  # of processes on one cache and one checkpoint
DOWNLOADS = 6  # of four kinds
BAD_INPUTS = 200  # of each function
TABLE = {  # the numbers in CONTRIBUTING.md's table, by what stands first in their row
    "SIGKILL": f"{KILLS} each",
    "a killed kernel": f"{KERNELS}",
    "flipped bits": f"{FLIPS} each",
    "cut files": f"{CUTS} each",
    "a full disk": f"{FULL} each",
    "two processes": f"{PAIRS} pairs",
    "a false download": f"{DOWNLOADS} each",
    "malicious pickles": f"{PICKLES_TRIED} each",
    "bad input": f"{BAD_INPUTS} each",
}

GROUPS: list[int] = []  # of processes
TRAIN, TEST = blobs(320, seed=0), blobs(80, seed=1)


def taught(checkpoint: Path | None = None, epochs: int = 6) -> Run:
    """A training of a tenth of a second."""
    initialise(teacher := mlp(16, 8, 4), 3)
    objective = 0.5 * HardLabels() + 0.5 * SoftTargets(teacher, T=4)
    return fit(
        mlp(16, 8, 4), TRAIN, objective, epochs=epochs, batch=16, seed=1, checkpoint=checkpoint
    )


def small_bank(**how: object) -> Bank:
    """A bank of a tenth of a second."""
    return train_bank(
        student=mlp(16, 8, 4), examples=TRAIN, grid={"lr": [1e-3, 1e-2]}, seeds=2, epochs=4,
        batch=16, evaluate={"test": TEST}, **how,
    )  # fmt: skip


def forked(work: Callable[[], object]) -> int:
    """The process that does this work, and nothing after it."""
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)  # by which its own children are found
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)  # one that hangs ends, too
            torch.set_num_threads(1)  # the parent's other threads are not here
            tqdm.set_lock(threading.RLock())  # as kdlib's own workers do
            work()
            os._exit(0)
        finally:
            os._exit(1)
    GROUPS.append(child)
    return child


def left_over() -> list[int]:
    """Processes that work on, of all that `forked` began and of their children."""
    groups = {}
    for pid in psutil.pids():
        with suppress(OSError):
            groups[pid] = os.getpgid(pid)
    return [pid for pid, group in groups.items() if group in GROUPS and alive(pid)]


def ended(child: int) -> int:
    """How it ended: its exit code, or the signal's number with a minus."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def seconds_of(work: Callable[[], object]) -> float:
    """How long the work takes in a process of its own."""
    begun = time.perf_counter()
    assert ended(forked(work)) == 0
    return time.perf_counter() - begun


def killed(work: Callable[[], object], longest: float, draw: random.Random) -> bool:
    """Whether the work was killed before its end, at a random moment of it."""
    child = forked(work)
    time.sleep(draw.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    code = ended(child)
    assert code in (0, -signal.SIGKILL), "it failed by itself"
    return code != 0


def alive(pid: int) -> bool:
    """Whether this process works on; one that waits for its parent to hear of its end does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def flipped(content: bytes, draw: random.Random) -> bytes:
    """The content with one bit turned."""
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    """The content up to somewhere."""
    return content[: draw.randrange(len(content))]
