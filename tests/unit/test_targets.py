"""Answers that are no single class: weighted and mixed labels, 0/1 labels, regression."""

import hashlib
import itertools
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from test_capture import on_the_tape
from torch import Tensor, nn
from torch.nn import functional as F

from kdlib import losses, metrics, vision
from kdlib.adaptation import CDAN
from kdlib.bank import train_bank
from kdlib.data import (
    Examples,
    Sequences,
    Stream,
    Targets,
    channel_statistics,
    cifar,
    cutmix,
    each_image,
    jitter,
    load,
    mixup,
    sources,
    transfer_set,
    verify,
)
from kdlib.data.shifts import severity
from kdlib.models import Normalise, cnn, initialise, mlp
from kdlib.objectives import (
    BinaryLabels,
    Decoupled,
    HardLabels,
    LogitMSE,
    MeanSquares,
    Objective,
    SigmoidTargets,
    SoftTargets,
    Symbol,
    TeacherMeanSquares,
    member,
    outputs,
    tabulate,
)
from kdlib.training import fit

NAN = float("nan")
Z = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 4.0]])
Y, WEIGHTS = torch.tensor([0, 2, 1, -1]), (1.0, 5.0, 0.25)


def binary(count: int = 96, *, seed: int = 0) -> Targets:
    """Two labels an image: is it of class 0 or 1, is it of an even class."""
    x, y = (lambda e: (e.x, e.y))(blobs(count, seed=seed))
    return Targets(x, torch.stack([y < 2, y % 2 == 0], 1), name="binary")


def regression(count: int = 96, *, seed: int = 0) -> Targets:
    """The brightness of an image, once and times ten less 8."""
    x = blobs(count, seed=seed).x
    mean = x.float().mean((1, 2, 3)) / 255
    return Targets(x, torch.stack([mean, 10 * mean - 8], 1), name="brightness")


def learned(student: nn.Module, objective: Objective, examples: Examples) -> list[float]:
    run = fit(student, examples, objective, epochs=8, seed=0, batch=32)
    return run.to_frame()["loss"].tolist()


# ---- weights of classes --------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_labels_are_torchs(smoothing: float) -> None:
    z = Z.clone().requires_grad_()
    ours = losses.weighted_labels(z, Y, torch.tensor(WEIGHTS), smoothing=smoothing)
    theirs = F.cross_entropy(
        z, Y, torch.tensor(WEIGHTS), ignore_index=-1, label_smoothing=smoothing
    )
    torch.testing.assert_close(ours, theirs)
    for loss, other in itertools.pairwise([ours, theirs]):
        slope, slope_other = (torch.autograd.grad(part, z)[0] for part in (loss, other))
        torch.testing.assert_close(slope, slope_other)
    alike = losses.weighted_labels(Z, Y, torch.full((3,), 7.0), smoothing=smoothing)
    torch.testing.assert_close(alike, losses.hard_labels(Z, Y, smoothing=smoothing))
    none = losses.weighted_labels(z, torch.full_like(Y, -1), torch.tensor(WEIGHTS))
    assert none == 0 and bool((torch.autograd.grad(none, z)[0] == 0).all())


def test_weights_are_part_of_the_formula() -> None:
    one = HardLabels(weights=[1, 5])  # type: ignore[arg-type]
    assert one == HardLabels(weights=(1.0, 5.0)) != HardLabels() and {one: 1}[one] == 1
    assert str(one) == "HardLabels(weights=(1.0, 5.0))" and one.key() != HardLabels().key()
    assert HardLabels(weights=torch.tensor([1.0, 5.0])) == one  # type: ignore[arg-type]
    assert HardLabels(weights=iter((1, 5))) == one  # type: ignore[arg-type]
    assert str(HardLabels(0.1, (1, 5))) == "HardLabels(smoothing=0.1, weights=(1.0, 5.0))"


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
@pytest.mark.parametrize("labels", ["all", "some"])
def test_weights_train_alike_in_every_engine(engine: str, labels: str) -> None:
    examples = blobs(96)
    if labels == "some":
        examples = examples.labelled_as(torch.where(torch.arange(96) % 3 == 0, -1, examples.y))
    objective = HardLabels(weights=(1.0, 0.01, 3.0, 0.5))
    how: dict[str, Any] = {"epochs": 3, "batch": 32, "precision": "fp32"}
    student = mlp(16, 8, 4)
    bank = train_bank(
        objective, student=mlp(16, 8, 4), examples=examples, seeds=[3], cache=False,
        evaluate={"test": examples}, engine=engine, **how,
    )  # fmt: skip
    run = fit(student, examples, objective, seed=3, **how)
    torch.testing.assert_close(bank.logits["test"][0], run.logits(examples), rtol=1e-3, atol=1e-3)
    plain = fit(mlp(16, 8, 4), examples, HardLabels(), seed=3, **how)
    assert (plain.logits(examples) - run.logits(examples)).abs().max() > 0.1


