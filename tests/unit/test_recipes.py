"""What papers do beside a loss: schedules, optimisers, accumulation, the best epoch, a word after
each; and trainings that diverge."""

import copy
import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from torch import Tensor, nn

from kdlib.bank import train_bank
from kdlib.data import Examples, Targets, jitter
from kdlib.models import fingerprint, initialise, mlp
from kdlib.objectives import (
    BinaryLabels,
    HardLabels,
    MeanSquares,
    SigmoidTargets,
    SoftTargets,
    progress,
    tabulate,
)
from kdlib.source import described
from kdlib.training import Diverged, Run, decay_groups, fit


@pytest.fixture(scope="module")
def train() -> Examples:
    return blobs(320)


def weights_of(run: Run) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in run.network.parameters()])


# ---- schedules and optimisers --------------------------------------------------------------------


def rates_of_steps(**settings: Any) -> list[float]:
    """The rates of a run's steps, as an optimiser meets them."""
    met: list[float] = []

    class Noting(torch.optim.SGD):
        def step(self, *given: Any, **more: Any) -> Any:
            met.append(float(self.param_groups[0]["lr"]))
            return super().step(*given, **more)

    fit(mlp(16, 8, 4), blobs(320), epochs=5, batch=160, seed=0, lr=0.1,
        optimizer=lambda groups: Noting(groups), **settings)  # fmt: skip
    return met[1:]  # the first is a trial, on copies


def test_schedules_are_those_of_their_formulas() -> None:
    cosine = torch.tensor(rates_of_steps(schedule="cosine"))
    expected = 0.05 * (1 + torch.cos(torch.pi * torch.arange(10) / 10))
    torch.testing.assert_close(cosine, expected)
    steps = rates_of_steps(schedule=lambda done: 0.1 ** sum(done >= at for at in (0.5, 0.8)))
    assert steps == pytest.approx([0.1] * 5 + [0.01] * 3 + [0.001] * 2)
    assert rates_of_steps(schedule="constant") == [0.1] * 10
    peak = torch.tensor(rates_of_steps())
    assert float(peak.max()) == pytest.approx(0.1, rel=0.03) and float(peak[-1]) < 0.01


def test_a_published_recipe_equals_a_loop_by_hand(train: Examples) -> None:
    """SGD with momentum, Nesterov's form, decay of matrices alone, steps, clipping."""
    at = (0.4, 0.8)

    def sgd(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(decay_groups(groups, 5e-3), momentum=0.9, nesterov=True)

    start = initialise(mlp(16, 8, 4), 3)
    ours = fit(
        copy.deepcopy(start), train, epochs=5, batch=80, lr=0.05, clip=0.5, optimizer=sgd,
        schedule=lambda done: 0.1 ** sum(done >= share for share in at),
    )  # fmt: skip
    net = copy.deepcopy(start)
    matrices = [w for w in net.parameters() if w.dim() > 1]
    vectors = [w for w in net.parameters() if w.dim() == 1]
    optimizer = torch.optim.SGD(
        [{"params": matrices, "weight_decay": 5e-3}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.05, momentum=0.9, nesterov=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [8, 16], 0.1)
    from kdlib.training.epochs import epoch_seed

    for epoch in range(5):
        generator = torch.Generator().manual_seed(epoch_seed(0, epoch))
        for index in train.order(80, generator):
            optimizer.zero_grad()
            batch = train.batch(index)
            nn.functional.cross_entropy(net(batch.x), batch.y).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
            schedule.step()
    by_hand = torch.cat([weight.detach().flatten() for weight in net.parameters()])
    torch.testing.assert_close(weights_of(ours), by_hand, rtol=1e-5, atol=1e-6)


def test_decay_groups_part_matrices_from_vectors() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4))
    first, rest = list(net[0].parameters()), [*net[1].parameters(), *net[3].parameters()]
    groups = decay_groups([{"params": first, "lr": 1.0}, {"params": rest, "lr": 2.0}], 0.1)
    shown = [(g["lr"], g["weight_decay"], [tuple(w.shape) for w in g["params"]]) for g in groups]
    assert shown == [
        (1.0, 0.1, [(2, 1, 3, 3)]), (1.0, 0.0, [(2,)]),
        (2.0, 0.1, [(4, 8)]), (2.0, 0.0, [(2,), (2,), (4,)]),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="weight_decay=-1: expected a finite number of at least 0"):
        decay_groups([], -1)


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        (lambda g: torch.optim.SGD(g, lr=0.5), r"made with lr=0.5, and the groups bring rates of"),
        (lambda g: torch.optim.SGD(g[:1]), r"holds 2 of the student's 4 weights; give it all gro"),
        (lambda g: torch.optim.SGD(mlp(2, 2).parameters()), r"holds 0 of the student's 4 weights"),
        (lambda g: torch.optim.LBFGS(g[0]["params"]), r"fails on the student's weights .*closure"),
        (lambda g: torch.optim.SparseAdam(g), r"fails on the student's weights"),
        (lambda g: torch.optim.SGD(g, momentum=-1), r"fails on the student's weights .*momentum"),
    ],
)
def test_an_optimiser_is_tried_on_copies(train: Examples, maker: Any, message: str) -> None:
    student = initialise(mlp(16, 8, 4), 1)
    kept = fingerprint(student)
    with pytest.raises(ValueError, match=message):
        fit(student, train, seed=0, epochs=1, lr={"head": 0.1, "": 0.2}, optimizer=maker)
    assert fingerprint(student) == kept


