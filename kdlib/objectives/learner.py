"""What an optimiser sees: the student together with what its objective owns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from kdlib.data import Batch
from kdlib.models import Observation, observe
from kdlib.objectives.step import Step
from kdlib.objectives.teachers import TeacherTable

if TYPE_CHECKING:
    from kdlib.objectives.algebra import Objective


class Learner(nn.Module):
    """The student, and what the objective owns. Teachers are held outside.

    Calling it with a batch gives the loss and its named terms. per_domain: the student sees each
    domain's images in a forward of their own, so that BatchNorm never mixes their statistics.
    """

    def __init__(
        self,
        student: nn.Module,
        objective: Objective,
        owned: nn.ModuleDict,
        *,
        per_domain: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.owned = owned
        self.per_domain = per_domain
        self._held = (objective, objective.student_taps(), objective.teacher_taps())

    @property
    def objective(self) -> Objective:
        return self._held[0]

    def train(self, mode: bool = True) -> Self:
        """As nn.Module's; but BatchNorm layers whose weights are all frozen stay in eval mode.

        Otherwise their running statistics would go on moving, and "frozen" would mean half of it.
        """
        super().train(mode)
        for module in self.student.modules():
            weights = list(module.parameters(recurse=False))
            frozen = weights and not any(weight.requires_grad for weight in weights)
            if frozen and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(
        self, batch: Batch, bindings: Mapping[Any, Any], tables: dict[nn.Module, TeacherTable]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        objective, student_taps, teacher_taps = self._held
        learned = {
            module.spec: module() for module in self.owned.values() if hasattr(module, "spec")
        }
        look = _observe_domains if self.per_domain else _observe
        seen = look(self.student, batch, student_taps)
        step = Step(self.student, seen, batch, {**bindings, **learned}, teacher_taps, tables)
        loss, named = objective(step, dict(self.owned.items()))
        return loss, named | {str(spec): temperature for spec, temperature in learned.items()}

    def after_step(self) -> None:
        """What terms do once the optimiser has moved the weights (an averaged teacher follows)."""
        for i, (_, term) in enumerate(self.objective.terms):
            term.after_step(self.student, dict(self.owned.items()).get(f"{i}:{term.name}"))


def _observe(student: nn.Module, batch: Batch, taps: Iterable[str]) -> Observation:
    return observe(student, batch.x, taps)


def _observe_domains(student: nn.Module, batch: Batch, taps: Iterable[str]) -> Observation:
    domains = batch.domain.unique().tolist()
    if len(domains) == 1:
        return observe(student, batch.x, taps)
    parts = [observe(student, batch.x[batch.domain == domain], taps) for domain in domains]
    back = batch.domain.argsort(stable=True).argsort()  # from domain after domain to the batch's
    features = {
        tap: torch.cat([part.features[tap] for part in parts])[back] for tap in parts[0].features
    }
    return Observation(torch.cat([part.logits for part in parts])[back], features)
