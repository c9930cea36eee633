"""The Gaussian feature transfer: a loosely stated published recipe, made precise as one reading.

(Its source calls it "big transfer"; it is not BiT of Kolesnikov et al. 2020.) The steps, in order:
`fit_map` (F, frozen), `describe` (standardise, N(0, S), weights), `GaussianTerm` (the noise, and
what the student is asked for), then `fit` or a bank with `(1 - lam) * HardLabels() + lam * term`,
the body at a lower rate. One symbol each: noise_std β, noise_ratio γ, centre_weight κ.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.adaptation.feature_gaussian import Cloud
from kdlib.arguments import check_fraction
from kdlib.data import Examples
from kdlib.losses.answers import average, floats, per_image_kl
from kdlib.objectives import Number, Step, Term
from kdlib.objectives.teachers import Teacher


def mixed_noise(eps_i: Tensor, eps_c: Tensor, beta: Any, gamma: Any, kappa: Any) -> Tensor:
    """e = beta ((1 - gamma) eps_i + gamma kappa eps_c): an image's own noise and its class's."""
    return beta * ((1 - gamma) * eps_i + gamma * kappa * eps_c)


class _Owned(nn.Module):
    """G(x) = B f_s(x), and the classes' noise eps_c."""

    eps_c: Tensor

    def __init__(self, B: nn.Module, eps_c: Tensor) -> None:
        super().__init__()
        self.B = B
        self.register_buffer("eps_c", eps_c)


@dataclass(frozen=True, repr=False)
class GaussianTerm(Term):
    """The noisy term, on the images of target domains (domain >= 1).

    noise_at="target": weighted mean squared error between G(x_i) = B f_s(x_i) and m_i + e_i.
    noise_at="feature": the map's head, shown m_i + e_i, teaches the student by weighted
    KL(p || q). e_i is drawn anew in each step, eps_c once, when the term meets its student.
    weighted: 1 weighs the images, 0 gives each the weight 1. white: 1 draws from N(0, 1) in place
    of N(0, S). Numbers may be symbols; a bank trains their students together.
    """

    cloud: Cloud
    noise_at: str = "target"
    noise_std: Number = 0.5
    noise_ratio: Number = 0.5
    centre_weight: Number = 1.0
    weighted: Number = 1.0
    white: Number = 0.0
    layer: str = "embedding"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_at not in ("target", "feature"):
            raise ValueError(f"noise_at={self.noise_at!r}: expected 'target' or 'feature'")

    def teachers(self) -> list[Teacher]:
        return [self.cloud.table]

    def tensors(self) -> list[Tensor]:
        return [self.cloud.mean, self.cloud.std, self.cloud.S]

    def student_taps(self) -> tuple[str, ...]:
        return (self.layer,) if self.noise_at == "target" else ()

    def validate(self, examples: Examples, values: Mapping[str, Any]) -> None:
        for name in ("noise_std", "centre_weight"):
            if not isinstance(values[name], Tensor) and not 0 <= values[name] < math.inf:
                raise ValueError(f"{name}={values[name]}: expected a finite number of at least 0")
        for name in ("noise_ratio", "weighted", "white"):
            check_fraction(name, values[name])
        if not bool((examples.domain > 0).any()):
            raise ValueError(
                f"{examples!r} holds no target images; add them with target.as_domain(1)"
            )

    def own(self, step: Step) -> nn.Module:
        cloud = self.cloud
        eps_c = cloud.draw(cloud.feature_map.head.out_features)  # type: ignore[arg-type]
        if self.noise_at == "feature":
            return _Owned(nn.Identity(), eps_c)
        f_s = step.observation.features[self.layer].flatten(1)
        return _Owned(nn.Linear(f_s.shape[1], len(cloud.S)), eps_c)

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, _Owned)
        cloud, feature_map = self.cloud, self.cloud.feature_map
        mu = step.teacher(cloud.table).logits
        m = cloud.standardise(mu)
        white, weighted = step.value(self.white), step.value(self.weighted)
        drawn = torch.randn_like(m)
        eps_i = white * drawn + (1 - white) * drawn @ cloud.root.T
        eps_c = owned.eps_c[feature_map.head(mu).argmax(-1)]
        numbers = (self.noise_std, self.noise_ratio, self.centre_weight)
        noisy = m + mixed_noise(eps_i, eps_c, *(step.value(number) for number in numbers))
        if self.noise_at == "target":
            (g,) = floats(owned.B(step.observation.features[self.layer].flatten(1)))
            values = (g - noisy).square().mean(-1)
        else:
            z_s, z = floats(step.observation.logits, feature_map.head(cloud.undo(noisy)))
            values = per_image_kl(z.log_softmax(-1), z_s.log_softmax(-1))
        weights = 1 + weighted * (cloud.weights(m) - 1)
        return average(weights * values, step.batch.domain > 0)