def test_an_optimiser_may_regroup_weights_whose_rates_change(train: Examples) -> None:
    """Each weight keeps its own rate, in whatever order and however its group is cut."""
    lr = {"head": 0.1 * 0.1**progress, "": 0.01 * 0.5**progress}
    common: dict[str, Any] = dict(epochs=2, seed=0, lr=lr, schedule="constant")
    plain = fit(mlp(16, 8, 4), train, optimizer=lambda g: torch.optim.SGD(g), **common)
    for regrouped in (lambda g: g[::-1], lambda g: decay_groups(g, 0.0)):
        run = fit(
            mlp(16, 8, 4), train, optimizer=lambda g, f=regrouped: torch.optim.SGD(f(g)), **common
        )
        assert torch.equal(weights_of(run), weights_of(plain))
    lost = lambda g: torch.optim.SGD([{"params": one["params"]} for one in g])  # noqa: E731
    with pytest.raises(ValueError, match="let the optimizer keep what a group holds"):
        fit(mlp(16, 8, 4), train, optimizer=lost, **common)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_run_goes_on_with_the_optimiser_that_it_was_asked_for(
    train: Examples, tmp_path: Path, momentum: float
) -> None:
    common: dict[str, Any] = dict(epochs=4, seed=0, checkpoint=tmp_path / "run.pt")
    fit(
        mlp(16, 8, 4), train, optimizer=lambda g: torch.optim.SGD(g, momentum=0.9),
        after_epoch=lambda run: len(run.history) < 2, **common,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"was written with its settings=.*'momentum': 0.9"):
        fit(
            mlp(16, 8, 4), train, optimizer=lambda g: torch.optim.SGD(g, momentum=momentum),
            **common,
        )  # fmt: skip


def test_a_run_goes_on_with_the_same_choice_of_epoch(train: Examples, tmp_path: Path) -> None:
    validate = blobs(60, seed=4)
    common: dict[str, Any] = dict(epochs=4, seed=0, checkpoint=tmp_path / "run.pt")
    stop = {"after_epoch": lambda run: len(run.history) < 2}
    fit(mlp(16, 8, 4), train, validate=validate, keep="best", **stop, **common)
    with pytest.raises(ValueError, match="was written with keep='best', this run has 'last'"):
        fit(mlp(16, 8, 4), train, validate=validate, **common)
    with pytest.raises(ValueError, match="was written with other validate"):
        fit(mlp(16, 8, 4), train, validate=blobs(60, seed=5), keep="best", **common)
    frozen = mlp(16, 8, 4)
    frozen.head.bias.requires_grad_(False)
    with pytest.raises(ValueError, match="was written with"):
        fit(frozen, train, validate=validate, keep="best", **common)


