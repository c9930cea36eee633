"""Distances between clouds: by hand, by identities, on real digits, and beside POT and skada."""

import itertools
import math

import numpy as np
import pytest
import torch

from kdlib.data import load, severity
from kdlib.distances import (
    DISTANCES,
    coral,
    cosine_distance,
    euclidean,
    frechet,
    mahalanobis,
    mmd,
    null_band,
    proxy_a_distance,
    sinkhorn,
    sliced_wasserstein,
)

PLUG_IN = [name for name in DISTANCES if name not in ("mmd", "proxy_a_distance")]
PAIR = pytest.mark.parametrize("name", DISTANCES)


def cloud(count, width, *, seed=0, mean=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(count, width, generator=generator, dtype=torch.float64)


# ---- what holds for all of them ------------------------------------------------------------------


@pytest.mark.parametrize("name", PLUG_IN)
def test_identical_clouds_have_no_distance(name):
    f = cloud(60, 5, mean=1)
    assert DISTANCES[name](f, f) == pytest.approx(0, abs=1e-9)


@PAIR
def test_two_halves_of_one_domain_lie_in_the_null_band(name):
    f = cloud(240, 5, mean=1, seed=3)
    low, high = null_band(DISTANCES[name], f[:120], f[120:], permutations=60)
    assert low <= DISTANCES[name](f[:120], f[120:]) <= high


@pytest.mark.parametrize("name", [name for name in DISTANCES if name != "coral"])
def test_a_clear_difference_lies_above_the_null_band(name):
    a, b = cloud(80, 5, mean=1), cloud(90, 5, mean=torch.arange(5), seed=1)
    _, high = null_band(DISTANCES[name], a, b, permutations=40)
    assert DISTANCES[name](a, b) > 1.5 * high


def test_coral_sees_covariances_only():
    a, b = cloud(200, 4), cloud(200, 4, seed=1)
    _, high = null_band(coral, a, b, permutations=60)
    assert coral(a, 3 * b) > 10 * high
    torch.testing.assert_close(coral(a, b + 7), coral(a, b))


@PAIR
def test_symmetric_under_the_same_projections_and_split(name):
    a, b = cloud(50, 4), cloud(50, 4, seed=1, mean=0.5, scale=2)
    torch.testing.assert_close(DISTANCES[name](a, b), DISTANCES[name](b, a), rtol=1e-3, atol=1e-9)


@PAIR
def test_the_answer_is_one_number_that_depends_on_no_global_state(name):
    a, b = cloud(40, 3).float(), cloud(31, 3, seed=1, mean=1).float()
    torch.manual_seed(0)
    np.random.seed(0)
    once = DISTANCES[name](a, b)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(once, DISTANCES[name](a, b))
    assert once.dim() == 0
    assert math.isfinite(once)


@pytest.mark.parametrize("name", DISTANCES)
def test_half_precision_is_read_as_float32(name):
    a, b = cloud(40, 3).half(), cloud(40, 3, seed=1, mean=2).half()
    torch.testing.assert_close(DISTANCES[name](a, b), DISTANCES[name](a.float(), b.float()))


@pytest.mark.parametrize(
    "name", ["euclidean", "mahalanobis", "mmd", "coral", "sinkhorn", "frechet"]
)
def test_turning_and_moving_both_clouds_changes_nothing(name):
    a, b = cloud(60, 4), cloud(60, 4, seed=1, mean=1)
    turn = torch.linalg.qr(cloud(4, 4, seed=2))[0]
    torch.testing.assert_close(
        DISTANCES[name](a @ turn + 5, b @ turn + 5), DISTANCES[name](a, b), rtol=1e-5, atol=1e-8
    )


@PAIR
def test_grows_with_the_severity_of_a_shift_on_real_digits(name):
    test = load("mnist5k", size=16).test
    ours, others = test[:400], test[400:800]
    f_a = ours.batch().x.flatten(1)
    levels = [
        float(
            DISTANCES[name](
                f_a, others.transformed(severity("texture", level)).batch().x.flatten(1)
            )
        )
        for level in (0, 0.3, 0.6, 1.0)
    ]
    slack = 0.02 * levels[-1]  # told apart wholly is told apart wholly
    assert all(b > a - slack for a, b in itertools.pairwise(levels))
    assert levels[-1] > 2 * abs(levels[0])


# ---- by hand -------------------------------------------------------------------------------------

A = torch.tensor([[0.0, 0], [2, 0], [0, 2], [2, 2]])  # mean (1, 1), covariance 4/3 · 1
B = torch.tensor([[4.0, 5], [6, 5], [4, 5], [6, 5]])  # mean (5, 5), covariance diag(4/3, 0)


def test_means_by_hand():
    assert euclidean(A, B) == pytest.approx(math.hypot(4, 4))
    assert cosine_distance(A, B) == pytest.approx(0, abs=1e-6)
    assert cosine_distance(A, B * torch.tensor([1, 0])) == pytest.approx(1 - math.sqrt(0.5))
    assert cosine_distance(A, -A) == pytest.approx(2)


def test_mahalanobis_by_hand():
    # pooled diag(4/3, 2/3): 16/(4/3) + 16/(2/3) = 36
    assert mahalanobis(A, B, shrinkage=0) == pytest.approx(6)
    # half of it, half of a ball of variance 1: diag(7/6, 5/6)
    expected = math.sqrt(16 / (7 / 6) + 16 / (5 / 6))
    assert mahalanobis(A, B, shrinkage=0.5) == pytest.approx(expected)


def test_mahalanobis_does_not_mind_the_units():
    a, b = cloud(80, 3), cloud(70, 3, seed=1, mean=1)
    stretch = torch.diag(torch.tensor([1.0, 10, 1000], dtype=torch.float64))
    torch.testing.assert_close(
        mahalanobis(a @ stretch, b @ stretch, shrinkage=0), mahalanobis(a, b, shrinkage=0)
    )
    assert euclidean(a @ stretch, b @ stretch) > 100 * euclidean(a, b)


def test_coral_and_frechet_by_hand():
    assert coral(A, B) == pytest.approx((4 / 3) ** 2 / (4 * 2**2))
    # equal variances in x; (√(4/3) - 0)² in y; 4² + 4² between the means
    assert frechet(A, B) == pytest.approx(32 + 4 / 3)


def test_frechet_equals_the_matrix_root():
    from scipy.linalg import sqrtm

    a, b = cloud(50, 4), cloud(60, 4, seed=1, mean=1) @ cloud(4, 4, seed=2)
    C_a, C_b = (np.cov(f.numpy().T) for f in (a, b))
    root = sqrtm(C_a @ C_b).real
    gap = (a.mean(0) - b.mean(0)).square().sum().item()
    assert frechet(a, b).item() == pytest.approx(gap + np.trace(C_a + C_b - 2 * root), rel=1e-6)


def test_mmd_by_hand():
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    # squared distances of different rows: 1, 9, 25, 4, 16, 4 -> torch's median of twelve is 4
    k = [math.exp(-square / 4) for square in (1, 4, 9, 25, 4, 16)]
    assert mmd(a, b, scales=[1]) == pytest.approx(k[0] + k[1] - 2 * sum(k[2:]) / 4)


def test_mmd_is_the_mean_over_its_scales_and_agrees_with_scikit_learns_kernel():
    from sklearn.metrics.pairwise import rbf_kernel

    a, b = cloud(30, 4), cloud(20, 4, seed=1, mean=1)
    pooled = torch.cat([a, b])
    median = torch.pdist(pooled).square().repeat(2).median().item()
    kernel = np.mean([rbf_kernel(pooled, gamma=1 / (c * median)) for c in (0.5, 2)], 0)
    np.fill_diagonal(kernel, 0)
    within = kernel[:30, :30].sum() / (30 * 29) + kernel[30:, 30:].sum() / (20 * 19)
    expected = within - 2 * kernel[:30, 30:].mean()
    assert mmd(a, b, scales=(0.5, 2)).item() == pytest.approx(expected, rel=1e-9)


def test_mmd_is_unbiased_where_nothing_differs():
    values = [mmd(cloud(20, 3, seed=i), cloud(20, 3, seed=1000 + i)) for i in range(200)]
    values = torch.stack(values)
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(200)
    assert (values < 0).double().mean() > 0.3


def test_mmd_far_from_the_origin_keeps_its_digits():
    a, b = cloud(40, 3), cloud(40, 3, seed=1, mean=1)
    near, far = mmd(a.float(), b.float()), mmd((a + 1000).float(), (b + 1000).float())
    assert far.item() == pytest.approx(near.item(), rel=1e-2)


def test_sliced_wasserstein_of_moved_points():
    a = cloud(50, 3)
    moved = a + torch.tensor([3.0, 0, 0])
    # each line sees the shift times its cosine; their mean square over the sphere is 1/3
    assert sliced_wasserstein(a, moved, projections=4000) == pytest.approx(math.sqrt(3), rel=0.05)
    assert sliced_wasserstein(a, moved, seed=0) != sliced_wasserstein(a, moved, seed=1)


def test_proxy_a_distance_from_told_apart_to_a_coin():
    a, b = cloud(200, 3), cloud(100, 3, seed=1)
    assert proxy_a_distance(a, b + 100) == 2
    assert abs(proxy_a_distance(a, b)) < 0.5
    assert proxy_a_distance(a, a) == 0
    # memory does not help: the rows that count were held out
    wide = [
        float(proxy_a_distance(cloud(20, 200, seed=i), cloud(20, 200, seed=99 + i)))
        for i in range(20)
    ]
    assert abs(np.mean(wide)) < 0.3
    assert min(wide) < 0  # and not clipped


def test_proxy_a_distance_by_hand():
    a = torch.tensor([[0.0], [0.1]] * 8)
    b = torch.cat([a + 1, a])  # half of b looks like a
    values = [float(proxy_a_distance(a, b, seed=seed)) for seed in range(30)]
    assert np.mean(values) == pytest.approx(1, abs=0.35)  # err near 1/4


# ---- beside others -------------------------------------------------------------------------------


def test_sliced_wasserstein_equals_pots():
    import ot

    a, b = cloud(40, 4), cloud(30, 4, seed=1, mean=1)
    generator = torch.Generator().manual_seed(5)
    lines = torch.randn(4, 70, generator=generator, dtype=torch.float64)
    lines = (lines / lines.norm(dim=0)).numpy()
    theirs = ot.sliced_wasserstein_distance(a.numpy(), b.numpy(), projections=lines)
    assert sliced_wasserstein(a, b, projections=70, seed=5).item() == pytest.approx(theirs)


def test_sinkhorn_equals_pots_and_tends_to_optimal_transport():
    import ot

    a, b = cloud(40, 2), cloud(40, 2, seed=1, mean=2)
    unit = torch.pdist(torch.cat([a, b])).square().repeat(2).median()
    x, y = (a / unit.sqrt()).numpy(), (b / unit.sqrt()).numpy()
    theirs = ot.bregman.empirical_sinkhorn_divergence(x, y, 0.5, numIterMax=10_000)
    assert sinkhorn(a, b).item() == pytest.approx(theirs, rel=1e-3)
    exact = ot.emd2([], [], ot.dist(x, y))
    nearly = sinkhorn(a, b, regularisation=0.005, iterations=3000).item()
    assert nearly == pytest.approx(exact, rel=0.02)
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    assert sinkhorn(a, b, regularisation=1e3).item() == pytest.approx(means, rel=0.01)


def test_coral_equals_skadas():
    from skada.deep.losses import deepcoral_loss

    a, b = cloud(40, 6), cloud(30, 6, seed=1, scale=2)
    torch.testing.assert_close(coral(a, b), deepcoral_loss(a, b))


# ---- as training losses --------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [mmd, coral])
def test_descent_on_mmd_and_coral_brings_the_clouds_together(loss):
    a, b = cloud(64, 4), cloud(64, 4, seed=1, mean=2, scale=3).requires_grad_()
    optimiser = torch.optim.Adam([b], lr=0.1)
    before = loss(a, b).item()
    for _ in range(100):
        optimiser.zero_grad()
        loss(a, b).backward()
        assert torch.isfinite(b.grad).all()
        optimiser.step()
    assert loss(a, b).item() < 0.2 * before


@pytest.mark.parametrize("loss", [mmd, coral])
def test_gradients_equal_finite_differences(loss):
    a, b = cloud(5, 3), cloud(4, 3, seed=1, mean=1).requires_grad_()
    if loss is coral:
        assert torch.autograd.gradcheck(coral, (a, b))
        return
    step = torch.zeros_like(b)
    step[1, 2] = 1e-6
    loss(a, b).backward()
    # the bandwidth is detached: held still in the difference, too
    from kdlib.distances import kernels

    fixed = kernels.median_square(torch.cat([a, b]))
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(kernels, "median_square", lambda pooled: fixed)
        slope = (mmd(a, b + step) - mmd(a, b - step)) / 2e-6
    assert b.grad[1, 2].item() == pytest.approx(slope.item(), rel=1e-5)


@pytest.mark.parametrize("loss", [mmd, coral])
def test_equal_rows_give_no_nan_gradient(loss):
    b = torch.ones(6, 3).requires_grad_()
    loss(torch.ones(5, 3), b).backward()
    assert torch.isfinite(b.grad).all()


# ---- null bands ----------------------------------------------------------------------------------


def test_null_band_is_the_permutation_quantile():
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[10.0], [11.0]])
    # six ways to deal two and two; |difference of means| is 10, 1 or 0
    low, high = null_band(euclidean, a, b, permutations=400, level=0.9)
    assert low == pytest.approx(0, abs=1e-5)
    assert high == pytest.approx(10)
    assert null_band(euclidean, a, b, seed=1) == null_band(euclidean, a, b, seed=1)


