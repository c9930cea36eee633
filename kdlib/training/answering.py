"""What student and teachers answer two examples with, before anything is trained or changed."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import check_same_classes
from kdlib.data import Examples, Sequences
from kdlib.models import Observation, evaluating, observe, predict, seen_by
from kdlib.objectives import (
    Decoupled,
    HardLabels,
    LogitMSE,
    Objective,
    ReverseKL,
    Standardized,
    TeacherTable,
    Term,
)
from kdlib.objectives.answer_terms import Taught
from kdlib.objectives.members import Member
from kdlib.objectives.parts import Outputs
from kdlib.objectives.wrapping import Wrapped
from kdlib.source import raised_here
from kdlib.training.matching import check_labels_for, check_outputs_of, notice_probabilities
from kdlib.training.next_tokens import check_blind, check_vocabulary, check_writers


def check_answers(
    student: nn.Module, examples: Examples, objective: Objective | None = None
) -> int:
    """How many classes (or tokens) the student answers for.

    Raises ValueError unless it answers images of this size, or sequences, and for each label. The
    modules that the objective looks at must run, and its members answer as the student does.
    """
    name, shape = type(student).__name__, tuple(examples.x.shape[1:])
    sequences = isinstance(examples, Sequences)
    if sequences:
        few, what = examples.batch(slice(0, 2)).x, f"sequences of {shape[0]} tokens"
    else:
        kind = torch.float64 if examples.x.dtype == torch.float64 else torch.float32  # a batch's
        few, what = torch.zeros(2, *shape, dtype=kind), f"{kind} images of {shape}"
    try:
        logits = predict(student, few)
        taps = () if objective is None else objective.student_taps()
        seen = Observation(logits)
        if taps:
            with evaluating(student):
                seen = observe(student, few.to(next(student.parameters()).device), taps)
    except Exception as error:  # networks refuse images in many ways, some without a word
        if raised_here(error):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"the student {name} cannot take {what} ({why}); "
            f"build it for {'these tokens' if sequences else 'images of this size and kind'}"
        ) from error
    if sequences:
        check_vocabulary(f"the student {name}", examples, logits)
    parted = [term for _, term in objective.terms if _part(term)] if objective else []
    _check_logits(f"the student {name}", logits, 0 if parted else examples.classes, few)
    if not parted:
        check_outputs_of(f"the student {name}", logits, examples)
    if sequences:
        check_blind(f"the student {name}", student, shape[0], logits.shape[-1])
    if objective is not None:
        check_writers(objective, student, few, logits.shape[-1])
    for _, term in objective.terms if objective is not None else ():
        classes = examples.classes if isinstance(getattr(term, "term", None), HardLabels) else 0
        if isinstance(term, Member):
            member = f"the member {term.member!r}"
            _check_logits(member, seen.features[term.member], classes, few)
        for peer in term.peers():
            taught = seen.features[term.member] if isinstance(term, Member) else logits
            check_same_classes(taught, seen.features[peer])
    for _, term in objective.terms if objective is not None else ():
        answered = seen.features[term.member] if isinstance(term, Member) else logits
        check_labels_for(term, len(_part(term)) or answered.shape[-1], examples)
    for term in parted:
        _check_part(term, f"the student {name}", logits, examples)
    return logits.shape[-1]


def check_readable(name: str, student: nn.Module, unseen: Examples) -> None:
    """Raises ValueError for sequences to answer that the student cannot read."""
    if isinstance(unseen, Sequences):
        try:
            logits = predict(student, unseen[:2])
        except Exception as error:
            raise ValueError(f"{name}: the student cannot read {unseen!r}: {error}") from error
        check_vocabulary(f"{name}: the student", unseen, logits)


def check_taught(student: nn.Module, examples: Examples, objective: Objective) -> None:
    """Raises ValueError unless teachers answer as the student does, as far as terms compare them.

    Where KL(q ‖ p) is asked for, none may say that something is impossible.
    """
    few, logits = examples[:2], None
    sequences = isinstance(examples, Sequences)
    for _, term in objective.terms:
        inner = _inner(term)
        if not isinstance(inner, Taught) or isinstance(inner.teacher, str):
            continue
        network = getattr(inner.teacher, "network", inner.teacher)
        if term.writings() and not isinstance(network, nn.Module):
            raise ValueError(
                f"{term.name} asks of what is written just now, which the table "
                f"{inner.teacher.name!r} cannot know; give the network that it was made of"
            )
        z_t = _said(inner.teacher, few, term)
        if z_t is None or isinstance(term, Member):
            continue
        notice_probabilities(term, z_t)
        logits = predict(student, few) if logits is None else logits
        what = "tokens" if sequences else "classes"
        if z_t.shape[-1] != logits.shape[-1] or z_t.dim() != logits.dim():
            raise ValueError(
                f"the student answers with {logits.shape[-1]} {what} and the teacher with "
                f"{z_t.shape[-1]}, shapes {tuple(logits.shape)} and {tuple(z_t.shape)} for two "
                f"examples; give both heads the same {what}, or teach those that both have: "
                f"tabulate the teacher, and table.answering(table.logits[:, columns], 'fewer')"
            )
        if sequences and isinstance(network, nn.Module):
            check_blind("the teacher", network, examples.x.shape[1], z_t.shape[-1])
        if _part(term):
            _check_part(term, "the teacher", z_t, examples)
        least = (
            3 if isinstance(inner, Decoupled | Standardized) else 2 if inner.reads_classes else 1
        )
        if (len(_part(term)) or z_t.shape[-1]) < least:
            raise ValueError(
                f"{term.name} compares shares of outputs, and learns nothing of {least - 1}; give "
                f"student and teacher at least {least} (one logit z says the same as two, 0 and z)"
            )
        backward = isinstance(inner, ReverseKL | LogitMSE | Standardized)
        if not (backward or getattr(inner, "normalised", False)):
            continue
        teacher = inner.teacher
        whole = (
            teacher.logits
            if isinstance(teacher, TeacherTable)
            else _said(teacher, examples[:500], term)
        )
        if whole is not None and bool(whole.isneginf().any()):
            raise ValueError(
                f"{term.name} is infinite where the teacher says that something is impossible (a "
                "logit of -inf); mix a little of all into it, such as a thousandth, or use "
                "SoftTargets"
            )


def runs_channels_last(student: nn.Module, examples: Examples) -> bool:
    """Whether it answers with its convolutions' weights laid out so: `view` may fail then."""
    try:
        twin = copy.deepcopy(student).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        predict(twin, examples[:2])
    except Exception:  # whatever a network of somebody's own says: then it stays as it is
        return False
    return True


