"""The target's features as a Gaussian: F(x) = tanh(A f_t(x)), standardised, N(0, S), weights."""

from collections import OrderedDict
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.device import seeded
from kdlib.models import evaluating, observe, predict
from kdlib.objectives import HardLabels, TeacherTable
from kdlib.training import fit

# ---- F(x) = tanh(A f_t(x)) -----------------------------------------------------------------------


class FeatureMap(nn.Module):
    """mu = F(x) = tanh(A f_t(x)): (B, C, H, W) -> (B, width); `head` names the class of a mu."""

    def __init__(self, teacher: nn.Module, layer: str, A: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.teacher, self.layer = teacher, layer
        self.A, self.head = A.requires_grad_(False), head.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        f_t = observe(self.teacher, x, (self.layer,)).features[self.layer].flatten(1)
        return torch.tanh(self.A(f_t))


def fit_map(
    teacher: nn.Module,
    source: Examples,
    *,
    width: int = 32,
    layer: str = "embedding",
    epochs: int = 20,
    lr: float = 1e-2,
    seed: int = 0,
) -> FeatureMap:
    """Fits A and a classifier head on the labelled source, on the teacher's device."""
    if width < 1:
        raise ValueError(f"width={width}: expected at least 1 feature")
    if not bool((source.y >= 0).any()):
        raise ValueError(f"{source!r} has no labels to fit a classifier head on; give the source")
    there = next((weight.device for weight in teacher.parameters()), source.device)
    source = source.to(there)
    with evaluating(teacher):
        seen = [observe(teacher, part.x, (layer,)) for part in source.batches(500)]
    f_t = torch.cat([one.features[layer].flatten(1) for one in seen])
    with seeded(seed):  # fit draws them again; shared randomness stays as it is
        A, head = nn.Linear(f_t.shape[1], width), nn.Linear(width, source.classes)
    parts = OrderedDict(flatten=nn.Flatten(), A=A, tanh=nn.Tanh(), head=head)
    embedded = Examples.of_features(f_t, source.y)
    fit(nn.Sequential(parts).to(there), embedded, HardLabels(), epochs=epochs, lr=lr, seed=seed)
    return FeatureMap(teacher, layer, A, head)


# ---- the target as a Gaussian --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cloud:
    """The target's features, standardised, as N(0, S).

    table: mu of each image, the target's first · alive: (width,) bool, the d features that vary ·
    mean, std: (d,) · S: (d, d), shrunk · resting: (width,), what dead features always are · scale:
    mean of exp(-delta / (2 d)) over the target.
    """

    table: TeacherTable
    alive: Tensor
    mean: Tensor
    std: Tensor
    S: Tensor
    resting: Tensor
    scale: Tensor

    @property
    def feature_map(self) -> FeatureMap:
        assert isinstance(self.table.network, FeatureMap)
        return self.table.network

    def standardise(self, mu: Tensor) -> Tensor:
        """mu (B, width) -> m (B, d): mean 0 and deviation 1 over the target."""
        return (mu[:, self._places] - self.mean) / self.std

    def undo(self, m: Tensor) -> Tensor:
        """m (B, d) -> mu (B, width), dead features at rest."""
        resting = self.resting.expand(len(m), -1)
        return resting.index_copy(1, self._places, self.mean + self.std * m)

    def weights(self, m: Tensor) -> Tensor:
        """exp(-delta / (2 d)) for m (B, d), scaled so that their mean over the target is 1."""
        return raw_weights(m, self.S) / self.scale

    def draw(self, count: int) -> Tensor:
        """(count, d) from N(0, S), by PyTorch's own generator."""
        white = torch.randn(count, len(self.S), dtype=self.S.dtype, device=self.S.device)
        return white @ self.root.T

    @cached_property
    def _places(self) -> Tensor:
        return self.alive.nonzero()[:, 0]

    @cached_property
    def root(self) -> Tensor:
        """L, lower triangular, with L L' = S."""
        return torch.linalg.cholesky(self.S)

    def to(self, device: str | torch.device) -> "Cloud":
        """On another device, with a copy of its map."""
        return Cloud(*(getattr(self, part.name).to(device) for part in fields(self)))

    def __repr__(self) -> str:
        return f"Cloud({len(self.S)} features)"


def describe(
    feature_map: FeatureMap,
    target: Examples,
    source: Examples | None = None,
    *,
    floor: float = 1e-2,
) -> Cloud:
    """The cloud of the target's features; labels are not read.

    source: what students train on beside the target; its mu then stands in the table, too, so that
    nothing is asked live while they train. A feature whose deviation is below a thousandth of
    `floor` is dead and dropped; smaller deviations than `floor` count as `floor`, so that
    standardising blows up nothing.
    """
    if len(target) < 2:
        raise ValueError(f"{target!r} has no spread to describe; give at least 2 images")
    if not floor > 0:
        raise ValueError(f"floor={floor}: expected a standard deviation above 0")
    there = next(feature_map.parameters()).device  # a cloud is where its map is
    _ = target.ids  # hashed once, and kept by the copy
    target, source = target.to(there), None if source is None else source.to(there)
    mu = predict(feature_map, target).float()
    alive = mu.std(0) > floor / 1000
    if not bool(alive.any()):
        raise ValueError(
            f"all {mu.shape[1]} features are the same for every image of {target!r}; "
            "give images that differ, or fit the map again"
        )
    mean, std = mu[:, alive].mean(0), mu[:, alive].std(0).clamp(min=floor)
    m = (mu[:, alive] - mean) / std
    S = shrunk_covariance(m)
    ids, every = target.ids, mu
    if source is not None:
        ids = torch.cat([ids, source.ids])
        every = torch.cat([mu, predict(feature_map, source).float()])
    table = TeacherTable(ids, every, feature_map, "the target's features")
    return Cloud(table, alive, mean, std, S, mu.mean(0), raw_weights(m, S).mean())


def shrunk_covariance(m: Tensor, *, least: float = 0.01) -> Tensor:
    """Covariance of the rows m (N, d), drawn towards its mean variance times the identity.

    By the share of Ledoit & Wolf 2004, at least `least`: it can be inverted where N < d, too.
    """
    from sklearn import covariance  # half a second that nobody else needs

    rows = m.detach().cpu().double().numpy()
    share = max(least, float(covariance.ledoit_wolf_shrinkage(rows)))
    plain = covariance.empirical_covariance(rows)
    return torch.from_numpy(covariance.shrunk_covariance(plain, share)).to(m)


def squared_mahalanobis(m: Tensor, S: Tensor) -> Tensor:
    """delta: m' S⁻¹ m for each row of m (B, d) -> (B,); about d on average."""
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(S), m.T, upper=False)
    return white.square().sum(0)


def raw_weights(m: Tensor, S: Tensor) -> Tensor:
    """exp(-delta / (2 d)): (B, d) -> (B,), in (0, 1]."""
    return torch.exp(-squared_mahalanobis(m, S) / (2 * m.shape[1]))
