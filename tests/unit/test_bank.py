"""Banks: every engine gives the same students as `fit`, and the cache gives nothing else."""

import copy
import errno
import math
from pathlib import Path

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn

from kdlib.bank import Bank, train_bank
from kdlib.data import Examples
from kdlib.losses import class_centres
from kdlib.models import MLP, cnn, initialise, mlp, observe
from kdlib.objectives import (
    HardLabels,
    JensenShannon,
    KernelSimilarity,
    LearnedTemperature,
    Objective,
    Regularizer,
    ReverseKL,
    SoftTargets,
    Symbol,
    Variational,
    progress,
    tabulate,
)
from kdlib.training import fit

GRID = {"T": [1.0, 4.0, 20.0], "alpha": [0.0, 0.5, 1.0]}


def mixture(teacher: nn.Module):
    return lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T)


def double(examples: Examples) -> Examples:
    return Examples(examples.x.double() / 255, examples.y, name=examples.name)


def moved(bank: Bank, student: nn.Module) -> Tensor:
    """How far each student's weights went from where its seed put them: (students, weights)."""
    rows = []
    for i, weights in enumerate(bank.weights):
        fresh = initialise(copy.deepcopy(student), bank.seeds[i % len(bank.seeds)])
        rows.append(torch.cat([(weights[n] - p).flatten() for n, p in fresh.named_parameters()]))
    return torch.stack(rows).detach()


def gap(a: Bank, b: Bank, student: nn.Module) -> float:
    """The largest ‖ΔW_a - ΔW_b‖ / ‖ΔW_b‖ of all students."""
    delta_a, delta_b = moved(a, student), moved(b, student)
    assert delta_b.norm(dim=1).min() > 0.1  # they did go somewhere
    return float(((delta_a - delta_b).norm(dim=1) / delta_b.norm(dim=1)).max())


def objectives(teacher: nn.Module) -> dict:
    return {
        "mixture": (mixture(teacher), GRID),
        "smoothing": (
            lambda smoothing: HardLabels(smoothing) + 0.5 * HardLabels(smoothing=0.1),
            {"smoothing": [0.0, 0.1, 0.4]},
        ),
        "progress": (
            lambda T: progress * HardLabels() + (1 - progress) ** 2 * SoftTargets(teacher, T),
            {"T": [2.0, 8.0]},
        ),
        "expressions": (
            lambda T: 1 / T * HardLabels() + (T + 1) * SoftTargets(teacher, T / 2 + 1),
            {"T": [1.0, 6.0]},
        ),
        "two teachers": (
            lambda T: (
                SoftTargets(teacher, T)
                + 0.3 * SoftTargets(initialise(copy.deepcopy(teacher), 1), 2)
            ),
            {"T": [1.0, 3.0]},
        ),
    }


# ---- engines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["mixture", "smoothing", "progress", "expressions", "two teachers"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fast_path_equals_the_reference(
    teacher: MLP, train: Examples, kind: str, dtype: torch.dtype
) -> None:
    """50 steps over 320 images of which 80 have no label; the short last batch is one of them."""
    images = train[:240] + train[240:].unlabelled()
    images = images[torch.randperm(320, generator=torch.Generator().manual_seed(0))][:310]
    student = mlp(16, 8, 6, 4)
    if dtype == torch.float64:
        images, student, teacher = double(images), student.double(), teacher.double()
    objective, grid = objectives(teacher)[kind]
    banks = [
        train_bank(
            objective,
            student=student,
            examples=images,
            grid=grid,
            seeds=2,
            evaluate={"test": images},
            epochs=5,
            batch=32,
            lr=1e-2,
            weight_decay=0.05,
            order_seed=4,
            engine=engine,
            cache=False,
        )
        for engine in ("fast", "reference")
    ]
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert gap(*banks, student) <= tolerance
    close = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(banks[0].logits["test"], banks[1].logits["test"], **close)
    torch.testing.assert_close(banks[0].losses, banks[1].losses, rtol=1e-4, atol=1e-5)


