"""What terms, examples and augments must agree in where answers are numbers, or labels mixed."""

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.data import Examples, Targets
from kdlib.data.transforms import augmented, mixes_labels
from kdlib.device import seeded
from kdlib.models import predict
from kdlib.objectives import (
    HardLabels,
    MeanSquares,
    Objective,
    SigmoidTargets,
    TeacherMeanSquares,
    Term,
)
from kdlib.objectives.wrapping import Wrapped
from kdlib.source import raised_here


def check_kind_of_answers(term: Term, examples: Examples) -> None:
    """Raises ValueError for a term on classes where examples have numbers."""
    if isinstance(examples, Targets) and term.reads_classes:
        raise ValueError(
            f"{term.name} is for classes, and {examples!r} has numbers; BinaryLabels() and "
            "SigmoidTargets(teacher) are for 0/1 labels, MeanSquares() and "
            "TeacherMeanSquares(teacher) for other numbers"
        )


def estimates(objective: Objective) -> bool:
    """Whether outputs are taught to be the numbers themselves, and not logits of them."""
    inner = [term.inmost if isinstance(term, Wrapped) else term for _, term in objective.terms]
    return any(isinstance(term, MeanSquares | TeacherMeanSquares) for term in inner)


def check_same_kind(name: str, unseen: Examples, examples: Examples) -> None:
    """Raises ValueError unless both have classes, or both as many numbers."""
    numbers = isinstance(unseen, Targets), isinstance(examples, Targets)
    if numbers[0] != numbers[1] or (all(numbers) and unseen.classes != examples.classes):
        raise ValueError(
            f"{name} is {unseen!r} and training has {examples!r}; give classes to both, or as many "
            "numbers"
        )


def check_outputs_of(who: str, logits: Tensor, examples: Examples) -> None:
    """Raises ValueError unless there is an output for each number."""
    if isinstance(examples, Targets) and logits.shape[-1] != examples.classes:
        raise ValueError(
            f"{who} has {logits.shape[-1]} outputs for {examples!r}; build it with "
            f"{examples.classes}, one for each number"
        )


def check_labels_for(term: Term, classes: int, examples: Examples) -> None:
    """Raises ValueError unless a term's weights, or numbers, are as many as the outputs it sees."""
    inner = term.inmost if isinstance(term, Wrapped) else term
    if isinstance(examples, Targets) and inner.reads_labels and classes != examples.classes:
        raise ValueError(
            f"{term} sees {classes} outputs for {examples!r}; give it {examples.classes}, one for "
            "each number"
        )
    if isinstance(inner, HardLabels) and classes < 2:
        raise ValueError(
            f"{term} sees one output, whose share is always 1; give two or more outputs, or "
            "Targets and BinaryLabels() for yes and no"
        )
    if isinstance(inner, HardLabels) and inner.weights and len(inner.weights) != classes:
        raise ValueError(
            f"{term} has {len(inner.weights)} weights and the student answers with {classes} "
            "classes; give one weight for each class"
        )


def check_augment(
    augment: Any, student: nn.Module, examples: Examples, objective: Objective
) -> None:
    """Raises ValueError for one that makes what the student cannot take, asked of two images.

    And for `mixup` and its like where labels cannot be taken in pairs.
    """
    try:
        tried = copy.deepcopy(augment)  # one that counts its calls is not to count this
    except Exception:
        tried = augment
    few, raw = examples.batch(slice(0, 2)), []

    def watched(x: Tensor, generator: torch.Generator) -> Any:
        raw.append(tried(x, generator))
        return raw[-1]

    try:
        with seeded(0, few.x.device):
            _, made = augmented(watched, few, torch.Generator().manual_seed(0))
    except Exception as error:
        if isinstance(error, ValueError) and raised_here(error):
            raise
        raise ValueError(
            f"augment fails on two images {tuple(few.x.shape)} ({error}); expected a function "
            "(x, generator) -> x, as lambda x, generator: transform(x) makes one of a transform"
        ) from error
    mixes = isinstance(raw[-1], tuple) or mixes_labels(augment)
    if isinstance(raw[-1], tuple) and not bool(((raw[-1][2] >= 0) & (raw[-1][2] <= 1)).all()):
        raise ValueError(
            f"augment made shares {raw[-1][2].tolist()}; expected numbers from 0 to 1: how much of "
            "each label is the image's own"
        )
    if made.shape != few.x.shape:
        try:
            predict(student, made)
        except Exception as error:
            why = str(error).splitlines()[0]
            raise ValueError(
                f"augment makes {tuple(made.shape)} of images {tuple(few.x.shape)}, which the "
                f"student cannot take ({why}); let it make images of the size that it is given"
            ) from error
    name = getattr(augment, "__name__", type(augment).__name__)
    for _, term in objective.terms if mixes else ():
        if (term.reads_labels and not term.mixes) or len(examples.domains) > 1:
            raise ValueError(
                f"augment={name} mixes images and labels, and {term.name} of "
                f"{examples!r} needs one label and one domain an image; use another augment"
            )


def notice_probabilities(term: Term, z_t: Tensor) -> None:
    """Warns of a teacher whose answers are shares already: it ends in a softmax."""
    inner = term.inmost if isinstance(term, Wrapped) else term
    if isinstance(inner, TeacherMeanSquares):
        return
    if isinstance(inner, SigmoidTargets):
        if bool(((z_t >= 0) & (z_t <= 1)).all()):
            warnings.warn(
                f"the teacher of {term.name} answers from 0 to 1: it seems to end in a sigmoid, "
                "which the term takes once more; give the part before it, or tabulate it and use "
                "table.answering(table.logits.logit(), …)",
                stacklevel=5,
            )
        return
    sums = z_t.cpu().double().sum(-1)  # not every device has float64
    if bool((z_t >= 0).all()) and bool((sums - 1).abs().max() < 1e-4) and z_t.shape[-1] > 1:
        warnings.warn(
            f"the teacher of {term.name} answers with shares that sum to 1: it seems to end in a "
            "softmax, which the term takes once more, and its doubt is flattened; give the part "
            "before the softmax, or tabulate it and use table.answering(table.logits.log(), …)",
            stacklevel=5,
        )
