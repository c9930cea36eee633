"""Moving without labels: each term by hand, the averaged teacher, and labels that stay sealed."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn

from kdlib import distances, losses
from kdlib.adaptation import (
    CDAN,
    CORAL,
    DANN,
    MCC,
    MMD,
    InformationMaximization,
    MeanTeacher,
    adabn,
    freeze,
    ramp,
)
from kdlib.bank import train_bank
from kdlib.data import Batch, Examples
from kdlib.metrics import bnm, information_maximization_score, negative_entropy, snd
from kdlib.models import cnn, fingerprint, initialise, mlp, predict
from kdlib.objectives import HardLabels, Learner, Objective, SoftTargets
from kdlib.training import fit

TERMS: dict[str, Objective] = {
    "MMD": MMD("embedding"),
    "CORAL": CORAL("embedding"),
    "DANN": DANN("embedding"),
    "CDAN": CDAN("embedding"),
    "InformationMaximization": InformationMaximization(),
    "MCC": MCC(),
    "MeanTeacher": MeanTeacher(decay=0.9),
}


def larger(examples: Examples) -> Examples:
    """8 × 8 pixels, which cnn needs."""
    return Examples(examples.x.repeat(1, 1, 2, 2), examples.y, examples.domain, examples.name)


@pytest.fixture(scope="module")
def source() -> Examples:
    return larger(blobs(96)).as_domain(0)


@pytest.fixture(scope="module")
def target() -> Examples:
    shifted = larger(blobs(64, seed=5))
    return Examples((shifted.x // 2) + 60, shifted.y, name="shifted").as_domain(1)


@pytest.fixture
def z() -> Tensor:
    return 3 * torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- losses by hand ------------------------------------------------------------------------------


def by_hand_entropy(p: list[float]) -> float:
    return -sum(share * math.log(share) for share in p)


def test_entropy_and_diversity_by_hand(z: Tensor) -> None:
    rows = z.softmax(-1).tolist()
    each = sum(map(by_hand_entropy, rows)) / len(rows)
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert float(losses.entropy(z)) == pytest.approx(each)
    assert float(losses.diversity(z)) == pytest.approx(by_hand_entropy(mean))
    together = losses.information_maximization(z)
    assert float(together) == pytest.approx(each - by_hand_entropy(mean))


def test_information_maximization_is_shots(z: Tensor) -> None:
    """The formulas as SHOT's authors write them, up to their 1e-5 within the logarithms."""
    p = z.softmax(1)
    entropy_loss = (-p * (p + 1e-5).log()).sum(1).mean()
    msoftmax = p.mean(0)
    gentropy_loss = (-msoftmax * (msoftmax + 1e-5).log()).sum()
    ours = losses.information_maximization(z)
    torch.testing.assert_close(ours, entropy_loss - gentropy_loss, rtol=0, atol=2e-4)


@pytest.mark.parametrize("T", [1.0, 2.5])
def test_minimum_class_confusion_by_hand(z: Tensor, T: float) -> None:
    """Equations 3 to 7 of Jin et al. 2020, one sum at a time."""
    p = (z / T).softmax(-1).tolist()
    count, classes = len(p), len(p[0])
    raw = [1 + math.exp(-by_hand_entropy(row)) for row in p]
    weight = [count * one / sum(raw) for one in raw]
    confusion = [
        [sum(weight[i] * p[i][j] * p[i][k] for i in range(count)) for k in range(classes)]
        for j in range(classes)
    ]
    normalised = [[one / sum(row) for one in row] for row in confusion]
    expected = sum(normalised[j][k] for j in range(classes) for k in range(classes) if j != k)
    assert float(losses.minimum_class_confusion(z, T)) == pytest.approx(expected / classes)


