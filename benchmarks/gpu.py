"""The same work on a GPU: the bank, the teacher, convolutional students; whole, not scaled."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from benchmarks import contenders, networks
from benchmarks.work import Work
from kdlib.models import cnn

WHERE = "on CUDA: "


class Convolutional(Work):
    """Students that are convolutional networks of this width."""

    def student(self) -> nn.Module:
        return cnn(self.width)


def moved(work: Work, device: str) -> Work:
    """The same work with its images and its teacher there."""
    there = replace(work, name=f"{WHERE}{work.name}", examples=work.examples.to(device))
    there.teacher = copy.deepcopy(work.teacher).to(device)  # the work itself goes on on the CPU
    return there


def rows(
    sixty: Work, five: Work, device: str = "cuda", backend: str = "inductor"
) -> list[tuple[Work, contenders.Entries, int]]:
    """(work, its contenders, students) of each row, ours last; what is captured is warm by then.

    backend: what compiles the networks of the rows that say so; they show where it pays.
    """
    sixty, five = moved(sixty, device), moved(five, device)
    found = []
    for work in (sixty, five):
        entries: contenders.Entries = {
            "sequential, cached logits": (contenders.sequential(work), 50),
            "torch.func vmap": (contenders.bank(work, "reference", "fp32"), work.steps),
            "our bank, fp32": (contenders.bank(work, "fast", "fp32"), work.steps),
            "our bank, bf16": (contenders.bank(work, "fast", "bf16"), work.steps),
        }
        found.append((work, entries, contenders.STUDENTS))
    name = f"{WHERE}teacher 784-1200-1200-10, 10 epochs of 60k"
    ten = Work(name, sixty.examples, 512, 10, 32, sixty.teacher)

    def compiled(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        def made() -> nn.Module:
            network = make()
            network.compile(backend=backend)
            return network

        return made

    big = networks.big
    entries = {
        "plain loop, fp32": (networks.plain_teacher(ten), 50),
        "fit, bf16, compiled": (networks.fitted(ten, compiled(big), "bf16", False), ten.steps),
        "fit, bf16": (networks.fitted(ten, big, "bf16", False), ten.steps),
    }
    found.append((ten, entries, 1))
    small, teacher = (lambda: cnn(8)), cnn(32).eval().to(sixty.examples.device)
    name = f"{WHERE}convolutional student, 10 epochs of 60k"
    taught = Work(name, sixty.examples, 256, 10, 32, teacher)
    entries = {
        "fit, bf16, compiled": (networks.fitted(taught, compiled(small), "bf16", True), 200),
        "fit, bf16": (networks.fitted(taught, small, "bf16", True), 200),
    }
    found.append((taught, entries, 1))
    width = max(1, five.width // 4)
    many = Convolutional(**{**vars(five), "name": f"{five.name}, cnn({width})", "width": width})
    entries = {
        "one after another": (contenders.bank(many, "sequential", "fp32"), 50),
        "all at once (vmap)": (contenders.bank(many, "reference", "fp32"), many.steps),
    }
    found.append((many, entries, contenders.STUDENTS))
    return found


def here() -> bool:
    """Whether there is a GPU to measure."""
    return torch.cuda.is_available()
