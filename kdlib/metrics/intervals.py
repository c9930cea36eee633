"""How sure a number is: intervals over seeds and test images, and rules for choosing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from kdlib.arguments import finite, whole


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, and the two-sided p-value of a mean of 0 (nan: none)."""

    mean: float
    low: float
    high: float
    p_value: float = field(default=float("nan"), compare=False)

    def __str__(self) -> str:
        return format(self, ".1f")

    def __format__(self, spec: str) -> str:
        texts = (format(v, spec or ".1f") for v in (self.mean, self.low, self.high))  # no "-0.0"
        mean, low, high = (text if text.strip("-0.") else text.lstrip("-") for text in texts)
        return f"{mean} ({low} to {high})"

    def excludes(self, value: float = 0.0) -> bool:
        """Whether the interval lies wholly on one side of the value: a resolved difference."""
        return self.low > value or self.high < value


def interval(values: Tensor | Sequence[float]) -> Interval:
    """Mean of values (seeds, images), or (seeds,), with its 95 % interval over both kinds of luck.

    Both kinds of luck are added, and what was counted twice is taken away: the variance of the
    mean is that of the seeds' means / seeds, plus that of the images' means / images, minus the
    residual's / (seeds · images), but no less than either; then Student's t with Satterthwaite's
    degrees of freedom (Satterthwaite 1946; a crossed two-way design with random effects). The
    p-value is of the same t. One row, (1, images): what other images would say, of this one seed.
    (seeds,): Student's t over seeds, nothing of images; one seed has no interval (nan, p 1).
    Raises ValueError for no values, and for values that are not finite.
    """
    table = _numbers(values)
    if table.ndim > 2:
        raise ValueError(
            f"no mean of shape {table.shape}; give (seeds,), or (seeds, images): choose one cell "
            "of a bank first, bank.select(…).wrong()"
        )
    if not table.ndim or not table.size:
        raise ValueError(f"no mean of shape {table.shape}; give (seeds,), or (seeds, images)")
    _check_finite(table)
    mean = float(table.mean())
    if table.ndim == 1 or 1 in table.shape:
        flat = table.ravel()
        if len(flat) == 1:
            return Interval(mean, float("nan"), float("nan"), 1.0)
        return _students_t(mean, float(flat.var(ddof=1)) / len(flat), len(flat) - 1)
    seeds, images = table.shape
    of_seeds, of_images = table.mean(1), table.mean(0)
    residual = table - of_seeds[:, None] - of_images + mean
    degrees = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    parts = np.array(  # of the mean's variance: seeds, images, and what stands in both
        [of_seeds.var(ddof=1) / seeds, of_images.var(ddof=1) / images, 0.0]
    )
    parts[2] = (residual**2).sum() / degrees[2] / table.size
    variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1]) or float(parts[2])
    spread = float((parts**2 / degrees).sum())
    return _students_t(mean, variance, max(1.0, variance**2 / spread) if spread else 1.0)


def _numbers(values: Any) -> np.ndarray:
    """As float64. Raises ValueError for what are no real numbers, or rows of several lengths."""
    given = values
    if isinstance(values, Tensor):  # in a kind that NumPy knows
        wide = torch.complex128 if values.is_complex() else torch.float64
        given = values.detach().cpu().to(wide).numpy()
    try:
        if np.iscomplexobj(given):
            raise TypeError("complex numbers have no order")
        return np.array(given, dtype=float)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"values are a {type(values).__name__} of something else than real numbers; expected "
            "a tensor or a list of numbers, rows of one length"
        ) from error


def _check_named(given: Any, what: str) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{type(given).__name__} was given; expected a dict, {what}")


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} values are nan or inf, of which "
            "there is no mean: did a training diverge? Leave it out, and say so"
        )


def _students_t(mean: float, variance: float, degrees: float) -> Interval:
    error = float(np.sqrt(variance))
    half = float(stats.t.ppf(0.975, degrees)) * error
    if error == 0:  # two copies of one student
        return Interval(mean, mean, mean, float(mean == 0))
    p = 2 * float(stats.t.sf(abs(mean) / error, degrees))
    return Interval(mean, mean - half, mean + half, p)


