"""How much work it is to carry one cloud into the other (through POT, Python Optimal Transport)."""

import torch
from torch import Tensor

from kdlib.arguments import finite, whole
from kdlib.distances.clouds import check_draw, checked, median_square, squared_distances

_OFF = 0.01  # of the weight: a plan further off is no plan between these clouds


def sliced_wasserstein(f_a: Tensor, f_b: Tensor, *, projections: int = 50, seed: int = 0) -> Tensor:
    """Wasserstein-2 on lines: √ of the mean over random directions of the squared 1-D distance.

    The directions depend on the seed alone (Rabin et al. 2011; Bonneel et al. 2015).
    """
    check_draw(seed)
    if not whole(projections, 1):
        raise ValueError(f"projections={projections}: expected 1 or more directions")
    import ot  # half a second, for those who need it

    f_a, f_b = checked(f_a, f_b)
    generator = torch.Generator().manual_seed(seed)
    lines = torch.randn(f_a.shape[1], projections, generator=generator, dtype=torch.float64)
    lines = (lines / lines.norm(dim=0)).to(f_a)
    return ot.sliced_wasserstein_distance(f_a, f_b, projections=lines, p=2)


def sinkhorn(
    f_a: Tensor, f_b: Tensor, *, regularisation: float = 0.5, iterations: int = 500
) -> Tensor:
    """Sinkhorn divergence: W(a, b) - W(a, a) / 2 - W(b, b) / 2 (Genevay et al. 2018).

    W is the cost of the entropic optimal plan, the costs squared distances in units of the pooled
    rows' median, and so is the regularisation: near 0 it is optimal transport (and few rows look
    far apart), large it compares the means. Raises ValueError where the iterations do not end in a
    plan.
    """
    if not (finite(regularisation) and regularisation > 0 and whole(iterations, 1)):
        raise ValueError(
            f"regularisation={regularisation}, iterations={iterations}: expected above 0, and 1 or "
            "more"
        )
    f_a, f_b = checked(f_a, f_b)
    unit = median_square(torch.cat([f_a, f_b])).sqrt()
    settings = (regularisation, iterations)
    cost, own_a, own_b = (
        _entropic_cost(a / unit, b / unit, *settings)
        for a, b in ((f_a, f_b), (f_a, f_a), (f_b, f_b))
    )
    return (cost - (own_a + own_b) / 2).clamp(min=0)


def _entropic_cost(f_a: Tensor, f_b: Tensor, regularisation: float, iterations: int) -> Tensor:
    """The cost of the entropic plan, found in the log domain: a far row underflows otherwise.

    Raises ValueError for a plan that does not carry each row's whole weight.
    """
    import ot

    cost = squared_distances(f_a, f_b)
    a, b = ot.unif(len(f_a), type_as=f_a), ot.unif(len(f_b), type_as=f_b)
    plan = ot.bregman.sinkhorn_log(
        a, b, cost, regularisation, numItermax=iterations, stopThr=1e-5, warn=False
    )
    off = float((plan.detach().sum(1) - a).abs().sum() + (plan.detach().sum(0) - b).abs().sum())
    if not off < _OFF:
        raise ValueError(
            f"the transport plan is off by {off:.2g} of all weight after {iterations} iterations; "
            "give more iterations, or a larger regularisation"
        )
    return (plan * cost).sum()