def test_a_group_per_width_on_both_engines(teacher: MLP, train: Examples) -> None:
    def build(width: int) -> nn.Module:
        return mlp(16, width, 4)

    grid = {"T": [1.0, 4.0], "width": [2, 7], "alpha": [0.2, 0.9]}
    banks = [
        train_bank(
            mixture(teacher),
            student=build,
            examples=train,
            grid=grid,
            seeds=[3, 5],
            evaluate={"t": train},
            epochs=2,
            batch=32,
            engine=engine,
            cache=False,
        )
        for engine in ("fast", "reference")
    ]
    assert banks[0].shape == banks[1].shape == (2, 2, 2, 2)
    torch.testing.assert_close(banks[0].logits["t"], banks[1].logits["t"], rtol=1e-3, atol=1e-3)
    for state in (
        {"T": 4.0, "width": 7, "alpha": 0.2, "seed": 5},
        {"T": 1.0, "width": 2, "alpha": 0.9, "seed": 3},
    ):
        network = banks[0].network(**state)
        assert network.sizes == (16, state["width"], 4) and not network.training
        objective = mixture(teacher)(state["T"], state["alpha"])
        fitted = fit(
            build(state["width"]), train, objective, epochs=2, batch=32, seed=state["seed"]
        )
        cell = banks[0].logits["t"][banks[0].index(**state)]
        torch.testing.assert_close(cell, fitted.logits(train), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(network(train.batch().x), cell, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
def test_a_cell_of_a_bank_is_fit_with_the_same_seeds(
    teacher: MLP, train: Examples, test: Examples, engine: str
) -> None:
    settings = {"epochs": 3, "lr": 5e-3, "batch": 50, "order_seed": 9, "weight_decay": 0.01}
    bank = train_bank(
        mixture(teacher),
        student=mlp(16, 8, 4),
        examples=train,
        grid=GRID,
        seeds=[4, 1],
        evaluate={"test": test, "train": train},
        engine=engine,
        cache=False,
        schedule="constant",
        **settings,
    )
    assert bank.engine == engine and set(bank.labels) == {"test", "train"}
    for T, alpha, seed in ((1.0, 0.0, 4), (4.0, 0.5, 1), (20.0, 1.0, 1)):
        student = mlp(16, 8, 4)
        objective = mixture(teacher)(T, alpha)
        run = fit(student, train, objective, seed=seed, schedule="constant", **settings)
        where = bank.index(T=T, alpha=alpha, seed=seed)
        torch.testing.assert_close(
            bank.logits["test"][where], run.logits(test), rtol=1e-3, atol=1e-3
        )
        losses = torch.tensor([row["loss"] for row in run.history])
        torch.testing.assert_close(bank.losses[where], losses, rtol=1e-4, atol=1e-5)
        assert float(bank.errors()[where]) == pytest.approx(run.error(test), abs=0.3)
        network = bank.network(T=T, alpha=alpha, seed=seed)
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, student.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["batchnorm", "owned", "kernel", "regularized", "jensen", "progress in T", "learned T"]
)
def test_one_after_another_equals_the_reference(teacher: MLP, train: Examples, kind: str) -> None:
    """What the fast path does not know: other networks, other terms, what an objective owns."""
    student: nn.Module = mlp(16, 8, 4)
    f_t = observe(teacher, train.batch().x, ["stage1"]).features["stage1"]
    centres, pair = class_centres(f_t.detach(), train.y), {"stage1": "stage1"}
    anchor = initialise(mlp(16, 8, 4), 9)
    formula = {
        "batchnorm": lambda a: HardLabels() + a * SoftTargets(teacher, 4),
        "owned": lambda a: HardLabels() + a * Variational(teacher, pair),
        "kernel": lambda a: HardLabels() + KernelSimilarity(teacher, pair, centres, gamma=a),
        "regularized": lambda a: HardLabels() + a * Regularizer(anchor) + 0.1 * Regularizer(),
        "jensen": lambda a: JensenShannon(teacher, 4, beta=a),
        "progress in T": lambda a: ReverseKL(teacher, 1 + a * progress),
        "learned T": lambda a: a * HardLabels() + SoftTargets(teacher, LearnedTemperature(1, 5)),
    }[kind]
    if kind == "batchnorm":
        student = nn.Sequential(nn.Upsample(8), cnn(2, 4))
    banks = [
        train_bank(
            formula,
            student=student,
            examples=train,
            grid={"a": [0.1, 0.6]},
            seeds=2,
            evaluate={"train": train},
            epochs=2,
            batch=64,
            engine=engine,
            cache=False,
        )
        for engine in ("reference", "sequential")
    ]
    assert gap(*banks, student) < 2e-3
    torch.testing.assert_close(banks[0].losses, banks[1].losses, rtol=1e-3, atol=1e-4)
    for one, other in zip(banks[0].weights, banks[1].weights, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-2, atol=2e-3)


def test_the_engine_is_chosen_by_what_it_can_do(teacher: MLP, train: Examples) -> None:
    def engine(objective: object, student: nn.Module) -> str:
        options = {"examples": train[:32], "evaluate": {}, "epochs": 1, "seeds": 1, "cache": False}
        return train_bank(objective, student=student, **options).engine  # type: ignore[arg-type]

    plain = HardLabels() + SoftTargets(teacher, 4)
    assert engine(plain, mlp(16, 3, 4)) == "fast"
    assert engine(plain, mlp(16, 3, 4, dropout=0.1)) == "reference"
    assert engine(plain, nn.Sequential(nn.Flatten(), nn.Linear(16, 4))) == "reference"
    assert engine(plain + ReverseKL(teacher, 4), mlp(16, 3, 4)) == "reference"
    assert engine(SoftTargets(teacher, 1 + progress), mlp(16, 3, 4)) == "reference"
    assert engine(HardLabels(0.1 * progress), mlp(16, 3, 4)) == "reference"
    assert engine(SoftTargets(teacher, LearnedTemperature()), mlp(16, 3, 4)) == "reference"
    convolutional = nn.Sequential(nn.Upsample(8), cnn(2, 4))
    assert engine(HardLabels(), convolutional) == "sequential"


def test_bf16_is_as_good_as_fp32_over_64_students(train: Examples, teacher: MLP) -> None:
    unseen = blobs(4000, seed=5)
    errors = []
    for precision in ("bf16", "fp32"):
        bank = train_bank(
            0.5 * HardLabels() + 0.5 * SoftTargets(teacher, 2),
            student=mlp(16, 16, 4),
            examples=train,
            seeds=128,
            evaluate={"test": unseen},
            epochs=6,
            batch=32,
            precision=precision,
            cache=False,
        )
        errors.append(bank.errors())
        assert bank.engine == "fast"
        assert {t.dtype for weights in bank.weights for t in weights.values()} == {torch.float32}
    assert not torch.equal(*errors)  # it did run in another precision
    assert abs(float(errors[0].mean() - errors[1].mean())) < 0.1


def test_tables_and_examples_that_depend_on_an_axis(teacher: MLP, train: Examples) -> None:
    table = tabulate(teacher, train)
    shuffled = table.answering(table.logits.roll(1, -1), "rolled")

    def some(share: int) -> Examples:
        return train[: 32 * share]

    bank = train_bank(
        lambda taught: SoftTargets({"live": teacher, "rolled": shuffled}[taught], 2),
        student=mlp(16, 8, 4),
        examples=some,
        grid={"taught": ["live", "rolled"], "share": [7, 10]},
        seeds=2,
        evaluate={"t": train},
        epochs=15,
        batch=32,
        cache=False,
    )
    answers, z_t = bank.logits["t"].argmax(-1), table.logits.argmax(-1)
    agree = (answers == z_t).double().mean(-1)
    assert (agree[0] > 0.7).all() and (agree[1] < 0.3).all()
    run = fit(mlp(16, 8, 4), some(7), SoftTargets(shuffled, 2), epochs=15, batch=32, seed=1)
    torch.testing.assert_close(bank.logits["t"][1, 0, 1], run.logits(train), rtol=1e-3, atol=2e-3)


def test_settings_may_be_an_axis(train: Examples) -> None:
    bank = train_bank(
        HardLabels(),
        student=mlp(16, 8, 4),
        examples=train,
        grid={"epochs": [1, 3], "lr": [1e-3, 1e-2]},
        seeds=2,
        evaluate={"t": train},
        batch=64,
        cache=False,
    )
    assert bank.losses.shape == (2, 2, 2, 3)
    assert bank.losses[0].isnan().sum() == 2 * 2 * 2 and not bank.losses[1].isnan().any()
    run = fit(mlp(16, 8, 4), train, epochs=3, lr=1e-2, batch=64, seed=1)
    torch.testing.assert_close(bank.logits["t"][1, 1, 1], run.logits(train), rtol=1e-3, atol=1e-3)


def test_training_a_bank_touches_nothing_outside(teacher: MLP, train: Examples) -> None:
    before = copy.deepcopy(teacher.train().state_dict())
    student = initialise(mlp(16, 8, 4), 77)
    start = copy.deepcopy(student.state_dict())
    for engine in ("fast", "reference", "sequential"):
        torch.manual_seed(0)
        expected = torch.rand(2)
        torch.manual_seed(0)
        train_bank(
            mixture(teacher),
            student=student,
            examples=train,
            grid={"T": [2.0], "alpha": [0.5]},
            seeds=2,
            evaluate={"t": train},
            epochs=1,
            engine=engine,
            cache=False,
        )
        assert torch.equal(torch.rand(2), expected)
        assert teacher.training
        assert all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())
        assert all(torch.equal(t, start[n]) for n, t in student.state_dict().items())


