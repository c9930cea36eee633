"""Exercises of notebook 15: tests, judged by what they let pass and what they stop."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property
from kdcourse.lessons.lesson15.suspects import batches, by_fit, cross_entropy, kl, program
from kdcourse.lessons.lesson15.suspects import images as images
from kdcourse.lessons.lesson15.suspects import networks as networks
from kdlib import losses

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
    "teacher left in train mode": (
        partial(program, wrong="mode left"),
        "No weight and no statistic moved, but the mode did: compare teacher.training before and "
        "after. state_dict() does not hold it.",
    ),
}
program_test = Exercise(
    "15.2",
    "a test of a training program",
    judged(_PROGRAMS, _WRONG_PROGRAMS),
    tried(program),
)


# ---- 3: a test of the data ----------------------------------------------------------------------

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
        "As many images come as there are, but not the same. Collect what comes in the epoch, "
        "sort it, and compare.",
    ),
    "labels shuffled against the images": (
        partial(batches, wrong="labels"),
        "Images and answers belong together, the labels belong to other images. Sorted labels "
        "cannot see it: look at pairs. Give images that you can recognise, moved ones too.",
    ),
    "an image twice, another of its class never": (
        partial(batches, wrong="an image twice"),
        "The labels of the epoch are complete, the images are not. Give images that you can "
        "recognise, or give each image a label of its own.",
    ),
}
data_test = Exercise(
    "15.3",
    "a test of the data, mended",
    judged(_BATCHES, _WRONG_BATCHES),
    tried(batches),
)
