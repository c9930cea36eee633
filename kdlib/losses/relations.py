"""A loss on how images lie to one another: distances and angles between their features."""

import torch
from torch import Tensor

from kdlib.losses.answers import average, floats
from kdlib.losses.features import Where, _check_same_batch, _chosen, _unit
from kdlib.tensors import check_factors


def relational(
    f_s: Tensor,
    f_t: Tensor,
    *,
    distance: float | Tensor = 1.0,
    angle: float | Tensor = 2.0,
    where: Where = None,
) -> Tensor:
    """distance · (smooth L1 of pairwise distances, in units of their mean) + angle · (smooth L1 of
    the cosines in all triangles), means over all pairs and triples (RKD, Park et al. 2019).

    Widths may differ. Memory grows with batch³ for the angle; angle=0 leaves it out. (Of vectors
    it grows with batch² · width, too; of maps not.)
    """
    check_factors(distance=distance, angle=angle)
    _check_same_batch(f_s, f_t)
    chosen = _chosen(f_s, where)
    s, t = floats(f_s, f_t)
    pairs = chosen[:, None] & chosen
    other = pairs & ~torch.eye(len(s), dtype=torch.bool, device=s.device)
    d_s, d_t = (_relative_distances(f, other) for f in (s, t))
    loss = distance * _among(_smooth_l1(d_s - d_t), pairs if where is not None else None)
    if isinstance(angle, Tensor) or angle:
        triples = pairs[:, :, None] & chosen if where is not None else None
        loss = loss + angle * _among(_smooth_l1(_cosines(s) - _cosines(t)), triples)
    return loss


# ---- parts ---------------------------------------------------------------------------------------


def _relative_distances(f: Tensor, other: Tensor) -> Tensor:
    """(batch, batch) Euclidean distances over their mean among `other` pairs."""
    if f.dim() == 2:
        distances = (f[:, None] - f).square().sum(-1).clamp(min=1e-12).sqrt()
    else:
        distances = _distances(f)
    distances = torch.where(other, distances, 0)
    return distances / (distances.sum() / other.sum().clamp(min=1)).clamp(min=1e-12)


def _distances(maps: Tensor) -> Tensor:
    """(batch, batch) distances of maps: exact, without their (batch, batch, …) differences."""
    rows = maps.flatten(1)
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _smooth_l1(gap: Tensor) -> Tensor:
    """½ gap² below 1, |gap| - ½ above; as F.smooth_l1_loss, at half its cost under vmap."""
    size = gap.abs()
    low = size.clamp(max=1)
    return low * (size - low / 2)


def _among(values: Tensor, chosen: Where) -> Tensor:
    """The mean of the chosen values, 0 if there is none."""
    if chosen is None:
        return average(values, None)
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp(min=1)


def _cosines(f: Tensor) -> Tensor:
    """(batch, batch, batch): at corner i, the cosine between the ways to j and to k."""
    if f.dim() == 2:
        ways = _unit(f[None] - f[:, None])
        return ways @ ways.transpose(1, 2)
    rows = f.flatten(1)
    rows = rows - rows.mean(0)  # ways stay, and products are no larger than they need be
    gram, lengths = rows @ rows.T, _distances(f)
    products = gram - gram[:, :, None] - gram[:, None, :] + gram.diagonal()[:, None, None]
    inverse = torch.where(lengths > 1e-12, lengths.clamp(min=1e-12).reciprocal(), 0)
    return products * inverse[:, :, None] * inverse[:, None, :]
