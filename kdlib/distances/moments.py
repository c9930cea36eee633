"""Distances that look at means and covariances only."""

import torch
from torch import Tensor

from kdlib.distances.clouds import checked, covariance, shrunk


def euclidean(f_a: Tensor, f_b: Tensor) -> Tensor:
    """The length of the line between the two means, in the units of the features."""
    f_a, f_b = checked(f_a, f_b)
    return (f_a.mean(0) - f_b.mean(0)).norm()


def cosine_distance(f_a: Tensor, f_b: Tensor) -> Tensor:
    """1 - cosine of the angle between the two means, seen from the origin: 0 to 2."""
    f_a, f_b = checked(f_a, f_b)
    means = torch.stack([f_a.mean(0), f_b.mean(0)])
    lengths = means.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        raise ValueError(
            "a mean lies at the origin and has no direction, so there is no angle; "
            "choose euclidean, or features that are not centred"
        )
    a, b = means / lengths
    return (a - b).square().sum() / 2  # = 1 - a·b, and exactly 0 for equal means


def mahalanobis(f_a: Tensor, f_b: Tensor, *, shrinkage: float = 0.1) -> Tensor:
    """The distance between the means in units of the spread along that very direction.

    √(δᵀ S⁻¹ δ), δ the difference of the means, S the covariance within the clouds, pooled and
    shrunk (Mahalanobis 1936). No linear change of the features moves it, but for the shrinkage.
    Raises ValueError where S has no inverse.
    """
    f_a, f_b = checked(f_a, f_b, least=2, double=True)
    n, m = len(f_a) - 1, len(f_b) - 1
    within = shrunk((n * covariance(f_a) + m * covariance(f_b)) / (n + m), shrinkage)
    delta = f_a.mean(0) - f_b.mean(0)
    scale = within.diagonal().mean()
    rank = torch.linalg.matrix_rank(within, hermitian=True) if scale > 0 else 0
    if rank < len(within):
        raise ValueError(
            f"the pooled covariance of {len(delta)} features has rank {int(rank)} and no inverse; "
            "give a shrinkage above 0, and features that vary"
        )
    return (delta @ torch.linalg.solve(within, delta)).clamp(min=0).sqrt()


def coral(f_a: Tensor, f_b: Tensor) -> Tensor:
    """||C_a - C_b||² / (4 width²), the covariances' distance (Deep CORAL, Sun & Saenko 2016).

    Differentiable: a training loss. The means play no part.
    """
    f_a, f_b = checked(f_a, f_b, least=2)
    return (covariance(f_a) - covariance(f_b)).square().sum() / (4 * f_a.shape[1] ** 2)


def frechet(f_a: Tensor, f_b: Tensor) -> Tensor:
    """||μ_a - μ_b||² + tr(C_a + C_b - 2 (C_a C_b)^½): between the clouds read as Gaussians.

    The square of their Wasserstein-2 distance (Dowson & Landau 1982), as FID reports it (Heusel et
    al. 2017). Computed in float64; covariances without inverse are welcome.
    """
    f_a, f_b = checked(f_a, f_b, least=2, double=True)
    # with C = L Lᵀ, tr (C_a C_b)^½ is the sum of the singular values of L_aᵀ L_b
    roots = [_root(covariance(f)) for f in (f_a, f_b)]
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    spread = sum(root.square().sum() for root in roots) - 2 * shared
    return (f_a.mean(0) - f_b.mean(0)).square().sum() + spread.clamp(min=0)


def _root(C: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(C)
    return vectors * values.clamp(min=0).sqrt()
