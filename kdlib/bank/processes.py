"""Students side by side, each in a process of one thread, where the system can fork."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from tqdm.auto import tqdm

from kdlib.device import threads


def side_by_side() -> int:
    """How many processes may work: as many as this one was given threads; 1 where none can fork.

    Convolutions of small networks gain little from a second thread, and nearly twice from a second
    process. PyTorch cannot differentiate in a fork once it has looked for a GPU and found one.
    """
    forks = sys.platform == "linux" and not torch.accelerator.is_available()
    forks = forks and not multiprocessing.current_process().daemon  # which may have no children
    return min(torch.get_num_threads(), threads()) if forks else 1


def each(work: Callable[[int], Any], count: int, processes: int) -> Iterator[tuple[int, Any]]:
    """(i, work(i)) for all i below `count`, in order in one process, as they come from several.

    Results must pickle. What `work` raises is raised here; when the caller stops asking, or is
    interrupted, the processes end. Raises RuntimeError when one of them was ended from outside.
    """
    if min(processes, count) < 2:
        yield from ((i, work(i)) for i in range(count))
        return
    context, children = multiprocessing.get_context("fork"), []
    pipes: list[Connection] = []
    try:
        for first in range(min(processes, count)):
            reader, writer = context.Pipe(duplex=False)
            pipes.append(reader)
            places, readers = range(first, count, processes), tuple(pipes)
            child = context.Process(
                target=_train, args=(work, places, writer, readers), daemon=True
            )
            children.append(child)  # before it starts, so that no interrupt loses it
            with warnings.catch_warnings():  # Python ≥ 3.12 warns of threads, which no child uses
                warnings.simplefilter("ignore", DeprecationWarning)
                child.start()
            writer.close()
        left = count
        while left:
            for pipe in wait(pipes):
                assert isinstance(pipe, Connection)
                try:
                    i, result, error = pickle.loads(pipe.recv_bytes())
                except (EOFError, OSError):
                    pipes.remove(pipe)  # it has done its part, or was ended
                    continue
                if error is not None:
                    raise error
                left -= 1
                yield i, result
            if left and not pipes:
                raise RuntimeError(
                    f"a process that trained students was ended with {left} of {count} to go "
                    "(is memory short?); use torch.set_num_threads(1) to train one after another"
                )
    finally:
        begun = [child for child in children if child.pid is not None]
        for child in begun:
            child.kill()  # they have nothing to tidy up, and a handler of ours could hold SIGTERM
        for child in begun:
            child.join()


def _train(
    work: Callable[[int], Any], places: range, pipe: Connection, readers: tuple[Connection, ...]
) -> None:
    signal.set_wakeup_fd(-1)  # an event loop's, which is not ours to wake
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for end in readers:  # held open here, the pipe would never tell that the parent is gone
        end.close()
    tqdm.set_lock(threading.RLock())  # the parent's may have been held when it forked
    os.environ["KDLIB_QUIET"] = "1"
    torch.set_num_threads(1)
    for i in places:
        try:
            message = pickle.dumps((i, work(i), None))
        except Exception as error:
            message = pickle.dumps((i, None, _portable(error)))
        try:
            pipe.send_bytes(message)
        except BrokenPipeError:
            return


def _end_with_parent() -> None:
    """A parent that is killed ends us, too, and not only once our present student is done."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error itself where it pickles, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
