"""torchdistill's loop in its own process: reads a number of steps a line, prints the seconds.

python -m benchmarks.peer work.pt 32 512
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import RandomSampler, TensorDataset

from kdlib import vision  # noqa: F401  torchdistill imports torchvision unguarded


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def network(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def main(path: str, width: int, batch: int) -> None:
    from torchdistill.core.distillation import DistillationBox

    torch.set_num_threads(1)
    stored = torch.load(path, weights_only=True)
    images = TensorDataset((stored["x"].float() / 255 - 0.1307) / 0.3081, stored["y"])
    loss = {"student_module_path": ".", "student_module_io": "output"}
    loss |= {"teacher_module_path": ".", "teacher_module_io": "output"}
    loss |= {"temperature": 4.0, "alpha": 0.5}
    term = {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": batch, "num_workers": 0},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False, "sequential": []},
        "student": {"forward_proc": "forward_batch_only", "sequential": []},
        "optimizer": {"key": "Adam", "kwargs": {"lr": 1e-3}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": term}}},
    }
    teacher, student = network(784, 1200, 1200, 10).eval(), network(784, width, 10)
    box = DistillationBox(
        teacher, student, {"train": images}, config, torch.device("cpu"), None, False, 1
    )
    for line in sys.stdin:
        box.pre_epoch_process(epoch=0)
        loader = endless(box.train_data_loader)
        next(loader)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            x, y, extra = next(loader)
            box.pre_forward_process()
            box.post_forward_process(loss=box.forward_process(x, y, supp_dict=extra))
        taken = [time.perf_counter() - wall, time.process_time() - cpu]
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
