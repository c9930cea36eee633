"""Maximum mean discrepancy: do two clouds differ for any smooth function?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlib.arguments import finite
from kdlib.distances.clouds import checked, median_square, off_diagonal, squared_distances

_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(f_a: Tensor, f_b: Tensor, *, scales: Sequence[float] = _SCALES) -> Tensor:
    """MMD², unbiased, with a mixture of Gaussian kernels (Gretton et al. 2012; DAN, Long 2015).

    k(x, y) = mean over the scales c of exp(-||x - y||² / (c · median)), the median of the pooled
    rows' squared distances, detached. mean k(a, a') + mean k(b, b') - 2 mean k(a, b), the first
    two over different rows: so it is 0 on average, and often below, where nothing differs.
    Differentiable: a training loss.
    """
    several = isinstance(scales, Sequence) and len(scales) > 0
    if not several or not all(finite(scale) and scale > 0 for scale in scales):
        raise ValueError(f"scales={scales}: expected one number above 0, or several")
    f_a, f_b = checked(f_a, f_b, least=2)
    n = len(f_a)
    pooled = torch.cat([f_a, f_b])
    squared = squared_distances(pooled, pooled) / median_square(pooled)
    kernel = torch.stack([torch.exp(-squared / c) for c in scales]).mean(0)
    within_a, within_b = off_diagonal(kernel[:n, :n]), off_diagonal(kernel[n:, n:])
    return within_a.mean() + within_b.mean() - 2 * kernel[:n, n:].mean()
