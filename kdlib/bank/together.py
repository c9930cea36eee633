"""The epochs of an engine that moves all students of a group in one step."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlib.bank.group import Answer, Group, Report
from kdlib.training.capture import Outputs, record, stream_of
from kdlib.training.epochs import Epochs


def train_together(
    group: Group,
    passes: Epochs,
    step: Callable[[Tensor, float], Outputs],
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    answer: Answer,
    report: Report,
    *,
    dtype: torch.dtype = torch.float32,
    allowed: bool = True,
) -> Tensor:
    """Mean training losses (S, epochs done), summed up in `dtype`.

    step(index, progress): moves all students on the examples in these places and gives their
    losses under "loss", (S,). answer: what the students say as they are. allowed: whether the step
    may be recorded.
    """
    device = group.examples.device
    take = record(step, device, allowed=allowed)
    losses = []
    report.tell(group, answer, 0)
    for number in range(passes.count):
        epoch = passes[number]
        total = torch.zeros(len(group.seeds), dtype=dtype, device=device)
        with epoch.seeded(), stream_of(take):
            for index, done in epoch.batches():
                total += take(index, done)["loss"]
                scheduler.step()
        losses.append(total / passes.steps)
        if not report.tell(group, answer, 1):
            break
    return torch.stack(losses, 1)
