"""Banks of students that are not quite `mlp(…)`: exchanged, frozen, shared, tied, of one's own."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlib import files
from kdlib.adaptation import freeze
from kdlib.bank import Bank, train_bank
from kdlib.data import Examples
from kdlib.losses import hard_labels
from kdlib.models import MLP, fingerprint, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, progress
from kdlib.objectives.algebra import Term
from kdlib.training import fit


def trained(train: Examples, student: object, **more: object) -> Bank:
    options = {"examples": train[:96], "evaluate": {"test": train[:40]}, "seeds": 2, "epochs": 2}
    given = {"cache": False, **options, **more}
    return train_bank(given.pop("objective", HardLabels()), student=student, **given)  # type: ignore[arg-type]


def exchanged(part: str, module: nn.Module) -> MLP:
    network = mlp(16, 8, 4)
    network.set_submodule(part, module)
    return network


CHANGED: dict[str, Callable[[], MLP]] = {
    "tanh": lambda: exchanged("stage1.1", nn.Tanh()),
    "dropout": lambda: exchanged("embedding", nn.Dropout(0.5)),
    "norm": lambda: exchanged("embedding", nn.LayerNorm(8)),
    "no bias": lambda: exchanged("head", nn.Linear(8, 4, bias=False)),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_mlp_takes_no_fast_path(train: Examples, change: str) -> None:
    bank = trained(train, CHANGED[change]())
    assert bank.engine == "reference"
    for seed in range(2):
        said = predict(bank.network(seed=seed), train[:40])
        torch.testing.assert_close(said, bank.logits["test"][seed], rtol=1e-4, atol=1e-4)


def test_a_hook_is_not_passed_by(train: Examples) -> None:
    student = mlp(16, 8, 4)
    student.stage1.register_forward_hook(lambda module, inputs, output: 2 * output)
    assert trained(train, student).engine == "reference"


@pytest.mark.parametrize("engine", ["auto", "reference", "sequential"])
def test_frozen_weights_stay_as_they_were_given(train: Examples, engine: str) -> None:
    """No seed draws them anew."""
    student = freeze(mlp(16, 8, 4), "stage1")
    given = copy.deepcopy(student.stage1.state_dict())
    bank = trained(train, student, engine=engine, weight_decay=0.1)
    how = {"epochs": 2, "lr": 1e-2, "batch": 128, "weight_decay": 0.1}
    run = fit(copy.deepcopy(student), train[:96], seed=1, **how)  # type: ignore[arg-type]
    for name, weight in given.items():
        assert torch.equal(run.network.state_dict()[f"stage1.{name}"], weight)
    for name, weight in run.network.state_dict().items():
        exact = (
            {"rtol": 0, "atol": 0} if name.startswith("stage1") else {"rtol": 1e-4, "atol": 1e-5}
        )
        torch.testing.assert_close(bank.weights[1][name], weight, **exact)  # type: ignore[index]


def test_the_fast_engine_refuses_frozen_weights(train: Examples) -> None:
    with pytest.raises(ValueError, match="use engine='auto'"):
        trained(train, freeze(mlp(16, 8, 4), "stage1"), engine="fast")


def test_a_function_that_returns_one_network_gives_every_seed_its_own(train: Examples) -> None:
    network = mlp(16, 8, 4)
    before = fingerprint(network)
    bank = trained(train, lambda: network)
    assert not torch.equal(bank.logits["test"][0], bank.logits["test"][1])
    assert fingerprint(network) == before


def test_values_that_print_alike_are_cells_of_their_own(train: Examples, teacher: MLP) -> None:
    other = fit(mlp(16, 32, 4), train, epochs=1, seed=1).network
    grid = {"taught_by": [teacher, other], "T": [1.0, 4.0]}
    bank = trained(
        train, mlp(16, 8, 4), grid=grid, objective=lambda taught_by, T: SoftTargets(taught_by, T)
    )
    assert bank.errors("test").isfinite().all()
    for i, one in enumerate((teacher, other)):
        alone = trained(train, mlp(16, 8, 4), objective=SoftTargets(one, 4.0))
        torch.testing.assert_close(bank.logits["test"][i, 1], alone.logits["test"])


class Tied(nn.Module):
    """Two layers of one weight, and a buffer that no file keeps."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.ones(16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x.flatten(1) * self.scale).relu()).relu())


def test_tied_weights_and_unsaved_buffers(train: Examples) -> None:
    together, alone = (trained(train, Tied(), engine=one) for one in ("reference", "sequential"))
    torch.testing.assert_close(together.logits["test"], alone.logits["test"], rtol=1e-3, atol=1e-3)
    network = together.network(seed=1)
    assert torch.equal(network.a.weight, network.b.weight)
    assert not torch.equal(together.weights[0]["a.weight"], together.weights[1]["a.weight"])  # type: ignore[index]


# ---- the cache -----------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Mine(Term):
    """A term of one's own, whose code may change."""

    def loss(self, step: object, owned: nn.Module | None) -> Tensor:
        return hard_labels(step.observation.logits, step.batch.y)  # type: ignore[attr-defined]


def test_code_of_ones_own_is_not_cached(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    for change in (
        {"objective": Mine()},
        {"student": Tied()},
        {"objective": SoftTargets(nn.Sequential(nn.Flatten(), Tied()), 2.0)},
    ):
        for _ in range(2):
            assert not trained(train, **{"student": mlp(16, 8, 4), "cache": True, **change}).cached  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("*.pt"))