# ---- accumulation --------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("kind", ["labels", "teacher", "augmented", "domains"])
def test_accumulated_gradients_are_those_of_the_batch(
    train: Examples, parts: int, kind: str
) -> None:
    """Of terms that average over examples, to rounding; batches of other sizes included."""
    teacher = fit(mlp(16, 16, 4), train, epochs=2, seed=5).network
    objective = 0.5 * HardLabels() + 0.5 * SoftTargets(teacher, 4) if kind == "teacher" else None
    augment = jitter(1) if kind == "augmented" else None
    examples = train[:300]
    if kind == "domains":
        examples = train[:200].as_domain(0) + train[200:300].as_domain(1)
    common: dict[str, Any] = dict(epochs=2, batch=64, seed=0, augment=augment, clip=1.0)
    whole = fit(mlp(16, 8, 4), examples, objective, **common)
    cut = fit(mlp(16, 8, 4), examples, objective, accumulate=parts, **common)
    torch.testing.assert_close(weights_of(cut), weights_of(whole), rtol=1e-3, atol=1e-5)
    for a, b in zip(cut.history, whole.history, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_a_part_is_all_that_the_student_sees_at_once(train: Examples) -> None:
    seen: list[int] = []
    net = mlp(16, 8, 4)
    net.register_forward_hook(lambda module, x, z: seen.append(len(z)) if module.training else None)
    fit(net, train, epochs=1, batch=64, accumulate=4, seed=0)
    assert seen == [16] * 20


# ---- the best epoch, waiting, a word after each --------------------------------------------------


def test_the_best_epochs_weights_are_kept(train: Examples, tmp_path: Path) -> None:
    """Those of the least validation error, also of a run that goes on from a checkpoint."""
    noisy = train.labelled_as(
        train.y[torch.randperm(320, generator=torch.Generator().manual_seed(0))]
    )
    validate = blobs(60, seed=4)
    settings: dict[str, Any] = dict(
        epochs=6, batch=32, seed=0, schedule="constant", lr=0.05, validate=validate
    )
    run = fit(mlp(16, 8, 4), noisy, keep="best", **settings)
    errors = [row["validation error %"] for row in run.history]
    assert run.kept == errors.index(min(errors)) + 1
    assert run.error(validate) == pytest.approx(min(errors))
    last = fit(mlp(16, 8, 4), noisy, **settings)
    assert last.kept is None and last.history == run.history
    assert last.error(validate) == pytest.approx(errors[-1])

    path = tmp_path / "run.pt"
    part = fit(
        mlp(16, 8, 4), noisy, keep="best", checkpoint=path,
        after_epoch=lambda run: len(run.history) < run_length, **settings,
    ) if (run_length := run.kept + 1) < 6 else run  # fmt: skip
    assert part.kept == run.kept
    again = fit(mlp(16, 8, 4), noisy, keep="best", checkpoint=path, **settings)
    assert again.kept == run.kept and torch.equal(weights_of(again), weights_of(run))


def test_patience_ends_a_run_that_gets_no_better(train: Examples) -> None:
    noisy = train.labelled_as(train.y.flip(0))
    common: dict[str, Any] = dict(
        epochs=40, batch=32, seed=0, schedule="constant", validate=blobs(60, seed=4)
    )
    run = fit(mlp(16, 8, 4), noisy, patience=3, **common)
    errors = [row["validation error %"] for row in run.history]
    best = errors.index(min(errors))
    assert len(errors) == best + 1 + 3 < 40
    with_best = fit(mlp(16, 8, 4), noisy, patience=3, keep="best", **common)
    assert with_best.kept == best + 1 and len(with_best.history) == len(errors)


def test_after_each_epoch_a_function_is_asked(train: Examples) -> None:
    """It sees the network in eval mode, may add to the history, and changes nothing else."""
    seen: list[tuple[int, bool, bool]] = []

    def look(run: Run) -> bool | None:
        seen.append((len(run.history), run.network.training, torch.is_grad_enabled()))
        torch.rand(3)
        run.history[-1]["doubt"] = run.logits(train).softmax(-1).amax(-1).mean().numpy()[()]
        return np.bool_(len(run.history) < 3)

    common: dict[str, Any] = dict(epochs=5, batch=64, seed=0)
    student = nn.Sequential(mlp(16, 8, 4), nn.Dropout(0.2))
    run = fit(copy.deepcopy(student), train, after_epoch=look, **common)
    assert seen == [(1, False, False), (2, False, False), (3, False, False)]
    assert list(run.to_frame()["doubt"].notna()) == [True] * 3 and not run.interrupted
    plain = fit(copy.deepcopy(student), train, **common)
    for a, b in zip(run.history, plain.history, strict=False):
        assert a["loss"] == b["loss"]

    def broken(run: Run) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(net := copy.deepcopy(student), train, after_epoch=broken, **common)
    assert not net.training


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            lambda x, g: x[..., 1:, 1:],
            r"augment makes \(2, 1, 3, 3\) of images \(2, 1, 4, 4\), which",
        ),
        (
            lambda x: x,
            r"augment fails on two images .*positional.*lambda x, generator: tr",
        ),
        (nn.Identity(), r"augment fails on two images .*lambda x, generator: transform\(x"),
        (lambda x, g: x / 0 if x.sum() < 0 else None, "augment made None of images"),
    ],
)
def test_an_augmentation_is_tried_before_anything_changes(
    train: Examples, augment: Any, message: str
) -> None:
    student = initialise(mlp(16, 8, 4), 1)
    kept = fingerprint(student)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with pytest.raises(ValueError, match=message):
        fit(student, train, epochs=1, seed=0, augment=augment)
    assert fingerprint(student) == kept and torch.equal(torch.rand(2), expected)