# ---- reading -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank(_taught: MLP, train: Examples, test: Examples) -> Bank:
    return train_bank(
        mixture(_taught),
        student=lambda width: mlp(16, width, 4),
        examples=train,
        grid={"T": [1.0, 4.0, 20.0], "alpha": [0.5, 0.9], "width": [4, 8]},
        seeds=[5, 6, 7],
        evaluate={"test": test, "validation": test[:100]},
        epochs=2,
        batch=64,
        cache=False,
    )


def test_a_bank_has_the_shape_of_its_grid(bank: Bank) -> None:
    assert bank.shape == (3, 2, 2, 3) and len(bank.weights) == 36
    assert bank.logits["test"].shape == (3, 2, 2, 3, 400, 4)
    assert bank.logits["validation"].shape == (3, 2, 2, 3, 100, 4)
    assert bank.errors("validation").shape == bank.shape and bank.losses.shape == (3, 2, 2, 3, 2)
    expected = 100 * (bank.logits["test"].argmax(-1) != bank.labels["test"]).double().mean(-1)
    torch.testing.assert_close(bank.errors(), expected)
    assert repr(bank).startswith(
        "Bank(3 T × 2 alpha × 2 width × 3 seeds of (1 - alpha) · HardLabels"
    )
    assert bank.index(T=4.0, seed=7) == (1, slice(None), slice(None), 2)


