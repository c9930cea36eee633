"""The mean teacher: an average of the student's own past teaches it on the target."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from kdlib.adaptation.terms import _OnTarget
from kdlib.arguments import check_fraction
from kdlib.data import Examples
from kdlib.losses import probability_mse
from kdlib.models import observe
from kdlib.objectives import Step


class _Average(nn.Module):
    """A copy of the student that only `follow` moves.

    In training it answers without dropout, with the BatchNorm statistics of the images it is asked
    about, where the student does; its running statistics then play no part until they are copied.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)

    def train(self, mode: bool = True) -> "_Average":
        self.training = mode
        self.network.eval()
        return self

    def normalise_as(self, student: nn.Module) -> None:
        """BatchNorm layers are in the student's modes, of which some may be frozen."""
        for mine, now in zip(self.network.modules(), student.modules(), strict=True):
            if isinstance(mine, nn.modules.batchnorm._BatchNorm):
                mine.training = now.training

    @torch.no_grad()
    def follow(self, student: nn.Module, decay: float) -> None:
        for mine, now in zip(self.network.parameters(), student.parameters(), strict=True):
            mine.lerp_(now, 1 - decay)
        for kept, new in zip(self.network.buffers(), student.buffers(), strict=True):
            kept.copy_(new)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return observe(self.network, x).logits


@dataclass(frozen=True, repr=False)
class MeanTeacher(_OnTarget):
    """||p_teacher - p||² on target images; the teacher is the average of the student's weights.

    After each step θ_teacher = decay · θ_teacher + (1 - decay) · θ, buffers are copied. With
    `fit(augment=…)` the student sees the changed images and the teacher the original ones. Images
    of which the teacher is less sure than `confidence` don't count (Tarvainen & Valpola 2017;
    French, Mackiewicz & Fisher 2018). The weights that `fit` returns are the student's.
    """

    decay: float = 0.99
    confidence: float = 0.0

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        check_fraction("decay", values["decay"])
        check_fraction("confidence", values["confidence"])

    def own(self, step: Step) -> nn.Module:
        return _Average(step.student)

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        cast(_Average, owned).normalise_as(step.student)
        batch, where = step.batch, self.where(step)
        x = batch.x if batch.original is None else batch.original
        z_s = step.observation.logits
        z_t = torch.zeros_like(z_s, dtype=torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            for domain in batch.domain[where].unique():  # each domain with statistics of its own
                asked = where & (batch.domain == domain)
                z_t[asked] = cast(_Average, owned)(x[asked]).float()
        sure = z_t.softmax(-1).amax(-1) >= self.confidence
        return probability_mse(z_s, z_t, where=where & sure)

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        cast(_Average, owned).follow(student, self.decay)