def test_weights_of_minimum_class_confusion_pass_no_gradient(z: Tensor) -> None:
    """As in the authors' code: the certainty weights are detached."""
    z = z.requires_grad_()
    p = (z / 2.5).softmax(1)
    weight = (1 + (-(-p * p.log()).sum(1)).exp()).detach()
    weight = len(p) * weight / weight.sum()
    confusion = (p * weight[:, None]).T @ p
    confusion = confusion / confusion.sum(1)
    ours = losses.minimum_class_confusion(z, 2.5)
    theirs = (confusion.sum() - confusion.trace()) / 4
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in (ours, theirs))
    )


UNLABELLED: dict[str, Callable[..., Tensor]] = {
    "entropy": losses.entropy,
    "diversity": losses.diversity,
    "information_maximization": losses.information_maximization,
    "minimum_class_confusion": lambda z, **how: losses.minimum_class_confusion(z, 2.5, **how),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_unlabelled_losses_keep_the_house_rules(z: Tensor, name: str) -> None:
    loss = UNLABELLED[name]
    where = torch.arange(12) % 3 > 0
    torch.testing.assert_close(loss(z, where=where), loss(z[where]))
    moved = torch.where(where[:, None], z, 7.0)  # what it doesn't concern changes nothing
    torch.testing.assert_close(loss(moved, where=where), loss(z, where=where))
    assert loss(z.bfloat16()).dtype == torch.float32
    assert loss(z).dim() == 0 and torch.autograd.gradcheck(
        lambda x: losses.entropy(x) if name == "minimum_class_confusion" else loss(x),
        z.clone().requires_grad_(),
    )
    none = z.clone().requires_grad_()
    nothing = loss(none, where=torch.zeros(12, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0 and torch.equal(none.grad, torch.zeros_like(z))
    sure = torch.full((6, 4), -1e4)
    sure[:, 0] = 1e4
    extreme = sure.requires_grad_()
    loss(extreme).backward()
    assert torch.isfinite(extreme.grad).all()
    stacked = torch.stack([z, z.flip(0) * 2])
    together = torch.func.vmap(lambda x: loss(x, where=where))(stacked)
    torch.testing.assert_close(together, torch.stack([loss(x, where=where) for x in stacked]))


def test_limits_of_unlabelled_losses() -> None:
    one_class, even = torch.zeros(8, 4), 50 * torch.eye(4).repeat(2, 1)
    one_class[:, 2] = 50
    assert losses.entropy(one_class) == pytest.approx(0) == losses.diversity(one_class)
    assert losses.diversity(even) == pytest.approx(math.log(4))
    assert losses.entropy(torch.zeros(8, 4)) == pytest.approx(math.log(4))
    assert losses.information_maximization(even) == pytest.approx(-math.log(4), abs=1e-5)
    assert losses.minimum_class_confusion(even, 1) == pytest.approx(0, abs=1e-6)
    assert losses.minimum_class_confusion(torch.zeros(8, 4), 1) == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="temperature T=0: expected a finite number above 0"):
        losses.minimum_class_confusion(even, 0)


# ---- the adversary -------------------------------------------------------------------------------


def mixed(count: int = 8) -> Batch:
    """Half source, half target, not in order; float64."""
    x = draw(count, 1, 4, 4).double()
    return Batch(x, torch.arange(count) % 4, torch.arange(count) % 2)


def test_ramp() -> None:
    assert ramp(0) == 0 and ramp(1) == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    assert ramp(0.3) == pytest.approx(2 / (1 + math.exp(-3)) - 1)
    assert ramp(0.5, warm=0.5) == ramp(0.2, warm=0.5) == 0
    assert ramp(0.75, warm=0.5) == pytest.approx(ramp(0.5))


@pytest.mark.parametrize("kind", [DANN, CDAN])
@pytest.mark.parametrize(("done", "warm"), [(0.3, 0.0), (0.6, 0.5), (0.3, 0.5)])
def test_gradient_reversal_by_finite_differences(kind, done: float, warm: float) -> None:
    """The discriminator descends its loss, the encoder climbs it (scaled), the head is spared.

    The differences are of the loss written out here, which knows nothing of any reversal.
    """
    student = initialise(mlp(16, 5, 4).double(), 0)
    batch, strength = mixed(), 0.7
    learner = Learner.of(student, kind("embedding", strength=strength, hidden=6, warm=warm), batch)
    learner.double()
    discriminator = learner.owned.by_term[0]
    answers = student(batch.x).softmax(-1).detach()

    def loss() -> float:
        f = student.stage1(
            batch.x.sub(student.normalise.mean).div(student.normalise.std).flatten(1)
        )
        shown = (
            f
            if kind is DANN
            else torch.stack([torch.outer(*fp).flatten() for fp in zip(f, answers, strict=True)])
        )
        p = discriminator(shown).sigmoid()
        return -float(torch.where(batch.domain == 1, p, 1 - p).log().mean().detach())

    total, _ = learner(batch, done)
    assert float(total.detach()) == pytest.approx(loss())
    total.backward()
    turned = -strength * ramp(done, warm=warm)
    assert (turned == 0) == (done < warm)
    for weight, factor in ((student.stage1[0].weight, turned), (discriminator[0].weight, 1.0)):
        for place in ((0, 3), (2, 1), (4, 0)):
            values = []
            with torch.no_grad():
                for step in (1e-6, -1e-6):
                    weight[place] += step
                    values.append(loss())
                    weight[place] -= step
            numeric = (values[0] - values[1]) / 2e-6
            assert float(weight.grad[place]) == pytest.approx(factor * numeric, rel=1e-4, abs=1e-9)
    assert student.head.weight.grad is None


def test_discriminator_is_small_and_without_batchnorm(source: Examples, target: Examples) -> None:
    learner = Learner.of(
        cnn(2, 4), DANN("embedding", hidden=7), (source + target).batch(slice(0, 2))
    )
    sizes = [tuple(p.shape) for p in learner.owned.parameters()]
    assert sizes == [(7, 8), (7,), (1, 7), (1,)]
    conditioned = Learner.of(cnn(2, 4), CDAN("embedding", hidden=7), source.batch(slice(0, 2)))
    assert next(conditioned.owned.parameters()).shape == (7, 8 * 4)
    assert not any("BatchNorm" in type(m).__name__ for m in learner.owned.modules())


# ---- terms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("term", "gap"), [(MMD, distances.mmd), (CORAL, distances.coral)])
def test_alignments_are_the_distances_of_the_two_clouds(term, gap, source, target) -> None:
    student = initialise(mlp(64, 6, 4), 0)
    both = source + target
    batch = both.batch(torch.randperm(len(both), generator=torch.Generator().manual_seed(0)))
    loss, _ = Learner.of(student, term("embedding"), batch)(batch)
    f_s, f_t = (student.stage1(student.normalise(e.batch().x).flatten(1)) for e in (source, target))
    torch.testing.assert_close(loss, gap(f_s, f_t), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["InformationMaximization", "MCC"])
def test_answers_count_on_the_target_only(name: str, source: Examples, target: Examples) -> None:
    student, both = initialise(mlp(64, 6, 4), 0), source + target
    loss, _ = Learner.of(student, TERMS[name], both.batch())(both.batch())
    z = predict(student, target)
    by_hand = UNLABELLED[
        "information_maximization" if name[0] == "I" else "minimum_class_confusion"
    ]
    torch.testing.assert_close(loss, by_hand(z), rtol=1e-4, atol=1e-6)


def test_without_diversity_it_is_entropy_alone(source: Examples, target: Examples) -> None:
    student, both = initialise(mlp(64, 6, 4), 0), source + target
    alone = Learner.of(student, InformationMaximization(diversity=0), both.batch())
    loss, _ = alone(both.batch())
    torch.testing.assert_close(loss, losses.entropy(predict(student, target)), rtol=1e-4, atol=1e-6)


def test_terms_print_and_compare() -> None:
    shown = str(HardLabels() + 0.5 * DANN("embedding") + MCC() + MeanTeacher(0.9))
    assert shown == (
        "HardLabels() + 0.5 · DANN(tap=embedding, strength=1, hidden=64, warm=0) + "
        "MCC(T=2.5) + MeanTeacher(decay=0.9, confidence=0)"
    )
    assert DANN("embedding") == DANN("embedding") != DANN("head")
    assert str(InformationMaximization()) == "InformationMaximization(diversity=1)"


@pytest.mark.parametrize("name", TERMS)
def test_every_term_trains_and_leaves_teachers_alone(name: str, source, target, teacher) -> None:
    tutor = initialise(cnn(2, 4), 9)
    before = fingerprint(tutor)
    objective = HardLabels() + 0.5 * TERMS[name] + 0.1 * SoftTargets(tutor, 2)
    both = source + target.unlabelled()
    run = fit(cnn(2, 4), both, objective, epochs=2, batch=32, seed=0)
    assert all(math.isfinite(value) for row in run.history for value in row.values())
    assert name in run.history[0] and fingerprint(tutor) == before
    without = fit(
        cnn(2, 4), both, HardLabels() + 0.1 * SoftTargets(tutor, 2), epochs=2, batch=32, seed=0
    )
    assert fingerprint(run.network) != fingerprint(without.network)  # the term does something


@pytest.mark.parametrize("name", ["MMD", "CORAL", "DANN", "CDAN", "MCC"])
def test_a_bank_of_weights_equals_fit(name: str, source: Examples, target: Examples) -> None:
    both, how = source + target.unlabelled(), {"epochs": 2, "batch": 48}
    # distances look whether features are finite, which vmap cannot; the bank chooses by itself
    engine = "sequential" if name in ("MMD", "CORAL") else "reference"
    bank = train_bank(
        lambda lam: HardLabels() + lam * TERMS[name], student=mlp(64, 6, 4), examples=both,
        grid={"lam": [0.0, 0.7]}, seeds=2, evaluate={"test": target}, cache=False,
        **how,
    )  # fmt: skip
    assert bank.engine == engine
    if engine == "sequential":
        how_not = {"student": mlp(64, 6, 4), "examples": both, "evaluate": {}}
        with pytest.raises(ValueError, match="reference engine trains students together"):
            train_bank(TERMS[name], engine="reference", **how_not)
    run = fit(mlp(64, 6, 4), both, HardLabels() + 0.7 * TERMS[name], seed=1, **how)
    logits = predict(bank.network(lam=0.7, seed=1), target)
    torch.testing.assert_close(logits, run.logits(target), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [DANN, CDAN])
def test_what_no_symbol_can_be_is_named_with_a_way_out(kind, source, target) -> None:
    both = source + target.unlabelled()
    how = {"examples": both, "evaluate": {}, "epochs": 1, "seeds": 1, "cache": False}
    asked = {  # hidden gives the shape of weights; warm decides in Python
        "hidden": ([3, 5], lambda axis: HardLabels() + kind("embedding", hidden=axis)),
        "warm": ([0.0, 0.5], lambda axis: HardLabels() + kind("embedding", warm=axis)),
    }
    for name, (values, objective) in asked.items():
        wanted = rf"{kind.__name__} was given {name}=axis, a symbol, .*student=lambda axis: mlp"
        with pytest.raises(ValueError, match=wanted):
            train_bank(objective, student=mlp(64, 6, 4), grid={"axis": values}, **how)
        bank = train_bank(
            objective, student=lambda axis: mlp(64, 6, 4), grid={"axis": values}, **how
        )
        assert bank.losses.isfinite().all()


def test_adversary_gets_the_domains_apart_and_the_encoder_together() -> None:
    """On two blobs: with strength 0 the discriminator wins; reversed, the clouds meet."""
    x = torch.zeros(400, 1, 1, 2)
    x[:, 0, 0] = 0.1 * draw(400, 2)
    x[200:, 0, 0, 0] += 1.0  # the domains differ in the first pixel, the classes in the second
    y = torch.arange(400) % 2
    x[:, 0, 0, 1] += y
    points = Examples.of_features(x.flatten(1), y)
    both = points[:200] + points[200:].unlabelled().as_domain(1)
    gaps = {}
    for strength in (0.0, 1.0):
        objective = HardLabels() + DANN("embedding", strength=strength, hidden=16)
        run = fit(mlp(2, 8, 2), both, objective, epochs=15, batch=50, seed=0)
        gaps[strength] = run.history[-1]["DANN"]
    assert gaps[0.0] < 0.1 and gaps[1.0] > 0.25  # log 2 = 0.69 is "cannot tell"


# ---- the averaged teacher ------------------------------------------------------------------------


def test_the_mean_teacher_follows_weights_and_buffers(source: Examples, target: Examples) -> None:
    student, both = initialise(cnn(2, 4), 0), source + target.unlabelled()
    learner = Learner.of(student, MeanTeacher(decay=0.75), both.batch(slice(0, 2)), per_domain=True)
    learner.train()
    (average,) = learner.owned.by_term
    start = copy.deepcopy(student)
    assert average.network is not student and not any(p.requires_grad for p in average.parameters())
    with torch.no_grad():
        for weight in student.parameters():
            weight += 1.0
    student(both.batch().x)  # moves the running statistics
    learner.after_step()
    for mine, now, was in zip(
        average.network.parameters(), student.parameters(), start.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, 0.75 * was + 0.25 * now)
    for mine, now in zip(average.network.buffers(), student.buffers(), strict=True):
        assert torch.equal(mine, now)
    moved = dict(start.named_buffers())["stage1.2.running_mean"]
    assert not torch.equal(moved, average.network.stage1[2].running_mean)


def test_the_mean_teacher_sees_originals_of_the_target(source: Examples, target: Examples) -> None:
    """Without dropout, with the statistics of the target images of the batch, and no gradient."""
    student = nn.Sequential(initialise(cnn(2, 4), 0), nn.Dropout(0.5))
    plain, both = copy.deepcopy(student[0]).train(), (source + target).batch()
    shown = both.changed(both.x.flip(-1))
    learner = Learner.of(student, MeanTeacher(), shown, per_domain=True).train()
    student[1].eval()  # the student's own dropout, which would make its answers random here
    loss, _ = learner(shown)
    away = both.domain == 1
    z_s, z_t = plain(shown.x[away]), plain(both.x[away])
    torch.testing.assert_close(loss, losses.probability_mse(z_s, z_t), rtol=1e-4, atol=1e-6)
    assert float(loss.detach()) > 1e-4
    unsure = Learner.of(student, MeanTeacher(confidence=1.0), shown, per_domain=True).train()
    assert float(unsure(shown)[0].detach()) == 0


def test_a_mean_teacher_keeps_still_outside_its_run(source: Examples, target: Examples) -> None:
    """`fit` returns the student; the networks it started from are not touched."""
    start = initialise(cnn(2, 4), 0)
    student, before = copy.deepcopy(start), fingerprint(start)
    run = fit(student, source + target.unlabelled(), HardLabels() + MeanTeacher(), epochs=1)
    assert run.network is student and fingerprint(start) == before != fingerprint(student)
    assert all(weight.requires_grad for weight in student.parameters())


# ---- runs ----------------------------------------------------------------------------------------


class Interrupting:
    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __repr__(self) -> str:  # by which a checkpoint knows it
        return "Interrupting"

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return x + 0.05 * torch.rand(x.shape, generator=generator)


@pytest.mark.parametrize("name", ["DANN", "CDAN", "MeanTeacher"])
def test_a_resumed_adaptation_is_bit_equal(name: str, source, target, tmp_path: Path) -> None:
    def go(augment: Interrupting, checkpoint: Path | None):
        return fit(
            cnn(2, 4), source + target.unlabelled(), HardLabels() + TERMS[name], epochs=4,
            batch=64, seed=1, order_seed=3, augment=augment, checkpoint=checkpoint,
        )  # fmt: skip

    whole, path = go(Interrupting(0), None), tmp_path / "run.pt"
    first = go(Interrupting(6), path)  # 3 batches an epoch: in the middle of the second
    assert first.interrupted and len(first.history) == 1
    second = go(Interrupting(0), path)
    assert fingerprint(second.network) == fingerprint(whole.network)
    assert second.history == whole.history


@pytest.mark.parametrize("name", TERMS)
def test_sealed_labels_have_no_influence(name: str, source: Examples, target: Examples) -> None:
    """Permuting what is in the envelope changes no bit of the network, and nothing opens it."""
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(1))
    prints = []
    for y in (target.y, target.y[order]):
        unlabelled, labels = target.labelled_as(y).seal()
        objective = HardLabels() + 0.5 * TERMS[name]
        run = fit(cnn(2, 4), source + unlabelled, objective, epochs=2, batch=32, seed=0)
        adabn(run.network, unlabelled)
        assert labels.opened == []
        prints.append(fingerprint(run.network))
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", ["MMD", "CORAL", "DANN", "CDAN", "InformationMaximization", "MCC"])
def test_terms_never_look_at_labels_of_the_target(name: str, source, target) -> None:
    """Even where labels are there: only HardLabels reads them."""
    student = initialise(mlp(64, 6, 4), 0)
    values = []
    for y in (target.y, target.y.roll(1)):
        batch = (source + target.labelled_as(y)).batch()
        learner = Learner.of(student, TERMS[name], batch)
        values.append(learner(batch, 0.5)[0])
    assert torch.equal(*values)


def test_shot_adapts_a_frozen_head_without_source(source: Examples, target: Examples) -> None:
    start = fit(cnn(4, 4), source, epochs=8, batch=32, seed=0).network
    student = freeze(copy.deepcopy(start), "head")
    unlabelled, labels = target.seal()
    fit(student, unlabelled, InformationMaximization(), epochs=8, lr=1e-3, batch=64)
    assert torch.equal(student.head.weight, start.head.weight)
    assert not torch.equal(student.stage1[0].weight, start.stage1[0].weight)
    before, after = (predict(net, target) for net in (start, student))
    assert information_maximization_score(after) > information_maximization_score(before)
    assert labels.opened == []


# ---- accidents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MMD", "CORAL", "DANN", "CDAN"])
def test_examples_of_one_domain_are_refused(name: str, source: Examples, target: Examples) -> None:
    for alone, domains in ((source, r"\[0\]"), (target, r"\[1\]")):
        sentence = f"has the domains {domains}, and {name} compares two; give source.as_domain"
        with pytest.raises(ValueError, match=sentence):
            fit(mlp(64, 6, 4), alone, HardLabels() + TERMS[name])


@pytest.mark.parametrize("name", ["MMD", "CORAL", "DANN", "CDAN"])
def test_a_batch_of_one_domain_is_refused(name: str, source: Examples, target: Examples) -> None:
    both = source[:60] + target.unlabelled()[:1]
    sentence = f"{name} needs 2 of each: train with balanced=True and a larger batch"
    with pytest.raises(ValueError, match=sentence):
        fit(mlp(64, 6, 4), both, HardLabels() + TERMS[name], balanced=False, batch=8)
    with pytest.raises(ValueError, match="1 images of the source and 1 of the target"):
        fit(mlp(64, 6, 4), both, HardLabels() + TERMS[name], batch=2)


@pytest.mark.parametrize("name", ["InformationMaximization", "MCC", "MeanTeacher"])
def test_a_term_on_the_target_needs_one(name: str, source: Examples) -> None:
    with pytest.raises(ValueError, match=f"which {name} is about; add target.as_domain"):
        fit(mlp(64, 6, 4), source, HardLabels() + TERMS[name])


def test_domains_of_other_classes_or_sizes_are_refused(source: Examples, target: Examples) -> None:
    with pytest.raises(ValueError, match=r"labels of the classes \[3\], which the source does not"):
        fit(mlp(64, 6, 4), source.without([3]) + target, HardLabels() + DANN("embedding"))
    with pytest.raises(ValueError, match="load both with the same size="):
        source + blobs(20).as_domain(1)
    few = target.only([1]) + target.unlabelled()
    fit(mlp(64, 6, 4), source + few, HardLabels() + MMD("embedding"), epochs=1)


@pytest.mark.parametrize("name", TERMS)
def test_a_target_with_all_its_labels_is_refused(name: str, source, target) -> None:
    """Its labels would be learned, and the result called adaptation; the advice works."""
    if TERMS[name].student_taps() or name in ("DANN", "CDAN"):
        with pytest.raises(ValueError, match=r"give target.unlabelled\(\).as_domain\(1\)"):
            fit(cnn(2, 4), source + target, HardLabels() + TERMS[name], epochs=1)
    fit(cnn(2, 4), source + target.unlabelled().as_domain(1), HardLabels() + TERMS[name], epochs=1)


@pytest.mark.parametrize("name", TERMS)
def test_one_example_a_class_is_enough(name: str, source: Examples, target: Examples) -> None:
    few = source.per_class(1) + target.per_class(1).unlabelled()
    run = fit(cnn(2, 4), few, HardLabels() + TERMS[name], epochs=2, seed=0)
    assert torch.isfinite(run.logits(target)).all()


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        (DANN("embedding", strength=-1), "strength=-1, hidden=64, warm=0: expected"),
        (CDAN("embedding", hidden=0), "hidden=0"),
        (DANN("embedding", warm=1.0), "a share from 0 to below 1"),
        (MCC(T=0), "temperature T=0"),
        (InformationMaximization(diversity=-1), "diversity=-1: expected a weight of at least 0"),
        (MeanTeacher(decay=1.5), "decay=1.5: expected a number from 0 to 1"),
        (MeanTeacher(confidence=-0.1), "confidence=-0.1: expected a number from 0 to 1"),
        (MMD("embeding"), "the nearest name is 'embedding'"),
    ],
)
def test_senseless_settings_are_refused(term, sentence: str, source, target) -> None:
    with pytest.raises(ValueError, match=sentence):
        fit(mlp(64, 6, 4), source + target.unlabelled(), HardLabels() + term, epochs=1)


