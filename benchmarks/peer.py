"""torchdistill's loop in its own process: reads a number of steps a line, prints the seconds.

python -m benchmarks.peer work.pt 32 512
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler, TensorDataset

from kdlib import vision  # noqa: F401  torchdistill imports torchvision unguarded

Box = Any  # a DistillationBox; torchdistill is imported where it is wanted


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def network(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def box(
    teacher: nn.Module,
    student: nn.Module,
    images: TensorDataset,
    batch: int,
    optimizer: dict[str, Any],
    sampler: Callable[[Any], Any] = RandomSampler,
) -> Box:
    """A DistillationBox: CE / 2 + 16 KL / 2 at a temperature of 4."""
    from torchdistill.core.distillation import DistillationBox

    loss = {"student_module_path": ".", "student_module_io": "output"}
    loss |= {"teacher_module_path": ".", "teacher_module_io": "output"}
    loss |= {"temperature": 4.0, "alpha": 0.5}
    term = {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": sampler, "kwargs": {}},
            "kwargs": {"batch_size": batch, "num_workers": 0},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False, "sequential": []},
        "student": {"forward_proc": "forward_batch_only", "sequential": []},
        "optimizer": optimizer,
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": term}}},
    }
    return DistillationBox(
        teacher, student, {"train": images}, config, torch.device("cpu"), None, False, 1
    )


def step(box: Box, x: Tensor, y: Tensor, extra: Any) -> None:
    box.pre_forward_process()
    box.post_forward_process(loss=box.forward_process(x, y, supp_dict=extra))


def main(path: str, width: int, batch: int) -> None:
    torch.set_num_threads(1)
    stored = torch.load(path, weights_only=True)
    images = TensorDataset((stored["x"].float() / 255 - 0.1307) / 0.3081, stored["y"])
    teacher, student = network(784, 1200, 1200, 10).eval(), network(784, width, 10)
    trainer = box(teacher, student, images, batch, {"key": "Adam", "kwargs": {"lr": 1e-3}})
    for line in sys.stdin:
        trainer.pre_epoch_process(epoch=0)
        loader = endless(trainer.train_data_loader)
        next(loader)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step(trainer, *next(loader))
        taken = [time.perf_counter() - wall, time.process_time() - cpu]
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