def test_weights_and_smoothing_are_trained_together_elsewhere() -> None:
    objective = HardLabels(0.1, (1.0, 2.0, 3.0, 0.5))
    bank = train_bank(
        objective, student=mlp(16, 8, 4), examples=blobs(64), seeds=1, cache=False, epochs=1,
        evaluate={}, batch=32,
    )  # fmt: skip
    assert bank.engine == "reference"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: HardLabels(weights=3.0), "weights=3.0; expected a number for each class"),  # type: ignore
        (lambda: HardLabels(weights="ab"), "weights='ab'; .* in the order of the"),  # type: ignore
        (lambda: HardLabels(weights={1: 5.0, 0: 1.0}), r"\[w\[c\] for c in range"),  # type: ignore
        (lambda: HardLabels(weights={1.0, 5.0}), "in the order of the classes"),  # type: ignore
        (lambda: HardLabels(weights=(Symbol("w"), 1.0)), "weights=w, a symbol"),  # type: ignore
        (lambda: HardLabels(weights=(1.0, -1.0)), "at least 0"),
        (lambda: HardLabels(weights=(0.0, 0.0)), "not all of them 0"),
        (lambda: HardLabels(weights=(1.0, NAN)), "finite"),
        (lambda: run(HardLabels(weights=(1.0, 2.0))), "2 weights and the student answers with 4"),
        (lambda: run(member("head", HardLabels(weights=(1.0, 2.0)))), "2 weights and .* with 4"),
        (lambda: run(outputs(range(4), HardLabels(weights=(1.0,) * 5))), "5 weights and .* with 4"),
    ],
)
def test_weights_that_are_none(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def run(objective: Objective, examples: Examples | None = None, **settings: Any) -> Any:
    """`fit` that must not change the student before it refuses."""
    examples = blobs(32) if examples is None else examples
    student = settings.pop("student", mlp(16, 8, 4))
    before = {name: w.clone() for name, w in student.state_dict().items()}
    try:
        return fit(student, examples, objective, epochs=1, seed=0, **settings)
    except ValueError:
        assert all(torch.equal(w, before[name]) for name, w in student.state_dict().items())
        raise


# ---- targets that are numbers --------------------------------------------------------------------


def test_losses_on_numbers_are_torchs_and_skip_what_is_not_there() -> None:
    y = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    pairs = {
        losses.binary_labels: F.binary_cross_entropy_with_logits,
        losses.mean_squares: F.mse_loss,
    }
    for ours, theirs in pairs.items():
        torch.testing.assert_close(ours(Z, y), theirs(Z, y))
        holes = y.masked_fill(torch.eye(4, 3).bool(), NAN)
        there = ~holes.isnan()
        z = Z.clone().requires_grad_()
        torch.testing.assert_close(ours(z, holes), theirs(z[there], y[there]))
        assert torch.autograd.grad(ours(z, holes), z)[0].isfinite().all()
        assert ours(z, torch.full_like(y, NAN)) == 0
    torch.testing.assert_close(losses.teacher_mean_squares(Z, y), F.mse_loss(Z, y))
    assert losses.teacher_mean_squares(Z + 3, Z) == 9 and losses.logit_mse(Z + 3, Z) < 1e-9


@pytest.mark.parametrize("T", [1.0, 3.0])
def test_sigmoid_targets_are_the_kl_of_each_output(T: float) -> None:
    """Yang et al.'s: the KL of yes and of no, summed over outputs, averaged over images."""
    z_t = Z.flip(0) * 1.5
    p, q = (z_t / T).sigmoid(), (Z / T).sigmoid()
    yes = F.kl_div(q.log(), p, reduction="none")
    no = F.kl_div((1 - q).log(), 1 - p, reduction="none")
    expected = T**2 * (yes + no).sum() / len(Z)
    torch.testing.assert_close(losses.sigmoid_targets(Z, z_t, T), expected)
    two = [torch.stack([z[:, :1], 0 * z[:, :1]], -1)[:, 0] for z in (Z, z_t)]  # a logit z: 0 and z
    one = losses.sigmoid_targets(Z[:, :1], z_t[:, :1], T)
    torch.testing.assert_close(one, losses.soft_targets(*two, T))
    assert losses.sigmoid_targets(Z, Z, T) == 0
    sure = torch.tensor([[torch.inf, -torch.inf, 0.0]])
    assert losses.sigmoid_targets(Z[:1], sure.clamp(-1e4, 1e4), T).isfinite()


def test_targets_are_kept_like_labels() -> None:
    targets = regression(20)
    assert targets.classes == 2 and targets[3].y.shape == (1, 2) and targets[2:5].y.shape == (3, 2)
    assert torch.equal(targets[[4, 1]].y, targets.y[[4, 1]]) and type(targets[:2]) is Targets
    assert targets.domain.dtype == torch.int64 and targets.as_domain(1).domains == [1]
    both = targets + targets.unlabelled()
    assert len(both) == 40 and int(both.labelled.sum()) == 20 and "20 without target" in repr(both)
    assert targets.fingerprint != targets.labelled_as(targets.y + 1).fingerprint
    parts = targets.split(12, 8)
    assert sorted(torch.cat([part.y for part in parts])[:, 0].tolist()) == sorted(
        targets.y[:, 0].tolist()
    )
    assert targets.batch(torch.tensor([5])).y.tolist() == targets.y[5:6].tolist()
    assert targets.transformed(lambda x, g: 1 - x).y is targets.y
    assert binary().y.dtype == torch.float32 and binary().binary and not targets.binary
    features = Targets.of_features(torch.randn(5, 3), torch.ones(5, 1) > 0)
    assert features.y.dtype == torch.float32 and features.batch().x.shape == (5, 3, 1, 1)


X = blobs(4).x


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Targets(X, torch.ones(4)), r"y\[:, None\]"),
        (lambda: Targets(X, torch.ones(3, 2)), r"shape \(3, 2\) for 4 images"),
        (lambda: Targets(X, torch.ones(4, 2).long()), r"y.float\(\) makes them"),
        (lambda: Targets(X, torch.full((4, 1), torch.inf)), "a target is inf"),
        (lambda: Examples(X, torch.ones(4) / 3), r"are Targets\(x, y\[:, None\]\)"),
        (lambda: Examples(X, torch.ones(4, 2)), r"are Targets\(x, y\)"),
        (lambda: regression().only([1]), "has numbers, no classes"),
        (lambda: regression() + regression()._with(y=torch.ones(96, 1)), "no targets of one width"),
        (lambda: regression() + blobs(8), r"different kinds \(Targets and Examples\)"),
        (lambda: blobs(8) + regression(), r"different kinds \(Examples and Targets\)"),
        (lambda: blobs(8) + Stream(Pictures(blobs(8))), r"kinds \(Examples and Stream\)"),
        (lambda: blobs(8) + Sequences(torch.ones(2, 3).long()), r"\(Examples and Sequences\)"),
        (lambda: Sequences(torch.ones(2, 3).long()) + blobs(8), r"\(Sequences and Examples\)"),
        (lambda: blobs(8) + X, "and a Tensor are of different kinds"),
        (lambda: blobs(8).only(1), r"classes=1; .* as \[1\]"),  # type: ignore[arg-type]
        (lambda: blobs(8).without(["a"]), r"classes=\['a'\]; "),  # type: ignore[list-item]
        (lambda: Examples(X * 1j, torch.zeros(4).long()), r"view_as_real\(…\).flatten"),
        (lambda: Targets.of_features(X.flatten(1) * 1j, torch.ones(4, 1)), "view_as_real"),
        (lambda: run(HardLabels(), binary(), student=mlp(16, 8, 2)), "HardLabels is for classes"),
        (lambda: run(LogitMSE(mlp(16, 2)), regression(), student=mlp(16, 8, 2)), "TeacherMean"),
        (lambda: run(BinaryLabels(), regression(), student=mlp(16, 8, 2)), r"MeanSquares\(\)"),
        (lambda: run(BinaryLabels()), r"BinaryLabels is for numbers.*HardLabels\(\)"),
        (lambda: run(MeanSquares(), regression()), "4 outputs for Targets.*build it with 2"),
        (
            lambda: run(outputs(range(3), BinaryLabels()), binary()),
            "outputs 0 to 2: BinaryLabels.* sees 3 outputs for Targets.*give it 2",
        ),
        (
            lambda: run(
                MeanSquares() + member("stage1", MeanSquares()), regression(), student=mlp(16, 8, 2)
            ),
            "stage1: MeanSquares.* sees 8 outputs",
        ),
        (lambda: run(MeanSquares(), regression().unlabelled(), student=mlp(16, 2)), "no targets"),
        (
            lambda: run(MeanSquares(), regression(), student=mlp(16, 2), validate=blobs(8)),
            "validate is Examples.*as many numbers",
        ),
        (lambda: metrics.error_percent(Z[:, :2], regression(4).y), "root_mean_square"),
        (lambda: metrics.error_percent(Z[:, :2], binary(4).unlabelled().y), "no target"),
        (lambda: metrics.root_mean_square(Z, regression(4).y), "one output for each target"),
        (lambda: metrics.root_mean_square(Z / 0, torch.ones(4, 3)), "did the training diverge"),
    ],
)
def test_targets_that_cannot_be_trained_on(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_several_labels_are_learned_and_distilled() -> None:
    train, test = binary(320), binary(160, seed=1)
    teacher = mlp(16, 32, 2)
    first = fit(teacher, train, BinaryLabels(), epochs=10, seed=0, batch=32, validate=test)
    assert first.error(test) < 15 and first.history[-1]["validation error %"] == first.error(test)
    for given in (teacher, tabulate(teacher, train)):
        student = mlp(16, 8, 2)
        objective = SigmoidTargets(given, T=2)
        run = fit(student, train.unlabelled(), objective, epochs=15, seed=0, batch=32)
        assert run.error(test) < 18


def test_a_regressor_is_learned_and_distilled() -> None:
    """Its outputs share an offset of about -1.5, which a centred loss would leave out."""
    train, test = regression(320), regression(160, seed=1)
    teacher = nn.Sequential(mlp(16, 32, 2), nn.Linear(2, 2))
    run = fit(teacher, train, MeanSquares(), epochs=40, seed=0, batch=32, lr=0.05, validate=test)
    score = run.history[-1]["validation root mean square error"]
    assert score < 0.4 and score == float(metrics.root_mean_square(run.logits(test), test.y))
    student = nn.Sequential(mlp(16, 16, 2), nn.Linear(2, 2))
    images = Examples(train.x, torch.full((320,), -1))
    fit(student, images, TeacherMeanSquares(teacher), epochs=40, seed=1, batch=32, lr=0.05)
    assert metrics.root_mean_square(student(test.batch().x), test.y) < 0.5


def test_one_output_learns() -> None:
    images, teacher = blobs(96).unlabelled(), initialise(mlp(16, 16, 1), 5)
    for objective in (SigmoidTargets(teacher, T=2), TeacherMeanSquares(teacher)):
        history = learned(mlp(16, 8, 1), objective, images)
        assert history[-1] < 0.5 * history[0]
    with pytest.raises(ValueError, match="at least 2"):
        learned(mlp(16, 8, 1), SoftTargets(teacher, 2), images)


@pytest.mark.parametrize("engine", ["reference", "sequential"])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_bank_of_numbers_is_fit(engine: str, kind: str) -> None:
    train = binary() if kind == "binary" else regression()
    teacher = initialise(mlp(16, 8, 2), 9)
    objective = (
        BinaryLabels() + SigmoidTargets(teacher, 2)
        if kind == "binary"
        else MeanSquares() + TeacherMeanSquares(teacher)
    )
    how: dict[str, Any] = {"epochs": 2, "batch": 32, "precision": "fp32"}
    seen: list[Any] = []
    bank = train_bank(
        objective, student=mlp(16, 8, 2), examples=train, seeds=[3, 4], cache=False,
        evaluate={"test": train}, engine=engine, watch=lambda d, e: seen.append(e["test"]), **how,
    )  # fmt: skip
    assert bank.engine == engine
    run = fit(mlp(16, 8, 2), train, objective, seed=4, **how)
    torch.testing.assert_close(bank.logits["test"][1], run.logits(train), rtol=1e-3, atol=1e-3)
    if kind == "binary":
        assert float(bank.errors()[1]) == pytest.approx(run.error(train), abs=2)
        assert len(bank.frame()) == 1 and float(seen[-1][1]) == float(bank.errors()[1])
    else:
        assert bool(seen[-1].isnan().all())
        with pytest.raises(ValueError, match="root_mean_square"):
            bank.errors()
        assert metrics.root_mean_square(bank.logits["test"], train.y).shape == (2,)


def test_wrong_labels_are_counted_one_by_one() -> None:
    y = torch.tensor([[1.0, 0.0, NAN], [1.0, 1.0, 1.0]])
    z = torch.tensor([[3.0, 2.0, 5.0], [0.1, -0.1, 7.0]])
    torch.testing.assert_close(metrics.wrong(z, y), torch.tensor([1 / 2, 1 / 3]))
    squares = torch.tensor([4.0, 4.0, 0.81, 1.21, 36.0])
    torch.testing.assert_close(metrics.root_mean_square(z, y), squares.double().mean().sqrt())


# ---- images and labels mixed ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [mixup, cutmix])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_mixed_is_as_large_as_its_share(make: Any, seed: int) -> None:
    """Every image is of one value, so that the mean of what is made tells the shares."""
    values = torch.rand(6, generator=torch.Generator().manual_seed(seed + 10))
    x = values.view(-1, 1, 1, 1).expand(6, 3, 8, 10).contiguous()
    kept = x.clone()
    made, partners, share = make(1.0)(x, torch.Generator().manual_seed(seed))
    assert torch.equal(x, kept) and sorted(partners.tolist()) == list(range(6))
    expected = share * values + (1 - share) * values[partners]
    torch.testing.assert_close(made.mean((1, 2, 3)), expected)
    again, _, _ = make(1.0)(x, torch.Generator().manual_seed(seed))
    assert torch.equal(made, again) and len(share.unique()) == 1 and 0 <= float(share[0]) <= 1
    if make is cutmix:
        assert all(len(image.unique()) <= 2 for image in made)


def test_shares_are_drawn_from_beta() -> None:
    x, generator = torch.zeros(2, 1, 4, 4), torch.Generator().manual_seed(0)
    shares = torch.tensor([float(mixup(0.4)(x, generator)[2][0]) for _ in range(3000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(0.25 / (2 * 0.4 + 1), rel=0.08)


def test_the_loss_of_both_labels() -> None:
    """Zhang et al.'s: λ · CE(y) + (1 - λ) · CE(other)."""
    other, share = torch.tensor([1, 1, 0, 2]), torch.full((4,), 0.3)
    y = Y.clamp(min=0)
    expected = 0.3 * F.cross_entropy(Z, y) + 0.7 * F.cross_entropy(Z, other)
    torch.testing.assert_close(losses.weighted_labels(Z, y, other=other, share=share), expected)
    batch = blobs(8).batch()
    batch.other, batch.share = batch.y.flip(0), torch.full((8,), 0.3)
    student = initialise(mlp(16, 8, 4), 0)
    loss, _ = HardLabels()(student, batch)
    z = student(batch.x)
    expected = 0.3 * F.cross_entropy(z, batch.y) + 0.7 * F.cross_entropy(z, batch.other)
    torch.testing.assert_close(loss, expected)


class Asked(nn.Module):
    """A teacher that keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.seen = initialise(mlp(16, 8, 4), 3), list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return self.network(x)


def test_fit_mixes_labels_and_shows_the_teacher_what_it_mixed() -> None:
    """Where an image's own share is 1 the partners' labels do not count."""
    train = blobs(160)

    def own(x: Tensor, generator: torch.Generator) -> Any:
        return x, torch.arange(len(x)).roll(1), torch.ones(len(x))

    mixed, plain = mlp(16, 8, 4), mlp(16, 8, 4)
    fit(mixed, train, epochs=2, seed=0, batch=32, augment=own)
    fit(plain, train, epochs=2, seed=0, batch=32, augment=lambda x, g: x)
    for weight, same in zip(mixed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weight, same)
    teacher = Asked()
    objective = HardLabels() + 0.001 * SoftTargets(teacher, 2)
    teacher.seen.clear()
    run = fit(mlp(16, 8, 4), train, objective, epochs=25, seed=0, batch=32, augment=mixup(1.0))
    shown = torch.cat(teacher.seen[-5:])
    known = train.batch().x.flatten(1)
    assert torch.cdist(shown.flatten(1), known).amin(1).median() > 0.01
    assert run.error(blobs(80, seed=3)) < 30
    for targets, term in ((binary(), BinaryLabels()), (regression(), MeanSquares())):
        assert len(learned_mixed(targets, term)) == 2


def learned_mixed(targets: Targets, term: Objective) -> list[dict[str, float]]:
    student = mlp(16, 8, 2)
    return fit(student, targets, term, epochs=2, seed=0, batch=32, augment=cutmix(1.0)).history


def test_targets_that_are_mixed_are_their_mean() -> None:
    batch = regression(4).batch()
    share = torch.full((4,), 0.25)
    mixed = batch.mixed(torch.tensor([1, 0, 3, 2]), share)
    torch.testing.assert_close(mixed.y, 0.25 * batch.y + 0.75 * batch.y[[1, 0, 3, 2]])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mixup(0.0), "alpha=0.0: expected a finite number above 0"),
        (lambda: cutmix("1"), "alpha='1'"),  # type: ignore
        (lambda: each_image(3), "expected a function image -> image"),  # type: ignore
        (lambda: run(Decoupled(mlp(16, 4), 4), augment=mixup()), "Decoupled.*another augment"),
        (lambda: run(HardLabels(), two_domains(), augment=mixup()), "one domain an image"),
        (lambda: fit(mlp(16, 4), blobs(8), augment=lambda x, g: (x, x)), "made 2 things at once"),
        (
            lambda: fit(mlp(16, 4), blobs(8), augment=lambda x, g: (x, x, x)),
            r"partners torch.float32 .* of 2 images; expected int64",
        ),
        (
            lambda: fit(mlp(16, 4), blobs(8), Decoupled(mlp(16, 4), 4), augment=own_mix),
            "augment=own_mix mixes images and labels, and Decoupled",
        ),
        (lambda: run(Decoupled(mlp(16, 4), 4), augment=jittered_mix), "augment=jittered_mix mixes"),
        (
            lambda: run(HardLabels(), augment=lambda x, g: (*own_mix(x, g)[:2], x.new_ones(2) + 1)),
            r"augment made shares \[2\..* from 0 to 1",
        ),
        (lambda: run(HardLabels(), SIGNALS, augment=jitter(1)), "jitter moves pixels"),
        (lambda: run(HardLabels(), SIGNALS, augment=cutmix()), "cutmix moves pixels"),
        *(
            (lambda name=name: SIGNALS.transformed(severity(name, 1)), f"{name} moves pixels")
            for name in ("mirror", "rotate", "shift", "crop", "blur", "texture")
        ),
        (lambda: cutmix()(X.flatten(1)[..., None, None], torch.Generator()), "more than one pixel"),
        (lambda: run(HardLabels(), augment=unpacking), r"augment fails .*\(not enough values"),
        (lambda: jitter(2.5), "pixels=2.5: expected a whole number"),  # type: ignore[arg-type]
        (lambda: jitter("a"), "pixels='a': expected a whole"),  # type: ignore[arg-type]
        (
            lambda: run(CDAN("1"), binary() + binary().unlabelled().as_domain(1)),
            "CDAN.* is for classes",
        ),
    ],
)
def test_mixing_that_cannot_be(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def two_domains() -> Examples:
    return blobs(16) + blobs(16).unlabelled().as_domain(1)


def own_mix(x: Tensor, generator: torch.Generator) -> Any:
    return x, torch.arange(len(x)).flip(0), torch.ones(len(x))


def jittered_mix(x: Tensor, generator: torch.Generator) -> Any:
    return mixup(1.0)(jitter(1)(x, generator), generator)


def unpacking(x: Tensor, generator: torch.Generator) -> Tensor:
    a, b, c = x
    return a + b + c


SIGNALS = Examples.of_features(torch.rand(8, 4, 4), torch.arange(8) % 4)


def test_each_image_draws_for_itself_and_is_reproducible() -> None:
    def flip(image: Tensor) -> Tensor:  # as torchvision's RandomHorizontalFlip does it
        return image.flip(-1) if torch.rand(1) < 0.5 else image

    x = torch.rand(64, 1, 4, 4)
    state = torch.get_rng_state()
    made = each_image(flip)(x, torch.Generator().manual_seed(0))
    flipped = (made != x).flatten(1).any(1)
    assert 15 < int(flipped.sum()) < 49
    torch.testing.assert_close(made[flipped], x[flipped].flip(-1))
    assert torch.equal(made, each_image(flip)(x, torch.Generator().manual_seed(0)))
    assert torch.equal(state, torch.get_rng_state())
    fit(mlp(16, 4), blobs(32), epochs=1, augment=each_image(flip))
    assert jitter(1)(x, torch.Generator()).shape == x.shape


def test_examples_keep_no_graph() -> None:
    """Neither what was given nor its gradient is touched by a training."""
    x, y = torch.rand(4, 16, requires_grad=True), torch.rand(4, 2, requires_grad=True)
    images, classes = x.view(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    made = [
        Examples(images, classes),
        Examples.of_features(x, classes),
        Targets(images, y),
        Targets.of_features(x, y),
        Targets(images, y.detach()).labelled_as(y),
        Stream(Items((image, 0) for image in images)),
    ]
    for examples in made:
        batch = examples.batch()
        assert not (examples.x.requires_grad or batch.x.requires_grad or batch.y.requires_grad)
        assert examples.fingerprint
    fit(mlp(16, 2), made[4], MeanSquares(), epochs=1, seed=0)
    assert x.grad is None and y.grad is None and x.requires_grad and y.requires_grad


# ---- data larger than memory ---------------------------------------------------------------------


class Pictures(torch.utils.data.Dataset):
    """Blobs that count how many are read; `targets` as torchvision's data sets have them."""

    def __init__(self, examples: Examples, *, named: bool = True) -> None:
        self.examples, self.read = examples, 0
        if named:
            self.targets = examples.y.tolist()

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        self.read += 1
        return self.examples.x[place], int(self.examples.y[place])


@pytest.mark.parametrize("kind", ["network", "labels"])
def test_a_stream_trains_as_the_examples_it_reads(kind: str) -> None:
    examples, teacher = blobs(96), initialise(mlp(16, 8, 4), 3)
    objective = HardLabels() + (SoftTargets(teacher, 2) if kind == "network" else HardLabels(0.1))
    stream = Stream(Pictures(examples), name="pictures")
    how: dict[str, Any] = {"epochs": 2, "batch": 32, "seed": 1}
    kept, read = mlp(16, 8, 4), mlp(16, 8, 4)
    first = fit(kept, examples, objective, **how, validate=examples)
    second = fit(read, stream, objective, **how, validate=stream)
    for a, b in zip(kept.parameters(), read.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert first.error(examples) == second.error(stream)
    bank = train_bank(
        objective, student=mlp(16, 8, 4), examples=stream, seeds=[1], epochs=2, batch=32,
        evaluate={"test": stream}, cache=True,
    )  # fmt: skip
    assert bank.engine == "reference" and not bank.cached
    torch.testing.assert_close(bank.logits["test"][0], first.logits(examples), rtol=1e-3, atol=1e-3)


def test_a_stream_is_sliced_without_being_read() -> None:
    data = Pictures(blobs(40))
    stream = Stream(data, name="pictures")
    part = stream[torch.arange(40) % 2 == 1][3:6].as_domain(1)
    assert data.read == 4 and repr(part) == "Stream(pictures: 3 × (1, 4, 4))"
    assert torch.equal(part.batch().x, data.examples[[7, 9, 11]].batch().x) and data.read == 7
    assert part.y.tolist() == data.examples.y[[7, 9, 11]].tolist() and part.domains == [1]
    assert torch.equal(part.batch(torch.tensor([2])).x, data.examples[[11]].batch().x)
    assert [len(piece) for piece in stream.split(10, 30)] == [10, 30]
    assert len(stream.only([2])) == 10 and int(stream.unlabelled().labelled.sum()) == 0
    assert stream[:4].fingerprint != stream[1:5].fingerprint
    assert stream.x.shape == (40, 1, 4, 4) and stream.x.is_meta  # nobody takes it for the images
    assert torch.equal(Stream(Pictures(blobs(8), named=False)).y, blobs(8).y)


class Items(list):
    """A data set of whatever items."""


IMAGE = torch.rand(1, 4, 4)


@pytest.mark.parametrize("named", [[0, 1, 2, 3], ["a", "b", "c", "d"], [3, 2], [3, 2, 1, 9]])
def test_a_stream_has_the_labels_of_its_items(named: list[Any]) -> None:
    """`targets` knows nothing of a `target_transform`, nor of a subset."""
    data = Items((IMAGE, torch.tensor(3 - i) if i else 3) for i in range(4))
    data.targets = named  # type: ignore[attr-defined]
    assert Stream(data).y.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Stream(torch.utils.data.DataLoader(Pictures(blobs(8)))), "give loader.dataset"),
        (lambda: Stream(Items([(3, 0)])), "begins with a int; .*PILToTensor"),
        (lambda: Stream(Items([(IMAGE * 9, 0)])), "images hold values from"),
        (lambda: Stream(Items([(IMAGE, "cat")])), r"no numbers .* Stream\(dataset, torch.tensor"),
        (lambda: Stream(Items([(IMAGE, 1.0)])), r"float32 \(1,\); give .*dataset, torch.tensor"),
        (lambda: Stream(Items([(IMAGE, [0, 1])])), r"\(1, 2\); give class .*Several numbers"),
        (lambda: Stream(Items([(IMAGE, 0), (IMAGE[:, :2], 1)])).batch(), "item 1 of .*resize"),
        (lambda: Stream(Pictures(blobs(8))).transformed(lambda x, g: x), "ConcatDataset"),
        (lambda: Stream(Pictures(blobs(8))) + blobs(8), "ConcatDataset"),
        (lambda: transfer_set(Stream(Pictures(blobs(8))), "noise"), "made of images in memory"),
        (lambda: tabulate(mlp(16, 4), Stream(Pictures(blobs(8)))), "asked live"),
        (lambda: run(HardLabels(), Pictures(blobs(8))), r"data.Stream\(dataset\)"),  # type: ignore
        (
            lambda: run(SoftTargets(tabulate(mlp(16, 4), blobs(8)), 2), Stream(Pictures(blobs(8)))),
            "give the teacher's network itself",
        ),
        (
            lambda: train_bank(
                student=mlp(16, 4), examples=Stream(Pictures(blobs(8))), evaluate={}, engine="fast"
            ),
            "the fast engine trains",
        ),
    ],
)
def test_streams_that_cannot_be(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# ---- colour images -------------------------------------------------------------------------------


def test_normalising_channel_by_channel() -> None:
    x = torch.rand(50, 3, 8, 8) * torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1)
    found = channel_statistics(Examples(x, torch.zeros(50, dtype=torch.int64)))
    torch.testing.assert_close(torch.tensor(found["mean"]), x.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(found["std"]), x.std((0, 2, 3), correction=0))
    for network in (cnn(2, 4, channels=3, **found), mlp(192, 4, **found)):
        seen = network.normalise(x)
        torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    assert cnn(2, 4).normalise.mean.shape == () and float(mlp(4, 2).normalise.mean) == float(
        torch.tensor(0.1307)
    )


def test_the_fast_engine_normalises_by_the_students_own_statistics() -> None:
    examples, found = blobs(64), {"mean": (0.4,), "std": (0.2,)}
    how: dict[str, Any] = {"epochs": 2, "batch": 32, "precision": "fp32"}
    bank = train_bank(
        student=mlp(16, 8, 4, **found), examples=examples, seeds=[2], cache=False,
        evaluate={"test": examples}, engine="fast", **how,
    )  # fmt: skip
    run = fit(mlp(16, 8, 4, **found), examples, seed=2, **how)
    torch.testing.assert_close(bank.logits["test"][0], run.logits(examples), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: cnn(channels=3, std=(1.0, 0.0, 1.0)), r"std=\(1.0, 0.0, 1.0\): .* above 0"),
        (
            lambda: cnn(channels=3, mean=(NAN, 0.0, 1.0)),
            "mean=.*or one for each",
        ),
        (lambda: mlp(4, 2, mean="grey"), "mean='grey': expected a number"),
        (lambda: channel_statistics(blobs(4)[:0]), "holds no images"),
    ],
)
def test_statistics_that_are_none(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifars_files_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives of our own in the published layout, one pixel for each of 3 × 32 × 32 alike."""
    folder, draw = tmp_path / cifar.FOLDERS[name], np.random.default_rng(0)
    folder.mkdir()
    *train, test = cifar.CIFAR[name]
    manifest, kept = {}, {}
    for file in (*train, test):
        count = 12 if file == test else 5_010 // len(train)
        pixels = np.repeat(draw.integers(256, size=(count, 3), dtype=np.uint8), 1024, 1)
        labels = (pixels[:, 0] % 10).tolist()
        content = {"data": pixels, "labels" if name == "cifar10" else "fine_labels": labels}
        if name == "cifar100":
            content["coarse_labels"] = [0] * count
        kept[file] = pixels
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
        manifest[file] = hashlib.md5((folder / file).read_bytes()).hexdigest()
    monkeypatch.setitem(sources._TORCHVISION, name, (name.upper(), manifest))
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("KDLIB_OFFLINE", "1")
    splits = load(name)
    assert [len(part) for part in splits] == [10, 5_000, 12] and verify(name) == "ok"
    assert splits.test.x.shape == (12, 3, 32, 32) and splits.test.x.dtype == torch.uint8
    assert np.array_equal(splits.test.x.flatten(1).numpy(), kept[test])
    for part in splits:
        assert torch.equal(part.y, part.x[:, 0, 0, 0].long() % 10)
    kept_files = shutil.move(folder, tmp_path / "published")

    def fetch(root: str, download: bool) -> None:  # as torchvision unpacks its archive
        shutil.copytree(kept_files, Path(root) / cifar.FOLDERS[name])

    monkeypatch.delenv("KDLIB_OFFLINE")
    monkeypatch.setattr(vision.datasets, name.upper(), fetch)
    assert verify(name).startswith("not here") and len(load(name).test) == 12
    (folder / test).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(OSError, match=r"is damaged: its MD5 begins .*delete it and load again"):
        load(name)


# ---- what is no image, and what messages advise --------------------------------------------------


def test_numbers_in_the_place_of_images_keep_their_values() -> None:
    y = torch.tensor([0, 1])
    bytes_ = Examples.of_features(torch.tensor([[0, 1, 200], [7, 8, 9]], dtype=torch.uint8), y)
    assert bytes_.batch().x.flatten(1).tolist() == [[0, 1, 200], [7, 8, 9]]
    ids = Examples.of_features(torch.tensor([[5, 2**24], [0, 300]]), y)
    assert ids.batch().x.flatten(1).long().tolist() == [[5, 2**24], [0, 300]]
    moved = bytes_.transformed(lambda x, g: x - 100)
    assert moved.batch().x.flatten(1).tolist()[0] == [-100, -99, 100]


@pytest.mark.parametrize("shape", [(3, 20), (2, 4, 5, 6)])
def test_signals_and_volumes_are_trained_on(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = torch.randn(64, *shape, generator=generator) + 4 * y.view(-1, *[1] * len(shape))
    examples = Examples.of_features(x, y)
    convolution = nn.Conv1d if len(shape) == 2 else nn.Conv3d
    student = nn.Sequential(convolution(shape[0], 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    student(x[:1])
    assert examples[3:5].x.shape == (2, *shape) and len(examples + examples) == 128
    assert fit(student, examples, epochs=5, seed=0, batch=16).error(examples) < 10
    shifted = examples.transformed(lambda x, g: x + 1)
    torch.testing.assert_close(shifted.x, x + 1)


def test_advice_is_followed_to_the_letter() -> None:
    """Each message is met, and what it says to do makes the same values, or the next message."""
    y, grey = torch.tensor([0, 1]), torch.rand(2, 4, 4)

    def said(make: Callable[[], Any]) -> str:
        with pytest.raises(ValueError) as caught:
            make()
        return str(caught.value)

    assert "x[:, None]" in said(lambda: Examples(grey, y))
    assert torch.equal(Examples(grey[:, None], y).x[:, 0], grey)
    assert "Examples.of_features(x, y)" in said(lambda: Examples(grey, y))
    assert torch.equal(Examples.of_features(grey, y).x, grey)
    pixels = torch.tensor([0, 255]).view(2, 1, 1, 1)
    assert "x.to(torch.uint8)" in said(lambda: Examples(pixels, y))
    assert torch.equal(Examples(pixels.to(torch.uint8), y).x.long(), pixels)
    deep = torch.tensor([0, 65535]).view(2, 1, 1, 1)
    message = said(lambda: Examples(deep, y))
    assert "to(torch.uint8)" not in message and "x / 65535" in message
    for marks in (grey[:, None] > 0.5, (grey[:, None] > 0.5).long()):
        message = said(lambda marks=marks: Examples(marks, y))
        assert "to(torch.uint8)" not in message and "x.float()" in message
        assert torch.equal(Examples(marks.float(), y).batch().x, marks.float())
    message = said(lambda: Examples((grey[:, None] - 0.5) / 0.25, y))
    assert "nn.Sequential(Normalise(mean, std), network)" in message
    network = mlp(16, 2, mean=0.0, std=1.0)
    taught = nn.Sequential(Normalise(0.5, 0.25), network)
    x = Examples(grey[:, None], y).batch().x
    torch.testing.assert_close(taught(x), network((grey[:, None] - 0.5) / 0.25))
    message = said(lambda: Examples(deep, y))
    assert Examples(deep / 65535, y).x.flatten().tolist() == [0, 1]
    assert "Sequences(tokens)" in message and len(Sequences(torch.tensor([[0, 300]]))) == 1
    assert "y.long()" in said(lambda: Examples(grey[:, None], torch.tensor([0.0, 1.0])))
    numbers = torch.tensor([0.5, 1.5])
    message = said(lambda: Examples(grey[:, None], numbers))
    assert "long" not in message and "Targets(x, y[:, None])" in message
    assert Targets(grey[:, None], numbers[:, None]).y.flatten().tolist() == [0.5, 1.5]
    assert "y.float()" in said(lambda: Targets(grey[:, None], y[:, None]))
    assert Targets(grey[:, None], y[:, None].float()).classes == 1
    large = torch.tensor([[2**25 + 1, 3], [3, 2**25]])
    assert "torch.unique" in said(lambda: Examples.of_features(large, y))
    few = torch.unique(large, return_inverse=True)[1]
    assert Examples.of_features(few, y).batch().x.flatten().tolist() == [2, 0, 0, 1]
    maps = torch.randn(2, 3, 4, 5)
    assert "f.flatten(2)" in said(lambda: Examples.of_features(maps, y))
    assert Examples.of_features(maps.flatten(2), y).x.shape == (2, 3, 20)
    holes = Targets(grey[:, None], torch.tensor([[1.0], [NAN]]))
    logits = torch.tensor([[2.0], [2.0]])
    assert "targets[targets.labelled]" in said(lambda: metrics.wrong(logits, holes.y))
    assert metrics.wrong(logits[:1], holes[holes.labelled].y).tolist() == [0.0]


@pytest.mark.parametrize("kind", ["weights", "mixed", "mixed numbers", "numbers"])
def test_what_is_new_is_recorded_like_the_rest(kind: str) -> None:
    """A recorded step trains as one that is not; a weight copied at each step would not pass."""
    numbers = "numbers" in kind
    teacher, count = initialise(mlp(16, 8, 2), 1), 2 if numbers else 4
    examples: Examples = binary() if numbers else blobs(96)
    objective = HardLabels(weights=(1.0, 2.0, 0.5, 3.0)) if kind == "weights" else HardLabels()
    objective = BinaryLabels() + SigmoidTargets(teacher, 2) if numbers else objective
    how: dict[str, Any] = {"epochs": 4, "batch": 16, "seed": 0, "precision": "fp32"}
    how["augment"] = mixup(1.0) if "mixed" in kind else None
    plain, taped = mlp(16, 8, count), mlp(16, 8, count)
    fit(plain, examples, objective, **how)
    with on_the_tape() as replays, warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(taped, examples, objective, **how)
    assert sum(replays) > 10
    for a, b in zip(plain.parameters(), taped.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
