"""Losses on features: what a layer says, how its units fire, which images are alike.

f_s, f_t: student and teacher features, (batch, width), or maps with one axis of positions or more,
(batch, channels, height, width), (batch, channels, length). Tokens (batch, length, width) are such
maps once transposed, as terms do it. Losses that compare entry by entry need equal shapes: project
the student's features first.
`where` (batch,) bool leaves examples out; what none of them concerns is 0, with a gradient.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlib.arguments import check_same_shape, check_temperature, check_where
from kdlib.losses.answers import average, floats
from kdlib.tensors import check_tensors

Where = Tensor | None

Pool = Callable[[Tensor, Any], Tensor]
AVERAGES: dict[int, Pool] = {
    3: F.adaptive_avg_pool1d, 4: F.adaptive_avg_pool2d, 5: F.adaptive_avg_pool3d
}  # fmt: skip
LARGEST: dict[int, Pool] = {
    3: F.adaptive_max_pool1d, 4: F.adaptive_max_pool2d, 5: F.adaptive_max_pool3d
}  # fmt: skip
"""By how many axes a map has, batch and channels among them."""


def hint(f_s: Tensor, f_t: Tensor, *, where: Where = None) -> Tensor:
    """Mean over images and entries of (f_s - f_t)² (FitNets, Romero et al. 2015).

    Equal shapes. The paper has ½ Σ over entries; the mean keeps the size whatever the width.
    """
    check_same_shape(f_s, f_t)
    f_s, f_t = floats(f_s, f_t)
    return average((f_s - f_t).square().flatten(1).mean(-1), where)


def cosine(f_s: Tensor, f_t: Tensor, *, where: Where = None) -> Tensor:
    """Mean over images of 1 - cos(f_s, f_t), maps flattened: directions count, lengths do not.

    Equal shapes. One source article takes it on a·f(x) + b·f(x'), x' an augmented view: pass
    these sums. A feature of length 0 has cosine 0.
    """
    check_same_shape(f_s, f_t)
    a, b = (_unit(f.flatten(1)) for f in floats(f_s, f_t))
    return average(1 - (a * b).sum(-1), where)


def attention(f_s: Tensor, f_t: Tensor, *, where: Where = None) -> Tensor:
    """Mean over images of ||Q_s - Q_t||², Q the unit-length map of Σ_channels f².

    (Attention transfer, Zagoruyko & Komodakis 2017.) *Where* a layer is active, not in which
    channel: channels may differ; of two sizes the larger map is average-pooled to the smaller. A
    vector is one channel with a position for each unit, so widths must agree. A sum over positions:
    libraries that average over them need a weight height · width times larger.
    """
    check_tensors(f_s=f_s, f_t=f_t)
    s, t = _same_positions(*floats(f_s, f_t))
    q_s, q_t = (_unit(f.square().sum(1).flatten(1)) for f in (s, t))
    return average((q_s - q_t).square().sum(-1), where)


def similarity(f_s: Tensor, f_t: Tensor, *, where: Where = None) -> Tensor:
    """||G_s - G_t||² / batch², G the rows of F Fᵀ at unit length (Tung & Mori 2019).

    Which images of the batch look alike; widths may differ.
    """
    _check_same_batch(f_s, f_t)
    chosen = _chosen(f_s, where)
    grams = []
    for f in (f.flatten(1) for f in floats(f_s, f_t)):
        f = torch.where(chosen[:, None], f, 0)
        grams.append(_unit(f @ f.T))
    return (grams[0] - grams[1]).square().sum() / chosen.sum().clamp(min=1) ** 2


def flow(
    first_s: Tensor, second_s: Tensor, first_t: Tensor, second_t: Tensor, *, where: Where = None
) -> Tensor:
    """Mean over images and entries of (G_s - G_t)², G[a, b] = mean over positions of
    first_a · second_b: how one layer's channels turn into another's (FSP, Yim et al. 2017).

    Student and teacher agree in both layers' channels. Of a pair of maps the larger is max-pooled
    to the smaller; a vector has one position.
    """
    check_tensors(first_s=first_s, second_s=second_s, first_t=first_t, second_t=second_t)
    g_s, g_t = _flow_matrix(*floats(first_s, second_s)), _flow_matrix(*floats(first_t, second_t))
    check_same_shape(g_s, g_t)
    g_s, g_t = floats(g_s, g_t)
    return average((g_s - g_t).square().flatten(1).mean(-1), where)


def contrastive(
    f_s: Tensor, f_t: Tensor, *, temperature: float | Tensor = 0.1, where: Where = None
) -> Tensor:
    """-log softmax over the batch's images of cos(f_s, f_t) / temperature, at the image itself.

    The InfoNCE form of CRD (Tian, Krishnan & Isola 2020): a student's feature shall find its own
    image among the teacher's. Equal shapes. Not the T of soft targets.
    """
    check_same_shape(f_s, f_t)
    check_temperature(temperature)
    chosen = _chosen(f_s, where)
    a, b = (_unit(f.flatten(1)) for f in floats(f_s, f_t))
    scores = torch.where(chosen, a @ b.T / temperature, -1e9)  # finite: no nan where none is chosen
    return average(-scores.log_softmax(-1).diagonal(), chosen if where is not None else None)


def neuron_selectivity(f_s: Tensor, f_t: Tensor, *, where: Where = None) -> Tensor:
    """Mean over images of the squared MMD between channels, each a unit-length map of positions.

    (NST, Huang & Wang 2017, with the polynomial kernel (x · y)².) The *set* of patterns that
    channels react to: their number and order are free. Positions as in `attention`.
    """
    check_tensors(f_s=f_s, f_t=f_t)
    s, t = _same_positions(*floats(f_s, f_t))
    s, t = _unit(s.flatten(2)), _unit(t.flatten(2))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.transpose(1, 2)).square().flatten(1).mean(-1)

    return average(kernel(s, s) + kernel(t, t) - 2 * kernel(s, t), where)


def variational(
    mean: Tensor, log_variance: Tensor, f_t: Tensor, *, where: Tensor | None = None
) -> Tensor:
    """-log N(f_t; mean, variance), averaged over units and images (VID, Ahn et al. 2019).

    mean: (batch, width) regressed from the student's feature; log_variance: (width,), learned.
    The variational reading of feature distillation: a lower bound on the mutual information.
    """
    check_same_shape(mean, f_t)
    check_tensors(1, log_variance=log_variance)
    if log_variance.shape != mean.shape[-1:]:
        raise ValueError(
            f"log_variance has shape {tuple(log_variance.shape)} for features {tuple(mean.shape)}; "
            f"expected ({mean.shape[-1]},): one for each unit"
        )
    mean, log_variance, f_t = floats(mean, log_variance, f_t)
    squared = (f_t - mean).square() / log_variance.exp()
    return average((squared + log_variance + math.log(2 * math.pi)).mean(-1) / 2, where)


# ---- parts ---------------------------------------------------------------------------------------


def _unit(rows: Tensor) -> Tensor:
    """Rows at length 1; a row of zeros stays so, with a gradient of 0."""
    squared = rows.square().sum(-1, keepdim=True)
    return rows * torch.where(squared > 1e-24, squared.clamp(min=1e-24).rsqrt(), 0)


def _chosen(f: Tensor, where: Where) -> Tensor:
    if where is None:
        return torch.ones(len(f), dtype=torch.bool, device=f.device)
    check_where(where, f.shape[:1])
    return where


def _check_same_batch(f_s: Tensor, f_t: Tensor) -> None:
    check_tensors(f_s=f_s, f_t=f_t)
    if len(f_s) != len(f_t):
        raise ValueError(
            f"student features of {len(f_s)} images and teacher features of {len(f_t)}; "
            "both must speak of the same batch"
        )


def _same_positions(f_s: Tensor, f_t: Tensor) -> tuple[Tensor, Tensor]:
    """Both as maps (batch, channels, …) with equal height, width and so on."""
    _check_same_batch(f_s, f_t)
    kinds = {f_s.dim(), f_t.dim()}
    if kinds == {2} and f_s.shape == f_t.shape:
        return f_s[:, None, :, None], f_t[:, None, :, None]
    if len(kinds) > 1 or not kinds <= set(AVERAGES):
        raise ValueError(
            f"features of shapes {tuple(f_s.shape)} and {tuple(f_t.shape)} have no positions in "
            "common; give two maps (batch, channels, height, width), or two vectors of one width"
        )
    size = _smaller(f_s, f_t)
    pool = AVERAGES[f_s.dim()]
    f_s, f_t = (f if f.shape[2:] == size else pool(f, size) for f in (f_s, f_t))
    return f_s, f_t


def _smaller(a: Tensor, b: Tensor) -> tuple[int, ...]:
    """Of two maps the smaller height, width and so on."""
    return tuple(min(sizes) for sizes in zip(a.shape[2:], b.shape[2:], strict=True))


def _flow_matrix(first: Tensor, second: Tensor) -> Tensor:
    """(batch, channels of the first, channels of the second)."""
    _check_same_batch(first, second)
    positions = max(first.dim(), second.dim(), 3) - 2
    maps = [f[(..., *[None] * positions)] if f.dim() == 2 else f for f in (first, second)]
    if maps[0].dim() != maps[1].dim():
        raise ValueError(
            f"features of shapes {tuple(first.shape)} and {tuple(second.shape)} have no positions "
            "in common; give layers of one kind, or a vector and a map"
        )
    size = _smaller(*maps)
    pool = LARGEST[maps[0].dim()]
    maps = [f if f.shape[2:] == size else pool(f, size) for f in maps]
    a, b = (f.flatten(2) for f in maps)  # (batch, channels, positions)
    return a @ b.transpose(1, 2) / a.shape[2]
