"""All that is asked of a student, examples and objective before anything is trained."""

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kdlib.arguments import finite
from kdlib.data import Examples, Sequences
from kdlib.device import pick, resolve_precision
from kdlib.models import convolves, normalises
from kdlib.objectives import Objective, TeacherTable
from kdlib.objectives.members import Member
from kdlib.training.accumulating import check_parts_of_batch
from kdlib.training.answering import (
    check_answers,
    check_readable,
    check_taught,
    runs_channels_last,
)
from kdlib.training.best import check_waiting
from kdlib.training.matching import check_augment, check_kind_of_answers, check_same_kind
from kdlib.training.optimisers import check_maker
from kdlib.training.settings import Settings, check_seed
from kdlib.training.students import check_layers


@dataclass(frozen=True)
class Place:
    """Where and how a run's steps are taken, as `check_run` found it out.

    per_domain: each domain has a forward of its own · balanced: so are the batches ·
    channels_last: how convolutions keep their weights meanwhile, where the student runs so.
    """

    device: torch.device
    precision: str
    per_domain: bool
    balanced: bool
    channels_last: bool = False


def check_run(
    student: nn.Module,
    examples: Examples,
    objective: Objective,
    settings: Settings,
    *,
    seed: int | None = None,
    until: float | None = None,
    validate: Examples | None = None,
    augment: Any = None,
    forward: str | None = None,
    balanced: bool | None = None,
    device: str | torch.device | None = None,
    optimizer: Any = None,
    patience: Any = None,
    keep: Any = "last",
    accumulate: Any = 1,
    after_epoch: Any = None,
) -> Place:
    """All that `fit` asks of its arguments, before anything is changed; ValueError says what."""
    settings.check()
    if seed is not None:
        check_seed("seed", seed)
    if until is not None and (settings.schedule != "constant" or not (finite(until) and until > 0)):
        raise ValueError(
            f"until={until!r} with schedule={settings.schedule!r}: expected a share above 0, and "
            "schedule='constant' (a one-cycle run that stops early never comes down)"
        )
    check_waiting(keep, patience, settings.schedule, validates=validate is not None)
    check_parts_of_batch(accumulate, settings.batch)
    if after_epoch is not None and not callable(after_epoch):
        raise ValueError(f"after_epoch={after_epoch!r}; expected a function of the run so far")
    check_parts(student, examples, objective)
    objective.check(examples)
    outputs = check_answers(student, examples, objective)
    if validate is not None:
        check_validation(validate, examples)
        check_countable("validate", validate, outputs)
        check_readable("validate", student, validate)
    if augment is not None and isinstance(examples, Sequences):
        raise ValueError("augment= changes images, and these are sequences; leave it out")
    if augment is not None and not callable(augment):
        raise ValueError(f"augment={augment!r}; expected a function (x, generator) -> x")
    if augment is not None:
        check_augment(augment, student, examples, objective)
    place = next(student.parameters()).device if device is None else pick(device)
    per_domain, balanced = domain_rules(student, examples, forward, balanced)
    check_teachers(objective, place)
    check_taught(student, examples, objective)
    check_apart(student, objective, augmented=augment is not None)
    precision = resolve_precision(settings.precision, student, place)
    check_layers(
        student, examples, settings, per_domain=per_domain, balanced=balanced,
        adamw=optimizer is None, accumulate=accumulate,
    )  # fmt: skip
    check_maker(optimizer, student, settings)
    as_last = convolves(student) and runs_channels_last(student, examples)
    return Place(place, precision, per_domain, balanced, as_last)


def check_parts(student: Any, examples: Any, objective: Any) -> None:
    """Raises ValueError unless these are a network with weights to train, Examples, an Objective.

    Their names in messages are those of the arguments of `fit` and `train_bank`.
    """
    if not isinstance(student, nn.Module):
        raise ValueError(
            f"the student is {_what(student)}; expected a network, such as mlp(784, 32, 10)"
        )
    if not any(weight.requires_grad for weight in student.parameters()):
        raise ValueError(
            f"the student {type(student).__name__} has no weights that may change; "
            "give a network with weights, not all of them frozen"
        )
    if not isinstance(examples, Examples):
        raise ValueError(
            f"examples is {_what(examples)}; expected Examples: Examples(x, y), or one part of "
            "load(…), such as load(…).train; of a Dataset (a loader's loader.dataset) "
            "data.Stream(dataset)"
        )
    if not isinstance(objective, Objective):
        raise ValueError(
            f"the objective is {_what(objective)}; expected one made of terms, such as "
            "HardLabels() + SoftTargets(teacher, T=4)"
        )
    modules = dict(student.named_modules())
    for _, term in objective.terms:
        if isinstance(examples, Sequences) and not term.of_sequences:
            raise ValueError(
                f"{term.name} is for images, and {examples!r} are sequences; terms on answers, "
                "such as SoftTargets(teacher, T=1), are for these, too"
            )
        check_kind_of_answers(term, examples)
        if term.writings() and not isinstance(examples, Sequences):
            raise ValueError(
                f"{term.name} is for sequences, and {examples!r} holds images, which nobody "
                "writes; leave prefixes(…) out"
            )
        for name in (*([term.member] if isinstance(term, Member) else []), *term.peers()):
            if name not in modules:
                near = difflib.get_close_matches(name, modules, 1, 0.6)
                meant = f" (is {near[0]!r} meant?)" if near else ""
                raise ValueError(
                    f"{term.name} speaks of {name!r}, which is no module of the student "
                    f"{type(student).__name__}{meant}; give a network as the teacher, or train "
                    f"one of that name with the student: Together({name}=…, student=…)"
                )


