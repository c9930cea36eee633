"""Several networks in one step, several teachers as one, chains of helpers, a teacher a seed."""

import copy
import math
from typing import Any

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn

from kdlib import losses
from kdlib.bank import ladder, train_bank
from kdlib.data import Examples
from kdlib.models import MLP, Ensemble, Together, initialise, mlp, predict
from kdlib.objectives import (
    HardLabels,
    Hint,
    Learner,
    LogitMSE,
    Objective,
    SoftTargets,
    Symbol,
    TeacherTable,
    formula,
    member,
    merge,
    progress,
    tabulate,
)
from kdlib.training import Run, fit


def pair() -> Together:
    return Together(a=mlp(16, 8, 4), b=mlp(16, 6, 4))


def mutual(T: float = 2.0) -> Objective:
    return member("a", HardLabels() + SoftTargets("b", T)) + member(
        "b", HardLabels() + SoftTargets("a", T)
    )


@pytest.fixture
def train() -> Examples:
    return blobs(96, seed=0)


@pytest.fixture
def test() -> Examples:
    return blobs(64, seed=1)


# ---- together ------------------------------------------------------------------------------------


def test_the_last_network_answers(train: Examples) -> None:
    both = pair()
    x = train.batch().x
    assert torch.equal(both(x), both.b(x)) and not torch.equal(both(x), both.a(x))


def test_a_joint_loss_is_the_sum_by_hand(train: Examples) -> None:
    both, batch = initialise(pair(), 0), train.batch(slice(0, 20))
    loss, terms = Learner.of(both, mutual(), train)(batch)
    z_a, z_b = both.a(batch.x), both.b(batch.x)
    by_hand = {
        "HardLabels of a": losses.hard_labels(z_a, batch.y),
        "SoftTargets of a": losses.soft_targets(z_a, z_b, 2.0),
        "HardLabels of b": losses.hard_labels(z_b, batch.y),
        "SoftTargets of b": losses.soft_targets(z_b, z_a, 2.0),
    }
    assert terms.keys() == by_hand.keys()
    for name, value in by_hand.items():
        assert torch.allclose(terms[name], value)
    assert torch.allclose(loss, sum(by_hand.values(), torch.zeros(())))


def test_no_gradient_reaches_a_peer_that_teaches(train: Examples) -> None:
    both, batch = initialise(pair(), 0), train.batch(slice(0, 20))
    Learner.of(both, member("a", SoftTargets("b", 4)), train)(batch)[0].backward()
    assert all(weight.grad is None for weight in both.b.parameters())
    assert any(bool(weight.grad.abs().sum() > 0) for weight in both.a.parameters())  # type: ignore[union-attr]


