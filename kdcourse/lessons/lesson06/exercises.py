"""Exercises of notebook 06."""

from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import distances


def _cloud(count: int, width: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(count, width, generator=generator, dtype=torch.float64)


_A, _B = _cloud(40, 3, 0), _cloud(25, 3, 1, mean=2, scale=1.5)
_C = _cloud(40, 3, 2, scale=0.5)


proxy_a = Exercise(
    "06.1",
    "the proxy A-distance of a probe's error",
    [
        Property("a coin gives 0", lambda f: close(f(0.5), 0.0), "err = ½ must give 0."),
        Property(
            "a perfect probe gives 2", lambda f: close(f(0.0), 2.0), "err = 0 must give 2, not 1."
        ),
        Property("err = ¼ gives 1", lambda f: close(f(0.25), 1.0), "It is linear: 2 (1 − 2 err)."),
        Property(
            "worse than a coin is below 0",
            lambda f: close(f(0.75), -1.0),
            "Neither clip nor take the absolute value: below 0 is a probe that learned noise.",
        ),
    ],
    lambda f: f(0.25),
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


def _band(f: Any, distance: Any = distances.euclidean, *, lots: int = 400, b: Tensor = _B) -> Any:
    low, high = f(distance, _A, b, lots, 0)
    return float(low), float(high)


def _sizes(f: Any) -> bool:
    """Whether each lot has as many rows of each as the clouds had, and no row twice."""
    faults = []

    def spy(a: Tensor, b: Tensor) -> Tensor:
        rows = torch.cat([a, b])
        faults.append((len(a), len(b)) != (40, 25) or len(rows.unique(dim=0)) != 65)
        return distances.euclidean(a, b)

    _band(f, spy, lots=25)
    return len(faults) >= 25 and not any(faults)


def _middle(f: Any) -> bool:
    """A distance that says 0, 1, … 399 in turn: the middle 95 % run from about 10 to about 389."""
    lots = iter(range(1000))
    low, high = _band(f, lambda a, b: torch.tensor(float(next(lots)), dtype=torch.float64))
    return abs(low - 10) < 2 and abs(high - 389) < 2


mended_band = Exercise(
    "06.3",
    "a null band that mixes the clouds",
    [
        Property(
            "the lots differ",
            lambda f: abs(_band(f)[1] - _band(f)[0]) > 1e-6,
            "Shuffling rows within a cloud leaves every distance as it was: pool both clouds.",
        ),
        Property(
            "two numbers, the lower first",
            lambda f: _band(f)[0] < _band(f)[1],
            "Return the lower edge first, then the upper.",
        ),
        Property(
            "each lot deals all rows out once, as many to each side as before",
            _sizes,
            "Shuffle the pooled rows once; the first len(f_a) are one side, the rest the other.",
        ),
        Property(
            "clouds that are far apart lie above their band",
            lambda f: _band(f, b=_B + 20)[1] < 0.5 * float(distances.euclidean(_A, _B + 20)),
            "The rows must be pooled before they are shuffled, so that the sides get mixed.",
        ),
        Property(
            "it is the middle 95 % of the lots",
            _middle,
            "min and max grow with the number of lots: take the quantiles 0.025 and 0.975.",
        ),
        Property(
            "the seed decides",
            lambda f: _band(f, lots=30) == _band(f, lots=30),
            "Draw with a torch.Generator that is seeded by `seed`.",
        ),
    ],
    lambda f: f(distances.euclidean, _A, _C, 25, 0),
)
