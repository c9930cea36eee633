"""How much work it is to carry one cloud into the other (through POT, Python Optimal Transport)."""

import torch
from torch import Tensor

from kdlib.distances.clouds import checked, median_square


def sliced_wasserstein(f_a: Tensor, f_b: Tensor, *, projections: int = 50, seed: int = 0) -> Tensor:
    """Wasserstein-2 on lines: √ of the mean over random directions of the squared 1-D distance.

    The directions depend on the seed alone (Rabin et al. 2011; Bonneel et al. 2015).
    """
    if projections < 1:
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
    far apart), large it compares the means.
    """
    if not regularisation > 0 or iterations < 1:
        raise ValueError(
            f"regularisation={regularisation}, iterations={iterations}: expected above 0, and 1 or "
            "more"
        )
    import ot

    f_a, f_b = checked(f_a, f_b)
    unit = median_square(torch.cat([f_a, f_b])).sqrt()
    divergence = ot.bregman.empirical_sinkhorn_divergence(
        f_a / unit, f_b / unit, reg=regularisation, numIterMax=iterations, stopThr=1e-5, warn=False
    )
    return divergence.reshape(())  # POT answers with (1,)