def _what(argument: Any) -> str:
    if isinstance(argument, type):
        return f"the class {argument.__name__} (are brackets missing?)"
    if callable(argument) and not isinstance(argument, nn.Module):
        return f"the function {getattr(argument, '__name__', argument)} (is it to be called first?)"
    return f"of type {type(argument).__name__}"


def check_unseen(name: str, unseen: Any, examples: Examples) -> None:
    """Raises ValueError unless these are Examples to answer, of the training images' size."""
    if not isinstance(unseen, Examples):
        raise ValueError(f"{name} is {_what(unseen)}; expected Examples")
    if not len(unseen):
        raise ValueError(f"{name} holds no examples; give at least one")
    if isinstance(unseen, Sequences) != isinstance(examples, Sequences):
        raise ValueError(f"{name} is {unseen!r} and training has {examples!r}; give one kind")
    check_same_kind(name, unseen, examples)
    if unseen.x.shape[1:] != examples.x.shape[1:] and not isinstance(unseen, Sequences):
        raise ValueError(
            f"{name} has images of {tuple(unseen.x.shape[1:])} and training has "
            f"{tuple(examples.x.shape[1:])}; load both with the same size="
        )


def check_countable(name: str, unseen: Examples, outputs: int) -> None:
    """Raises ValueError for labels beyond the outputs, which nobody could answer with."""
    if unseen.classes > outputs:
        raise ValueError(
            f"{name} has a label {unseen.classes - 1} and the student {outputs} outputs; leave "
            f"classes out with examples.only(…), or take the labels away with .unlabelled()"
        )


def check_validation(validate: Any, examples: Examples) -> None:
    """Raises ValueError unless errors can be counted on these while the examples are trained on."""
    check_unseen("validate", validate, examples)
    if not bool(validate.labelled.all()):
        raise ValueError(
            f"validate={validate!r}: errors are counted with labels; give labelled examples"
        )


def domain_rules(
    student: nn.Module, examples: Examples, forward: str | None, balanced: bool | None
) -> tuple[bool, bool]:
    """Whether each domain has a forward of its own, and whether batches are balanced."""
    if forward not in (None, "per_domain", "joint"):
        raise ValueError(f"forward={forward!r}: expected 'per_domain' or 'joint'")
    if balanced is not None and not isinstance(balanced, bool):
        raise ValueError(f"balanced is a {type(balanced).__name__}; expected True, False or None")
    several = len(examples.domains) > 1
    per_domain = several and (normalises(student) if forward is None else forward == "per_domain")
    return per_domain, several if balanced is None else balanced


def check_apart(student: nn.Module, objective: Objective, *, augmented: bool) -> None:
    """Raises ValueError for a term that holds weights of the student which training changes.

    A table is a record already: its network is only asked where
    images are augmented.
    """
    moving = {id(w) for w in student.parameters() if w.requires_grad}
    for _, term in objective.terms:
        held = list(term.tensors())
        for teacher in term.teachers():
            if isinstance(teacher, nn.Module):
                held += teacher.parameters()
            elif augmented and teacher.network is not None:
                held += teacher.network.parameters()
        if any(id(weight) in moving for weight in held):
            raise ValueError(
                f"{term.name} holds weights of the student itself, which training changes; "
                "give it a copy that stays as it is: copy.deepcopy(net)"
            )


def check_teachers(objective: Objective, device: torch.device) -> None:
    """Raises ValueError for a teacher, or a term's tensor, that is not where the student trains."""
    for teacher in objective.teachers():
        where = (
            teacher.logits.device
            if isinstance(teacher, TeacherTable)
            else next((p.device for p in teacher.parameters()), device)
        )
        if where.type != device.type:
            raise ValueError(
                f"the teacher is on {where} and the student trains on {device}; "
                f"move the teacher with teacher.to('{device}')"
            )
    for _, term in objective.terms:
        for tensor in term.tensors():
            if tensor.device.type != device.type:
                raise ValueError(
                    f"{term.name} holds weights or a tensor on {tensor.device} and the student "
                    f"trains on {device}; move them there with .to('{device}')"
                )
