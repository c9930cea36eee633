"""`objective(student, batch)`: the loss and its terms, for a loop of one's own."""

from typing import Any

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn

from kdlib import losses
from kdlib.adaptation import DANN, MeanTeacher
from kdlib.data import Examples
from kdlib.models import MLP, cnn, initialise, mlp
from kdlib.objectives import (
    HardLabels,
    Hint,
    LearnedTemperature,
    Learner,
    Objective,
    Regularizer,
    SoftTargets,
    Symbol,
    Variational,
    progress,
    tabulate,
)
from kdlib.training import fit
from kdlib.training.epochs import epoch_seed

T, alpha = Symbol("T"), Symbol("alpha")


@pytest.fixture
def student() -> MLP:
    network = mlp(16, 8, 4)
    initialise(network, 0)
    return network


def test_the_scalar_and_its_unweighted_terms(student: MLP, teacher: MLP, train: Examples) -> None:
    objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T)
    batch = train.batch(slice(0, 32))
    loss, terms = objective(student, batch, alpha=0.25, T=4.0)
    hard = losses.hard_labels(student(batch.x), batch.y)
    soft = losses.soft_targets(student(batch.x), teacher(batch.x), 4.0)
    torch.testing.assert_close(loss, 0.75 * hard + 0.25 * soft)
    assert list(terms) == ["HardLabels", "SoftTargets"]
    torch.testing.assert_close(list(terms.values()), [hard, soft])
    whole, _ = objective(student, train[:32], alpha=0.25, T=4.0)  # Examples will do
    assert torch.equal(whole, loss) and loss.requires_grad


def test_a_term_alone_and_progress(student: MLP, teacher: MLP, train: Examples) -> None:
    batch = train.batch(slice(0, 8))
    for done, t in ((0.0, 8.0), (1.0, 1.0)):
        loss, _ = SoftTargets(tabulate(teacher, train), 8 - 7 * progress)(student, batch, done)
        torch.testing.assert_close(loss, losses.soft_targets(student(batch.x), teacher(batch.x), t))


def test_the_student_stays_in_its_mode_and_nothing_is_drawn(train: Examples) -> None:
    """Layers of one shape need no projector, so that nothing is owned; BatchNorm moves once."""
    images = Examples(train.x[:8].repeat(1, 1, 3, 3), train.y[:8])
    network, other = cnn(2, 4).train(), cnn(2, 4).eval()
    statistics = network.stage1[2].num_batches_tracked  # type: ignore[union-attr]
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    (HardLabels() + Hint(other, {"stage1": "stage1"}))(network, images)
    assert torch.equal(torch.rand(2), expected)
    assert network.training and int(statistics) == 1


def test_a_loop_of_ones_own_is_fit(teacher: MLP, train: Examples) -> None:
    """The five lines of the docstring; equal to `fit` with a constant rate, to the last bit."""
    soft = SoftTargets(tabulate(teacher, train), 4)
    objective = 0.3 * HardLabels() + 0.7 * soft + 0.01 * Regularizer()
    student = mlp(16, 8, 4)
    initialise(student, 1)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    for epoch in range(2):
        generator = torch.Generator().manual_seed(epoch_seed(0, epoch))
        for batch in train.batches(32, generator):
            loss, _ = objective(student, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    run = fit(mlp(16, 8, 4), train, objective, epochs=2, batch=32, seed=1, schedule="constant")
    for mine, fitted in zip(student.parameters(), run.network.parameters(), strict=True):
        assert torch.equal(mine, fitted)


def test_a_learners_loop_is_fit(teacher: MLP, train: Examples) -> None:
    """The lines of `Learner`'s docstring, with a projector, against `fit`."""
    objective = HardLabels() + Hint(teacher, {"stage1": "stage1"})
    student = mlp(16, 8, 4)
    initialise(student, 1)
    learner = Learner.of(student, objective, train.batch(), seed=1)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    for batch in train.batches(32, torch.Generator().manual_seed(0)):
        loss, _ = learner(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.after_step()
    run = fit(mlp(16, 8, 4), train, objective, epochs=1, batch=32, seed=1, schedule="constant")
    for mine, fitted in zip(student.parameters(), run.network.parameters(), strict=True):
        assert torch.equal(mine, fitted)


def owning(teacher: nn.Module) -> list[Objective]:
    return [
        Variational(teacher, {"stage1": "stage1"}),
        HardLabels() + Hint(teacher, {"stage1": "stage1"}),
        SoftTargets(teacher, LearnedTemperature(1, 5)),
        HardLabels() + MeanTeacher(),
        HardLabels() + DANN("stage1"),
    ]


@pytest.mark.parametrize("place", range(5))
def test_who_owns_something_is_sent_to_a_learner_and_the_way_works(
    student: MLP, teacher: MLP, train: Examples, place: int
) -> None:
    both = train[:16] + train[16:32].as_domain(1).unlabelled()
    objective, batch = owning(teacher)[place], both.batch()
    with pytest.raises(ValueError, match="owns weights that are trained") as error:
        objective(student, batch)
    _, first, second = str(error.value).replace(", then ", "\n").rpartition("make them once, ")
    names: dict[str, Any] = {"objective": objective, "student": student, "batch": batch}
    exec(second, {"Learner": Learner}, names)
    assert isinstance(names["loss"], Tensor) and names["loss"].requires_grad
    assert list(names["terms"]) and first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch": torch.rand(4, 1, 4, 4)}, "the batch is of type Tensor; expected Examples, or a"),
        ({"batch": (1, 2)}, "the batch is of type tuple"),
        ({"batch": blobs(4)[:0]}, "the batch holds no examples; give at least one"),
        ({"student": "mlp"}, "the student is of type str; expected a network, such as mlp"),
        ({"progress": 1.5}, r"progress=1\.5; expected the share of training that is done, from 0"),
        ({"progress": float("nan")}, "progress=nan; expected"),
        ({"progress": "half"}, "progress='half'; expected"),
        ({"beta": 1}, "beta stands nowhere in .*; its symbols are alpha, T: leave beta out"),
        ({"T": None}, r"T in .* has no value; give one: objective\(student, batch, T=…\)"),
    ],
)
def test_bad_input_gets_one_sentence(
    student: MLP, teacher: MLP, arguments: dict[str, Any], sentence: str
) -> None:
    objective = alpha * HardLabels() + SoftTargets(teacher, T)
    given = {"student": student, "batch": blobs(8), "alpha": 0.5, "T": 4.0} | arguments
    if given["T"] is None:
        del given["T"]
    with pytest.raises(ValueError, match=sentence):
        objective(given.pop("student"), given.pop("batch"), **given)
    with pytest.raises(ValueError, match="the batch is of type str"):
        Learner.of(student, objective, "batch")  # type: ignore[arg-type]


def test_numbers_in_place_of_symbols(teacher: MLP) -> None:
    objective = (1 - alpha) * HardLabels(alpha / 10) + progress * SoftTargets(teacher, T / 2 + 1)
    assert str(objective.substitute({"alpha": 0.5, "T": 2.0})) == (
        "0.5 · HardLabels(smoothing=0.05) + progress · SoftTargets(teacher, T=2)"
    )
    assert objective.substitute({}) == objective
