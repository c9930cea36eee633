"""Exercises of notebook 15: tests, judged by what they let pass and what they stop."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdcourse.checks.exercises import Exercise, Property
from kdlib import losses
from kdlib.data import jitter
from kdlib.models import cnn, initialise, mlp, predict

# ---- how a test is judged -----------------------------------------------------------------------


def stops(test: Any, program: Any) -> bool:
    """Whether a test fails on a program: an assertion is raised, or it returns False.

    Any other error is no verdict; it is passed on.
    """
    torch.manual_seed(15)
    try:
        answer = test(program)
    except AssertionError:
        return True
    if isinstance(answer, Tensor):
        return not bool(answer.all())
    return answer is not None and not bool(answer)


def judged(right: Mapping[str, Any], wrong: Mapping[str, tuple[Any, str]]) -> list[Property]:
    """A test must let every right program pass, and fail on each wrong one, each with its hint."""
    strict = (
        "Your test fails on code that is right. It may ask more than is true, or compare floats "
        "by == instead of torch.testing.assert_close or torch.allclose."
    )
    passes = [
        Property(f"it passes on right code: {name}", partial(_passes, program=program), strict)
        for name, program in right.items()
    ]
    fails = [
        Property(f"it fails on this mistake: {name}", partial(stops, program=program), hint)
        for name, (program, hint) in wrong.items()
    ]
    return [*passes, *fails]


def _passes(test: Any, program: Any) -> bool:
    return not stops(test, program)


def tried(program: Any) -> Callable[[Any], bool]:
    """Calls the test once, so that an error of its own is told as such."""
    return lambda test: stops(test, program) or True


# ---- 1: a test of a loss ------------------------------------------------------------------------


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


_LOSSES = {"F.kl_div": kl, "kdlib": losses.soft_targets, "a cross-entropy": cross_entropy}
_WRONG_LOSSES = {
    "no T²": (
        partial(kl, wrong="no T²"),
        "At T = 1 the loss is right. Try a T above 1: the slope in z_s is T (q − p) / images.",
    ),
    "T in place of T²": (
        partial(kl, wrong="T, not T²"),
        "The loss grows with T, but not as T². Ask for its value or slope, not only its sign.",
    ),
    'reduction="mean"': (
        partial(kl, wrong="mean"),
        "It divides by images × classes. Ask for the value, and give more than one class.",
    ),
    'reduction="sum"': (
        partial(kl, wrong="sum"),
        "It is right for one image. Give a batch of several: each image twice must not change it.",
    ),
    "KL turned round": (
        partial(kl, wrong="turned round"),
        "KL(q ‖ p) is not KL(p ‖ q), but nearly so where z_s and z_t are near. Give logits that "
        "lie far apart.",
    ),
    "no logarithm": (
        partial(kl, wrong="no logarithm"),
        "Its value may be negative, and is not 0 where student and teacher agree.",
    ),
    "logarithm of the target": (
        partial(kl, wrong="log of the target"),
        "It takes the target's logarithm for the target: nan or nonsense. nan is smaller than "
        "nothing: `not (loss < 0)` lets it pass.",
    ),
    "softmax twice, teacher": (
        partial(kl, wrong="twice, teacher"),
        "It takes the teacher's probabilities for logits. Give logits larger than 1, and ask for "
        "0 where student and teacher are equal.",
    ),
    "softmax twice, student": (
        partial(kl, wrong="twice, student"),
        "It takes the student's probabilities for logits. Ask for 0 where both are equal.",
    ),
    "T on the teacher only": (
        partial(kl, wrong="T on the teacher only"),
        "Equal logits must give 0, at T above 1 too.",
    ),
    "T on the student only": (
        partial(kl, wrong="T on the student only"),
        "Equal logits must give 0, at T above 1 too.",
    ),
    "student compared with itself": (
        partial(kl, wrong="itself"),
        "It is always 0. Give logits that differ, too.",
    ),
}
loss_test = Exercise(
    "15.1",
    "a test of a distillation loss",
    judged(_LOSSES, _WRONG_LOSSES),
    tried(kl),
)


# ---- 2: a test of a program ---------------------------------------------------------------------


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


def by_fit(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> None:
    """The same by SGD with momentum, its answers kept before."""
    program(student, teacher, x, y, optimiser=partial(torch.optim.SGD, momentum=0.9), live=False)


_PROGRAMS = {"AdamW, the teacher asked live": program, "SGD, its answers kept before": by_fit}
_WRONG_PROGRAMS = {
    "the teacher is never used": (
        partial(program, wrong="never used"),
        "Train two equal students by two teachers with different weights, from the same random "
        "seed: equal students afterwards have not heard their teachers.",
    ),
    "teacher in the optimiser": (
        partial(program, wrong="teacher in the optimiser"),
        "The teacher's weights move. Keep copy.deepcopy(teacher.state_dict()) and compare.",
    ),
    "teacher in train mode": (
        partial(program, wrong="train mode"),
        "No weight moves, but BatchNorm's running statistics do, and the program hides it by "
        "eval() at its end. They are buffers: state_dict() has them, parameters() does not.",
    ),
    "student left in eval": (
        partial(program, wrong="left in eval"),
        "A right program gives the student back in training mode: student.training.",
    ),
}
program_test = Exercise(
    "15.2",
    "a test of a training program",
    judged(_PROGRAMS, _WRONG_PROGRAMS),
    tried(program),
)


# ---- 3: a test of the data ----------------------------------------------------------------------

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
        yield seen, y[index], predict(teacher, seen) if moved else answers[place]


_BATCHES = {
    "shuffled, answers kept before": batches,
    "in order": partial(batches, shuffle=False),
    "moved images, the teacher asked live": partial(batches, moved=True),
    "batches of another size": partial(batches, size=25),
}
_WRONG_BATCHES = {
    "answers shuffled": (
        partial(batches, wrong="shuffled"),
        "The shapes are right, the rows are not. Ask the teacher again about the very images of "
        "the batch and compare.",
    ),
    "answers off by one": (
        partial(batches, wrong="by one"),
        "Each image has its neighbour's answer. Compare values, row by row.",
    ),
    "moved images, answers kept before": (
        partial(batches, wrong="moved"),
        "The answers are those of the images before they were moved. Ask about the images that "
        "the batch holds.",
    ),
    "right at first, wrong later": (
        partial(batches, wrong="later batches"),
        "The first batches are right. Look at every batch, not at the first.",
    ),
    "drop_last": (
        partial(batches, wrong="drop_last"),
        "Some images never come. Count what comes in one epoch.",
    ),
    "a batch twice, another never": (
        partial(batches, wrong="a batch twice"),
        "As many images come as there are, but not the same. Collect the labels (or answers) of "
        "the epoch, sort them, and compare.",
    ),
}
data_test = Exercise(
    "15.3",
    "a test of the data, mended",
    judged(_BATCHES, _WRONG_BATCHES),
    tried(batches),
)
