"""The five trainings of the official PyTorch distillation tutorial, on CIFAR-shaped images.

Teacher, student alone, soft targets, cosine of hidden layers, regression on feature maps: as the
tutorial has them (networks, batch, optimiser, weights; its loops in short form), and by `fit`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.contenders import PerImage, Stopwatch, Taken, endless
from benchmarks.work import Work
from kdlib.data import Examples
from kdlib.objectives import Cosine, HardLabels, Hint, SoftTargets, tabulate
from kdlib.training import fit

T, SOFT, HIDDEN = 2.0, 0.25, 0.25


class Network(nn.Module):
    """Convolutions, then a classifier; `hidden` is what the cosine loss compares (B, 1024)."""

    def __init__(self, features: nn.Sequential, flat: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.hidden = nn.AdaptiveAvgPool1d(1024) if flat > 1024 else nn.Identity()
        self.classifier = nn.Sequential(
            nn.Linear(flat, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = self.features(x).flatten(1)
        self.hidden(flat)  # a tap sees it
        return self.classifier(flat)


def _convolutions(*steps: tuple[int, int] | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.MaxPool2d(2)] if step is None else [nn.Conv2d(*step, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def deep() -> Network:
    return Network(_convolutions((3, 128), (128, 64), None, (64, 64), (64, 32), None), 2048, 512)


def light() -> Network:
    return Network(_convolutions((3, 16), None, (16, 16), None), 1024, 256)


class PerColourImage(PerImage):
    """(3, 32, 32) pictures, turned into tensors one by one and normalised as the tutorial does."""

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        x = torch.from_numpy(self.x[i]).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (x - mean[:, None, None]) / std[:, None, None], self.y[i]


def work() -> Work:
    """50,000 images of CIFAR-10's shape, ten epochs; what is on them does not change the time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (50_000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    examples = Examples(x, torch.arange(50_000) % 10, name="made up")
    return Work("the tutorial's five trainings, 10 epochs", examples, 128, 10, 0, deep())


def theirs(work: Work) -> Callable[[int], Taken]:
    """Adam, the teacher's forward in each step that it teaches, `.item()` each step, fp32."""
    teacher, images = deep(), PerColourImage(work.examples.x, work.examples.y)

    def soft(student: Network, x: Tensor) -> Tensor:
        with torch.no_grad():
            z_t = teacher(x)
        p, log_q = (z_t / T).softmax(-1), (student.z / T).log_softmax(-1)
        return SOFT * (p * (p.log() - log_q)).sum() / len(x) * T**2

    def cosine(student: Network, x: Tensor) -> Tensor:
        with torch.no_grad():
            flat = teacher.features(x).flatten(1)
            teacher.classifier(flat)
        aligned = torch.ones(len(x))
        return HIDDEN * F.cosine_embedding_loss(student.flat, teacher.hidden(flat), aligned)

    regressor = nn.Conv2d(16, 32, 3, padding=1)

    def regression(student: Network, x: Tensor) -> Tensor:
        with torch.no_grad():
            teacher.classifier((maps := teacher.features(x)).flatten(1))
        return HIDDEN * F.mse_loss(regressor(student.maps), maps)

    trainings = [(deep(), None), (light(), None)]
    trainings += [(light(), extra) for extra in (soft, cosine, regression)]

    def run(steps: int) -> Taken:
        wall = cpu = 0.0
        for network, extra in trainings:
            watch = Stopwatch()
            weights = [*network.parameters(), *regressor.parameters()]
            optimizer = torch.optim.Adam(weights, lr=1e-3)
            loader = endless(DataLoader(images, work.batch, shuffle=True, num_workers=2))
            next(loader)  # the workers' start is not the loop's cost
            with watch.running():
                for _ in range(steps):
                    x, y = next(loader)
                    optimizer.zero_grad()
                    network.maps = network.features(x)
                    network.flat = network.maps.flatten(1)
                    network.z = network.classifier(network.flat)
                    loss = F.cross_entropy(network.z, y)
                    if extra is not None:
                        loss = (1 - SOFT) * loss + extra(network, x)
                    loss.backward()
                    optimizer.step()
                    loss.item()
                loader.close()
            wall, cpu = wall + watch.wall, cpu + watch.cpu
        return wall, cpu, 1

    return run


def ours(work: Work, threads: int = 1) -> Callable[[int], Taken]:
    """`fit`: the teacher is asked once, for all that three students learn from it."""

    def run(steps: int) -> Taken:
        watch = Stopwatch()
        part = work.examples[slice(0, max(1, steps // work.epochs) * work.batch)]
        _ = part.ids
        how = dict(epochs=work.epochs, batch=work.batch, lr=1e-3)
        labels, maps = (1 - SOFT) * HardLabels(), "features.9"
        with watch.running(threads):
            teacher = fit(deep(), part, **how).network
            table = tabulate(teacher, part, taps=("hidden", maps))
            fit(light(), part, **how)
            fit(light(), part, labels + SOFT * SoftTargets(table, T), **how)
            fit(light(), part, labels + HIDDEN * Cosine(table, {"hidden": "hidden"}), **how)
            fit(light(), part, labels + HIDDEN * Hint(table, {"features.5": maps}), **how)
        return watch.wall, watch.cpu, 1

    return run
