"""Scores of one network, and intervals for comparing many."""

from kdlib.data.errors import error_percent, wrong
from kdlib.metrics.intervals import (
    Interval,
    difference,
    holm,
    interval,
    mean_intervals,
    one_standard_error,
    rank_correlation,
)
from kdlib.metrics.regression import root_mean_square, score
from kdlib.metrics.scores import (
    accuracy,
    agreement,
    calibration_error,
    calibration_null,
    confusion,
    coverage_error,
    dark_knowledge,
    inherited_errors,
    macro_f1,
    nll,
    reliability,
)
from kdlib.metrics.similarity import cka
from kdlib.metrics.strings import (
    SequenceScores,
    acceptance,
    errors_after,
    log_probabilities,
    sequence_scores,
)
from kdlib.metrics.validators import (
    bnm,
    information_maximization_score,
    negative_entropy,
    snd,
)
