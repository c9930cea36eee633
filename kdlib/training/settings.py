"""What a run may be asked for, checked before anything is trained."""

from collections.abc import Mapping

import torch
from torch import nn

from kdlib.data import Examples
from kdlib.objectives import Objective, TeacherTable


def check_settings(
    *,
    epochs: int,
    lr: float | Mapping[str, float],
    batch: int,
    schedule: str,
    until: float | None = None,
) -> None:
    """Raises ValueError for settings that nothing can be trained with."""
    rates = list(lr.values()) if isinstance(lr, Mapping) else [lr]
    if epochs < 1 or batch < 1 or not rates or not all(rate > 0 for rate in rates):
        raise ValueError(
            f"epochs={epochs}, batch={batch}, lr={lr}: expected whole numbers of at least 1 "
            "and learning rates above 0 (to keep weights as they are, freeze them)"
        )
    if schedule not in ("one-cycle", "constant"):
        raise ValueError(f"schedule={schedule!r}: expected 'one-cycle' or 'constant'")
    if until is not None and (schedule == "one-cycle" or not until > 0):
        raise ValueError(
            f"until={until} with schedule={schedule!r}: expected a share above 0, and "
            "schedule='constant' (a one-cycle run that stops early never comes down)"
        )


def domain_rules(
    student: nn.Module, examples: Examples, forward: str | None, balanced: bool | None
) -> tuple[bool, bool]:
    """Whether each domain has a forward of its own, and whether batches are balanced."""
    if forward not in (None, "per_domain", "joint"):
        raise ValueError(f"forward={forward!r}: expected 'per_domain' or 'joint'")
    several = len(examples.domains) > 1
    normed = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in student.modules()
    )
    per_domain = several and (normed if forward is None else forward == "per_domain")
    return per_domain, several if balanced is None else balanced


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
