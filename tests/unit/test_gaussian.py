"""The Gaussian feature transfer: each step by what must hold of it, then all of them together."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from kdlib.adaptation.feature_gaussian import (
    Cloud,
    FeatureMap,
    describe,
    fit_map,
    shrunk_covariance,
    squared_mahalanobis,
)
from kdlib.adaptation.gaussian import GaussianTerm, mixed_noise
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.device import seeded
from kdlib.models import MLP, fingerprint, mlp, predict
from kdlib.objectives import HardLabels, Learner
from kdlib.training import Run, fit


@pytest.fixture
def source() -> Examples:
    return blobs(160, seed=0)


@pytest.fixture
def target() -> Examples:
    return blobs(90, seed=3, noise=90.0)


@pytest.fixture
def feature_map(teacher: MLP, source: Examples) -> FeatureMap:
    return fit_map(teacher, source, width=12)


@pytest.fixture
def cloud(feature_map: FeatureMap, target: Examples) -> Cloud:
    return describe(feature_map, target.unlabelled())


@pytest.fixture
def student(source: Examples) -> nn.Module:
    return fit(mlp(16, 6, 4), source, epochs=3, seed=0).network


# ---- F and the cloud -----------------------------------------------------------------------------


def test_the_map_is_tanh_of_a_linear_map_that_knows_the_source(
    teacher: MLP, source: Examples
) -> None:
    before = fingerprint(teacher)
    F = fit_map(teacher, source, width=12, layer="stage1")
    x = source.batch(slice(0, 5)).x
    with torch.no_grad():
        by_hand = torch.tanh(
            teacher.stage1(teacher.flatten(teacher.normalise(x))) @ F.A.weight.T + F.A.bias
        )
        torch.testing.assert_close(F(x), by_hand)
        answers = F.head(predict(F, source)).argmax(-1)
    assert (answers == source.y).float().mean() > 0.85
    assert fingerprint(teacher) == before
    assert not any(p.requires_grad for part in (F.A, F.head) for p in part.parameters())
    assert all(p.requires_grad for p in teacher.parameters())


def test_the_same_seed_fits_the_same_map(teacher: MLP, source: Examples) -> None:
    a, b, c = (fit_map(teacher, source, width=5, seed=seed).A.weight for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, c)


def test_standardised_features_have_mean_0_and_deviation_1(
    cloud: Cloud, feature_map: FeatureMap, target: Examples
) -> None:
    mu = predict(feature_map, target)
    m = cloud.standardise(mu)
    torch.testing.assert_close(m.mean(0), torch.zeros(m.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(m.std(0), torch.ones(m.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(cloud.undo(m), mu, atol=1e-4, rtol=0)
    assert float(cloud.weights(m).mean()) == pytest.approx(1, abs=1e-5)
    nearest, farthest = (
        int(i) for i in (squared_mahalanobis(m, cloud.S).argmin(), cloud.weights(m).argmin())
    )
    assert (
        cloud.weights(m).argmax() == nearest
        and squared_mahalanobis(m, cloud.S).argmax() == farthest
    )


def test_dead_features_are_dropped_and_small_deviations_floored(
    feature_map: FeatureMap, target: Examples
) -> None:
    with torch.no_grad():
        feature_map.A.weight[3] = 0
        feature_map.A.weight[4] *= 1e-4
    cloud = describe(feature_map, target, floor=0.05)
    assert cloud.alive.tolist() == [i != 3 for i in range(12)]
    assert float(cloud.std.min()) == pytest.approx(0.05)
    m = cloud.standardise(predict(feature_map, target))
    assert m.shape == (90, 11) and float(m[:, 3].std()) < 0.1
    torch.testing.assert_close(cloud.undo(m), predict(feature_map, target), atol=1e-4, rtol=0)
    with torch.no_grad():
        feature_map.A.weight.zero_()
    with pytest.raises(ValueError, match="all 12 features are the same"):
        describe(feature_map, target)


def test_the_covariance_is_shrunk_as_ledoit_and_wolf_have_it() -> None:
    m = torch.randn(60, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    m = m @ torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected, share = ledoit_wolf(m.numpy())
    assert share > 0.02
    np.testing.assert_allclose(shrunk_covariance(m, least=0.0).numpy(), expected)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_fewer_images_than_features_give_a_covariance_that_can_be_inverted(
    feature_map: FeatureMap, target: Examples, count: int
) -> None:
    cloud = describe(feature_map, target[:count])
    m = cloud.standardise(predict(feature_map, target[:count]))
    assert torch.linalg.matrix_rank(m - m.mean(0)) < cloud.S.shape[0]
    assert float(torch.linalg.eigvalsh(cloud.S).min()) > 1e-3
    assert torch.isfinite(cloud.weights(m)).all()
    assert float(cloud.weights(m).mean()) == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(cloud.draw(5)).all()


def test_draws_have_the_covariance(cloud: Cloud) -> None:
    with seeded(0):
        drawn = cloud.draw(50_000)
    torch.testing.assert_close(torch.cov(drawn.T), cloud.S, atol=0.05, rtol=0)


def test_the_source_stands_in_the_table_and_changes_nothing(
    feature_map: FeatureMap, source: Examples, target: Examples
) -> None:
    alone, both = describe(feature_map, target), describe(feature_map, target, source)
    assert torch.equal(alone.S, both.S) and torch.equal(alone.scale, both.scale)
    assert alone.table.find(source.ids) is None
    torch.testing.assert_close(both.table.find(source.ids), predict(feature_map, source))


def test_the_cloud_never_reads_a_label(feature_map: FeatureMap, target: Examples) -> None:
    blind, seeing = describe(feature_map, target.unlabelled()), describe(feature_map, target)
    assert torch.equal(blind.S, seeing.S) and torch.equal(blind.scale, seeing.scale)


# ---- the noise -----------------------------------------------------------------------------------


def test_the_noise_is_the_formula() -> None:
    eps_i, eps_c = torch.tensor([1.0, -2.0]), torch.tensor([10.0, 20.0])
    torch.testing.assert_close(
        mixed_noise(eps_i, eps_c, 0.5, 0.25, 2.0), torch.tensor([2.875, 4.25])
    )
    assert torch.equal(mixed_noise(eps_i, eps_c, 2.0, 0.0, 7.0), 2 * eps_i)  # kappa is inert
    assert torch.equal(mixed_noise(eps_i, eps_c, 2.0, 1.0, 1.0), 2 * eps_c)
    assert not mixed_noise(eps_i, eps_c, 0.0, 0.5, 1.0).any()


def test_fresh_noise_on_a_squared_error_leaves_the_expected_gradient() -> None:
    """grad of |g - (m + e)|² is 2 (g - m) - 2 e, and the mean of e is 0."""
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    m = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    draws = 20_000
    e = 0.7 * torch.randn(draws, 4, 3, dtype=torch.float64, generator=generator)
    loss = (g - (m + e)).square().mean((-1, -2)).mean(0)
    noisy = torch.autograd.grad(loss, g)[0]
    closed = 2 * (g - m).detach() / 12
    torch.testing.assert_close(noisy, closed, atol=4 * 2 * 0.7 / 12 / draws**0.5, rtol=0)


def test_the_terms_gradient_is_that_of_the_noiseless_hint_on_average(
    cloud: Cloud, student: nn.Module, target: Examples
) -> None:
    def gradient(noise_std: float, ratio: float, steps: int) -> Tensor:
        torch.manual_seed(0)
        term = GaussianTerm(cloud, noise_std=noise_std, noise_ratio=ratio)
        learner = Learner.of(student, term, both.batch(slice(0, 2)))
        for _ in range(steps):
            learner(both.batch())[0].backward()
            learner.after_step()
        (B,) = [p.grad for name, p in learner.named_parameters() if name.endswith("B.weight")]
        student.zero_grad()
        return B / steps

    both = target[:40].unlabelled().as_domain(1)
    plain, few, many = gradient(0.0, 0.0, 1), gradient(1.0, 0.0, 3), gradient(1.0, 0.0, 600)
    assert (many - plain).norm() < (few - plain).norm() / 5
    assert (many - plain).norm() < 0.05 * plain.norm()
    fixed = gradient(1.0, 1.0, 20)  # the class's noise is drawn once: it does move the target
    assert (fixed - plain).norm() > 0.2 * plain.norm()


# ---- the term ------------------------------------------------------------------------------------


def first_loss(term: GaussianTerm, student: nn.Module, examples: Examples) -> Tensor:
    learner = Learner.of(student, term, examples.batch(slice(0, 2)))
    with seeded(0):
        return learner(examples.batch())[0]


@pytest.mark.parametrize("noise_at", ["target", "feature"])
def test_the_noiseless_term_by_hand(
    cloud: Cloud, student: nn.Module, target: Examples, noise_at: str
) -> None:
    term = GaussianTerm(cloud, noise_at, noise_std=0.0)
    examples = target.unlabelled().as_domain(1)
    learner = Learner.of(student, term, examples.batch(slice(0, 2)))
    with torch.no_grad():
        mu = predict(cloud.feature_map, target)
        m, x = cloud.standardise(mu), examples.batch().x
        if noise_at == "target":
            f_s = student.stage1(student.flatten(student.normalise(x)))
            values = (learner.owned.by_term[0].B(f_s) - m).square().mean(-1)
        else:
            p, q = cloud.feature_map.head(mu).softmax(-1), student(x).softmax(-1)
            values = (p * (p / q).log()).sum(-1)
        by_hand = (cloud.weights(m) * values).mean()
    torch.testing.assert_close(first_loss(term, student, examples), by_hand)


@pytest.mark.parametrize("noise_at", ["target", "feature"])
def test_only_target_images_are_concerned(
    cloud: Cloud, student: nn.Module, source: Examples, target: Examples, noise_at: str
) -> None:
    term = GaussianTerm(cloud, noise_at, noise_std=0.0)
    alone = first_loss(term, student, target.as_domain(1))
    torch.testing.assert_close(
        first_loss(term, student, source.as_domain(0) + target.as_domain(1)), alone
    )
    none = first_loss(term, student, source.as_domain(0))
    assert none == 0 and none.requires_grad


@pytest.mark.parametrize("noise_at", ["target", "feature"])
def test_gamma_0_makes_kappa_inert_and_gamma_does_not(
    cloud: Cloud, student: nn.Module, target: Examples, noise_at: str
) -> None:
    def loss(ratio: float, weight: float) -> Tensor:
        term = GaussianTerm(cloud, noise_at, noise_ratio=ratio, centre_weight=weight)
        return first_loss(term, student, target.as_domain(1))

    assert loss(0.0, 0.0) == loss(0.0, 1.0) == loss(0.0, 9.0)
    assert loss(0.5, 0.0) != loss(0.5, 1.0)


def test_the_images_noise_is_fresh_in_each_step_and_the_classes_is_not(
    cloud: Cloud, student: nn.Module, target: Examples
) -> None:
    examples = target.as_domain(1)
    for ratio, fresh in ((0.0, True), (1.0, False)):
        term = GaussianTerm(cloud, noise_ratio=ratio)
        learner = Learner.of(student, term, examples.batch(slice(0, 2)))
        values = []
        for _ in range(3):
            values.append(learner(examples.batch())[0].item())
            learner.after_step()
        assert (len(set(values)) == 3) is fresh


# ---- training ------------------------------------------------------------------------------------


def moved_on(
    student: nn.Module, cloud: Cloud, source: Examples, target: Examples, *, lam: float = 0.5,
    scale: float = 0.3, noise_at: str = "target", noise_std: float = 0.5, **how: Any,
) -> Run:  # fmt: skip
    """A copy of the student, trained on by the recipe."""
    term = GaussianTerm(cloud, noise_at, noise_std=noise_std)
    return fit(
        copy.deepcopy(student),
        source.as_domain(0) + target.unlabelled().as_domain(1),
        (1 - lam) * HardLabels() + lam * term,
        lr={"": 1e-2, "stage1": 1e-2 * scale},
        schedule="constant",
        **{"epochs": 1, **how},
    )


@pytest.mark.parametrize("noise_at", ["target", "feature"])
def test_it_resumes_bit_equal(
    student: nn.Module, cloud: Cloud, source: Examples, target: Examples, noise_at: str, tmp_path
) -> None:
    """Its noise is drawn in an epoch's own seed: nothing of it has to be kept."""
    how: dict[str, Any] = {"epochs": 4, "noise_at": noise_at}
    whole = moved_on(student, cloud, source, target, **how)

    class Stop(KeyboardInterrupt):
        pass

    def stop(run: Run) -> None:
        if len(run.history) == 3:
            raise Stop

    path = tmp_path / "run.pt"
    partial = moved_on(student, cloud, source, target, checkpoint=path, after_epoch=stop, **how)
    assert partial.interrupted and len(partial.history) == 3
    resumed = moved_on(student, cloud, source, target, checkpoint=path, **how)
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("noise_at", ["target", "feature"])
def test_a_bank_trains_its_students_together(
    student: nn.Module, cloud: Cloud, source: Examples, target: Examples, noise_at: str
) -> None:
    """Knobs are symbols of one group; without noise each cell is what `fit` trains."""

    def objective(lam: Any, noise_std: Any, white: Any, weighted: Any) -> Any:
        term = GaussianTerm(cloud, noise_at, noise_std=noise_std, white=white, weighted=weighted)
        return (1 - lam) * HardLabels() + lam * term

    both = source.as_domain(0) + target.unlabelled().as_domain(1)
    bank = train_bank(
        objective, student=mlp(16, 6, 4), examples=both, evaluate={"target": target}, seeds=2,
        grid={"lam": [0.5, 1.0], "noise_std": [0.0, 0.5], "white": [0.0, 1.0],
              "weighted": [1.0], "scale": [0.3, 1.0]},
        lr=lambda scale: {"": 1e-2, "stage1": 1e-2 * scale}, start=lambda seed: student,
        schedule="constant", epochs=2, cache=False,
    )  # fmt: skip
    assert bank.engine == "reference"
    quiet: dict[str, Any] = {"noise_std": 0.0, "white": 0.0, "weighted": 1.0}
    for lam, scale in ((0.5, 0.3), (1.0, 1.0)):
        run = moved_on(
            student, cloud, source, target, lam=lam, scale=scale, noise_at=noise_at,
            noise_std=0.0, epochs=2,
        )  # fmt: skip
        network = bank.network(lam=lam, scale=scale, seed=1, **quiet)
        for a, b in zip(run.network.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    loud = [bank.network(lam=1.0, scale=1.0, seed=s, **{**quiet, "noise_std": 0.5}) for s in (0, 1)]
    assert fingerprint(loud[0]) != fingerprint(loud[1])  # each student has noise of its own


@pytest.mark.parametrize("noise_at", ["target", "feature"])
def test_one_example_per_class_is_enough(
    student: nn.Module, teacher: MLP, source: Examples, target: Examples, noise_at: str
) -> None:
    source, target = source.per_class(1), target.per_class(1)
    cloud = describe(fit_map(teacher, source), target)
    run = moved_on(student, cloud, source, target, noise_at=noise_at, epochs=2)
    assert all(np.isfinite(row["loss"]) for row in run.history)


def test_the_head_teaches_a_student_that_has_no_labels_of_the_target(
    teacher: MLP, target: Examples, source: Examples, cloud: Cloud
) -> None:
    """At rate 1 nothing but the noisy term is left: a fresh student learns the classes by it."""
    fresh = fit(mlp(16, 16, 4), source[:8], epochs=1, lr=1e-5, seed=3).network
    run = moved_on(
        fresh, cloud, source, target, noise_at="feature", lam=1.0, scale=1.0, noise_std=0.2,
        epochs=30,
    )  # fmt: skip
    assert fit(fresh, source[:8], epochs=1, lr=1e-9).error(target) > 40 > run.error(target) + 20


# ---- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"noise_std": -1.0}, "noise_std=-1.0: expected a finite number of at least 0"),
        ({"noise_std": float("nan")}, "noise_std=nan: expected a finite"),
        ({"noise_ratio": 2.0}, "noise_ratio=2.0: expected a number from 0 to 1"),
        ({"centre_weight": -0.1}, "centre_weight=-0.1: expected a finite number of at least 0"),
        ({"noise_at": "labels"}, "noise_at='labels': expected 'target' or 'feature'"),
        ({"weighted": 1.5}, "weighted=1.5: expected a number from 0 to 1"),
        ({"white": -1.0}, "white=-1.0: expected a number from 0 to 1"),
        ({"layer": "embeding"}, "nearest name is 'embedding'"),
    ],
)
def test_bad_arguments_are_told(
    student: nn.Module, cloud: Cloud, source: Examples, target: Examples, wrong: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        both = source.as_domain(0) + target.as_domain(1)
        fit(student, both, HardLabels() + GaussianTerm(cloud, **wrong), epochs=1)


def test_bad_examples_are_told(
    teacher: MLP, feature_map: FeatureMap, cloud: Cloud, source: Examples, target: Examples
) -> None:
    with pytest.raises(ValueError, match="no labels to fit a classifier head"):
        fit_map(teacher, source.unlabelled())
    with pytest.raises(ValueError, match="width=0: expected at least 1"):
        fit_map(teacher, source, width=0)
    with pytest.raises(ValueError, match="give at least 2 images"):
        describe(feature_map, target[:1])
    with pytest.raises(ValueError, match="floor=0: expected"):
        describe(feature_map, target, floor=0)
    with pytest.raises(ValueError, match=r"holds no target images; add them with target.as_domain"):
        fit(mlp(16, 6, 4), source, HardLabels() + GaussianTerm(cloud), epochs=1)
