"""What the tests of exercises are tried on: right programs, and the same with a mistake."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlib import losses
from kdlib.data import jitter
from kdlib.models import cnn, initialise, mlp, predict

# ---- of a loss ----------------------------------------------------------------------------------


def kl(z_s: Tensor, z_t: Tensor, T: float, *, wrong: str = "") -> Tensor:
    """T² KL(p_T || q_T) by F.kl_div; or with one of the mistakes of the loss."""
    if wrong == "itself":
        z_t = z_s
    if wrong == "twice, teacher":
        z_t = z_t.softmax(-1)
    if wrong == "twice, student":
        z_s = z_s.softmax(-1)
    T_s = 1 if wrong == "T on the teacher only" else T
    T_t = 1 if wrong == "T on the student only" else T
    log_q, log_p = (z_s / T_s).log_softmax(-1), (z_t / T_t).log_softmax(-1)
    if wrong == "turned round":
        log_q, log_p = log_p, log_q
    target = {"log of the target": log_p}.get(wrong, log_p.exp())
    given = log_q.exp() if wrong == "no logarithm" else log_q
    soft = F.kl_div(given, target, reduction="none").sum()
    over = {"sum": 1, "mean": z_s.numel()}.get(wrong, len(z_s))
    power = {"no T²": 0, "T, not T²": 1}.get(wrong, 2)
    return T**power * soft / over


def cross_entropy(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """The same loss as a cross-entropy less the teacher's entropy."""
    p = (z_t / T).softmax(-1)
    return T**2 * (F.cross_entropy(z_s / T, p) - torch.special.entr(p).sum(-1).mean())


# ---- of a program ------------------------------------------------------------------------------


def networks(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """A student with dropout and a teacher with BatchNorm, small and untrained."""
    student = initialise(mlp(64, 16, 10, dropout=0.5), seed)
    return student, initialise(cnn(2), 100 + seed).eval()


def images(seed: int = 0, count: int = 60) -> tuple[Tensor, Tensor]:
    """Images (count, 1, 8, 8) and labels; noise, but the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 1, 8, 8, generator=generator)
    return x, torch.randint(10, (count,), generator=generator)


def program(
    student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor, *, wrong: str = "",
    optimiser: Any = torch.optim.AdamW, live: bool = True,
) -> None:  # fmt: skip
    """Distils for three epochs of three batches, in place; or with a mistake."""
    if wrong == "train mode":
        teacher.train()
    if wrong == "dropout in eval":
        student.eval()
    weights = [*student.parameters()]
    weights += [*teacher.parameters()] if wrong == "teacher in the optimiser" else []
    descent = optimiser(weights, lr=0.05)
    cached = predict(teacher, x)
    for _ in range(3):
        if wrong != "dropout in eval":
            student.train()
        for index in torch.arange(len(x)).tensor_split(3):
            if wrong in ("teacher in the optimiser", "no no_grad"):
                z_t = teacher(x[index])
            elif live:
                with torch.no_grad():
                    z_t = teacher(x[index])
            else:
                z_t = cached[index]
            loss = F.cross_entropy(student(x[index]), y[index])
            if wrong != "never used":
                loss = 0.1 * loss + 0.9 * losses.soft_targets(student(x[index]), z_t, 4.0)
            descent.zero_grad()
            loss.backward()
            descent.step()
        if wrong == "left in eval":
            predict(student.eval(), x)
    if wrong == "train mode":
        teacher.eval()  # as if nothing had been
    if wrong == "mode left":
        teacher.train()  # no statistics have moved, yet


def by_fit(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> None:
    """The same by SGD with momentum, its answers kept before."""
    program(student, teacher, x, y, optimiser=partial(torch.optim.SGD, momentum=0.9), live=False)


# ---- of the data ------------------------------------------------------------------------------

Batches = Callable[[Tensor, Tensor, nn.Module], Iterator[tuple[Tensor, Tensor, Tensor]]]


def batches(
    x: Tensor, y: Tensor, teacher: nn.Module, *, wrong: str = "", shuffle: bool = True,
    moved: bool = False, size: int = 16,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:  # fmt: skip
    """One epoch of (images, labels, teacher's logits); or with a mistake."""
    answers = predict(teacher, x)
    order = torch.randperm(len(x)) if shuffle else torch.arange(len(x))
    parts = list(order.split(size))
    if wrong == "drop_last":
        parts = parts[:-1]
    if wrong == "a batch twice":
        parts[-1] = parts[0][: len(parts[-1])]
    if wrong == "an image twice":  # one of its class where there is one, so that labels agree
        last = int(parts[-1][-1])
        others = [k for k in order.tolist() if k != last]
        parts[-1][-1] = next((k for k in others if y[k] == y[last]), others[0])
    if wrong == "later batches":
        answers = torch.cat([answers[: 2 * size], answers[2 * size :].flip(0)])
        parts = list(torch.arange(len(x)).split(size))
    for index in parts:
        seen, place = x[index], index
        if wrong == "shuffled":
            place = index[torch.randperm(len(index))]
        if wrong == "by one":
            place = (index + 1) % len(x)
        if moved or wrong == "moved":
            seen = jitter(2)(seen, torch.Generator().manual_seed(1))
        its_labels = y[index.roll(1)] if wrong == "labels" else y[index]
        yield seen, its_labels, predict(teacher, seen) if moved else answers[place]
