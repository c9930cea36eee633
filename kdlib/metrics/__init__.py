"""Scores of one network, and intervals for comparing many."""

from kdlib.metrics.intervals import (
    Interval,
    difference,
    holm,
    interval,
    mean_intervals,
    one_standard_error,
    rank_correlation,
)
from kdlib.metrics.scores import (
    accuracy,
    agreement,
    calibration_error,
    calibration_null,
    confusion,
    coverage_error,
    dark_knowledge,
    error_percent,
    inherited_errors,
    macro_f1,
    nll,
    reliability,
    wrong,
)
from kdlib.metrics.similarity import cka
from kdlib.metrics.validators import (
    bnm,
    information_maximization_score,
    negative_entropy,
    snd,
)

__all__ = [
    "Interval",
    "accuracy",
    "agreement",
    "bnm",
    "calibration_error",
    "calibration_null",
    "cka",
    "confusion",
    "coverage_error",
    "dark_knowledge",
    "difference",
    "error_percent",
    "holm",
    "information_maximization_score",
    "inherited_errors",
    "interval",
    "macro_f1",
    "mean_intervals",
    "negative_entropy",
    "nll",
    "one_standard_error",
    "rank_correlation",
    "reliability",
    "snd",
    "wrong",
]