def test_the_source_of_kdlib_is_part_of_the_key(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    trained(train, mlp(16, 8, 4), cache=True)
    assert trained(train, mlp(16, 8, 4), cache=True).cached
    monkeypatch.setattr("kdlib.bank.cache.library_hash", lambda: "edited")
    assert not trained(train, mlp(16, 8, 4), cache=True).cached


def test_a_foreign_file_under_a_banks_name_is_trained_anew(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    trained(train, mlp(16, 8, 4), cache=True)
    (file,) = tmp_path.rglob("*.pt")
    files.save(file, {"settings": 3})
    with pytest.warns(UserWarning, match="holds no bank; the bank is trained anew"):
        assert not trained(train, mlp(16, 8, 4), cache=True).cached


# ---- rates and beginnings ------------------------------------------------------------------------


def by_scale(scale: Any) -> dict[str, Any]:
    return {"head": 1e-2, "": 1e-2 * scale}


@pytest.mark.parametrize("engine", ["reference", "sequential"])
@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_each_student_has_its_own_rates(train: Examples, engine: str, schedule: str) -> None:
    """Every cell is what `fit` trains at those rates, weight decay included."""
    how = {"schedule": schedule, "weight_decay": 0.1, "epochs": 3, "batch": 32}
    bank = trained(
        train, mlp(16, 8, 4), grid={"scale": [1.0, 0.3, 0.01]}, lr=by_scale, engine=engine, **how
    )
    assert bank.engine == engine
    for scale in (1.0, 0.3, 0.01):
        network = fit(mlp(16, 8, 4), train[:96], seed=1, lr=by_scale(scale), **how).network
        for mine, theirs in zip(
            bank.network(scale=scale, seed=1).parameters(), network.parameters(), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    slow, quick = bank.network(scale=0.01, seed=0), bank.network(scale=1.0, seed=0)
    assert not torch.allclose(slow.stage1[0].weight, quick.stage1[0].weight, atol=1e-2)


def test_students_of_several_rates_take_no_fast_path(train: Examples) -> None:
    assert trained(train, mlp(16, 8, 4), lr={"": 1e-2}).engine == "reference"
    with pytest.raises(ValueError, match=r"fast engine trains .* at one rate, .*use engine='auto'"):
        trained(train, mlp(16, 8, 4), lr={"": 1e-2}, engine="fast")


def source_of(seed: int) -> MLP:
    return initialise(mlp(16, 8, 4), 100 + seed)  # type: ignore[return-value]


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
def test_students_begin_from_given_weights(train: Examples, engine: str) -> None:
    given = {seed: source_of(seed) for seed in range(2)}
    before = {seed: fingerprint(network) for seed, network in given.items()}
    bank = trained(train, mlp(16, 8, 4), start=given.__getitem__, engine=engine)
    assert {seed: fingerprint(network) for seed, network in given.items()} == before
    for seed in range(2):
        network = fit(copy.deepcopy(given[seed]), train[:96], seed=None, epochs=2).network
        for mine, theirs in zip(
            bank.network(seed=seed).parameters(), network.parameters(), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_bank_knows_where_its_students_began(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    trained(train, mlp(16, 8, 4), cache=True)
    for other in (source_of, lambda seed: source_of(seed + 1)):
        assert not trained(train, mlp(16, 8, 4), cache=True, start=other).cached
        assert trained(train, mlp(16, 8, 4), cache=True, start=other).cached


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (
            lambda seed: mlp(16, 9, 4),
            r"start\(0\) has other weights than the student \(stage1.0.weight: \(9, 16\), not",
        ),
        (lambda seed: {"weight": 1}, r"start\(0\) is a dict; expected a network"),
        (mlp(16, 8, 4), "start is a MLP; expected a function of a seed: lambda seed: net"),
        ({0: mlp(16, 8, 4)}, "start is a dict; expected a function of a seed"),
    ],
)
def test_a_beginning_that_does_not_fit(train: Examples, start: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        trained(train, mlp(16, 8, 4), start=start)


def test_each_beginning_is_asked_for_once(
    train: Examples, tmp_path: Path, monkeypatch: Any
) -> None:
    """Asked twice, a start with luck of its own was kept under a network that nobody trained."""
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    asked: list[int] = []

    def start(seed: int) -> MLP:
        asked.append(seed)
        return source_of(len(asked))

    bank = trained(train, mlp(16, 8, 4), start=start, seeds=[3, 5], cache=True, epochs=1)
    assert asked == [3, 5]
    again = trained(train, mlp(16, 8, 4), start=lambda seed: source_of({3: 1, 5: 2}[seed]),
                    seeds=[3, 5], cache=True, epochs=1)  # fmt: skip
    assert again.cached and torch.equal(again.losses, bank.losses)


@pytest.mark.parametrize(
    ("lr", "sentence"),
    [
        (
            lambda s: 0.1 if s > 1 else 0.01,
            r"lr=<lambda> fails on symbols .* know \+ - \* / \*\* alone",
        ),
        (lambda s: None, "expected a number, an expression of axes"),
        (lambda s: {0: 0.1 * s, "": 0.1}, "expected a number, an expression of axes"),
        (lambda s: 0.1 * progress * s, "rates follow schedule= alone"),
        (lambda s: True, "expected a number, an expression of axes"),
    ],
)
def test_rates_that_are_none_are_told(train: Examples, lr: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        trained(train, mlp(16, 8, 4), lr=lr, grid={"s": [0.5, 2.0]})


def test_powers_of_ten_are_rates(train: Examples) -> None:
    bank = trained(train, mlp(16, 8, 4), lr=lambda s: 10.0**s, grid={"s": [-2, -3]})
    network = fit(mlp(16, 8, 4), train[:96], seed=1, lr=1e-3, epochs=2).network
    for mine, theirs in zip(
        bank.network(s=-3, seed=1).parameters(), network.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
