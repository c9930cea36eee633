"""Can a classifier tell the domains apart?"""

import torch
from torch import Tensor

from kdlib.distances.clouds import check_draw, checked

_STEPS = 12  # of Newton's; the penalty makes them converge


def proxy_a_distance(f_a: Tensor, f_b: Tensor, *, seed: int = 0) -> Tensor:
    """2 (1 - 2 err), err the error of a fresh probe on held-out rows (Ben-David et al. 2007).

    The probe is a logistic regression on standardised features, trained on half of each cloud, as
    the seed draws it, and tested on the other half; both domains weigh the same. 2: told apart
    without error; 0: no better than a coin; below 0 (not clipped): a probe that learnt noise.
    """
    check_draw(seed)
    f_a, f_b = (f.detach() for f in checked(f_a, f_b, least=4, double=True))
    (train_a, test_a), (train_b, test_b) = (_halves(f, seed) for f in (f_a, f_b))
    both = torch.cat([train_a, train_b])
    mean, std = both.mean(0), both.std(0)
    std = torch.where(std > 0, std, 1)
    train_a, test_a, train_b, test_b = (
        torch.nn.functional.pad((f - mean) / std, (0, 1), value=1.0)  # a last feature for the bias
        for f in (train_a, test_a, train_b, test_b)
    )
    weight = _logistic(train_a, train_b)
    # above 0 it says "b"; 0 itself is a coin toss
    says_b, says_a = (test_a @ weight).sign(), -(test_b @ weight).sign()
    err = ((says_b + 1).mean() + (says_a + 1).mean()) / 4
    return 2 * (1 - 2 * err)


def _logistic(f_a: Tensor, f_b: Tensor) -> Tensor:
    """Weights (width,) of a balanced logistic regression by Newton's method.

    Half the squared length of the weights (but for the last, the bias) is added to the summed
    loss, as scikit-learn does at C = 1.
    """
    x = torch.cat([f_a, f_b])
    is_b = torch.cat([f_a.new_zeros(len(f_a)), f_a.new_ones(len(f_b))])
    share = torch.where(is_b > 0, len(x) / 2 / len(f_b), len(x) / 2 / len(f_a))
    penalty = torch.ones_like(x[0])
    penalty[-1] = 1e-9
    weight = torch.zeros_like(x[0])
    for _ in range(_STEPS):
        p = torch.sigmoid(x @ weight)
        slope = x.T @ (share * (p - is_b)) + penalty * weight
        bend = (x.T * (share * p * (1 - p))) @ x + penalty.diag()
        weight = weight - torch.linalg.solve(bend, slope)
    return weight


def _halves(f: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(f), generator=torch.Generator().manual_seed(seed))
    order = order.to(f.device)
    return f[order[: len(f) // 2]], f[order[len(f) // 2 :]]
