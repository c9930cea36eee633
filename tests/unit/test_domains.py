"""Several domains in one loop: balanced batches, a forward each, learning rates by name."""

import itertools

import pytest
import torch
from blobs import blobs

from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import MLP, cnn, fingerprint, initialise, mlp
from kdlib.objectives import HardLabels, Learner, SoftTargets
from kdlib.training import fit


@pytest.fixture
def both() -> Examples:
    return blobs(320).as_domain(0) + blobs(50, seed=3).unlabelled().as_domain(1)


def test_a_domain_is_given_found_and_taken(both: Examples) -> None:
    assert both.domains == [0, 1]
    assert len(both.of_domain(1)) == 50
    assert both.of_domain(1).domains == [1]
    with pytest.raises(ValueError, match=r"has the domains \[0, 1\], not 2"):
        both.of_domain(2)
    with pytest.raises(ValueError, match="domain -1; expected 0"):
        both.as_domain(-1)


def test_balanced_batches_hold_as_many_of_each(both: Examples) -> None:
    seen: list[int] = []
    for batch in both.batches(40, torch.Generator().manual_seed(0), balanced=True):
        assert (batch.domain == 0).sum() == (batch.domain == 1).sum() == 20
        seen += batch.ids.tolist()
    source, target = (set(both.of_domain(d).ids.tolist()) for d in (0, 1))
    counts = {one: seen.count(one) for one in seen}
    assert {one: counts[one] for one in source} == dict.fromkeys(source, 1)
    assert set(counts) == source | target
    assert {counts[one] for one in target} == {6, 7}  # 320 places for 50 images
    with pytest.raises(ValueError, match="a batch of 1 examples; expected at least 2"):
        both.order(1, balanced=True)


def test_one_domain_is_never_changed_by_balance() -> None:
    one = blobs(100)
    plain, balanced = (
        one.order(30, torch.Generator().manual_seed(0), balanced=b) for b in (False, True)
    )
    assert all(map(torch.equal, plain, balanced))


def test_each_domain_has_a_forward_of_its_own(both: Examples) -> None:
    """BatchNorm sees the domains apart; the answers come back in the order of the batch."""
    student = initialise(cnn(2, 4), 0)
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(0))
    batch = Examples(both.x.repeat(1, 1, 2, 2), both.y, both.domain)[order].batch()
    answers = {}
    for per_domain in (True, False):
        learner = Learner(student, HardLabels(), per_domain=per_domain).train()
        kept: dict[str, torch.Tensor] = {}
        head = student.head.register_forward_hook(
            lambda _, __, z, kept=kept: kept.update({str(len(z)): z.detach()})
        )
        learner(batch)
        head.remove()
        answers[per_domain] = kept
    assert set(answers[True]) == {"320", "50"}
    assert set(answers[False]) == {"370"}
    alone = student.train()(batch.x[batch.domain == 1])
    torch.testing.assert_close(answers[True]["50"], alone)
    assert not torch.allclose(answers[False]["370"][batch.domain == 1], alone, atol=1e-3)


def test_loss_in_either_forward_is_the_same_without_batchnorm(both: Examples, teacher: MLP) -> None:
    objective = HardLabels() + SoftTargets(teacher, T=2)
    nets = [
        fit(mlp(16, 8, 4), both, objective, epochs=2, seed=0, forward=forward).network
        for forward in ("per_domain", "joint")
    ]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="forward='both': expected 'per_domain' or 'joint'"):
        fit(mlp(16, 8, 4), both, objective, forward="both")


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_bank_over_two_domains_is_fit(both: Examples, teacher: MLP, engine: str) -> None:
    objective = HardLabels() + 0.5 * SoftTargets(teacher, T=2)
    how = {"epochs": 2, "batch": 64}
    bank = train_bank(
        objective, student=mlp(16, 8, 4), examples=both, seeds=2, engine=engine, cache=False,
        evaluate={"test": blobs(40, seed=5)}, **how,
    )  # fmt: skip
    run = fit(mlp(16, 8, 4), both, objective, seed=1, **how)
    for a, b in zip(run.network.parameters(), bank.network(seed=1).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_learning_rates_go_by_the_longest_name(train: Examples) -> None:
    student = initialise(mlp(16, 8, 8, 4), 0)
    before = {name: weight.clone() for name, weight in student.named_parameters()}
    lr = {"": 1e-2, "stage1": 1e-9, "stage1.0.bias": 1e-2}
    fit(student, train, epochs=1, lr=lr, schedule="constant")
    moved = {n: float((w - before[n]).detach().abs().max()) for n, w in student.named_parameters()}
    assert moved["stage1.0.weight"] < 1e-6
    assert min(moved[n] for n in moved if n != "stage1.0.weight") > 1e-3
    one, many = (
        fit(mlp(16, 8, 4), train, epochs=2, seed=0, lr=lr).network
        for lr in (3e-3, {"": 3e-3, "head": 3e-3})
    )
    for a, b in zip(one.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"no learning rate for 'stage1.0.weight'; add ''"):
        fit(mlp(16, 8, 4), train, lr={"head": 1e-2})
    with pytest.raises(ValueError, match="no weight's name begins with 'hed'"):
        fit(mlp(16, 8, 4), train, lr={"": 1e-2, "hed": 1e-3})


def test_training_stops_by_threshold(train: Examples, tmp_path) -> None:
    how = {"epochs": 60, "schedule": "constant", "seed": 0, "until": 0.05, "batch": 20}
    run = fit(mlp(16, 8, 4), train, checkpoint=tmp_path / "run.pt", **how)
    losses = [row["loss"] for row in run.history]
    changes = [abs(b - a) / a for a, b in itertools.pairwise(losses)]
    assert 2 < len(losses) < 60
    assert changes[-1] <= 0.05 < min(changes[:-1])
    again = fit(mlp(16, 8, 4), train, checkpoint=tmp_path / "run.pt", **how)
    assert fingerprint(again.network) == fingerprint(run.network)
    assert again.history == run.history
    with pytest.raises(ValueError, match="schedule='constant' \\(a one-cycle run"):
        fit(mlp(16, 8, 4), train, until=0.1)
    with pytest.raises(ValueError, match="until=0 with"):
        fit(mlp(16, 8, 4), train, until=0, schedule="constant")
