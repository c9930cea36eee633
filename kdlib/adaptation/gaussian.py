"""The Gaussian feature transfer: a loosely stated published recipe, made precise as one reading.

(Its source calls it "big transfer"; it is not BiT of Kolesnikov et al. 2020.) The steps, in order:
`fit_map` (F, frozen), `describe` (standardise, N(0, S), weights), `noise`, `GaussianTerm` (what the
student is asked for), `gaussian_transfer` (all of it). One symbol each: transfer_rate λ, lr_scale
α, noise_std β, noise_ratio γ, centre_weight κ.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.adaptation.clouds import Cloud, FeatureMap, describe, fit_map
from kdlib.arguments import check_fraction
from kdlib.data import Examples
from kdlib.losses.answers import average, floats, per_image_kl
from kdlib.objectives import HardLabels, Number, Objective, Step, Term
from kdlib.objectives.seeds import salted
from kdlib.objectives.teachers import Teacher
from kdlib.training import Run, fit

__all__ = [
    "Cloud", "FeatureMap", "GaussianTerm", "describe", "fit_map", "gaussian_transfer", "noise",
]  # fmt: skip


def noise(eps_i: Tensor, eps_c: Tensor, beta: Any, gamma: Any, kappa: Any) -> Tensor:
    """e = beta ((1 - gamma) eps_i + gamma kappa eps_c): an image's own noise and its class's."""
    return beta * ((1 - gamma) * eps_i + gamma * kappa * eps_c)


class _Owned(nn.Module):
    """G(x) = B f_s(x), the classes' noise eps_c, and how many steps were made."""

    eps_c: Tensor
    steps: Tensor

    def __init__(self, B: nn.Module, eps_c: Tensor) -> None:
        super().__init__()
        self.B = B
        self.register_buffer("eps_c", eps_c)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


@dataclass(frozen=True, repr=False)
class GaussianTerm(Term):
    """The noisy term, on the images of target domains (domain >= 1).

    noise_at="target": weighted mean squared error between G(x_i) = B f_s(x_i) and m_i + e_i.
    noise_at="feature": the map's head, shown m_i + e_i, teaches the student by weighted
    KL(p || q). e_i is drawn anew in each step from (seed, step), eps_c once from the seed.
    weighted=False gives every image the weight 1.
    """

    cloud: Cloud
    noise_at: str = "target"
    noise_std: Number = 0.5
    noise_ratio: Number = 0.5
    centre_weight: Number = 1.0
    weighted: bool = True
    layer: str = "embedding"
    seed: int = 0

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
        check_fraction("noise_ratio", values["noise_ratio"])
        if not bool((examples.domain > 0).any()):
            raise ValueError(
                f"{examples!r} holds no target images; add them with target.as_domain(1)"
            )

    def own(self, step: Step) -> nn.Module:
        cloud = self.cloud
        generator = torch.Generator().manual_seed(self.seed)
        eps_c = cloud.draw(cloud.feature_map.head.out_features, generator)  # type: ignore[arg-type]
        if self.noise_at == "feature":
            return _Owned(nn.Identity(), eps_c)
        f_s = step.observation.features[self.layer].flatten(1)
        return _Owned(nn.Linear(f_s.shape[1], len(cloud.S)), eps_c)

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, _Owned)
        cloud, feature_map = self.cloud, self.cloud.feature_map
        mu = self.features(step)
        m = cloud.standardise(mu)
        mark = salted(self.seed + 1, int(owned.steps))  # of step and seed: resuming is exact
        eps_i = cloud.draw(len(m), torch.Generator().manual_seed(mark))
        eps_c = owned.eps_c[feature_map.head(mu).argmax(-1)]
        numbers = (self.noise_std, self.noise_ratio, self.centre_weight)
        noisy = m + noise(eps_i, eps_c, *(step.value(number) for number in numbers))
        weights = cloud.weights(m) if self.weighted else torch.ones_like(m[:, 0])
        if self.noise_at == "target":
            (g,) = floats(owned.B(step.observation.features[self.layer].flatten(1)))
            values = (g - noisy).square().mean(-1)
        else:
            z_s, z = floats(step.observation.logits, feature_map.head(cloud.undo(noisy)))
            values = per_image_kl(z.log_softmax(-1), z_s.log_softmax(-1))
        return average(weights * values, step.batch.domain > 0)

    def features(self, step: Step) -> Tensor:
        """mu (batch, width): of target images from the table, where it knows them, else live.

        Rows of source images hold another image's mu; the loss leaves them out.
        """
        table, batch = self.cloud.table, step.batch
        known = None
        if batch.ids is not None:
            known = table.find(torch.where(batch.domain > 0, batch.ids, table.ids[0]))
        return step.teacher(table).logits if known is None else known

    def after_step(self, student: nn.Module, owned: nn.Module | None) -> None:
        assert isinstance(owned, _Owned)
        owned.steps += 1


# ---- all of it -----------------------------------------------------------------------------------


def gaussian_transfer(
    student: nn.Module,
    teacher: nn.Module | Cloud,
    source: Examples,
    target: Examples,
    *,
    transfer_rate: float = 0.5,
    lr_scale: float = 0.3,
    noise_std: float = 0.5,
    noise_ratio: float = 0.5,
    centre_weight: float = 1.0,
    noise_at: str = "target",
    weighted: bool = True,
    layer: str = "embedding",
    head: str = "head",
    epochs: int = 30,
    lr: float = 1e-2,
    until: float | None = 0.01,
    seed: int = 0,
    **settings: Any,
) -> Run:
    """The published steps with `fit`: a copy of the student (trained on the source) moves on.

    loss = (1 - transfer_rate) · CE(source) + transfer_rate · noisy term(target); target labels are
    not read. teacher: trained on the source, or adapted (the recipe's text and its list of steps
    disagree), or the Cloud that `describe` made of it, to share between students. The student's
    body learns at lr_scale · lr, its `head` and B at lr; training stops at `epochs`, or once the
    loss changes by less than the share `until`. settings: others of `fit`.
    """
    check_fraction("transfer_rate", transfer_rate)
    if not 0 < lr_scale < math.inf:
        raise ValueError(f"lr_scale={lr_scale}: expected a finite number above 0, such as 0.3")
    parts = {name.split(".")[0] for name, _ in student.named_parameters()}
    if head not in parts:
        raise ValueError(f"the student has no part {head!r}; its parts are {', '.join(parts)}")
    cloud = teacher if isinstance(teacher, Cloud) else describe(fit_map(teacher, source), target)
    noisy = GaussianTerm(
        cloud, noise_at, noise_std, noise_ratio, centre_weight, weighted, layer, seed
    )
    objective: Objective = (1 - transfer_rate) * HardLabels() + transfer_rate * noisy
    body = {part: lr_scale * lr for part in sorted(parts - {head})}
    return fit(
        copy.deepcopy(student),
        source.as_domain(0) + target.unlabelled().as_domain(1),
        objective,
        epochs=epochs,
        lr={"": lr, **body},
        schedule="constant",
        until=until,
        **settings,
    )
