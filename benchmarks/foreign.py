"""Networks of torchvision: a ResNet-18 teaches a MobileNet, with `fit` and in torchdistill's box.

Both start from the same weights, see the same images in the same order, and descend CE / 2 + T² KL
/ 2 by SGD in fp32; BatchNorm trains in the student and rests in the teacher. What differs: `fit`
lays the student's convolutions out channels_last, whence its faster step (the box has a row with
that layout, too), and asks a teacher once where no augmentation changes the images. Dropout is off:
the two would draw other masks.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks import peer
from benchmarks.contenders import Contender, Entries, Stopwatch, Taken, endless
from benchmarks.elsewhere import elsewhere
from benchmarks.work import Work
from kdlib.data import Examples
from kdlib.device import seeded
from kdlib.objectives import HardLabels, SoftTargets
from kdlib.training import fit
from kdlib.training.epochs import epoch_seed
from kdlib.vision import models

LR, MOMENTUM = 0.05, 0.9


def student() -> nn.Module:
    with seeded(0):
        return models.mobilenet_v3_small(num_classes=10, dropout=0.0)


def work(batch: int = 64, batches: int = 100) -> Work:
    """Made-up images of CIFAR's shape, 10 epochs: 1,000 steps, so that seconds are ms a step.

    The teacher is untrained, too; its last weights are large, so that there is much to learn.
    """
    with seeded(1):
        x = torch.randint(256, (batch * batches, 3, 32, 32), dtype=torch.uint8)
        teacher = models.resnet18(num_classes=10).eval()
        nn.init.normal_(teacher.fc.weight)
    images = Examples(x, torch.arange(len(x)) % 10, name="made up")
    name = "ResNet-18 teaches MobileNetV3-small, 3 × 32 × 32, 1,000 steps of 64"
    return Work(name, images, batch, 10, 0, teacher)


def box(work: Work, order: list[int], layout: torch.memory_format) -> peer.Box:
    """torchdistill's, which is given the images in this order."""
    images = TensorDataset(work.examples.x.float() / 255, work.examples.y)
    how = {"key": "SGD", "kwargs": {"lr": LR, "momentum": MOMENTUM}}
    learner = student().to(memory_format=layout)  # type: ignore[call-overload]
    made = peer.box(work.teacher, learner, images, work.batch, how, lambda _: order)
    made.pre_epoch_process(epoch=0)
    return made


def theirs(layout: torch.memory_format) -> Contender:
    given = work()
    trainer = box(given, list(range(len(given.examples))), layout)

    def run(steps: int) -> Taken:
        watch, loader = Stopwatch(), endless(trainer.train_data_loader)
        with watch.running():
            for _ in range(steps):
                peer.step(trainer, *next(loader))
        return watch.wall, watch.cpu, 1

    return run


def ours(work: Work, live: bool) -> Contender:
    """`fit`; live: the teacher is asked in each step, as where images are augmented."""

    def run(steps: int) -> Taken:
        part = work.examples[slice(0, max(1, steps // work.epochs) * work.batch)]
        watch, _ = Stopwatch(), part.ids
        with watch.running():
            fit(
                student(), part, 0.5 * HardLabels() + 0.5 * SoftTargets(work.teacher, T=4),
                epochs=work.epochs, batch=work.batch, lr=LR, schedule="constant", precision="fp32",
                optimizer=lambda groups: torch.optim.SGD(groups, momentum=MOMENTUM),
                augment=(lambda x, generator: x) if live else None,
            )  # fmt: skip
        return watch.wall, watch.cpu, 1

    return run


def losses(steps: int, live: bool = True) -> tuple[Tensor, Tensor]:
    """torchdistill's and ours, of each step of an epoch: those that `backward` is called on."""
    noted: list[float] = []
    backward = Tensor.backward

    def noting(loss: Tensor) -> None:
        noted.append(loss.item())
        backward(loss)

    given = work(batches=steps)
    given.epochs = 1
    order = given.examples.order(given.batch, torch.Generator().manual_seed(epoch_seed(0, 0)))
    with mock.patch.object(Tensor, "backward", noting):
        trainer = box(given, torch.cat(order).tolist(), torch.contiguous_format)
        for batch in trainer.train_data_loader:
            peer.step(trainer, *batch)
        ours(given, live)(steps)
    return torch.tensor(noted[:steps]), torch.tensor(noted[steps:])


def row() -> tuple[Work, Entries]:
    """Its name says how far the first losses are apart; without torchdistill, `fit` alone."""
    given, entries = work(), Entries()
    if find_spec("torchdistill") is None:
        print("  left out: torchdistill (it is in tests/requirements.txt)", file=sys.stderr)
    else:
        a, b = losses(5)
        given.name += f"; the first 5 losses differ by {float(((a - b) / a).abs().max()):.0e}"
        kinds = {"": torch.contiguous_format, ", student channels_last": torch.channels_last}
        entries = {f"torchdistill's box{s}": (elsewhere(theirs, k), 20) for s, k in kinds.items()}
    name = "fit, student channels_last"
    entries |= {name: (ours(given, live=True), 50)}
    return given, {**entries, f"{name}, teacher asked once": (ours(given, live=False), 50)}