def _said(teacher: Any, few: Examples, term: Term) -> Tensor | None:
    """What a teacher says of these; None where a table has to say it, and knows them not."""
    if isinstance(teacher, TeacherTable):
        z = teacher.find(few.ids.to(teacher.ids.device))
        if z is not None or teacher.network is None:
            return z
        teacher = teacher.network
    try:
        x = few.batch().x
        z = predict(teacher, seen_by(teacher, x))
        return z.to(x.dtype) if x.is_floating_point() else z
    except Exception as error:
        if raised_here(error):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"the teacher {type(teacher).__name__} of {term.name} cannot take {few!r} ({why}); "
            "give one that was built for these examples"
        ) from error


def _inner(term: Term) -> Term:
    return term.inmost if isinstance(term, Wrapped) else term


def _part(term: Term) -> tuple[int, ...]:
    """The outputs that a term is for, where it names some."""
    while isinstance(term, Wrapped):
        if isinstance(term, Outputs):
            return term.part
        term = term.term
    return ()


def _check_part(term: Term, who: str, logits: Tensor, examples: Examples) -> None:
    part, count = _part(term), logits.shape[-1]
    if max(part) >= count and not isinstance(term, Member):
        raise ValueError(
            f"{term.name}: {who} has {count} outputs, 0 to {count - 1}; choose among these, or "
            "build it with more"
        )
    if isinstance(_inner(term), HardLabels) and examples.classes > len(part):
        raise ValueError(
            f"{term.name}: a label is {examples.classes - 1} and these are {len(part)} outputs; "
            f"choose {examples.classes} of them, one for each class"
        )


def _check_logits(who: str, logits: Tensor, classes: int, few: Tensor) -> None:
    sequences = few.dim() == 2
    wanted = (*few.shape[: 2 if sequences else 1], logits.shape[-1] if logits.dim() else 0)
    if tuple(logits.shape) != wanted:
        kind = "(2, length, tokens)" if sequences else "(2, classes)"
        raise ValueError(
            f"{who} answers two {'sequences' if sequences else 'images'} with shape "
            f"{tuple(logits.shape)}; expected logits {kind}: give it a head"
        )
    if logits.shape[-1] < classes:
        raise ValueError(
            f"{who} has {logits.shape[1]} outputs and a label is {classes - 1}; build it with "
            f"{classes} outputs, or leave classes out with examples.only(…)"
        )
