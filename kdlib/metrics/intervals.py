"""How sure a number is: intervals over seeds and test images, and rules for choosing."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return format(self, ".1f")

    def __format__(self, spec: str) -> str:
        mean, low, high = (format(v, spec or ".1f") for v in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high})"

    def excludes(self, value: float = 0.0) -> bool:
        """Whether the interval lies wholly on one side of the value: a resolved difference."""
        return self.low > value or self.high < value

    @property
    def p_value(self) -> float:
        """Two-sided, for a mean of 0: the interval read as a normal one (3.92 standard errors)."""
        error = (self.high - self.low) / 3.92
        if not error > 0:  # two copies of one student, or a single seed
            return float(self.mean == 0 or error != 0)
        return float(2 * stats.norm.sf(abs(self.mean) / error))


def mean_interval(values: Tensor | Sequence[float]) -> Interval:
    """Mean over seeds with Student's t interval; one value has no interval (nan)."""
    mean, low, high = mean_intervals(np.asarray(values, dtype=float).ravel())
    return Interval(float(mean), float(low), float(high))


def mean_intervals(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high (…), of values (…, seeds), as `mean_interval` has them; for pictures.

    It tells what other seeds would give on the same images, not what other images would.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim == 0 or table.shape[-1] == 0:
        raise ValueError("no values to average; give at least one seed's")
    seeds, mean = table.shape[-1], table.mean(-1)
    if seeds == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = special.stdtrit(seeds - 1, 0.975) * table.std(-1, ddof=1) / np.sqrt(seeds)
    return mean, mean - half, mean + half


def bootstrap(values: Tensor, *, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean of values (seeds, images), resampling seeds *and* images (two-way bootstrap).

    Seeds alone would pretend that these test images are all there are.
    """
    matrix = torch.atleast_2d(torch.as_tensor(values)).cpu().double()
    seeds, images = matrix.shape
    if not seeds or not images:
        raise ValueError(
            f"no values to resample in shape {tuple(matrix.shape)}; give (seeds, images)"
        )
    counts_seed, counts_image = _resamples(seeds, images, draws, seed)
    # float32 counts, as whole numbers exact; one product for all draws
    sums = counts_image @ matrix.T.float()  # (draws, seeds)
    means = (sums.double() * counts_seed).sum(1) / (seeds * images)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(matrix.mean()), low, high)


@functools.lru_cache(maxsize=4)
def _resamples(seeds: int, images: int, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """How often each draw holds each seed (draws, seeds) and each image (draws, images)."""
    generator = torch.Generator().manual_seed(seed)
    pick_seed = torch.randint(seeds, (draws, seeds), generator=generator)
    pick_image = torch.randint(images, (draws, images), generator=generator)
    counts_image = torch.zeros(draws, images)
    counts_image.scatter_add_(1, pick_image, torch.ones_like(counts_image))
    return torch.nn.functional.one_hot(pick_seed, seeds).sum(1).double(), counts_image


def difference(wrong_a: Tensor, wrong_b: Tensor, *, draws: int = 2000, seed: int = 0) -> Interval:
    """Error % of a minus error % of b, paired by seed and image: (seeds, images) bool each."""
    if wrong_a.shape != wrong_b.shape:
        raise ValueError(
            f"answers of shapes {tuple(wrong_a.shape)} and {tuple(wrong_b.shape)}; "
            "a paired comparison needs the same seeds and the same images"
        )
    return bootstrap(100 * (wrong_a.double() - wrong_b.double()), draws=draws, seed=seed)


def holm(p_values: Mapping[str, float], *, level: float = 0.05) -> dict[str, bool]:
    """Which differences stand after Holm's correction for looking at many (Holm 1979).

    Raises ValueError for a p-value that is none, nan included.
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise ValueError(f"the p-value of {name!r} is {p}; expected a number from 0 to 1")
    stands, standing = {}, True
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        standing = standing and p <= level / (len(p_values) - i)
        stands[name] = standing
    return {name: stands[name] for name in p_values}


def rank_correlation(
    a: Sequence[float], b: Sequence[float], *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Spearman's rank correlation with a bootstrap interval over the pairs."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape or len(x) < 4:
        raise ValueError(f"{len(x)} and {len(y)} values; expected the same number, at least 4")
    picks = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    low, high = np.nanquantile(_spearman(x[picks], y[picks]), [0.025, 0.975])
    return Interval(float(_spearman(x[None], y[None])[0]), float(low), float(high))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row of x (rows, pairs) with that of y; nan where one of them stands still."""
    ranks = [stats.rankdata(one, axis=1) for one in (x, y)]
    a, b = (one - one.mean(1, keepdims=True) for one in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def one_standard_error(scores: Mapping[float, Sequence[float]]) -> float:
    """The simplest setting whose mean error is within one standard error of the best.

    scores: setting -> errors over folds; settings stand in order from simple to complex
    (Breiman et al. 1984).
    """
    if not scores:
        raise ValueError("no settings to choose from; give setting -> errors over folds")
    for setting, folds in scores.items():
        if not len(folds) or not np.isfinite(folds).all():
            raise ValueError(
                f"the errors of {setting!r} are {list(folds)}; expected one number for each fold"
            )
    means = {setting: float(np.mean(errors)) for setting, errors in scores.items()}
    best = min(means, key=lambda setting: means[setting])
    errors = np.asarray(scores[best], dtype=float)
    margin = errors.std(ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else 0.0
    return next(setting for setting, mean in means.items() if mean <= means[best] + margin)