def test_select_fixes_axes_and_keeps_the_students_in_step(bank: Bank) -> None:
    part = bank.select(T=4.0, width=8)
    assert part.axes == {"alpha": [0.5, 0.9]} and part.shape == (2, 3)
    assert torch.equal(part.logits["test"], bank.logits["test"][1, :, 1])
    assert torch.equal(part.losses, bank.losses[1, :, 1])
    one = part.select(alpha=0.9, seed=6)
    assert one.shape == (1,) and one.seeds == [6]
    assert torch.equal(one.logits["test"][0], bank.logits["test"][1, 1, 1, 1])
    state = {"T": 4.0, "alpha": 0.9, "width": 8, "seed": 6}
    for network in (bank.network(**state), part.network(alpha=0.9, seed=6), one.network(seed=6)):
        assert torch.equal(
            network.head.weight, bank.weights[(1 * 4 + 1 * 2 + 1) * 3 + 1]["head.weight"]
        )
    assert torch.equal(bank.select().logits["test"], bank.logits["test"])


def test_frame_has_a_row_per_cell_or_per_student(bank: Bank) -> None:
    frame = bank.frame()
    assert list(frame) == ["T", "alpha", "width", "error %", "low", "high"] and len(frame) == 12
    row = frame[(frame["T"] == 4) & (frame["alpha"] == 0.9) & (frame["width"] == 8)].iloc[0]
    assert row["error %"] == pytest.approx(float(bank.errors()[1, 1, 1].mean()))
    assert (frame["low"] < frame["error %"]).all() and (frame["error %"] < frame["high"]).all()
    students = bank.frame("validation", seeds=True)
    assert list(students) == ["T", "alpha", "width", "seed", "error %"] and len(students) == 36
    assert students["error %"].tolist() == pytest.approx(
        bank.errors("validation").flatten().tolist()
    )


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda b: b.index(temperature=4), "no axis 'temperature'; it has T, alpha, width, seed"),
        (lambda b: b.select(T=5.0), r"no T=5.0; it has \[1.0, 4.0, 20.0\]"),
        (lambda b: b.select(seed=0), r"no seed=0; it has \[5, 6, 7\]"),
        (lambda b: b.network(T=4.0, width=4), "several students fit .*; name alpha, seed as well"),
        (lambda b: b.errors("tset"), r"not evaluated on 'tset'; it has \['test', 'validation'\]"),
        (lambda b: b.frame("x"), "not evaluated on 'x'"),
    ],
)
def test_a_bank_says_what_it_does_not_have(bank: Bank, act, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        act(bank)


# ---- the cache -----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    return tmp_path / "banks"


def test_the_cache_hits_only_what_is_the_same(
    cache: Path, teacher: MLP, train: Examples, test: Examples
) -> None:
    def go(one: nn.Module = teacher, **changes: object) -> Bank:
        options = {
            "student": mlp(16, 4, 4),
            "examples": train[:64],
            "grid": {"T": [1.0, 4.0], "alpha": [0.5]},
            "seeds": 2,
            "evaluate": {"test": test[:50]},
            "epochs": 1,
        } | changes
        return train_bank(mixture(one), **options)  # type: ignore[arg-type]

    first, again = go(), go()
    assert not first.cached and again.cached and "read from the cache" in repr(again)
    assert torch.equal(first.logits["test"], again.logits["test"])
    assert torch.equal(first.losses, again.losses) and again.formula == first.formula
    for a, b in zip(first.weights, again.weights, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert again.network(T=4.0, alpha=0.5, seed=1)(test.batch().x).shape == (400, 4)
    assert go(copy.deepcopy(teacher), student=initialise(mlp(16, 4, 4), 8)).cached  # same content
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.weight[0, 0] += 1e-6
    for change in (
        {"one": other},
        {"seeds": [0, 2]},
        {"examples": train[:65]},
        {"evaluate": {"test": test[:51]}},
        {"evaluate": {"t": test[:50]}},
        {"epochs": 2},
        {"lr": 0.02},
        {"batch": 63},
        {"order_seed": 1},
        {"student": mlp(16, 5, 4)},
        {"weight_decay": 0.1},
        {"engine": "reference"},
        {"grid": {"T": [1.0, 4.0000001], "alpha": [0.5]}},
        {"schedule": "constant"},
        {"examples": train[:64].unlabelled() + train[:1]},
        {"student": mlp(16, 4, 4).double()},
    ):
        if "student" in change and change["student"].head.weight.dtype == torch.float64:
            change |= {"examples": double(train[:64]), "one": copy.deepcopy(teacher).double()}
            change |= {"evaluate": {"test": double(test[:50])}}
        assert not go(**change).cached, change
    assert go().cached


@pytest.mark.parametrize("damage", ["truncated", "corrupted", "foreign"])
def test_a_damaged_cache_is_trained_anew_with_a_warning(
    cache: Path, train: Examples, test: Examples, damage: str
) -> None:
    def go() -> Bank:
        return train_bank(
            student=mlp(16, 4, 4), examples=train, evaluate={"test": test}, epochs=1, seeds=2
        )

    first = go()
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes({"truncated": content[:99], "corrupted": content, "foreign": b"x"}[damage])
    with pytest.warns(UserWarning, match=r"is damaged.*the bank is trained anew"):
        anew = go()
    assert not anew.cached and torch.equal(anew.logits["test"], first.logits["test"])
    assert go().cached


def test_a_full_disk_costs_only_the_cache(
    cache: Path, train: Examples, test: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kdlib.files.os.fsync", refuse)
    with pytest.warns(UserWarning, match="could not be saved .*used without being kept"):
        bank = train_bank(
            student=mlp(16, 4, 4), examples=train, evaluate={"test": test}, epochs=1, seeds=1
        )
    assert bank.errors().isfinite().all() and list(cache.iterdir()) == []


def test_a_bank_with_a_diverged_student_is_not_kept(
    cache: Path, train: Examples, test: Examples
) -> None:
    def go(*rates: float) -> Bank:
        return train_bank(
            student=mlp(16, 4, 4), examples=train, evaluate={"test": test}, epochs=1, seeds=1,
            grid={"lr": list(rates)},
        )  # fmt: skip

    go(1e-3)
    kept = list(cache.iterdir())
    assert len(kept) == 1, "a sound one is"
    with pytest.warns(UserWarning, match="1 of 2 students diverged: bank.losses says which"):
        bank = go(1e-3, 1e38)
    assert bank.errors().isnan().tolist() == [[False], [True]]
    assert list(cache.iterdir()) == kept


def test_without_a_home_a_bank_is_trained_and_not_kept(
    train: Examples, test: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", "~nobody-of-this-name/kept")
    with pytest.warns(UserWarning, match="set KDLIB_CACHE to a folder of your own; the bank is us"):
        bank = train_bank(
            student=mlp(16, 4, 4), examples=train, evaluate={"test": test}, epochs=1, seeds=1
        )
    assert bank.errors().isfinite().all()


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid": {"T": [], "alpha": [0.5]}}, "axis 'T' has no values"),
        ({"grid": {"T": [1.0]}}, "'alpha' is asked for but is no axis of the grid"),
        (
            {"grid": GRID | {"width": [3]}},
            r"axis 'width' is asked for by neither .*ask for T, alpha",
        ),
        ({"grid": GRID | {"T": [0.0]}}, "temperature T=0.0"),
        ({"grid": GRID | {"T": [float("nan")]}}, "temperature T=nan"),
        ({"grid": GRID | {"alpha": [1.5]}}, r"is alpha outside \[0, 1\]\?"),
        ({"grid": GRID | {"lr": [-1.0]}}, "lr=-1.0"),
        ({"seeds": []}, "no seeds to train"),
        ({"seeds": 1.5}, "seeds is 1.5; expected how many, or a list of them"),
        ({"seeds": "3"}, "seeds is '3'; expected how many"),
        ({"seeds": [0.5]}, "seed=0.5: expected a whole number"),
        ({"seeds": [1, 2, 1]}, "seeds holds 1 twice"),
        ({"grid": GRID | {"T": [4, 4.0]}}, "axis 'T' holds 4.0 twice"),
        ({"grid": GRID | {"T": [[1], [1]]}}, r"axis 'T' holds \[1\] twice"),
        ({"grid": GRID | {"T": 4}}, "axis 'T' is 4; expected a list of values"),
        ({"grid": GRID | {"T": "14"}}, "axis 'T' is '14'; expected a list of values"),
        ({"grid": GRID | {"T": ["4"]}}, "SoftTargets was given T='4'"),
        ({"grid": GRID | {"seed": [1]}}, "no axis can be called 'seed'; give seeds="),
        ({"grid": [1, 2]}, r"grid=\[1, 2\]: expected axes with their values"),
        ({"lr": {"": 1e-2, "tail": 1e-3}}, "no weight's name begins with 'tail'"),
        ({"lr": {"head": 1e-2}}, "has no learning rate for 'stage1.0.weight'; add '' for all"),
        ({"lr": {"": -1e-2}}, "finite learning rates above 0"),
        ({"lr": {"": Symbol("scale")}}, "the rate 'scale' has no value; make it an axis"),
        ({"lr": lambda scale: {"": scale}}, "'scale' is asked for but is no axis of the grid"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"weight_decay": -1}, "weight_decay=-1"),
        ({"order_seed": "x"}, "order_seed='x'"),
        ({"student": mlp(16, 4, 3)}, "MLP has 3 outputs and a label is 3"),
        ({"student": mlp(9, 4, 4)}, r"MLP cannot take .* images of \(1, 4, 4\)"),
        ({"student": lambda: 5}, "the student is of type int; expected a network"),
        ({"student": None}, "the student is of type NoneType"),
        ({"examples": (1, 2)}, "examples is of type tuple"),
        ({"evaluate": blobs(8)}, "evaluate is a Examples; expected splits with their names"),
        ({"evaluate": {"v": blobs(8)[:0]}}, r"evaluate\['v'\] holds no examples"),
        ({"evaluate": {"v": 5}}, r"evaluate\['v'\] is of type int; expected Examples"),
        (
            {"evaluate": {"v": Examples(torch.rand(2, 1, 3, 3), torch.arange(2))}},
            r"evaluate\['v'\] has images of \(1, 3, 3\) and training has \(1, 4, 4\)",
        ),
        ({"epochs": 0}, "epochs=0"),
        ({"batch": 0}, "batch=0"),
        ({"schedule": "x"}, "schedule='x'"),
        ({"engine": "quick"}, "engine='quick': expected 'auto', 'fast', 'reference', 'sequential'"),
        ({"precision": "fp16"}, "precision='fp16'"),
        ({"precision": "bf16", "engine": "reference"}, "the reference engine runs in fp32"),
        (
            {"engine": "fast", "student": nn.Sequential(nn.Flatten(), nn.Linear(16, 4))},
            r"the fast engine trains mlp\(…\) students.*not Sequential .*use engine='auto'",
        ),
    ],
)
def test_bad_banks_are_told_before_training(
    teacher: MLP, train: Examples, change: dict, said: str
) -> None:
    options = {"student": mlp(16, 4, 4), "examples": train, "grid": GRID, "evaluate": {}} | change
    seen: list[float] = []
    with pytest.raises(ValueError, match=said):
        train_bank(
            mixture(teacher), cache=False, watch=lambda done, errors: seen.append(done), **options
        )
    assert not seen


def test_an_objective_that_is_none(train: Examples) -> None:
    for objective in ("kd", lambda: 5, nn.CrossEntropyLoss()):
        with pytest.raises(ValueError, match=r"the objective is of type .* made of terms"):
            train_bank(objective, student=mlp(16, 4, 4), examples=train, evaluate={}, cache=False)


def test_a_split_without_labels_has_answers_and_no_errors(train: Examples, test: Examples) -> None:
    seen: list[Tensor] = []
    bank = train_bank(
        student=mlp(16, 4, 4), examples=train, seeds=2, epochs=1, cache=False,
        evaluate={"target": test.unlabelled()},
        watch=lambda _, errors: seen.append(errors["target"]),
    )  # fmt: skip
    assert bank.logits["target"].isfinite().all()
    assert len(seen) == 2 and all(errors.isnan().all() for errors in seen)
    for act in (bank.wrong, bank.errors, bank.frame):
        with pytest.raises(ValueError, match="400 of 400 examples have no label"):
            act("target")


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
def test_a_device_is_named_and_teachers_must_be_there(
    teacher: MLP, train: Examples, test: Examples, engine: str
) -> None:
    how = {
        "student": mlp(16, 4, 4), "examples": train, "seeds": 2, "epochs": 1, "engine": engine,
        "evaluate": {"test": test}, "cache": False,
    }  # fmt: skip
    here = train_bank(SoftTargets(teacher, 2), **how)
    named = train_bank(SoftTargets(teacher, 2), device="cpu", **how)
    assert torch.equal(here.logits["test"], named.logits["test"])
    assert named.logits["test"].device.type == named.weights[0]["head.bias"].device.type == "cpu"
    with pytest.raises(ValueError, match=r"device 'gpu' cannot be used here"):
        train_bank(SoftTargets(teacher, 2), device="gpu", **how)
    elsewhere = copy.deepcopy(teacher).to("meta")
    with pytest.raises(ValueError, match=r"the teacher is on meta and the student trains on cpu"):
        train_bank(SoftTargets(elsewhere, 2), **how)


def test_bad_examples_and_teachers(teacher: MLP, train: Examples) -> None:
    def go(objective: Objective, examples: Examples, engine: str = "auto") -> None:
        options = {"student": mlp(16, 4, 4), "evaluate": {}, "seeds": 2, "cache": False}
        train_bank(objective, examples=examples, engine=engine, **options)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="has no labels"):
        go(HardLabels(), train.unlabelled())
    with pytest.raises(ValueError, match="holds no examples"):
        go(SoftTargets(teacher, 4), train[:0])
    for engine in ("fast", "reference", "sequential"):
        with pytest.raises(ValueError, match="4 classes and the teacher with 7"):
            go(SoftTargets(mlp(16, 8, 7), 4), train, engine)
    for other in (ReverseKL(teacher, 4), SoftTargets(teacher, 4 * progress + 1)):
        with pytest.raises(ValueError, match="the fast engine trains"):
            go(other, train, "fast")


