"""What every distance asks of its two clouds of features, and the moments that several share."""

import torch
from torch import Tensor

from kdlib.arguments import finite, whole
from kdlib.losses.answers import floats
from kdlib.tensors import check_tensors


def checked(f_a: Tensor, f_b: Tensor, *, least: int = 1, double: bool = False) -> list[Tensor]:
    """The clouds (n, width) and (m, width) in float32 at least (float64, and on
    the CPU, when `double`: not every accelerator has it).

    Raises ValueError for other shapes, fewer than `least` examples, or values that are not finite.
    """
    check_tensors(f_a=f_a, f_b=f_b)
    if f_a.dim() != 2 or f_b.dim() != 2 or f_a.shape[1] != f_b.shape[1]:
        raise ValueError(
            f"features have shapes {tuple(f_a.shape)} and {tuple(f_b.shape)}; expected (n, width) "
            "and (m, width) of the same width: the same layer of one network, .flatten(1)"
        )
    if f_a.device != f_b.device:
        raise ValueError(
            f"features lie on {f_a.device} and on {f_b.device}; expected one device: "
            "f.cpu() moves them"
        )
    if min(len(f_a), len(f_b)) < least or not f_a.shape[1]:
        raise ValueError(
            f"features have shapes {tuple(f_a.shape)} and {tuple(f_b.shape)}; this distance needs "
            f"{least} or more examples of each domain, and a feature"
        )
    clouds = [f.cpu().double() for f in (f_a, f_b)] if double else floats(f_a, f_b)
    if not all(bool(torch.isfinite(f).all()) for f in clouds):
        raise ValueError(
            "features are not all finite: they hold nan or infinity; look where the network that "
            "made them broke (a learning rate too high, as a rule)"
        )
    return clouds


def check_draw(seed: int) -> None:
    if not whole(seed, 0):
        raise ValueError(f"seed={seed!r}: expected a whole number of at least 0, such as 0")


def covariance(f: Tensor) -> Tensor:
    """(n, width) -> (width, width), divided by n - 1."""
    centred = f - f.mean(0)
    return centred.T @ centred / (len(f) - 1)


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """Pulled towards a ball of the same mean variance, so that it has an inverse.

    (The form of Ledoit & Wolf 2004, with a fixed share.)
    """
    if not (finite(shrinkage) and 0 <= shrinkage <= 1):
        raise ValueError(f"shrinkage={shrinkage}: expected a number from 0 to 1")
    ball = covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
    return (1 - shrinkage) * covariance + shrinkage * ball


def squared_distances(f_a: Tensor, f_b: Tensor) -> Tensor:
    """||a - b||² of every row of f_a with every row of f_b: (n, m)."""
    middle = f_b.mean(0).detach()  # far from the origin, float32 would drown in the squares
    a, b = f_a - middle, f_b - middle
    squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return squared.clamp(min=0)


def off_diagonal(square: Tensor) -> Tensor:
    """(n, n) -> (n - 1, n): all entries but the diagonal's, without a mask."""
    n = len(square)
    return square.flatten()[1:].view(n - 1, n + 1)[:, :-1]


def median_square(pooled: Tensor) -> Tensor:
    """The median squared distance between two different rows of (n, width), detached."""
    median = torch.pdist(pooled.detach()).median().square()
    return median.clamp(min=torch.finfo(median.dtype).tiny)  # all rows alike: anything will do
