"""One right program that distils, and one switch for each mistake.

`train(None, …)` is the right program; `train("no T²", …)` is the same program with that mistake.
A patient of the clinic is a student that was trained so, with all that was watched in each epoch.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdcourse.ground import mnist
from kdcourse.lessons.lesson15.museum import MISTAKES as MISTAKES
from kdlib.data import Examples, jitter
from kdlib.models import initialise, mlp, predict
from kdlib.training.epochs import epoch_seed

T, ALPHA, EPOCHS = mnist.T, mnist.ALPHA, 60
RATES = {"AdamW": 1e-2, "SGD": 0.05}
DROPOUT = 0.5


@dataclass
class Patient:
    """What one training left behind.

    curves: what was watched → one number an epoch. logits: those on the last `watch` images, (N,
    classes). teacher: as it was afterwards. steps: how many were taken.
    """

    student: nn.Module
    teacher: nn.Module
    curves: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0


def loss_of(
    mistake: str | None, z_s: Tensor, z_t: Tensor, y: Tensor, alpha: float = ALPHA
) -> Tensor:
    """(1 - alpha) CE + alpha T² KL(p_T || q_T), or what a mistake makes of it."""
    hard = F.cross_entropy(z_s, y)
    if mistake == "the teacher is never used":
        return hard
    target = z_s.detach() if mistake == "student compared with itself" else z_t
    target = target.softmax(-1) if mistake == "softmax twice, teacher" else target
    T_s = 1.0 if mistake == "T on the teacher only" else T
    T_t = 1.0 if mistake == "T on the student only" else T
    log_q, p = (z_s / T_s).log_softmax(-1), (target / T_t).softmax(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, on reduction="mean"
        if mistake == "KL turned round":
            soft = F.kl_div((z_t / T).log_softmax(-1), log_q.exp(), reduction="batchmean")
        elif mistake == "no logarithm":
            soft = F.kl_div(log_q.exp(), p, reduction="batchmean")
        elif mistake == "logarithm of the target":
            soft = F.kl_div(log_q, p.log(), reduction="batchmean")
        elif mistake == "MSE of probabilities":
            soft = F.mse_loss(log_q.exp(), p)
        else:
            how = {'reduction="mean"': "mean", 'reduction="sum"': "sum"}
            soft = F.kl_div(log_q, p, reduction=how.get(mistake or "", "batchmean"))
    scale = 1 if mistake == "no T²" else T**2
    alpha = 1 - alpha if mistake == "alpha on the wrong term" else alpha
    return (1 - alpha) * hard + alpha * scale * soft


def order(count: int, epoch: int, seed: int, *, drop_last: bool = False) -> Iterator[Tensor]:
    """The batches of an epoch, as `fit` draws them; with drop_last as a DataLoader drops them."""
    drawn = torch.randperm(count, generator=_generator(seed, epoch))
    if drop_last:
        whole = count // mnist.BATCH * mnist.BATCH
        yield from drawn[:whole].split(mnist.BATCH)
    else:
        yield from drawn.tensor_split(-(-count // mnist.BATCH))


def new_student(mistake: str | None, seed: int, *, dropout: float = 0.0) -> nn.Module:
    student = initialise(mlp(784, mnist.WIDTH, 10, dropout=dropout), seed)
    ends = mistake == "the student ends in a softmax"
    return nn.Sequential(student, nn.Softmax(-1)) if ends else student


def the_teacher(mistake: str | None, teacher: nn.Module) -> nn.Module:
    """A copy of the teacher, as a mistake treats it."""
    own: Any = copy.deepcopy(teacher).eval()
    if mistake == "the teacher's head is fresh":
        own.head.reset_parameters()
    return own.train(mistake == "teacher in train mode")


def optimiser_of(
    kind: str, weights: Any, steps: int, mistake: str | None, rate: float | None = None
) -> tuple[Any, Any]:
    """The optimiser and its one-cycle schedule; none where its milestones are never reached."""
    rate = RATES[kind] if rate is None else rate
    if kind == "SGD":
        optimiser: Any = torch.optim.SGD(weights, rate, momentum=0.9)
    else:
        optimiser = torch.optim.AdamW(weights, rate, weight_decay=0.0)
    if mistake == "a rate that never falls":
        return optimiser, torch.optim.lr_scheduler.MultiStepLR(optimiser, [150, 180, 210])
    cycle = torch.optim.lr_scheduler.OneCycleLR
    return optimiser, cycle(optimiser, rate, total_steps=steps + 1, cycle_momentum=False)


def train(
    mistake: str | None, teacher: nn.Module, examples: Examples, *, seed: int = 0,
    epochs: int = EPOCHS, optimiser: str = "AdamW", alpha: float = ALPHA, beside: str = "",
    answers: Tensor | None = None, watch: Examples | None = None, watched: Tensor | None = None,
    rate: float | None = None,
) -> Patient:  # fmt: skip
    """Distils into a student with 100 hidden units; `mistake` None is the right program.

    beside: "dropout" or "jitter", a right program's switch; a mistake brings its own. answers: the
    teacher's logits on the examples, where they are known. watch: test images whose numbers each
    epoch has; watched: the teacher's logits on them. rate: of the optimiser, where not RATES'.
    """
    torch.manual_seed(seed)
    beside = MISTAKES[mistake].beside if mistake else beside
    dropout = DROPOUT if beside == "dropout" else 0.0
    student, own = new_student(mistake, seed, dropout=dropout), the_teacher(mistake, teacher)
    x, y = examples.batch().x, examples.y
    live = _asked_live(mistake, beside)
    other = {"the teacher's head is fresh": x, "other pixels for the teacher": 255 * x}
    if answers is None or mistake in other:
        answers = x.new_zeros(0) if live else predict(own, other.get(mistake or "", x))
    if mistake == "cached answers, shuffled":
        answers = answers[torch.randperm(len(answers), generator=_generator(seed, -1))]
    weights = [*student.parameters()]
    weights += [*own.parameters()] if mistake == "teacher in the optimiser" else []
    drop = mistake == "drop_last"
    batches = sum(1 for _ in order(len(x), 0, seed, drop_last=drop))
    descent, schedule = optimiser_of(optimiser, weights, epochs * batches, mistake, rate)
    patient = Patient(student, own)
    for epoch in range(epochs):
        student.train(not (mistake == "student left in eval" and epoch))
        losses = []
        for index in order(len(x), epoch, seed, drop_last=drop):
            seen = x[index]
            if beside == "jitter":
                seen = jitter(2)(seen, _generator(seed, 1000 + patient.steps))
            z_t = live(own, seen) if live else answers[index]
            loss = loss_of(mistake, student(seen), z_t, y[index], alpha)
            if mistake != "no zero_grad":
                descent.zero_grad()
            loss.backward()
            descent.step()
            if mistake != "a rate that never falls":
                schedule.step()
            losses.append(float(loss.detach()))
            patient.steps += 1
        if mistake == "a rate that never falls":
            schedule.step()
        if watch is not None and watched is not None:
            _note(patient, sum(losses) / len(losses), examples, watch, watched)
    return patient


def _asked_live(mistake: str | None, beside: str) -> Callable[[nn.Module, Tensor], Tensor] | None:
    """How the teacher is asked in each step; None: its answers were kept before."""
    if mistake == "teacher in the optimiser":
        return lambda own, x: own(x)
    if mistake == "teacher in train mode":
        return _without_gradient
    if beside == "jitter" and mistake != "cached answers, moved images":
        return _without_gradient
    return None


def _without_gradient(own: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return own(x)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))


def scores(z: Tensor, y: Tensor, z_t: Tensor) -> dict[str, float]:
    """What one can say of a student's answers without its loss."""
    return {
        "test error %": 100 * float((z.argmax(-1) != y).double().mean()),
        "agreement %": 100 * float((z.argmax(-1) == z_t.argmax(-1)).double().mean()),
        "confidence": float(z.softmax(-1).amax(-1).mean()),
        "NLL": float(F.cross_entropy(z.double(), y)),
    }


def _note(patient: Patient, loss: float, examples: Examples, watch: Examples, z_t: Tensor) -> None:
    z = asked(patient.student, watch)
    own = asked(patient.student, examples)
    numbers = {
        "loss": loss,
        "training error %": 100 * float((own.argmax(-1) != examples.y).double().mean()),
    }
    for name, value in (numbers | scores(z, watch.y, z_t)).items():
        patient.curves.setdefault(name, []).append(value)


def asked(student: nn.Module, examples: Examples) -> Tensor:
    """Its answers in eval mode; back to the mode it was in."""
    mode = student.training
    student.eval()
    with torch.no_grad():
        z = student(examples.batch().x)
    student.train(mode)
    return z