# ---- mistakes that real projects ship ------------------------------------------------------------


def test_mistake_one_seed_or_another_baseline(bank: Bank) -> None:
    """Students of a bank share data, order and budget: at alpha = 0 all T are the same student."""
    assert len(bank.seeds) >= 3 and math.prod(bank.shape) == len(bank.weights)


def test_mistake_alpha_zero_depends_on_the_teacher(teacher: MLP, train: Examples) -> None:
    bank = train_bank(
        mixture(teacher),
        student=mlp(16, 8, 4),
        examples=train,
        grid=GRID,
        seeds=2,
        evaluate={"t": train},
        epochs=2,
        cache=False,
    )
    alone = bank.logits["t"][:, 0]
    torch.testing.assert_close(alone[0], alone[2])
    assert (bank.logits["t"][0, 2] - bank.logits["t"][2, 2]).abs().max() > 0.1


# ---- watching and stopping -----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_bank_can_be_watched_while_it_trains(
    teacher: MLP, train: Examples, test: Examples, engine: str
) -> None:
    seen: list[tuple[float, Tensor]] = []
    how = {
        "student": lambda width: mlp(16, width, 4), "examples": train, "seeds": 2, "epochs": 3,
        "grid": {"width": [4, 8], "T": [1.0, 4.0]}, "evaluate": {"test": test}, "cache": False,
    }  # fmt: skip
    bank = train_bank(
        lambda T: SoftTargets(teacher, T),
        watch=lambda done, errors: seen.append((done, errors["test"].clone())),
        engine=engine,
        **how,
    )
    # Fresh students of a width, then its three epochs; the second width comes second.
    assert [done for done, _ in seen] == pytest.approx([k / 6 for k in (0, 1, 2, 3, 3, 4, 5, 6)])
    for k, (_, errors) in enumerate(seen):
        assert errors.shape == (2, 2, 2)
        assert not errors[0].isnan().any()
        assert bool(errors[1].isnan().all()) == (k < 4)
    assert seen[0][1][0].mean() > seen[3][1][0].mean()
    assert torch.equal(seen[-1][1], bank.errors("test"))
    unwatched = train_bank(lambda T: SoftTargets(teacher, T), engine=engine, **how)
    assert torch.equal(unwatched.logits["test"], bank.logits["test"])


