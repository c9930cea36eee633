"""Scores by hand and by scikit-learn; intervals by what they cover."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as peer
from torch import Tensor, nn

from kdlib import metrics
from kdlib.data import SealedLabels
from kdlib.metrics import Interval


def answers(count: int = 400, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (count,), generator=generator)
    z = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return z + 2 * nn.functional.one_hot(y, classes), y


# ---- scores --------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    z = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    y = torch.tensor([0, 1, 1, 0])
    assert metrics.wrong(z, y).tolist() == [False, False, True, False]
    assert metrics.accuracy(z, y) == 0.75 and metrics.error_percent(z, y) == 25
    assert metrics.confusion(z, y).tolist() == [[2, 0], [1, 1]]
    high, low = math.log(1 + math.exp(-2)), 2 + math.log(1 + math.exp(-2))
    assert float(metrics.nll(z, y)) == pytest.approx((3 * high + low) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_scikit_learn(seed: int) -> None:
    z, y = answers(seed=seed)
    guess = z.argmax(-1)
    assert metrics.macro_f1(z, y) == pytest.approx(peer.f1_score(y, guess, average="macro"))
    assert np.array_equal(metrics.confusion(z, y), peer.confusion_matrix(y, guess))
    assert float(metrics.nll(z, y)) == pytest.approx(peer.log_loss(y, z.softmax(-1)))
    assert float(metrics.accuracy(z, y)) == pytest.approx(peer.accuracy_score(y, guess))


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    z = torch.eye(3)[[0, 0, 1, 1]]
    assert metrics.macro_f1(z, torch.tensor([0, 0, 1, 1])) == 1.0


def test_many_students_are_scored_at_once() -> None:
    (z0, y), (z1, _) = answers(seed=0), answers(seed=1)
    both = torch.stack([z0, z1])
    for score in (metrics.wrong, metrics.accuracy, metrics.error_percent, metrics.nll):
        together = score(both, y)
        torch.testing.assert_close(together, torch.stack([score(z0, y), score(z1, y)]))


def test_unlabelled_examples_are_not_scored() -> None:
    z, y = answers()
    y[:3] = -1
    counts = (metrics.confusion, metrics.macro_f1, metrics.nll, metrics.dark_knowledge)
    for score in (metrics.wrong, metrics.accuracy, metrics.calibration_error, *counts):
        with pytest.raises(ValueError, match=r"3 of 400 examples have no label"):
            score(z, y)
    with pytest.raises(ValueError, match=r"400 answers for 399 labels"):
        metrics.wrong(z, y[1:])
    for score in counts:
        with pytest.raises(ValueError, match=r"a label is 99 and the logits speak of"):
            score(z, y.clamp(min=99))
    with pytest.raises(ValueError, match=r"logits have shape \(400,\); expected"):
        metrics.wrong(z[:, 0], y)
    with pytest.raises(ValueError, match="temperature T=0"):
        metrics.dark_knowledge(z, y.clamp(min=0), 0)


def test_answers_that_are_no_numbers_are_not_scored() -> None:
    z, y = answers()
    masked = z.clone()
    masked[:, 0] = -torch.inf  # a class that shall not be chosen
    assert not bool((metrics.wrong(masked, y)[y == 0] == 0).any())
    for bad in (torch.nan, torch.inf):
        z[3, 1] = bad
        for score in (metrics.wrong, metrics.error_percent, metrics.accuracy):
            with pytest.raises(ValueError, match=r"1 of 400 answers are nan or inf"):
                score(z, y)


def test_no_score_takes_nan_for_an_answer() -> None:
    z, y = answers()
    bad = torch.full_like(z, torch.nan)
    sealed = SealedLabels(y)
    for score in (
        lambda: metrics.confusion(bad, y),
        lambda: metrics.macro_f1(bad, y),
        lambda: metrics.agreement(bad, z),
        lambda: metrics.agreement(z, bad),
        lambda: metrics.inherited_errors(bad, z, y),
        lambda: metrics.inherited_errors(z, bad, y),
        lambda: sealed.error(bad, "score"),
    ):
        with pytest.raises(
            ValueError, match=r"400 of 400 answers are nan or inf: did the training"
        ):
            score()
    assert sealed.opened == []  # nothing was read, nothing is counted
    z[:, 0] = -torch.inf  # a class that shall not be chosen
    assert metrics.confusion(z, y)[:, 0].sum() == 0 and metrics.agreement(z, z) == 1
    assert sealed.error(z, "score") == pytest.approx(float(metrics.error_percent(z, y)))


def test_two_networks_are_compared_on_the_same_images() -> None:
    z, y = answers()
    for other in (z[:1], z[:, :1], z[0], z[1:]):
        for score in (
            lambda other: metrics.agreement(z, other),
            lambda other: metrics.agreement(other, z),
            lambda other: metrics.inherited_errors(other, z, y),
        ):
            with pytest.raises(
                ValueError, match=r"answers of shapes .* of the same images and cla"
            ):
                score(other)
    both = torch.stack([z, answers(seed=1)[0]])  # many students beside one, or each its own
    assert metrics.agreement(both, z).tolist()[0] == 1
    torch.testing.assert_close(
        metrics.inherited_errors(both, both.flip(0), y),
        torch.stack([metrics.inherited_errors(*pair, y) for pair in (both, both.flip(0))]),
    )


def test_holm_and_the_choice_of_a_setting_want_numbers() -> None:
    for p in (float("nan"), 3.0, -0.1):
        with pytest.raises(ValueError, match=r"the p-value of 'a' is .*from 0 to 1"):
            metrics.holm({"a": p, "b": 0.001})
    for folds in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match=r"the errors of 1 are .*a number for each fold"):
            metrics.one_standard_error({1: folds, 2: [0.5]})


def test_calibration_by_hand() -> None:
    """Four answers that claim 0.75, of which two are right; four that claim 0.5 + , all right."""
    sure = torch.tensor([[math.log(3), 0.0]]).repeat(4, 1)
    unsure = torch.tensor([[0.01, 0.0]]).repeat(4, 1)
    z = torch.cat([sure, unsure])
    y = torch.tensor([0, 0, 1, 1, 0, 0, 0, 0])
    confidence, right = metrics.reliability(z, y, bins=2)
    half = 1 / (1 + math.exp(-0.01))
    torch.testing.assert_close(confidence.tolist(), [half, 0.75], rtol=1e-6, atol=1e-6)
    assert right.tolist() == [1.0, 0.5]
    expected = (abs(half - 1) + 0.25) / 2
    assert metrics.calibration_error(z, y, bins=2) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"8 answers in 15 bins; expected .* from 1 to 8"):
        metrics.calibration_error(z, y)


def test_a_calibrated_network_lies_in_its_own_band_and_a_sharpened_one_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1000, 5, generator=generator)
    inside = 0
    for _ in range(20):
        y = torch.multinomial(z.softmax(-1), 1, generator=generator)[:, 0]
        low, high = metrics.calibration_null(z, draws=200)
        inside += low <= metrics.calibration_error(z, y) <= high
    assert inside >= 16
    assert metrics.calibration_error(4 * z, y) > metrics.calibration_null(4 * z, draws=200)[1]


def test_abstaining_helps_where_confidence_means_something() -> None:
    z, y = answers(2000)
    threshold, answered, errors = metrics.coverage_error(z, y)
    assert answered[-1] == 1 and float(errors[-1]) == pytest.approx(
        float(metrics.error_percent(z, y))
    )
    assert (threshold.diff() <= 0).all() and errors[999] < errors[-1] - 5
    first = z.softmax(-1).amax(-1).argmax()
    assert (errors[0] == 0) == (z[first].argmax() == y[first])


def test_agreement_and_inherited_errors_by_hand() -> None:
    y = torch.tensor([0, 0, 0, 1])
    teacher = torch.eye(3)[[0, 1, 2, 1]]  # wrong on images 1 and 2
    student = torch.eye(3)[[1, 1, 1, 1]]  # shares the first error, makes another on the second
    assert metrics.agreement(student, teacher) == 0.5
    assert metrics.inherited_errors(student, teacher, y) == 0.5
    assert metrics.inherited_errors(student, torch.eye(3)[y], y) == 0


def test_dark_knowledge_is_the_mean_of_the_wrong_classes() -> None:
    z, y = answers(100, 4)
    matrix = metrics.dark_knowledge(z, y, T=3)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(4, dtype=torch.float64))
    assert matrix.diagonal().abs().max() == 0
    p = (z[y == 1] / 3).softmax(-1).mean(0)
    p[1] = 0
    torch.testing.assert_close(matrix[1], p / p.sum())


# ---- intervals -----------------------------------------------------------------------------------


def test_an_interval_over_seeds_is_students_t() -> None:
    values = [1.0, 2.0, 4.0, 5.0, 9.0]
    interval = metrics.interval(values)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((4.2, low, high))
    assert interval.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    alone = metrics.interval([3.0])
    assert alone.mean == 3 and math.isnan(alone.low) and not alone.excludes()
    assert alone.p_value == 1.0  # one seed says nothing
    one_row = metrics.interval(torch.tensor([values]))
    assert one_row == interval and one_row.p_value == interval.p_value


def test_an_interval_by_hand() -> None:
    """Two seeds, three images: 3, 1, 2 and 5, 3, 7 have seeds' means 2 and 5, images' 4, 2, 4.5."""
    interval = metrics.interval([[3.0, 1.0, 2.0], [5.0, 3.0, 7.0]])
    a, b = 4.5 / 2, 1.75 / 3  # variances 4.5 and 1.75 of those means
    c = 3 / 2 / 6  # residuals ½, ½, -1 and the same turned round
    variance = a + b - c
    degrees = max(1.0, variance**2 / (a**2 / 1 + b**2 / 2 + c**2 / 2))
    half = stats.t.ppf(0.975, degrees) * math.sqrt(variance)
    expected = (3.5, 3.5 - half, 3.5 + half)
    assert (interval.mean, interval.low, interval.high) == pytest.approx(expected)
    assert interval.p_value == pytest.approx(2 * stats.t.sf(3.5 / math.sqrt(variance), degrees))


def test_mean_intervals_are_those_of_each_row() -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 5))
    mean, low, high = metrics.mean_intervals(values)
    assert mean.shape == (3, 2)
    for cell in np.ndindex(3, 2):
        low_by_scipy, high_by_scipy = stats.t.interval(
            0.95, 4, values[cell].mean(), stats.sem(values[cell])
        )
        assert (low[cell], high[cell]) == pytest.approx((low_by_scipy, high_by_scipy))
    mean, low, high = metrics.mean_intervals(torch.tensor([[3.0], [4.0]]))
    assert mean.tolist() == [3, 4] and np.isnan(low).all() and np.isnan(high).all()
    with pytest.raises(ValueError, match="no values to average"):
        metrics.mean_intervals(np.empty((2, 0)))


def test_intervals_read_well_and_tell_what_they_exclude() -> None:
    interval = Interval(1.234, 0.5, 2.0)
    assert str(interval) == "1.2 (0.5 to 2.0)" and f"{interval:.2f}" == "1.23 (0.50 to 2.00)"
    assert interval.excludes() and not interval.excludes(1) and interval.excludes(2.1)
    assert math.isnan(interval.p_value)


@pytest.mark.parametrize("seeds", [5, 10, 20])
@pytest.mark.parametrize(
    ("of_seeds", "of_images", "residual"),
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (2, 1, 1)],
)
def test_an_interval_covers_the_truth(
    seeds: int, of_seeds: float, of_images: float, residual: float
) -> None:
    """19 times in 20, whichever luck rules; the percentile bootstrap managed 82 to 99.8 %.

    Each component's size is that of its part of the mean. 600 experiments: two standard errors are
    1.8 points.
    """
    rng, images, covered = np.random.default_rng(seeds), 40, 0
    for _ in range(600):
        values = of_seeds * rng.normal(size=(seeds, 1)) * math.sqrt(seeds)
        values = values + of_images * rng.normal(size=(1, images)) * math.sqrt(images)
        values = values + residual * rng.normal(size=(seeds, images)) * math.sqrt(seeds * images)
        interval = metrics.interval(values)
        covered += interval.low <= 0 <= interval.high
        assert interval.excludes() == (interval.p_value < 0.05)
    assert 0.925 <= covered / 600 <= 0.997


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_a_family_of_nulls_is_rarely_called_real(seeds: int) -> None:
    """Eight methods that do nothing, under Holm: at most one family in ten has one that stands.

    (The bootstrap's, read as normal ones: 27 % of the families with 5 seeds that rule.)
    """
    rng, images, false = np.random.default_rng(0), 40, 0
    for _ in range(300):
        control = rng.normal(size=(seeds, images))
        found = {}
        for method in range(8):
            luck = 0.5 * rng.normal(size=(seeds, 1)) + 0.2 * rng.normal(size=(1, images))
            values = luck + rng.normal(size=(seeds, images)) - control
            found[str(method)] = metrics.interval(values).p_value
        false += any(metrics.holm(found).values())
    assert false / 300 <= 0.1


def test_an_interval_is_the_same_each_time_and_needs_values() -> None:
    values = torch.rand(3, 50, generator=torch.Generator().manual_seed(0))
    assert metrics.interval(values) == metrics.interval(values.numpy())
    assert metrics.interval(values).mean == pytest.approx(float(values.mean()))
    for none in (values[:, :0], values[:0], [], values[None], 3.0):
        with pytest.raises(ValueError, match=r"give \(seeds,\), or \(seeds, images\)"):
            metrics.interval(none)


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(1, 1000, generator=generator) < 0.1
    a = hard.expand(5, -1).clone()
    b = a.clone()
    b[:, hard[0].nonzero()[:20, 0]] = False  # b solves twenty of the hard ones
    interval = metrics.difference(a, b)
    assert interval.mean == pytest.approx(2.0) and interval.excludes()
    assert interval.high - interval.low < 2.5
    assert metrics.difference(a, a) == Interval(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="the same seeds and the same images"):
        metrics.difference(a, b[:3])


def test_holm_by_hand() -> None:
    p = {"a": 0.04, "b": 0.001, "c": 0.02, "d": 0.03}
    assert metrics.holm(p) == {"a": False, "b": True, "c": False, "d": False}
    assert metrics.holm({"a": 0.01, "b": 0.04, "c": 0.02}) == {"a": True, "b": True, "c": True}
    assert list(metrics.holm(p)) == list(p) and metrics.holm({}) == {}


def test_rank_correlation_is_spearmans() -> None:
    a, b = [1.0, 2, 3, 4, 5, 6], [2.0, 1, 4, 4, 6, 9]
    interval = metrics.rank_correlation(a, b, draws=200)
    assert interval.mean == pytest.approx(stats.spearmanr(a, b).statistic)
    assert interval.low < interval.mean <= interval.high <= 1 + 1e-12
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(3,\); expected .* at least 4"):
        metrics.rank_correlation(a[:3], b[:3])


def test_one_standard_error_takes_the_simplest_that_is_as_good() -> None:
    scores = {1.0: [9, 9, 9], 4.0: [6.2, 6.4, 6.6], 8.0: [5.0, 6.0, 7.0], 20.0: [6.3, 6.1, 6.2]}
    assert metrics.one_standard_error(scores) == 4.0  # 6.4 is within 6.0 ± 0.58
    assert metrics.one_standard_error({2.0: [3.0]}) == 2.0
    with pytest.raises(ValueError, match="no settings to choose from"):
        metrics.one_standard_error({})


# ---- mistakes that real projects ship ------------------------------------------------------------


def test_mistake_one_seed() -> None:
    """One seed has no interval over seeds, and resolves nothing."""
    assert not metrics.interval([5.0]).excludes(0)


def test_copies_of_one_student_differ_by_nothing_for_sure() -> None:
    still = metrics.interval(torch.zeros(3, 5))
    assert still == Interval(0.0, 0.0, 0.0) and still.p_value == 1.0
    moved = metrics.interval(torch.full((3, 5), 2.0))
    assert moved == Interval(2.0, 2.0, 2.0) and moved.p_value == 0.0


def test_halves_that_fail_in_turn_are_no_certainty() -> None:
    """Seeds' and images' means stand still, cells do not: only the residual knows."""
    a = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]]).bool()
    interval = metrics.difference(a, torch.zeros_like(a))
    assert interval.mean == 50 and interval.low < 50 < interval.high and interval.p_value > 0.01


def test_answers_of_other_kinds_are_read_or_refused() -> None:
    a = np.random.default_rng(0).random((3, 50)) > 0.5
    assert metrics.difference(a, a) == Interval(0.0, 0.0, 0.0)  # type: ignore[arg-type]
    assert metrics.interval(torch.rand(4).bfloat16()).low < 1
    assert metrics.interval(np.arange(6.0)[::-1]).mean == 2.5  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no answers that are wrong or not"):
        metrics.difference(torch.randn(3, 10), torch.randn(3, 10))
    with pytest.raises(ValueError, match="level=5: expected a share between 0 and 1"):
        metrics.holm({"a": 0.01}, level=5)
    for p in (None, metrics.interval([1.0, 2.0])):
        with pytest.raises(ValueError, match="the p-value of 'a' is"):
            metrics.holm({"a": p})  # type: ignore[dict-item]


def test_no_number_is_written_as_minus_zero() -> None:
    from kdcourse.measured import saves, value_text

    near = metrics.Interval(-0.04, -0.3, 0.04)
    assert f"{near}" == "0.0 (-0.3 to 0.0)" and f"{near:+.2f}" == "-0.04 (-0.30 to +0.04)"
    assert saves(near) == "costs 0.0 (0.0 to 0.3) points, not resolved"
    assert value_text({"mean": -0.04, "low": -0.3, "high": -0.01}) == "0.0 (-0.3 to 0.0)"


@pytest.mark.parametrize(
    "name",
    [
        "accuracy",
        "confusion",
        "macro_f1",
        "nll",
        "reliability",
        "calibration_error",
        "calibration_null",
        "coverage_error",
        "dark_knowledge",
    ],
)
def test_a_score_of_many_networks_is_that_of_each(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(2, 3, 60, 4, generator=g), torch.randint(4, (60,), generator=g)
    score = getattr(metrics, name)
    given = () if name == "calibration_null" else (y,)
    many, one = score(z, *given), score(z[1, 2], *given)
    pairs = zip(many, one, strict=True) if isinstance(many, tuple) else [(many, one)]
    for part, (all_of_them, own) in enumerate(pairs):
        if name == "coverage_error" and part == 1:  # the share answered is one for all
            assert torch.equal(all_of_them, own)
            continue
        assert all_of_them.shape[:2] == (2, 3)
        torch.testing.assert_close(all_of_them[1, 2], torch.as_tensor(own, dtype=all_of_them.dtype))


@pytest.mark.parametrize("name", ["reliability", "calibration_error", "coverage_error"])
def test_labels_beyond_the_outputs_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a label is 4 and the logits speak of 3 classes"):
        getattr(metrics, name)(torch.randn(20, 3), torch.full((20,), 4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_refuse_values_that_are_not_finite(bad: float) -> None:
    values = [1.0, 2, 3, 4, 5, bad]
    with pytest.raises(ValueError, match="1 of 6 values are nan or inf"):
        metrics.interval(values)
    for pair in ((values, [1.0, 2, 3, 4, 5, 6]), ([1.0, 2, 3, 4, 5, 6], values)):
        with pytest.raises(ValueError, match="1 of 6 values are nan or inf"):
            metrics.rank_correlation(*pair)


@pytest.mark.parametrize("bad", [{"draws": 0}, {"draws": 2.5}, {"seed": 0.5}, {"seed": -1}])
def test_draws_and_seeds_are_whole_numbers(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected whole numbers"):
        metrics.rank_correlation(range(6), range(6), **bad)
    with pytest.raises(ValueError, match="expected whole numbers"):
        metrics.calibration_null(torch.randn(20, 3), **bad)


def test_networks_of_one_method_are_drawn_together() -> None:
    """Ten copies of each pair say nothing more: the interval is that of the pairs themselves."""
    a, b = [1.0, 2, 3, 4, 5, 6, 7, 8], [2.0, 1, 4, 3, 8, 5, 6, 7]
    copies, names = [v for v in a for _ in range(10)], [f"method {v}" for v in a for _ in range(10)]
    others = [v for v in b for _ in range(10)]
    alone, blind = metrics.rank_correlation(a, b), metrics.rank_correlation(copies, others)
    grouped = metrics.rank_correlation(copies, others, groups=names)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    assert blind.high - blind.low < (grouped.high - grouped.low) / 2
    for bad in (names[1:], ["one"] * 80, 3):
        with pytest.raises(ValueError, match="a group's name for each pair"):
            metrics.rank_correlation(copies, others, groups=bad)  # type: ignore[arg-type]


def test_a_grid_of_students_is_compared_cell_by_cell() -> None:
    wrong = torch.zeros(3, 2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"choose one cell of a bank first"):
        metrics.difference(wrong, wrong)
    with pytest.raises(ValueError, match=r"choose one cell of a bank first"):
        metrics.interval(wrong.double())
