"""Terms with an adversary: a discriminator tells the domains apart, the encoder misleads it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.adaptation.terms import _Alignment
from kdlib.data import Examples
from kdlib.losses import reverse_gradient
from kdlib.losses.answers import average, floats
from kdlib.objectives import Number, Step
from kdlib.objectives.fields import check_no_symbol


def ramp(done: float, *, warm: float = 0.0) -> float:
    """2 / (1 + exp(-10 p)) - 1: from 0 to nearly 1 as p goes from 0 to 1 (Ganin et al. 2016).

    p counts from `warm` on, the share of training before that: 0 until then.
    """
    p = max(0.0, (done - warm) / (1 - warm))
    return 2 / (1 + math.exp(-10 * p)) - 1


class _Adversary(_Alignment):
    """The discriminator is owned: two small layers, no BatchNorm.

    It learns at full rate; only the gradient that it sends to the encoder is turned round and
    scaled by strength · ramp(progress). warm: the share of training in which it learns alone.
    """

    strength: Number
    hidden: int
    warm: float

    def inputs(self, step: Step) -> Tensor:
        """What the discriminator sees, (batch, width)."""
        raise NotImplementedError

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        super().validate(examples, values)
        strength, hidden, warm = values["strength"], values["hidden"], values["warm"]
        if not (strength >= 0 and hidden >= 1 and 0 <= warm < 1):
            raise ValueError(
                f"strength={strength:g}, hidden={hidden}, warm={warm:g}: expected a strength of at "
                "least 0, a hidden unit or more, and a share from 0 to below 1"
            )

    def own(self, step: Step) -> nn.Module:
        check_no_symbol(self.name, "warm", self.warm)  # one that is left: students under vmap
        width = self.inputs(step).shape[1]
        return nn.Sequential(
            nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1), nn.Flatten(0)
        )

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        """Cross-entropy of "source or target", each domain weighing one half."""
        assert owned is not None
        self.clouds(step)  # refuses a batch of one domain
        scale = step.value(self.strength) * ramp(step.bindings["progress"], warm=self.warm)
        (z,) = floats(owned(reverse_gradient(self.inputs(step), scale)))
        away = step.batch.domain > 0
        nll = torch.nn.functional.softplus(torch.where(away, -z, z))
        return (average(nll, away) + average(nll, ~away)) / 2


@dataclass(frozen=True, repr=False)
class DANN(_Adversary):
    """Domain-adversarial training on the features of `tap` (Ganin et al. 2016)."""

    tap: str
    strength: Number = 1.0
    hidden: int = 64
    warm: float = 0.0

    def inputs(self, step: Step) -> Tensor:
        return self.features(step)


@dataclass(frozen=True, repr=False)
class CDAN(_Adversary):
    """DANN on features ⊗ answers, so that clouds meet class by class (Long et al. 2018).

    The answers (softmax) condition the discriminator and get no gradient from it.
    """

    tap: str
    strength: Number = 1.0
    hidden: int = 64
    warm: float = 0.0
    reads_classes = True  # whose shares softmax makes

    def inputs(self, step: Step) -> Tensor:
        f, p = floats(self.features(step), step.observation.logits.detach().float().softmax(-1))
        return (f[:, :, None] * p[:, None]).flatten(1)  # (B, width, classes) -> (B, width·classes)