def test_a_stopped_bank_keeps_what_there_is_and_no_cache_keeps_it(
    teacher: MLP, train: Examples, test: Examples
) -> None:
    how = {
        "student": lambda width: mlp(16, width, 4), "examples": train, "seeds": 2, "epochs": 3,
        "grid": {"width": [4, 8]}, "evaluate": {"test": test},
    }  # fmt: skip
    objective = SoftTargets(teacher, 2.5)
    stopped = train_bank(objective, watch=lambda done, errors: done < 0.3, **how)
    assert not stopped.logits["test"][0].isnan().any()
    assert stopped.logits["test"][1].isnan().all()
    assert stopped.losses[0].isnan().sum() == 2  # two seeds, the third epoch
    assert stopped.errors()[0].isfinite().all() and stopped.errors()[1].isnan().all()
    first, second = stopped.frame()[["error %", "low", "high"]].to_numpy()
    assert first[0] == float(stopped.errors()[0].mean()) and all(map(math.isnan, second))
    assert stopped.frame(seeds=True)["error %"].isna().tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="800 of 1600 answers are nan or inf"):
        stopped.wrong()
    stopped.network(width=4, seed=1)
    with pytest.raises(ValueError, match=r"stopped before the student of .* began"):
        stopped.network(width=8, seed=0)
    whole = train_bank(objective, **how)
    assert not whole.cached
    assert not whole.logits["test"].isnan().any()
