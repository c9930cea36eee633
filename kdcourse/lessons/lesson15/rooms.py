"""Two programs as articles print them, and the repairs, one after the other.

Room A: "softmax in the teacher, then cross-entropy; fresh layers called compression; a student that
never sees the teacher; training accuracy reported". Room B: "three losses summed, one model
stepped". Each step of a repair is a function of a draw of labels that trains a student.
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdcourse.ground import mnist
from kdcourse.ground.keeping import kept
from kdcourse.lessons.lesson15.mistakes import asked, optimiser_of, order
from kdlib.data import Examples, jitter, load
from kdlib.losses import soft_targets
from kdlib.models import cnn, initialise, mlp
from kdlib.training import fit

T, ALPHA = mnist.T, mnist.ALPHA
HELPER, TEACHER_SEED = 300, 2000


@cache
def training_images() -> Examples:
    return load("mnist5k").train


def batches(count: int, seed: int) -> Iterator[Tensor]:
    """560 steps, as many as everybody takes."""
    epochs = max(1, round(mnist.STEPS / -(-count // mnist.BATCH)))
    for epoch in range(epochs):
        yield from order(count, epoch, seed)


def with_softmax(network: nn.Module) -> nn.Module:
    return nn.Sequential(network, nn.Softmax(-1))


# ---- room A -------------------------------------------------------------------------------------


@cache
def teacher_of_a(softmax: bool) -> nn.Module:
    """The course's teacher; or the same network and recipe, ending in a softmax."""
    train = training_images()
    if not softmax:
        return mnist.teacher(train)

    def training(network: nn.Module) -> None:
        fit(network, train, epochs=8, batch=64, precision="fp32", augment=jitter(2), seed=0)

    return kept(with_softmax(cnn(16)), training, train.fingerprint, "softmax", 8)


@cache
def answers_of_a(softmax: bool) -> Tensor:
    return asked(teacher_of_a(softmax), training_images())


def student_of_a(seed: int, *, softmax: bool, sees: bool, teacher_softmax: bool) -> nn.Module:
    """100 hidden units on all 3,500 labels; sees: its loss mentions the teacher."""
    student: nn.Module = initialise(mlp(784, mnist.WIDTH, 10), seed)
    student = with_softmax(student) if softmax else student
    train = training_images()
    x, y = train.batch().x, train.y
    z_t = answers_of_a(teacher_softmax) if sees else None
    plan = list(batches(len(y), seed))
    descent, schedule = optimiser_of("AdamW", student.parameters(), len(plan), None)
    for index in plan:
        z = student(x[index])
        loss = F.cross_entropy(z, y[index])
        if z_t is not None:
            loss = (1 - ALPHA) * loss + ALPHA * soft_targets(z, z_t[index], T)
        descent.zero_grad()
        loss.backward()
        descent.step()
        schedule.step()
    return student.eval()


A: dict[str, Any] = {
    "as printed": partial(student_of_a, softmax=True, sees=False, teacher_softmax=True),
    "+ the student sees the teacher": partial(
        student_of_a, softmax=True, sees=True, teacher_softmax=True
    ),
    "+ the teacher answers with logits": partial(
        student_of_a, softmax=True, sees=True, teacher_softmax=False
    ),
    "+ so does the student": partial(
        student_of_a, softmax=False, sees=True, teacher_softmax=False
    ),
    "control: no softmax, no teacher": partial(
        student_of_a, softmax=False, sees=False, teacher_softmax=False
    ),
}  # fmt: skip


# ---- room B -------------------------------------------------------------------------------------


def teacher_of_b(examples: Examples, seed: int) -> nn.Module:
    """The teacher of room B, trained before the others: the same labels, the same 560 steps."""
    network = initialise(cnn(4), TEACHER_SEED + seed)
    fit(network, examples, epochs=mnist.epochs(examples), order_seed=seed, precision="fp32")
    return network


def student_of_b(
    seed: int, *, stepped: str = "all", detached: bool = True, teacher: str = "in the program",
    helper: bool = True, labels_only: bool = False,
) -> nn.Module:  # fmt: skip
    """Teacher, helper and student in one program, on 100 labels per class.

    stepped: whose weights the optimiser holds, "student" or "all". detached: no gradient from a
    student's term into its teacher. teacher: "in the program" trains with the others, "before" is
    trained on the same labels, "the course's" on all of them; both are then frozen.
    """
    examples = training_images().per_class(100, seed=seed)
    x, y = examples.batch().x, examples.y
    student = initialise(mlp(784, mnist.WIDTH, 10), seed)
    between = initialise(mlp(784, HELPER, 10), 1000 + seed)
    master: nn.Module = initialise(cnn(4), TEACHER_SEED + seed)
    ready = None
    if teacher != "in the program":
        own = teacher == "before"
        master = teacher_of_b(examples, seed) if own else mnist.teacher(training_images())
        ready = asked(master, examples)
    members = [student, *([between] if helper else []), *([] if ready is not None else [master])]
    held = [student] if stepped == "student" else members
    plan = list(batches(len(y), seed))
    weights = [weight for member in held for weight in member.parameters()]
    descent, schedule = optimiser_of("AdamW", weights, len(plan), None)

    def taught(z: Tensor, z_t: Tensor, labels: Tensor) -> Tensor:
        z_t = z_t.detach() if detached else z_t
        return (1 - ALPHA) * F.cross_entropy(z, labels) + ALPHA * soft_targets(z, z_t, T)

    for index in plan:
        seen, labels = x[index], y[index]
        z_s = student(seen)
        if labels_only:
            loss = F.cross_entropy(z_s, labels)
        else:
            with torch.set_grad_enabled(stepped == "all"):  # else no weight of theirs is stepped
                z_t = master(seen) if ready is None else ready[index]
                z_h = between(seen) if helper else z_t
            loss = taught(z_s, z_h, labels)
            loss = loss + taught(z_h, z_t, labels) if helper else loss
            loss = loss + F.cross_entropy(z_t, labels) if ready is None else loss
        descent.zero_grad()
        loss.backward()
        descent.step()
        schedule.step()
    return student.eval()


B: dict[str, Any] = {
    "as printed": partial(student_of_b, stepped="student", detached=False),
    "+ all three are stepped": partial(student_of_b, detached=False),
    "+ teachers are detached": partial(student_of_b),
    "+ the teacher is trained before": partial(student_of_b, teacher="before"),
    "+ with all labels": partial(student_of_b, teacher="the course's"),
    "control: no helper": partial(student_of_b, teacher="the course's", helper=False),
    "control: labels only": partial(
        student_of_b, teacher="the course's", helper=False, labels_only=True
    ),
}  # fmt: skip