def mean_intervals(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high (…) of values (…, seeds), as `interval` has them of seeds; for pictures.

    It tells what other seeds would give on the same images, not what other images would.
    nan where a seed has nan: it has no answers.
    """
    table = _numbers(values)
    if table.ndim == 0 or table.shape[-1] == 0:
        raise ValueError("no values to average; give at least one seed's")
    _check_finite(table[~np.isnan(table)])
    seeds, mean = table.shape[-1], table.mean(-1)
    if seeds == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = special.stdtrit(seeds - 1, 0.975) * table.std(-1, ddof=1) / np.sqrt(seeds)
    return mean, mean - half, mean + half


def difference(wrong_a: Tensor, wrong_b: Tensor) -> Interval:
    """Error % of a minus error % of b, paired by seed and image: (seeds, images) bool each."""
    wrong_a, wrong_b = (torch.from_numpy(_numbers(wrong)) for wrong in (wrong_a, wrong_b))
    for wrong in (wrong_a, wrong_b):
        if wrong.numel() and not (wrong.min() >= 0 and wrong.max() <= 1):
            raise ValueError("these are no answers that are wrong or not; give metrics.wrong(…)")
    if wrong_a.shape != wrong_b.shape:
        raise ValueError(
            f"answers of shapes {tuple(wrong_a.shape)} and {tuple(wrong_b.shape)}; "
            "a paired comparison needs the same seeds and the same images"
        )
    return interval(100 * (wrong_a.double() - wrong_b.double()))


def holm(p_values: Mapping[str, float], *, level: float = 0.05) -> dict[str, bool]:
    """Which differences stand after Holm's correction for looking at many (Holm 1979).

    Raises ValueError for a p-value that is none, nan included.
    """
    _check_named(p_values, "name -> p-value")
    if not (finite(level) and 0 < level < 1):
        raise ValueError(f"level={level!r}: expected a share between 0 and 1, such as 0.05")
    for name, p in p_values.items():
        if not (finite(p) and 0 <= p <= 1):
            raise ValueError(f"the p-value of {name!r} is {p}; expected a number from 0 to 1")
    stands, standing = {}, True
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        standing = standing and p <= level / (len(p_values) - i)
        stands[name] = standing
    return {name: stands[name] for name in p_values}


def rank_correlation(
    a: Sequence[float],
    b: Sequence[float],
    *,
    groups: Sequence[Any] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Spearman's rank correlation with a bootstrap interval over the pairs.

    Pairs must be independent: several networks of one method are not. Average them first, or name
    each pair's method in `groups`: whole groups are drawn then. Of 4 or 5 pairs, or groups, the
    interval is too narrow. Raises ValueError for values that are not finite.
    """
    x, y = _numbers(a), _numbers(b)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 4:
        raise ValueError(
            f"values of shapes {x.shape} and {y.shape}; expected two rows of one length, at least 4"
        )
    if not (whole(draws, 1) and whole(seed, 0)):
        raise ValueError(f"draws={draws!r}, seed={seed!r}: expected whole numbers, draws 1 or more")
    _check_finite(x)
    _check_finite(y)
    if x.min() == x.max() or y.min() == y.max():
        raise ValueError("all values of one row are alike, and have no ranks; give rows that vary")
    generator = np.random.default_rng(seed)
    if groups is None:
        picks = generator.integers(0, len(x), (draws, len(x)))
        drawn = _spearman(x[picks], y[picks])
    else:
        members = _members(groups, len(x))
        picks = generator.integers(0, len(members), (draws, len(members)))
        rows = (np.concatenate([members[i] for i in pick]) for pick in picks)
        drawn = np.array([_spearman(x[None, row], y[None, row])[0] for row in rows])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(float(_spearman(x[None], y[None])[0]), float(low), float(high))


def _members(groups: Sequence[Any], pairs: int) -> list[np.ndarray]:
    """The places of each group's pairs; ValueError unless each pair has a group, of 4 or more."""
    names = list(groups) if isinstance(groups, Iterable) else []
    if len(names) != pairs or len(set(names)) < 4:
        raise ValueError(
            f"there are {len(names)} names of {len(set(names))} groups for {pairs} pairs; expected "
            "a group's name for each pair, and at least 4 groups"
        )
    return [
        np.array([i for i, own in enumerate(names) if own == name]) for name in dict.fromkeys(names)
    ]


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
    _check_named(scores, "setting -> errors over folds")
    if not scores:
        raise ValueError("no settings to choose from; give setting -> errors over folds")
    for setting, folds in scores.items():
        values = _numbers(folds)
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError(
                f"the errors of {setting!r} are {values.tolist()}; expected a number for each fold"
            )
    means = {setting: float(np.mean(errors)) for setting, errors in scores.items()}
    best = min(means, key=lambda setting: means[setting])
    errors = np.asarray(scores[best], dtype=float)
    margin = errors.std(ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else 0.0
    return next(setting for setting, mean in means.items() if mean <= means[best] + margin)