def test_a_member_learns_as_it_would_alone(train: Examples) -> None:
    """Where nobody teaches it, the other network changes nothing."""
    both = initialise(pair(), 3)
    alone = copy.deepcopy(both.a)
    fit(both, train, member("a", HardLabels()) + member("b", HardLabels()), epochs=3)
    fit(alone, train, epochs=3)
    for weight, expected in zip(both.a.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(weight, expected, atol=1e-6)


def test_layers_of_members_and_projectors(train: Examples) -> None:
    teacher = mlp(16, 12, 4)
    both = initialise(pair(), 0)
    objective = member("a", HardLabels() + Hint(teacher, {"stage1": "stage1"}))
    run = fit(both, train, objective + member("b", HardLabels()), epochs=2)
    assert "Hint of a" in run.history[-1]


def test_a_network_with_two_heads(train: Examples) -> None:
    class TwoTasks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten, self.body = nn.Flatten(), nn.Linear(16, 8)
            self.head, self.angle = nn.Linear(8, 4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            features = self.body(self.flatten(x)).relu()
            self.angle(features)
            return self.head(features)

    targets = TeacherTable(train.ids, torch.randn(len(train), 2), None, "angles")
    objective = member("head", HardLabels()) + member("angle", LogitMSE(targets))
    run = fit(TwoTasks(), train, objective, epochs=5, seed=0)
    first, last = run.history[0], run.history[-1]
    assert last["LogitMSE of angle"] < first["LogitMSE of angle"]


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_a_bank_of_pairs_is_the_fit_of_each(train: Examples, test: Examples, T: float) -> None:
    bank = train_bank(
        lambda T: mutual(T), student=pair(), examples=train, grid={"T": [1.0, 4.0]}, seeds=2,
        evaluate={"test": test}, epochs=3, cache=False,
    )  # fmt: skip
    run = fit(pair(), train, mutual(T), epochs=3, seed=1)
    kept = bank.network(T=T, seed=1)
    assert torch.allclose(predict(kept, test), predict(run.network, test), atol=1e-4)
    assert bank.objective is not None and bank.select(T=T).objective == mutual(T)


def test_it_prints_as_it_is_written() -> None:
    text = str(member("a", HardLabels() + 0.5 * SoftTargets("b", T=2)))
    assert text == "a: HardLabels() + 0.5 · a: SoftTargets('b', T=2)"
    assert formula(member("a", HardLabels())) == "[a: CE]"


def test_a_peer_alone_and_a_members_member(train: Examples) -> None:
    """Alone, an objective of one term; within, the member of a member by its longer name."""
    run = fit(pair(), train, SoftTargets("a", 2.0), epochs=1, seed=0)
    assert "SoftTargets" in run.history[0]
    inner = member("a", member("head", HardLabels() + SoftTargets("b", 2.0)))
    assert inner == member("a.head", HardLabels() + SoftTargets("b", 2.0))
    assert len(fit(pair(), train, inner, epochs=1, seed=0).history) == 1


def test_a_frozen_member_stays_as_it_is_and_teaches_in_eval_mode(
    train: Examples, test: Examples
) -> None:
    teacher = fit(mlp(16, 8, 4, dropout=0.5), train, epochs=2, seed=5).network.requires_grad_(False)
    before = copy.deepcopy(teacher.state_dict())
    both = Together(teacher=teacher, student=mlp(16, 6, 4))
    objective = member("student", SoftTargets("teacher", 2.0))
    learner = Learner.of(both, objective, train).train()
    assert torch.equal(learner(train)[0], learner(train)[0])
    fit(both, train, objective, epochs=1, seed=0)
    bank = train_bank(
        objective, student=both, examples=train, seeds=1, evaluate={"test": test}, epochs=1,
        cache=False,
    )  # fmt: skip
    for name, weight in teacher.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(bank.network(seed=0).teacher.state_dict()[name], before[name])  # type: ignore[operator, union-attr]


# ---- rates ---------------------------------------------------------------------------------------


def test_each_member_has_its_rate_over_time(
    train: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixed, exponentially decaying, and lr_max / (1 + exp(-a)) with a ramped from -5 to 5."""
    rates: list[list[float]] = []
    step = torch.optim.AdamW.step

    def spy(self: Any, *args: Any) -> Any:
        rates.append([float(group["lr"]) for group in self.param_groups])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    trio = Together(teacher=mlp(16, 8, 4), helper=mlp(16, 8, 4), student=mlp(16, 8, 4))
    objective = sum(member(name, HardLabels()) for name in ("teacher", "helper", "student"))
    ramp = 1e-2 / (1 + math.e ** -(10 * progress - 5))
    lr = {"teacher": 1e-3, "helper": 1e-2 * 0.1**progress, "student": ramp}
    fit(trio, train, objective, epochs=2, batch=48, lr=lr, schedule="constant")  # type: ignore[arg-type]
    assert len(rates) == 4
    for number, (fixed, decaying, ramped) in enumerate(rates):
        assert fixed == pytest.approx(1e-3)
        assert decaying == pytest.approx(1e-2 * 0.1 ** (number / 4))
        assert ramped == pytest.approx(1e-2 / (1 + math.exp(5 - 10 * number / 4)))


@pytest.mark.parametrize(
    ("lr", "schedule", "said"),
    [
        (1e-2 * (progress - 0.5), "constant", r"the rate .* is -0.005 at progress 0; expected"),
        (1e-2 * (progress - 0.5) ** 2, "constant", "is 0 at progress 0.5"),
        (1e-2 / progress, "constant", "is nan at progress 0"),
        (1e-2 * Symbol("alpha"), "constant", "finite learning rates above 0"),
        (1e-2 * 0.1**progress, "one-cycle", "use schedule='constant' with it"),
    ],
)
def test_rates_that_cannot_be_taken(train: Examples, lr: Any, schedule: str, said: str) -> None:
    student = mlp(16, 8, 4)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=said):
        fit(student, train, lr=lr, schedule=schedule, seed=0)
    for name, weight in student.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_run_with_such_rates_goes_on_from_its_checkpoint(train: Examples, tmp_path: Any) -> None:
    how: dict[str, Any] = {"lr": 1e-2 * 0.1**progress, "schedule": "constant", "seed": 0}
    whole = fit(mlp(16, 8, 4), train, epochs=4, **how)
    path = tmp_path / "run.pt"

    def stop(run: Run) -> bool:
        return len(run.history) < 2

    part = fit(mlp(16, 8, 4), train, epochs=4, checkpoint=path, after_epoch=stop, **how)
    assert len(part.history) == 2
    again = fit(mlp(16, 8, 4), train, epochs=4, checkpoint=path, **how)
    assert torch.equal(again.logits(train), whole.logits(train))
    assert len(again.history) == len(whole.history) == 4


# ---- bad input -----------------------------------------------------------------------------------


def test_a_member_that_is_not_there_is_named_before_anything_changes(train: Examples) -> None:
    both = pair()
    before = copy.deepcopy(both.state_dict())
    for objective, said in (
        (member("helper", HardLabels()), "speaks of 'helper', which is no module"),
        (member("a", SoftTargets("bb", 4)), "is 'b' meant"),
        (SoftTargets("teacher.pt", 4), "speaks of 'teacher.pt', which is no module"),
        (member("a.normalise", HardLabels()), "member 'a.normalise' answers two images with"),
    ):
        with pytest.raises(ValueError, match=said):
            fit(both, train, objective, seed=0)
        with pytest.raises(ValueError, match=said):
            train_bank(objective, student=both, examples=train, evaluate={"test": train})
    for name, weight in both.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda net: Together(student=net), "give at least two"),
        (lambda net: Together(a=net, b=net), "another name already"),
        (lambda net: Together(train=net, b=mlp(16, 4)), "can be called 'train'"),
        (lambda net: Together(a=net, b="net"), "b is a str; expected a network"),
        (lambda net: Together(net, mlp(16, 4)), "0 of them with a name"),
        (lambda net: Together(**{"a.b": net, "c": mlp(16, 4)}), "is no name for a network"),
        (lambda net: Ensemble(), "needs networks"),
        (lambda net: Ensemble([net]), "needs networks"),
        (lambda net: Ensemble(net, how="mean"), "how='mean': expected 'logits'"),
        (lambda net: Ensemble(net, weights=[0.5, 0.5]), "expected one for each"),
        (lambda net: Ensemble(net, weights=[-1.0]), "at least 0"),
        (lambda net: member("", HardLabels()), "expected its name"),
        (lambda net: member("a", net), "expected terms"),
    ],
)
def test_bad_groups_of_networks(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(mlp(16, 8, 4))


def test_members_of_too_few_classes_are_told_before_anything_changes(train: Examples) -> None:
    both = Together(a=mlp(16, 8, 2), b=mlp(16, 8, 4))
    before = copy.deepcopy(both.state_dict())
    for objective, said in (
        (member("a", HardLabels()), "the member 'a' has 2 outputs and a label is 3"),
        (member("b", SoftTargets("a", 2)), "4 classes and the teacher with 2"),
    ):
        with pytest.raises(ValueError, match=said):
            fit(both, train, objective, seed=0)
        with pytest.raises(ValueError, match=said):
            train_bank(objective, student=both, examples=train, evaluate={"test": train})
    for name, weight in both.state_dict().items():
        assert torch.equal(weight, before[name])


# ---- several teachers ----------------------------------------------------------------------------


def teachers(train: Examples, count: int = 3) -> list[MLP]:
    return [fit(mlp(16, 8, 4), train, epochs=2, seed=seed).network for seed in range(count)]  # type: ignore[misc]


def test_ways_to_merge_by_hand() -> None:
    z = torch.tensor([[[3.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]]], dtype=torch.float64)
    p = z.softmax(-1)
    assert torch.allclose(losses.merge_logits(z), z.mean(0))
    mean = losses.merge_logits(z, "probabilities").softmax(-1)
    assert torch.allclose(mean, p.mean(0))
    geometric = p.prod(0).sqrt()
    assert torch.allclose(losses.merge_logits(z).softmax(-1), geometric / geometric.sum(-1))
    w = p.amax(-1)
    weighted = (w[..., None] * p).sum(0) / w.sum(0)[..., None]
    assert torch.allclose(losses.merge_logits(z, "confidence").softmax(-1), weighted)
    votes = losses.merge_logits(z, "votes").exp()
    assert torch.allclose(votes, torch.tensor([[0.5, 0.5, 1e-6]], dtype=torch.float64))
    one = losses.merge_logits(z, weights=torch.tensor([1.0, 0.0]))
    assert torch.allclose(one, z[0])
    each = losses.merge_logits(z, weights=torch.tensor([[0.0], [2.0]]))
    assert torch.allclose(each, z[1])


def test_a_sum_of_kls_is_the_kl_from_the_mean_of_probabilities(train: Examples) -> None:
    """At T = 1, and up to a constant: the algebra says the mean of probabilities already."""
    tables = [tabulate(net, train) for net in teachers(train)]
    student = initialise(mlp(16, 8, 4), 7)

    def slopes(objective: Objective) -> Tensor:
        loss, _ = objective(student, train)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, student.parameters())])

    summed = slopes(sum(SoftTargets(table, 1) for table in tables) / 3)
    merged = slopes(SoftTargets(merge(tables, "probabilities"), 1))
    assert torch.allclose(summed, merged, atol=1e-6)


@pytest.mark.parametrize("how", ["logits", "probabilities", "confidence", "votes"])
def test_a_merged_table_is_the_ensembles_own(train: Examples, how: str) -> None:
    nets = teachers(train)
    tables = [
        tabulate(nets[0], train),
        *(tabulate(net, train[range(95, -1, -1)]) for net in nets[1:]),
    ]
    merged = merge(tables, how)
    assert merged.network is not None and torch.equal(merged.ids, train.ids)
    assert torch.allclose(merged.logits, predict(Ensemble(*nets, how=how), train), atol=1e-5)
    run = fit(mlp(16, 8, 4), train, SoftTargets(merged, 2), epochs=2, seed=0)
    live = fit(mlp(16, 8, 4), train, SoftTargets(Ensemble(*nets, how=how), 2), epochs=2, seed=0)
    assert torch.allclose(run.logits(train), live.logits(train), atol=1e-4)
    moved = fit(
        mlp(16, 8, 4), train, SoftTargets(merged, 2), epochs=1, seed=0, augment=lambda x, g: x * 0.5
    )
    assert len(moved.history) == 1


def test_specialists_by_hand() -> None:
    """Two with a rest know 0, 1 and 2; scores are differences of logits to the rest's."""
    ids = torch.arange(2)
    a = TeacherTable(ids, torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 5.0]]))
    b = TeacherTable(ids, torch.tensor([[1.0, 4.0], [3.0, 1.0]]))
    merged = merge([a, b], classes=[[0, 1], [2]], rest=True)
    assert merged.logits.tolist() == [[2.0, 1.0, -3.0], [-5.0, -5.0, 2.0]]
    whole = TeacherTable(ids, torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]]))
    overlap = merge([whole, TeacherTable(ids, torch.tensor([[4.0, 5.0], [6.0, 7.0]]))],
                    classes=[[0, 1], [1, 2]])  # fmt: skip
    assert overlap.logits.tolist() == [[1.0, 3.0, 5.0], [3.0, 5.0, 7.0]]
    logs = merge([whole, whole], "probabilities", classes=[[0, 1], [2]]).logits
    assert torch.allclose(logs[:, :2], whole.logits[:, :2].log_softmax(-1))
    assert torch.allclose(logs[:, 2], torch.zeros(2))  # alone among its classes


