"""What a distance says where there is no distance."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlib.arguments import finite, whole
from kdlib.distances.clouds import check_draw, checked


def null_band(
    distance: Callable[[Tensor, Tensor], Tensor],
    f_a: Tensor,
    f_b: Tensor,
    *,
    permutations: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """(low, high): the middle `level` of what the distance is when domains are drawn by lot.

    The rows are pooled and dealt out anew, as many to each side as before. A distance inside the
    band is what two halves of one domain would show; one above it is a difference (a permutation
    test: Fisher 1935).
    """
    check_draw(seed)
    if not callable(distance):
        raise ValueError(f"distance={distance!r}: expected a function, such as distances.mmd")
    if not (whole(permutations, 20) and finite(level) and 0 < level < 1):
        raise ValueError(
            f"permutations={permutations}, level={level}: expected 20 or more, and a share below 1"
        )
    f_a, f_b = (f.detach() for f in checked(f_a, f_b))
    pooled, generator = torch.cat([f_a, f_b]), torch.Generator().manual_seed(seed)
    values = []
    with torch.no_grad():
        for _ in range(permutations):
            order = torch.randperm(len(pooled), generator=generator).to(pooled.device)
            dealt = pooled[order]
            values.append(float(distance(dealt[: len(f_a)], dealt[len(f_a) :])))
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.tensor(values, dtype=torch.float64).quantile(edges).tolist()
    return low, high
