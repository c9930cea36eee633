"""Exercises of notebook 06."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import distances


def _cloud(count: int, width: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(count, width, generator=generator, dtype=torch.float64)


_A, _B = _cloud(40, 3, 0), _cloud(25, 3, 1, mean=2, scale=1.5)
_C = _cloud(40, 3, 2, scale=0.5)


def _labelled(seed: int, shift: float) -> tuple[Tensor, Tensor]:
    """A cloud of ten classes, 4 + k rows of class k in mixed order, and its labels."""
    y = torch.cat([torch.full((4 + k,), k) for k in range(10)])  # 85 rows
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
    return _cloud(len(y), 3, seed + 1) + shift * y[:, None], y


_F_A, _Y_A = _labelled(3, 1.0)
_F_B, _Y_B = _labelled(5, 1.5)


def _gaps(f: Any, f_a: Tensor = _F_A, f_b: Tensor = _F_B) -> Tensor:
    return torch.as_tensor(np.asarray(f(f_a, _Y_A, f_b, _Y_B))).double().flatten()


def _expected(y_b: Tensor = _Y_B) -> Tensor:
    pairs = [(_F_A[k == _Y_A].mean(0), _F_B[y_b == k].mean(0)) for k in range(10)]
    return torch.stack([(a - b).norm() for a, b in pairs])


class_gaps = Exercise(
    "06.1",
    "distances class by class",
    [
        Property(
            "ten numbers, one a class",
            lambda f: _gaps(f).shape == (10,),
            "Return one number for each class: collect them in a list, or stack them.",
        ),
        Property(
            "no class is away from itself",
            lambda f: bool(
                (torch.as_tensor(np.asarray(f(_F_A, _Y_A, _F_A, _Y_A))).abs() < 1e-9).all()
            ),
            "Compare class k of one cloud with class k of the other, not with another class or "
            "with all rows.",
        ),
        Property(
            "each cloud has its own labels",
            lambda f: not close(_gaps(f), _expected(_Y_A)),
            "Choose the rows of cloud b by y_b, those of cloud a by y_a; their order differs.",
        ),
        Property(
            "moving a cloud counts",
            lambda f: not close(_gaps(f, f_b=_F_B + 5), _gaps(f)),
            "Do not centre the clouds here.",
        ),
        Property(
            "a length, not its square",
            lambda f: close(_gaps(f, 2 * _F_A, 2 * _F_B), 2 * _gaps(f)),
            "Twice the features, twice the distance: take the root of the sum of squares.",
        ),
        Property(
            "the distance between the means",
            lambda f: close(_gaps(f), _expected()),
            "Average the rows of a class first, over dim 0; then take the length of the "
            "difference, over all features.",
        ),
    ],
    lambda f: f(_F_A, _Y_A, _F_B, _Y_B),
)

coral = Exercise(
    "06.2",
    "CORAL by hand",
    [
        Property(
            "one number", lambda f: torch.as_tensor(f(_A, _C)).dim() == 0, "Sum over all entries."
        ),
        Property(
            "a cloud has no distance from itself",
            lambda f: close(f(_A, _A), 0.0),
            "It is a difference of two covariances.",
        ),
        Property(
            "moving a cloud changes nothing",
            lambda f: close(f(_A, _C + 5), f(_A, _C)),
            "Centre each cloud by its own mean.",
        ),
        Property(
            "it takes clouds of different sizes, in any order",
            lambda f: close(f(_A, _B), f(_B, _A)),
            "Covariances are (d, d) whatever the number of rows.",
        ),
        Property(
            "twice the features, sixteen times the distance",
            lambda f: close(f(2 * _A, 2 * _C), 16 * f(_A, _C)),
            "Square the difference of covariances; do not take a root.",
        ),
        Property(
            "divided by 4 d²",
            lambda f: close(f(_A, _C), distances.coral(_A, _C), rtol=0.08),
            "The sum of squares is divided by 4 d², d the number of features.",
        ),
        Property(
            "covariances divide by n − 1",
            lambda f: close(f(_A, _B), distances.coral(_A, _B)),
            "n − 1 rows are free once the mean is known.",
        ),
    ],
    lambda f: f(_A, _C),
)


def _band(f: Any, distance: Any = distances.euclidean, *, draws: int = 400, b: Tensor = _B) -> Any:
    low, high = f(distance, _A, b, draws, 0)
    return float(low), float(high)


def _sizes(f: Any) -> bool:
    """Whether each draw has as many rows of each as the clouds had, and no row twice."""
    faults = []

    def spy(a: Tensor, b: Tensor) -> Tensor:
        rows = torch.cat([a, b])
        faults.append((len(a), len(b)) != (40, 25) or len(rows.unique(dim=0)) != 65)
        return distances.euclidean(a, b)

    _band(f, spy, draws=25)
    return len(faults) >= 25 and not any(faults)


def _middle(f: Any) -> bool:
    """A distance that says 0, 1, … 399 in turn: the middle 95 % run from about 10 to about 389."""
    draws = iter(range(1000))
    low, high = _band(f, lambda a, b: torch.tensor(float(next(draws)), dtype=torch.float64))
    return abs(low - 10) < 2 and abs(high - 389) < 2


mended_band = Exercise(
    "06.3",
    "a null band that mixes the clouds",
    [
        Property(
            "the draws differ",
            lambda f: abs(_band(f)[1] - _band(f)[0]) > 1e-6,
            "Every draw gives the same distance: either rows are shuffled within a cloud only "
            "(pool both clouds), or every draw begins with the same seed.",
        ),
        Property(
            "two numbers, the lower first",
            lambda f: _band(f)[0] < _band(f)[1],
            "Return the lower edge first, then the upper.",
        ),
        Property(
            "each draw deals all rows out once, as many to each side as before",
            _sizes,
            "Shuffle the pooled rows once; the first len(f_a) are one side, the rest the other.",
        ),
        Property(
            "clouds that are far apart lie above their band",
            lambda f: _band(f, b=_B + 20)[1] < 0.5 * float(distances.euclidean(_A, _B + 20)),
            "The rows must be pooled before they are shuffled, so that the sides get mixed.",
        ),
        Property(
            "it is the middle 95 % of the draws",
            _middle,
            "min and max grow with the number of draws: take the quantiles 0.025 and 0.975.",
        ),
        Property(
            "the seed decides",
            lambda f: _band(f, draws=30) == _band(f, draws=30),
            "Draw with a torch.Generator that is seeded by `seed`.",
        ),
    ],
    lambda f: f(distances.euclidean, _A, _C, 25, 0),
)
