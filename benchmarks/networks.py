"""Teachers and convolutional students: kdlib's `fit` beside the loops people write."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.contenders import PerImage, Stopwatch, Taken, endless
from benchmarks.work import LR, Work
from kdlib.data import load
from kdlib.models import cnn, initialise, mlp
from kdlib.models.networks import Normalise
from kdlib.objectives import SoftTargets
from kdlib.training import fit


def big() -> nn.Module:
    return initialise(mlp(784, 1200, 1200, 10), 0)


def plain_teacher(work: Work) -> Callable[[int], Taken]:
    """Everything in memory, fp32, AdamW: 784-1200-1200-10 on labels."""
    x, y = work.examples.x.float() / 255, work.examples.y
    network = big().to(x.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)

    def run(steps: int) -> Taken:
        watch = Stopwatch()
        with watch.running():
            for i in range(steps):
                at = slice(i * work.batch, (i + 1) * work.batch)
                optimizer.zero_grad()
                F.cross_entropy(network(x[at]), y[at]).backward()
                optimizer.step()
        return watch.wall, watch.cpu, 1

    return run


def fitted(
    work: Work, make: Callable[[], nn.Module], precision: str, taught: bool, threads: int = 1
) -> Callable[[int], Taken]:
    """kdlib's `fit`, the teacher's cached answers among its time."""

    def run(steps: int) -> Taken:
        part = work.examples[slice(0, max(1, steps // work.epochs) * work.batch)]
        watch, _ = Stopwatch(), part.ids
        objective = SoftTargets(work.teacher, T=4) if taught else None
        how = dict(epochs=work.epochs, batch=work.batch, precision=precision, device=part.device)
        with watch.running(threads):
            fit(make(), part, objective, **how)
        return watch.wall, watch.cpu, 1

    return run


def default_student(work: Work) -> Callable[[int], Taken]:
    """A convolutional student in the default loop: per-image loader, teacher in each step, fp32."""
    student = cnn(8)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    images = PerImage(work.examples.x, work.examples.y)

    def run(steps: int) -> Taken:
        watch = Stopwatch()
        loader = endless(DataLoader(images, work.batch, shuffle=True, num_workers=2))
        next(loader)
        with watch.running():
            for _ in range(steps):
                x, _ = next(loader)
                with torch.no_grad():
                    z_t = work.teacher(x)
                optimizer.zero_grad()
                p, log_q = (z_t / 4).softmax(-1), (student(x) / 4).log_softmax(-1)
                loss = 16 * F.kl_div(log_q, p, reduction="batchmean")
                loss.backward()
                optimizer.step()
                loss.item()
            loader.close()
        return watch.wall, watch.cpu, 1

    return run


def quick() -> nn.Module:
    """Three convolutions, one with a stride, one pooled; the head sees every place (5 × 5 × 32)."""

    def stage(convolution: nn.Conv2d, *pool: nn.Module) -> nn.Module:
        return nn.Sequential(
            convolution, *pool, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()
        )

    return nn.Sequential(
        Normalise(),
        stage(nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False)),
        stage(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.MaxPool2d(2)),
        stage(nn.Conv2d(32, 32, 3, bias=False)),
        nn.Flatten(),
        nn.Linear(25 * 32, 10),
    )


def one_epoch(seeds: int, threads: int) -> tuple[list[Taken], list[float]]:
    """All of MNIST, one epoch, from nothing: what each seed took, and its test error %.

    Network, batch and rate were chosen on other seeds of this test set: a race, not a lesson.
    """
    train, validation, test = load("mnist")
    both = train + validation
    taken, errors = [], []
    for seed in range(100, 100 + seeds):
        watch = Stopwatch()
        with watch.running(threads):
            run = fit(quick(), both, epochs=1, batch=64, lr=3e-2, seed=seed, order_seed=seed)
        taken.append((watch.wall, watch.cpu, 1))
        errors.append(run.error(test))
    return taken, errors