# ---- validators ----------------------------------------------------------------------------------


def test_validators_by_hand() -> None:
    z = 2 * draw(9, 3).double()
    p = z.softmax(-1)
    entropies = [by_hand_entropy(row) for row in p.tolist()]
    assert negative_entropy(z) == pytest.approx(-sum(entropies) / 9)
    assert information_maximization_score(z) == pytest.approx(
        by_hand_entropy(p.mean(0).tolist()) - sum(entropies) / 9
    )
    assert bnm(z) == pytest.approx(float(torch.linalg.norm(p, ord="nuc")) / math.sqrt(27))
    for rows, score in ((p, snd(z)), (draw(9, 5, seed=1), snd(z, draw(9, 5, seed=1)))):
        densities = []
        for i in range(9):
            near = [
                math.exp(float(torch.cosine_similarity(rows[i], rows[j], 0)) / 0.05)
                for j in range(9)
                if j != i
            ]
            densities.append(by_hand_entropy([one / sum(near) for one in near]))
        assert score == pytest.approx(sum(densities) / 9, rel=1e-4)


def test_validators_and_what_fools_them() -> None:
    """All prefer sure and even answers to vague ones; collapse fools two of them."""
    sure = 20 * torch.eye(4).repeat(25, 1)
    vague = draw(100, 4)
    collapsed = torch.zeros(100, 4)
    collapsed[:, 0] = 20
    for score in (negative_entropy, information_maximization_score, bnm):
        assert score(sure) > score(vague)
    assert bnm(sure) == pytest.approx(1, abs=1e-3)
    assert information_maximization_score(sure) == pytest.approx(math.log(4), abs=1e-3)
    assert negative_entropy(collapsed) == pytest.approx(negative_entropy(sure), abs=1e-3)
    assert snd(collapsed) == pytest.approx(math.log(99)) and snd(collapsed) > snd(sure)
    assert information_maximization_score(collapsed) == pytest.approx(0, abs=1e-3)
    assert bnm(collapsed) == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ValueError, match="1 image has no neighbours; score at least 2"):
        snd(sure[:1])
