"""What terms, examples and augments must agree in where answers are numbers, or labels mixed."""

import copy
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import kdlib
from kdlib.data import Examples, Targets
from kdlib.data.transforms import augmented, mixes_labels
from kdlib.device import seeded
from kdlib.models import predict
from kdlib.objectives import HardLabels, Objective, Term
from kdlib.objectives.wrapping import Wrapped


def check_kind_of_answers(term: Term, examples: Examples) -> None:
    """Raises ValueError for a term on classes where examples have numbers."""
    if isinstance(examples, Targets) and term.reads_classes:
        raise ValueError(
            f"{term.name} is for classes, and {examples!r} has numbers; BinaryLabels() and "
            "SigmoidTargets(teacher) are for 0/1 labels, MeanSquares() and "
            "TeacherMeanSquares(teacher) for other numbers"
        )


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
        if isinstance(error, ValueError) and _is_ours(error):
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


def _is_ours(error: Exception) -> bool:
    """Whether it was raised by a line of kdlib, whose sentences say what to do."""
    lines = traceback.extract_tb(error.__traceback__)
    return bool(lines) and Path(lines[-1].filename).is_relative_to(Path(kdlib.__file__).parent)