# ---- divergence ----------------------------------------------------------------------------------


def test_a_training_that_diverges_stops_and_says_where(train: Examples, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    teacher = fit(mlp(16, 16, 4), train, epochs=2, seed=5).network
    objective = HardLabels() + SoftTargets(teacher, 4)
    rising = {"schedule": lambda done: 1.0 if done < 0.4 else 1e32, "lr": 1e-2}
    net = mlp(16, 8, 4)
    with pytest.raises(
        Diverged, match=r"diverged in epoch 3, step \d of 10: .* is (nan|inf).* smaller lr, or with"
    ) as told:
        fit(net, train, objective, epochs=5, batch=32, seed=0, checkpoint=path, **rising)
    assert len(told.value.run.history) == 2 and told.value.run.network is net
    assert isinstance(told.value, ValueError) and not net.training
    with pytest.raises(Diverged):  # the file holds the last sound epoch
        fit(mlp(16, 8, 4), train, objective, epochs=5, batch=32, seed=0, checkpoint=path, **rising)


def test_the_term_that_is_no_number_is_named(train: Examples) -> None:
    class Odd(nn.Module):
        """A teacher that is asked live and says nan of some images."""

        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(16, 8, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.net(x)
            return torch.where(x.sum((1, 2, 3))[:, None] > bound, torch.nan, z)

    sums = train.batch().x.sum((1, 2, 3))
    bound = float(sums.kthvalue(310).values)
    message = (
        r"epoch 1, step \d+ of 10: SoftTargets is nan; |the teacher Odd answers 10 of 320 times"
    )
    with pytest.raises(ValueError, match=message):
        fit(mlp(16, 8, 4), train, HardLabels() + SoftTargets(Odd(), 4), batch=32, seed=0)
    with pytest.raises(Diverged, match=r"step \d+ of 10: SoftTargets is nan"):
        fit(
            mlp(16, 8, 4), train, HardLabels() + SoftTargets(Odd(), 4), batch=32, seed=0,
            augment=lambda x, generator: x + 0.0,
        )  # fmt: skip


def test_a_table_of_nan_is_refused(train: Examples) -> None:
    table = tabulate(initialise(mlp(16, 8, 4), 0), train)
    spoilt = table.answering(table.logits.index_fill(0, torch.tensor([3]), torch.nan), "spoilt")
    with pytest.raises(ValueError, match="the teacher 'spoilt' answers 1 of 320 times with nan"):
        fit(mlp(16, 8, 4), train, SoftTargets(spoilt, 4), epochs=1, seed=0)


# ---- what a function does, in a line -------------------------------------------------------------

SIZE = 3


def shifting(pixels: int, *, fill: float = 0.0) -> Any:
    return lambda x, generator: x.roll(pixels, -1) + fill


def by_global(x: Tensor, generator: torch.Generator) -> Tensor:
    return x[..., :SIZE]


class Holding(nn.Module):
    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x * self.w


def test_functions_that_differ_are_described_differently() -> None:
    def documented(x: Tensor) -> Tensor:
        """Words."""
        return x + 1

    lines = [
        described(one)
        for one in (
            jitter(1), jitter(2), shifting(1), shifting(2), shifting(1, fill=1.0), by_global,
            functools.partial(by_global, generator=None), functools.partial(by_global, 3),
            Holding(1.0), Holding(2.0), Holding(1.0).forward, lambda x, g: x, lambda x, g: x + 1,
            lambda x, g: x + 2, documented,
        )
    ]  # fmt: skip
    assert len(set(lines)) == len(lines)
    assert described(jitter(1)) == described(jitter(1)) == lines[0]
    assert described(Holding(1.0)) == lines[8]
    assert not any(" at 0x" in line for line in lines)
    assert "pixels=1" in lines[0]


def test_a_changed_global_is_another_function(monkeypatch: pytest.MonkeyPatch) -> None:
    before = described(by_global)
    monkeypatch.setitem(globals(), "SIZE", 5)
    assert described(by_global) != before


# ---- in banks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
def test_one_cell_that_diverges_costs_a_warning(
    train: Examples, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stand, as trained alone; the bank is not kept."""
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    common: dict[str, Any] = dict(
        student=mlp(16, 8, 4), examples=train, evaluate={"test": train}, engine=engine, epochs=2
    )
    with pytest.warns(UserWarning, match="2 of 4 students diverged: bank.losses says which"):
        bank = train_bank(grid={"lr": [1e-2, 1e32]}, seeds=2, schedule="constant", **common)
    with warnings.catch_warnings():  # epochs that a shorter student never had are no divergence
        warnings.simplefilter("error")
        train_bank(grid={"epochs": [1, 2]}, seeds=1, cache=False, **{**common, "epochs": 1})
    sound = train_bank(grid={"lr": [1e-2]}, seeds=2, schedule="constant", cache=False, **common)
    assert torch.equal(bank.losses[0], sound.losses[0])
    assert torch.equal(bank.logits["test"][0], sound.logits["test"][0])
    assert not bank.losses[1, :, -1].isfinite().any()
    assert not bank.logits["test"][1].isfinite().all()
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
def test_banks_take_schedules(train: Examples, engine: str) -> None:
    for schedule in ("cosine", lambda done: 0.1 ** (done >= 0.5)):
        bank = train_bank(
            student=mlp(16, 8, 4), examples=train, evaluate={"test": train}, engine=engine,
            epochs=2, seeds=1, schedule=schedule, cache=False,
        )  # fmt: skip
        run = fit(mlp(16, 8, 4), train, epochs=2, seed=0, schedule=schedule)
        torch.testing.assert_close(bank.logits["test"][0], run.logits(train), rtol=1e-4, atol=1e-5)


def test_a_bank_takes_another_optimiser(train: Examples) -> None:
    def sgd(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=0.9)

    common: dict[str, Any] = dict(epochs=2, lr=0.05, optimizer=sgd)
    given: dict[str, Any] = dict(student=mlp(16, 8, 4), examples=train, evaluate={"test": train})
    bank = train_bank(seeds=2, **common, **given)
    assert bank.engine == "sequential" and not bank.cached
    run = fit(mlp(16, 8, 4), train, seed=1, **common)
    assert torch.equal(bank.logits["test"][1], run.logits(train))
    for engine in ("fast", "reference"):
        with pytest.raises(ValueError, match=f"the {engine} engine trains with AdamW; for another"):
            train_bank(seeds=1, engine=engine, **common, **given)
    with pytest.raises(ValueError, match="optimizer is the class SGD"):
        train_bank(seeds=1, **(common | {"optimizer": torch.optim.SGD}), **given)


def test_a_teacher_that_ends_in_a_softmax_is_noticed(train: Examples) -> None:
    teacher = fit(mlp(16, 16, 4), train, epochs=2, seed=5).network
    ending = nn.Sequential(teacher, nn.Softmax(-1))
    with pytest.warns(UserWarning, match="of SoftTargets answers with shares that sum to 1"):
        fit(mlp(16, 8, 4), train, SoftTargets(ending, 4), epochs=1, seed=0)
    table = tabulate(ending, train)
    log = table.answering(table.logits.log(), "log")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mended = fit(mlp(16, 8, 4), train, SoftTargets(log, 4), epochs=2, seed=0)
        plain = fit(mlp(16, 8, 4), train, SoftTargets(teacher, 4), epochs=2, seed=0)
    torch.testing.assert_close(weights_of(mended), weights_of(plain), rtol=1e-3, atol=1e-4)


def test_few_are_asked_at_a_time_where_batches_are_small(train: Examples) -> None:
    """Teachers and validation never hold more than eight batches, nor more than 500."""
    seen: list[int] = []
    teacher = initialise(mlp(16, 16, 4), 0)
    student = initialise(mlp(16, 8, 4), 0)
    for net in (teacher, student):
        net.register_forward_hook(lambda module, x, z: seen.append(len(z)))
    fit(student, train, SoftTargets(teacher, 4), epochs=1, batch=4, validate=train)
    assert max(seen) <= 32
    seen.clear()
    fit(student, train, SoftTargets(teacher, 4), epochs=1, batch=64, validate=train)
    assert max(seen) == 320


def test_labels_that_nobody_could_answer_with_are_told(train: Examples) -> None:
    beyond = train.labelled_as(train.y + 3)
    student = initialise(mlp(16, 8, 4), 1)
    kept = fingerprint(student)
    with pytest.raises(
        ValueError, match=r"validate has a label 6 and the student 4 outputs; leave"
    ):
        fit(student, train, epochs=1, seed=0, validate=beyond)
    assert fingerprint(student) == kept
    with pytest.raises(ValueError, match=r"evaluate\['far'\] has a label 6 and the student 4 out"):
        train_bank(student=student, examples=train, seeds=1, epochs=1, evaluate={"far": beyond})
    common: dict[str, Any] = dict(epochs=1, seed=0)
    fit(student, train, validate=beyond.only([3]), **common)
    train_bank(
        student=student, examples=train, seeds=1, epochs=1, evaluate={"far": beyond.unlabelled()}
    )


# ---- keys ----------------------------------------------------------------------------------------


def attentive(activation: Any = torch.relu, tied: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation=activation, batch_first=True)
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.load_state_dict(first.state_dict())
    if tied:
        second.weight = first.weight
    return nn.Sequential(layer, first, nn.BatchNorm1d(4), second)


def test_networks_that_differ_in_what_no_weight_shows_have_other_hashes() -> None:
    one = attentive()
    shifted = attentive()
    shifted[2].eps = 1e-3
    others = [attentive(nn.functional.silu), attentive(tied=True), shifted]
    assert fingerprint(one) == fingerprint(attentive())
    assert len({fingerprint(net) for net in (one, *others)}) == 4
    assert fingerprint(one.eval()) == fingerprint(attentive())


def test_parts_held_still_have_a_bank_of_their_own(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))

    def bank(student: nn.Module) -> Any:
        return train_bank(
            student=student, examples=train, seeds=1, epochs=2, evaluate={"test": train}
        )

    def net() -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

    resting, frozen = net(), net()
    resting[2].eval()
    frozen[3].bias.requires_grad_(False)
    banks = [bank(one) for one in (net(), resting, frozen, net().eval())]
    assert [one.cached for one in banks] == [False, False, False, True]
    assert not torch.equal(banks[0].logits["test"], banks[1].logits["test"])
    run = fit(copy.deepcopy(resting), train, seed=0, epochs=2)
    torch.testing.assert_close(banks[1].logits["test"][0], run.logits(train), rtol=1e-4, atol=1e-4)


# ---- what a network is measured by ---------------------------------------------------------------


def test_estimates_are_measured_in_their_unit_whatever_the_numbers(train: Examples) -> None:
    y = (train.y % 2).float()[:, None]
    examples = Targets(train.x, y)
    common: dict[str, Any] = dict(epochs=1, seed=0, validate=examples)
    estimated = fit(mlp(16, 8, 1), examples, MeanSquares(), **common).history[-1]
    assert "validation root mean square error" in estimated
    judged = fit(mlp(16, 8, 1), examples, BinaryLabels(), **common).history[-1]
    assert "validation error %" in judged


def test_a_teacher_that_ends_in_a_sigmoid_is_noticed(train: Examples) -> None:
    y = torch.stack([train.y % 2, train.y // 2], 1).float()
    teacher = nn.Sequential(initialise(mlp(16, 8, 2), 0), nn.Sigmoid())
    with pytest.warns(UserWarning, match="answers from 0 to 1: it seems to end in a sigmoid"):
        fit(mlp(16, 8, 2), Targets(train.x, y), SigmoidTargets(teacher), epochs=1, seed=0)


def test_one_output_learns_nothing_of_classes(train: Examples) -> None:
    with pytest.raises(ValueError, match="sees one output, whose share is always 1"):
        fit(mlp(16, 8, 1), train.labelled_as(torch.zeros(320, dtype=torch.int64)), epochs=1)


def test_batchnorm_and_parts_of_one_image(train: Examples) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    for parts in (7, 8):
        with pytest.raises(ValueError, match=f"accumulate={parts} give BatchNorm one image"):
            fit(net, train[:40], epochs=1, batch=16, accumulate=parts)
    assert net.training
    fit(net, train[:40], epochs=1, batch=16, accumulate=6)
