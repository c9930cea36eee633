"""What a student may be given as, and what its layers ask of a training."""

import contextlib
import copy
import inspect
from typing import Any

import torch
from torch import nn

from kdlib.data import Examples
from kdlib.data.batches import batch_count
from kdlib.models import built, lazy, normalises, predict
from kdlib.objectives import HardLabels, Learner
from kdlib.training.settings import Settings, check_seed


def built_student(student: Any, examples: Any, seed: int | None) -> tuple[Any, int | None]:
    """The student, and the seed that is still to draw its weights.

    A function that builds one is called, and the network drawn (`models.built`). What is neither
    network nor such a function comes back as it is: `check_parts` says so.
    """
    if isinstance(student, nn.Module) or not callable(student):
        return student, seed
    if seed is not None:
        check_seed("seed", seed)
    try:
        network = student()
    except Exception:
        if inspect.signature(student).parameters:  # it asks for something, and builds no student
            return student, seed
        raise
    if seed is None or not isinstance(network, nn.Module):
        return network, seed
    return built(lambda: materialised(student(), examples), seed), None


def copied(student: Any) -> Any:
    """A copy; ValueError for a network that keeps tensors which cannot be copied."""
    try:
        return copy.deepcopy(student)
    except RuntimeError as error:  # PyTorch's, of tensors that are no leaves
        raise ValueError(
            f"the student {type(student).__name__} cannot be copied, as it keeps tensors that are "
            "computed from its weights (as torch.nn.utils.weight_norm does); use "
            "torch.nn.utils.parametrizations in place of it, or keep no such tensor"
        ) from error


def materialised(network: Any, examples: Any) -> Any:
    """The network once its lazy layers, if any, know their widths from two of these examples."""
    if isinstance(network, nn.Module) and lazy(network):
        with contextlib.suppress(Exception):  # `check_answers` says what is wrong
            predict(network, examples[:2])
    return network


def check_layers(
    student: nn.Module, examples: Examples, settings: Settings, *, per_domain: bool, balanced: bool,
    adamw: bool = True, accumulate: int = 1,
) -> None:  # fmt: skip
    """Raises ValueError for layers that this training cannot train.

    Sparse gradients and complex weights under AdamW; BatchNorm of one value, in a batch of one.
    """
    if adamw and any(weight.is_complex() for weight in student.parameters()):
        raise ValueError(
            f"{type(student).__name__} has complex weights, which the fused AdamW does not take; "
            "give fit optimizer=lambda groups: torch.optim.AdamW(groups)"
        )
    for name, module in student.named_modules():
        if adamw and getattr(module, "sparse", False) is True:
            raise ValueError(
                f"{name!r} ({type(module).__name__}) has sparse gradients, which AdamW does not "
                "take; build it with sparse=False, or give optimizer=lambda groups: "
                "torch.optim.SGD(groups)"
            )
    sizes = examples.domain.unique(return_counts=True)[1] if balanced else [len(examples)]
    least = max(map(int, sizes)) // batch_count(examples.domain, settings.batch, balanced=balanced)
    least //= min(accumulate, max(least, 1))
    if least > 1 or (len(sizes) > 1 and not per_domain) or not normalises(student):
        return
    learner = Learner(copied(student), HardLabels()).train()
    x = examples.batch(slice(0, 1)).x.to(next(student.parameters()).device)
    try:
        with torch.no_grad():
            learner.student(x)
    except ValueError as error:
        if "more than 1 value" not in str(error):
            raise
        raise ValueError(
            f"{len(examples)} examples, batch={settings.batch} and accumulate={accumulate} give "
            "BatchNorm one image (of a domain) at a time, of which it has no statistics; give two "
            f"examples or more, and a larger batch=, such as {3 * len(sizes) * accumulate}"
        ) from error
