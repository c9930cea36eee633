"""Ways to train the 64 students. Each call does some steps of the same work.

A contender is called with the number of steps; it returns the seconds these took, by the clock and
by the processor, and how many students moved in each step.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.work import ALPHAS, LR, SEEDS, STUDENTS, TEMPERATURES, Work
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import initialise, predict
from kdlib.objectives import HardLabels, SoftTargets

HERE = Path(__file__).parent
Taken = tuple[float, float, int]  # seconds by the clock, by the processor, students a step
Contender = Callable[[int], Taken]
Entries = dict[str, tuple[Contender, int]]  # name -> the contender, and the steps of a round


class Stopwatch:
    """Seconds by the clock and by the processor, children (a loader's workers) included."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @contextmanager
    def running(self, threads: int = 1) -> Iterator[None]:
        """What is inside runs on so many threads; a GPU's work is waited for."""
        torch.set_num_threads(threads)
        _wait()
        wall, cpu = time.perf_counter(), _cpu()
        yield
        _wait()
        self.wall, self.cpu = time.perf_counter() - wall, _cpu() - cpu
        torch.set_num_threads(1)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def endless(loader: DataLoader) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Epoch after epoch."""
    while True:
        yield from loader


class PerImage(Dataset):
    """Images as files' decoders give them, turned into tensors one by one."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x.numpy(), y.tolist()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        picture = np.array(Image.fromarray(self.x[i, 0]))
        return (torch.from_numpy(picture)[None].float() / 255 - 0.1307) / 0.3081, self.y[i]


def tutorial(work: Work) -> Callable[[int], Taken]:
    """The official PyTorch tutorial's loop: per-image loader with two workers, Adam, the teacher's
    forward and `.item()` in each step, one student at a time."""
    student = work.student()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    cross_entropy = nn.CrossEntropyLoss()
    images = PerImage(work.examples.x, work.examples.y)
    T, soft_weight, hard_weight = 2.0, 0.25, 0.75

    def run(steps: int) -> Taken:
        watch, running_loss = Stopwatch(), 0.0
        loader = endless(DataLoader(images, work.batch, shuffle=True, num_workers=2))
        next(loader)  # the workers' start is not the loop's cost
        with watch.running():
            for _ in range(steps):
                x, y = next(loader)
                optimizer.zero_grad()
                with torch.no_grad():
                    z_t = work.teacher(x)
                z_s = student(x)
                p, log_q = (z_t / T).softmax(-1), (z_s / T).log_softmax(-1)
                soft = (p * (p.log() - log_q)).sum() / len(x) * T**2
                loss = soft_weight * soft + hard_weight * cross_entropy(z_s, y)
                loss.backward()
                optimizer.step()
                running_loss += loss.item()
            loader.close()
        return watch.wall, watch.cpu, 1

    return run


def sequential(work: Work) -> Callable[[int], Taken]:
    """A fair loop: everything in memory as one tensor, cached logits, fused AdamW, one student."""
    student = initialise(work.student(), 0).to(work.examples.device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=LR, weight_decay=0.0, fused=True)
    x, y = work.examples.x.float() / 255, work.examples.y
    z_t = predict(work.teacher, work.examples)
    T, alpha = 4.0, 0.5

    def run(steps: int) -> Taken:
        watch = Stopwatch()
        order = torch.randperm(len(x)).to(x.device)
        with watch.running():
            for i in range(steps):
                index = order[i * work.batch : (i + 1) * work.batch]
                z_s = student(x[index])
                log_p, log_q = (z_t[index] / T).log_softmax(-1), (z_s / T).log_softmax(-1)
                soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
                loss = (1 - alpha) * F.cross_entropy(z_s, y[index]) + alpha * T**2 * soft
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return watch.wall, watch.cpu, 1

    return run


def bank(work: Work, engine: str, precision: str, threads: int = 1) -> Callable[[int], Taken]:
    """kdlib's bank: all students at once; start and the teacher's answers are in the time.

    As many epochs as the work has, over fewer images, so that the teacher is asked in proportion.
    """

    def run(steps: int) -> Taken:
        watch = Stopwatch()
        part = work.examples[slice(0, max(1, steps // work.epochs) * work.batch)]
        _ = part.ids  # hashed once for a data set, not once for a bank
        with watch.running(threads):
            train_bank(
                lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(work.teacher, T),
                student=work.student(), examples=part, seeds=SEEDS, epochs=work.epochs,
                grid={"T": TEMPERATURES, "alpha": ALPHAS}, engine=engine, precision=precision,
                evaluate={}, cache=False, batch=work.batch,
            )  # fmt: skip
        return watch.wall, watch.cpu, STUDENTS

    return run


class TorchDistill:
    """torchdistill's own DistillationBox, in a process and an environment of its own."""

    def __init__(self, work: Work) -> None:
        folder = HERE / ".venv"
        python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        if not (folder / "complete").exists():
            print("making benchmarks/.venv for torchdistill …", file=sys.stderr, flush=True)
            venv.create(folder, with_pip=True, clear=True)
            words = ["-m", "pip", "install", "-qq", "-r", str(HERE / "requirements.txt")]
            subprocess.run([str(python), *words], check=True)
            (folder / "complete").touch()
        data = HERE / ".venv" / "work.pt"
        torch.save({"x": work.examples.x, "y": work.examples.y}, data)
        words = [str(python), "-m", "benchmarks.peer", str(data), str(work.width), str(work.batch)]
        self.process = subprocess.Popen(
            words, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def __call__(self, steps: int) -> Taken:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                "torchdistill's process ended; run benchmarks.peer by hand to see why"
            )
        wall, cpu = json.loads(line)
        return wall, cpu, 1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def thinned(examples: Examples, count: int) -> Examples:
    """`count` images, again and again if there are fewer."""
    index = torch.arange(count) % len(examples)
    return examples[index]