def _table(classes: int = 4, count: int = 5, first: int = 0) -> TeacherTable:
    return TeacherTable(torch.arange(first, first + count), torch.zeros(count, classes))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: merge([]), "merge needs tables"),
        (lambda: merge([mlp(16, 8, 4)]), "merge needs tables"),  # type: ignore[list-item]
        (lambda: merge([_table(), _table(5)]), "answer for 4, 5 classes"),
        (lambda: merge([_table(), _table(first=3)]), "table 1 does not know all"),
        (lambda: merge([_table(), _table(count=4)]), "table 1 does not know all"),
        (lambda: merge([_table()], "mean"), "how='mean'"),
        (lambda: merge([_table()], weights="equal"), "expected a number for each"),
        (lambda: merge([_table()], classes=[0, 1]), "expected the classes of each table"),  # type: ignore[list-item]
        (lambda: merge([_table()], classes=[[-1, 0, 1, 2]]), "expected class indices 0, 1"),
        (lambda: merge([_table()], weights=[0.0]), "not all of them 0"),
        (lambda: merge([_table()], weights=[[1.0]]), "weights have shape"),
        (lambda: merge([_table()], rest=True), "name the classes of each"),
        (lambda: merge([_table()], classes=[[0, 1]]), "has 4 outputs and classes"),
        (lambda: merge([_table()], classes=[[0, 1], [2]]), "2 specialists for 1 tables"),
        (lambda: merge([_table(2)], classes=[[0, 2]]), "no specialist knows class 1"),
        (lambda: merge([_table(2)], "votes", classes=[[0, 1]]), "'logits' or 'probabilities'"),
        (lambda: merge([_table(2)], classes=[[0, 1]], weights=[1.0]), "leave weights= out"),
    ],
)
def test_teachers_that_cannot_be_merged(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# ---- a teacher, a draw of labels, for each seed --------------------------------------------------


def test_functions_of_the_seed(train: Examples, test: Examples) -> None:
    nets = dict(enumerate(teachers(train)))

    def objective(T: float, seed: int) -> Objective:
        return HardLabels() + SoftTargets(nets[seed], T)

    bank = train_bank(
        objective, student=lambda h: mlp(16, h, 4),
        examples=lambda seed: train.per_class(8, seed=seed),
        grid={"T": [1.0, 4.0], "h": [3, 5, 7]}, seeds=[2, 0], evaluate={"test": test}, epochs=3,
        cache=False,
    )  # fmt: skip
    for seed, T, h in ((0, 1.0, 7), (2, 4.0, 3)):
        few = train.per_class(8, seed=seed)
        run = fit(mlp(16, h, 4), few, objective(T, seed), epochs=3, seed=seed)
        at = bank.index(T=T, h=h, seed=seed)
        assert torch.allclose(bank.logits["test"][at], run.logits(test), atol=1e-4)
        assert torch.allclose(
            predict(bank.network(T=T, h=h, seed=seed), test), run.logits(test), atol=1e-4
        )


def test_what_holds_for_one_seed_is_not_said_of_all(train: Examples, test: Examples) -> None:
    nets = teachers(train)
    how: dict[str, Any] = {"examples": train, "evaluate": {"test": test}, "epochs": 1, "seeds": 2}
    bank = train_bank(
        lambda seed: SoftTargets(nets[seed], 2), student=mlp(16, 8, 4), cache=False, **how
    )
    assert bank.objective is None
    with pytest.raises(ValueError, match="students answer for 4, 5 classes"):
        train_bank(HardLabels(), student=lambda seed: mlp(16, 8, 4 + seed), **how)


def test_an_ensemble_with_weights_is_trained_in_a_bank(train: Examples, test: Examples) -> None:
    student = Ensemble(mlp(16, 6, 4), mlp(16, 6, 4), weights=[1.0, 2.0])
    bank = train_bank(
        HardLabels(), student=student, examples=train, evaluate={"test": test}, epochs=1, seeds=2,
        cache=False,
    )  # fmt: skip
    assert bank.errors().shape == (2,)


def test_a_bank_is_kept_under_the_teachers_of_all_seeds(
    train: Examples, test: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    nets = teachers(train)

    def trained(of: list[MLP]) -> bool:
        return train_bank(
            lambda seed: SoftTargets(of[seed], 2), student=mlp(16, 8, 4), examples=train, seeds=2,
            evaluate={"test": test}, epochs=1,
        ).cached  # fmt: skip

    assert [trained(nets), trained(nets), trained([nets[0], nets[2]])] == [False, True, False]


def test_a_ladder_is_its_banks_one_after_the_other(train: Examples, test: Examples) -> None:
    teacher = teachers(train, 1)[0]
    few = train.per_class(8)
    helper, student = ladder(
        teacher, [mlp(16, 6, 4), mlp(16, 3, 4)], objective=lambda above: SoftTargets(above, T=2),
        examples=[train, few], epochs=[3, 5], seeds=[1, 4], evaluate={"test": test}, cache=False,
    )  # fmt: skip
    for seed in (1, 4):
        first = fit(mlp(16, 6, 4), train, SoftTargets(teacher, 2), epochs=3, seed=seed)
        second = fit(mlp(16, 3, 4), few, SoftTargets(first.network, 2), epochs=5, seed=seed)
        kept = student.logits["test"][student.index(seed=seed)]
        assert torch.allclose(kept, second.logits(test), atol=1e-4)
        assert torch.allclose(
            predict(helper.network(seed=seed), test), first.logits(test), atol=1e-4
        )


def test_a_helper_wider_than_its_teacher_is_said(train: Examples, test: Examples) -> None:
    how: dict[str, Any] = {"objective": lambda above: SoftTargets(above, T=2), "epochs": 1}
    how |= {"examples": train, "evaluate": {"test": test}, "seeds": 1, "cache": False}
    with pytest.warns(UserWarning, match=r"rung 0 has .* its teacher .* all the same"):
        ladder(mlp(16, 4, 4), [mlp(16, 12, 4), mlp(16, 3, 4)], **how)
    for wrong, said in (
        ({"rungs": []}, "no list of students"),
        ({"rungs": mlp(16, 4, 4)}, "no list of students"),
        ({"rungs": [mlp(16, 4, 4)], "epochs": [1, 2]}, "2 values of epochs for 1 rungs"),
        ({"rungs": [mlp(16, 4, 4)], "objective": HardLabels()}, "no function of a teacher"),
        ({"rungs": [mlp(16, 4, 4)], "objective": SoftTargets}, "no function of a teacher"),
        ({"rungs": [mlp(16, 4, 4)], "grid": {"T": [1]}}, "leave grid= out"),
    ):
        with pytest.raises(ValueError, match=said):
            ladder(mlp(16, 4, 4), **(how | wrong))


def test_a_ladder_ends_where_its_watch_says_so(train: Examples, test: Examples) -> None:
    banks = ladder(
        mlp(16, 8, 4), [mlp(16, 6, 4), mlp(16, 3, 4)], objective=lambda up: SoftTargets(up, T=2),
        examples=train, evaluate={"test": test}, seeds=2, epochs=3, cache=False,
        watch=lambda done, errors: False,
    )  # fmt: skip
    assert len(banks) == 1