@pytest.mark.slow
def test_null_band_holds_its_level():
    inside = 0
    for i in range(60):
        a, b = cloud(30, 3, seed=i), cloud(30, 3, seed=500 + i)
        low, high = null_band(mmd, a, b, permutations=100, level=0.8)
        inside += low <= mmd(a, b) <= high
    assert 36 <= inside <= 58  # 48 expected, ± 3 standard deviations


def test_null_band_keeps_the_sizes_and_needs_no_gradient():
    sizes = set()

    def spy(f_a, f_b):
        sizes.add((len(f_a), len(f_b)))
        assert not f_a.requires_grad
        return euclidean(f_a, f_b)

    null_band(spy, cloud(7, 2).requires_grad_(), cloud(5, 2), permutations=20)
    assert sizes == {(7, 5)}


# ---- what cannot be ------------------------------------------------------------------------------


@PAIR
def test_different_widths_are_refused(name):
    with pytest.raises(ValueError, match="of the same width"):
        DISTANCES[name](torch.randn(8, 3), torch.randn(8, 4))
    with pytest.raises(ValueError, match=r"\.flatten\(1\)"):
        DISTANCES[name](torch.randn(8, 3, 2), torch.randn(8, 3, 2))


@PAIR
def test_values_that_are_not_finite_are_refused(name):
    broken = torch.randn(8, 3)
    broken[2, 1] = math.nan
    with pytest.raises(ValueError, match="not all finite"):
        DISTANCES[name](torch.randn(8, 3), broken)


@pytest.mark.parametrize("name", ["mahalanobis", "mmd", "coral", "frechet", "proxy_a_distance"])
def test_one_example_is_too_few_where_spread_matters(name):
    with pytest.raises(ValueError, match="or more examples of each domain"):
        DISTANCES[name](torch.randn(8, 3), torch.randn(1, 3))


def test_a_singular_covariance_is_shrunk_or_said():
    a, b = cloud(10, 30), cloud(10, 30, seed=1, mean=1)
    assert math.isfinite(mahalanobis(a, b))
    assert math.isfinite(frechet(a, b))
    with pytest.raises(ValueError, match="30 features has rank 18 and no inverse"):
        mahalanobis(a, b, shrinkage=0)
    with pytest.raises(ValueError, match="features that vary"):
        mahalanobis(torch.ones(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="shrinkage=2"):
        mahalanobis(a, b, shrinkage=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cosine_distance(torch.tensor([[1.0], [-1.0]]), torch.ones(2, 1)), "no direction"),
        (lambda: mmd(cloud(5, 2), cloud(5, 2), scales=[]), "scales="),
        (lambda: sliced_wasserstein(cloud(5, 2), cloud(5, 2), projections=0), "projections=0"),
        (lambda: sinkhorn(cloud(5, 2), cloud(5, 2), regularisation=0), "regularisation=0"),
        (lambda: null_band(mmd, cloud(5, 2), cloud(5, 2), permutations=3), "permutations=3"),
        (lambda: null_band(mmd, cloud(5, 2), cloud(5, 2), level=95), "level=95"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_pot_is_imported_by_those_who_need_it_only():
    import subprocess
    import sys

    code = "import sys, kdlib.distances; assert not {'ot', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_probe_is_scikit_learns_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    from kdlib.distances.probe import _logistic

    for gap, width in ((1.0, 5), (10.0, 3), (0.1, 40)):
        a, b = cloud(40, width), cloud(25, width, seed=1, mean=gap)
        one = torch.ones(1, dtype=torch.float64)
        ours = _logistic(*(torch.cat([f, one.expand(len(f), 1)], 1) for f in (a, b)))
        peer = LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=2000)
        peer.fit(torch.cat([a, b]).numpy(), [0] * 40 + [1] * 25)
        theirs = torch.tensor([*peer.coef_[0], *peer.intercept_])
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)


def test_sinkhorn_sees_past_an_outlier_and_refuses_what_is_no_plan() -> None:
    a, b = cloud(200, 16).float(), cloud(200, 16, seed=1).float()
    a[0] *= 20
    assert sinkhorn(a, b).item() > 0.1
    assert sinkhorn(a, b).item() == pytest.approx(sinkhorn(a.double(), b.double()).item(), rel=1e-4)
    with pytest.raises(ValueError, match="give more iterations"):
        sinkhorn(a, b, regularisation=1e-4, iterations=2)
