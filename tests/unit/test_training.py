"""One loop for all: equal to the loop by hand, and safe against what happens to long runs."""

import copy
import errno
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from torch import Tensor, nn
from torch.nn import functional as F

from kdlib import losses, objectives, vision
from kdlib.bank import train_bank
from kdlib.data import Examples, Splits, jitter
from kdlib.files import restore, save
from kdlib.models import MLP, cnn, fingerprint, initialise, mlp
from kdlib.objectives import (
    HardLabels,
    Hint,
    LearnedTemperature,
    Regularizer,
    SoftTargets,
    Variational,
    progress,
    tabulate,
)
from kdlib.training import fit
from kdlib.training.epochs import epoch_seed


def bigger(examples: Examples, size: int = 8) -> Examples:
    x = F.interpolate(examples.x.float(), size)
    return Examples(x.to(torch.uint8), examples.y, name=examples.name)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


# ---- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_fit_equals_the_loop_by_hand(teacher: MLP, train: Examples, schedule: str) -> None:
    T, alpha, lr, epochs, size = 3.0, 0.7, 1e-2, 3, 50
    by_hand = initialise(mlp(16, 8, 4), 1)
    x, y = train.x.float() / 255, train.y
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr, weight_decay=0.1)
    steps = -(-len(x) // size)
    total_steps = epochs * steps + 1
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps, cycle_momentum=False)
    if schedule == "constant":
        optimizer.param_groups[0]["lr"] = lr
    mean = []
    for epoch in range(epochs):
        total = 0.0
        order = torch.randperm(
            len(x), generator=torch.Generator().manual_seed(epoch_seed(5, epoch))
        )
        for index in order.tensor_split(steps):
            z_s, z_t = by_hand(x[index]), teacher(x[index]).detach()
            soft = F.kl_div((z_s / T).log_softmax(-1), (z_t / T).softmax(-1), reduction="batchmean")
            loss = (1 - alpha) * F.cross_entropy(z_s, y[index]) + alpha * T**2 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule == "one-cycle":
                cycle.step()
            total += loss.item() / steps
        mean.append(total)
    objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T)
    run = fit(
        mlp(16, 8, 4), train, objective, epochs=epochs, lr=lr, batch=size, seed=1, order_seed=5,
        weight_decay=0.1, schedule=schedule,
    )  # fmt: skip
    for name, tensor in run.network.state_dict().items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert [row["loss"] for row in run.history] == pytest.approx(mean, rel=1e-4)


def test_history_has_a_row_per_epoch(teacher: MLP, train: Examples, test: Examples) -> None:
    objective = HardLabels() + SoftTargets(teacher, 4)
    run = fit(mlp(16, 8, 4), train, objective, epochs=3, batch=16, seed=0, validate=test)
    frame = run.to_frame()
    assert list(frame) == ["epoch", "loss", "HardLabels", "SoftTargets", "validation error %"]
    assert frame["epoch"].tolist() == [1, 2, 3] and frame["loss"].iloc[-1] < frame["loss"].iloc[0]
    torch.testing.assert_close(
        torch.tensor(frame["loss"]), torch.tensor(frame["HardLabels"] + frame["SoftTargets"])
    )
    assert frame["validation error %"].iloc[-1] == pytest.approx(run.error(test))
    assert run.error(test) < 60 and run.logits(test).shape == (len(test), 4)


def test_fit_learns_with_every_kind_of_help(teacher: MLP, train: Examples, test: Examples) -> None:
    """A student taught on images without labels gets close to its teacher."""
    run = fit(
        mlp(16, 16, 4), train.unlabelled(), SoftTargets(teacher, 2), epochs=8, batch=32, seed=0
    )
    agreement = (run.logits(test).argmax(-1) == teacher(test.batch().x).argmax(-1)).float().mean()
    assert agreement > 0.9


def test_seeds_decide_everything_and_touch_nothing_outside(train: Examples) -> None:
    student = mlp(16, 8, 4, dropout=0.2)

    def go(**seeds: int) -> str:
        fit(student, train, epochs=1, batch=64, augment=jitter(1), **seeds)
        return fingerprint(student)

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = go(seed=0, order_seed=0)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(123)
    assert go(seed=0, order_seed=0) == first
    assert len({first, go(seed=1, order_seed=0), go(seed=0, order_seed=1)}) == 3


def test_without_a_seed_training_goes_on_from_the_weights(train: Examples) -> None:
    student = initialise(mlp(16, 8, 4), 3)
    start = copy.deepcopy(student)
    fit(student, train, epochs=1, batch=320, lr=1e-6, schedule="constant")
    moved = max(
        (a - b).abs().max() for a, b in zip(student.parameters(), start.parameters(), strict=True)
    )
    assert 0 < moved < 1e-5


def test_a_constant_schedule_keeps_the_rate(train: Examples) -> None:
    """AdamW's first step is ± lr long."""
    moved = {}
    for schedule in ("constant", "one-cycle"):
        student = initialise(mlp(16, 8, 4), 0)
        start = copy.deepcopy(student)
        fit(student, train, epochs=1, batch=320, lr=1e-3, schedule=schedule)
        moved[schedule] = (student.head.bias - start.head.bias).abs().max().item()
    assert moved["constant"] == pytest.approx(1e-3, rel=1e-2)
    assert moved["one-cycle"] < 0.9e-3


@pytest.mark.parametrize("precision", ["bf16", "fp32", "auto"])
def test_precisions(train: Examples, test: Examples, precision: str) -> None:
    student = cnn(4, 4)
    run = fit(student, bigger(train), epochs=8, batch=32, seed=0, precision=precision)
    assert run.error(bigger(test)) < 25 and run.precision in ("bf16", "fp32")
    assert all(p.dtype == torch.float32 for p in student.parameters())
    if precision != "auto":
        assert run.precision == precision


def test_bf16_and_fp32_differ_but_agree(train: Examples, test: Examples) -> None:
    runs = [
        fit(mlp(16, 16, 4), train, epochs=4, batch=32, seed=0, precision=p)
        for p in ("bf16", "fp32")
    ]
    assert not same(runs[0].network, runs[1].network)
    assert abs(runs[0].error(test) - runs[1].error(test)) < 5


@pytest.mark.slow
@pytest.mark.parametrize("taps", [False, True])
@pytest.mark.parametrize("make", [lambda: cnn(2, classes=4), lambda: mlp(64, 6, 4)])
def test_a_compiled_student_is_trained_compiled_and_the_same(train: Examples, make, taps) -> None:
    big, taught = bigger(train), make()
    teacher, last = initialise(make(), 5), "head"
    objective = HardLabels() + SoftTargets(teacher, T=2.0)
    objective = objective + Hint(teacher, {last: last}) if taps else objective
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        seen.append(" ".join(str(node.target) for node in graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    taught.compile(backend=backend)
    plain = fit(make(), big, objective, epochs=2, seed=0, precision="fp32").network
    assert not seen
    compiled = fit(taught, big, objective, epochs=2, seed=0, precision="fp32").network
    assert same(plain, compiled)
    assert seen and all("sub" in graph and "linear" in graph for graph in seen)  # in one piece


def test_images_are_augmented_and_the_teacher_sees_the_very_view(train: Examples) -> None:
    """Student and teacher are asked about the same pictures, and no picture is one of the set."""
    seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}
    student, teacher = mlp(16, 8, 4), initialise(mlp(16, 8, 4), 1)
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(lambda m, x, name=name: seen[name].append(x[0].clone()))
    fit(
        student, train[:32], SoftTargets(teacher, 2), epochs=2, batch=16, augment=lambda x, g: 1 - x
    )
    built = len(seen["student"]) - 4  # the first call shows the objective the shapes
    assert torch.equal(torch.cat(seen["student"][built:]), torch.cat(seen["teacher"][1:]))
    assert not set(train.ids.tolist()) & set(
        Examples(
            (torch.cat(seen["teacher"][1:]) * 255).round().to(torch.uint8), torch.zeros(64).long()
        ).ids.tolist()
    )


def test_a_tabulated_teacher_is_asked_once_per_image(train: Examples) -> None:
    teacher, asked = initialise(mlp(16, 8, 4), 1), []
    teacher.register_forward_pre_hook(lambda m, x: asked.append(len(x[0])))
    fit(mlp(16, 8, 4), train, SoftTargets(teacher, 2), epochs=3, batch=16)
    assert asked[0] == 2 and sum(asked[1:]) == len(train)  # two to see that it can answer


# ---- a network, and an optimiser, of one's own ---------------------------------------------------


class Viewing(nn.Module):
    """The commonest network of tutorials: it flattens with `view`, which needs weights in order."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.convolution(x).relu()
        return self.head(z.view(z.size(0), -1))


@pytest.mark.parametrize("build", [Viewing, lambda: cnn(2, 4)], ids=["view", "cnn"])
def test_a_network_is_given_back_as_it_was_kept(build, train: Examples) -> None:
    pixels = Examples(train.x.repeat(1, 1, 2, 2), train.y) if build is not Viewing else train
    network = build()
    fit(network, pixels, epochs=1, seed=0)
    assert all(weight.is_contiguous() for weight in network.parameters())
    network(pixels.batch().x)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_optimiser_of_ones_own(train: Examples, decay: float) -> None:
    """SGD with momentum, as a loop by hand takes its steps."""

    def sgd(groups):
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=decay)

    student = initialise(mlp(16, 8, 4), 3)
    run = fit(
        copy.deepcopy(student), train, optimizer=sgd, epochs=3, batch=len(train), lr=0.1,
        schedule="constant",
    )  # fmt: skip
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
    batch = train.batch()
    for _ in range(3):
        optimizer.zero_grad()
        losses.hard_labels(student(batch.x), batch.y).backward()
        optimizer.step()
    for mine, other in zip(student.parameters(), run.network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sgd", "optimizer is of type str"), (torch.optim.SGD, "the class SGD"),
        (lambda groups: groups, "made a list"),
        (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), "is of type SGD"),
    ],
)  # fmt: skip
def test_what_makes_no_optimiser(train: Examples, given, message: str) -> None:
    student = mlp(16, 8, 4)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=message):
        fit(student, train, optimizer=given, epochs=1, seed=5)
    assert all(torch.equal(w, before[n]) for n, w in student.state_dict().items())
    with pytest.raises(ValueError, match=r"weight_decay=0\.1 is AdamW's"):
        fit(student, train, optimizer=lambda g: torch.optim.Adam(g), weight_decay=0.1)


def test_attention_is_drawn_anew_and_a_network_that_cannot_be_stays(train: Examples) -> None:
    class Attending(nn.Module):
        def __init__(self, token: bool = False) -> None:
            super().__init__()
            self.first = nn.Linear(4, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            self.head = nn.Linear(8, 4)
            if token:
                self.token = nn.Parameter(torch.zeros(1, 1, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.first(x.flatten(1, 2))).mean(1))

    bank = train_bank(
        lambda a: a * HardLabels(), student=Attending(), examples=train, grid={"a": [1.0]},
        seeds=2, evaluate={"train": train}, epochs=1, cache=False,
    )  # fmt: skip
    run = fit(Attending(), train, epochs=1, seed=1)
    torch.testing.assert_close(run.logits(train), bank.logits["train"][0, 1], atol=1e-4, rtol=0)

    own = Attending(token=True)
    before = copy.deepcopy(own.state_dict())
    with pytest.raises(TypeError, match=r"start=lambda seed: build\(seed\)"):
        fit(own, train, epochs=1, seed=1)
    assert all(torch.equal(w, before[n]) for n, w in own.state_dict().items())
    assert fit(own, train, epochs=1).history  # as the advice has it


@pytest.mark.parametrize(
    ("term", "classes"),
    [("SoftTargets", 1), ("LogitMSE", 1), ("ReverseKL", 1), ("Decoupled", 2), ("Standardized", 2)],
)
def test_shares_of_too_few_outputs_teach_nothing(term: str, classes: int, train: Examples) -> None:
    pair = mlp(16, 8, classes), mlp(16, 8, classes)
    kind, numbers = getattr(objectives, term), () if term == "LogitMSE" else (2.0,)
    few = Examples(train.x, train.y.clamp(max=classes - 1))
    with pytest.raises(ValueError, match=f"{term} compares shares of outputs"):
        fit(pair[0], few, kind(pair[1], *numbers), epochs=1)


# ---- accidents -----------------------------------------------------------------------------------


class Interrupting:
    """An augmentation that leaves images as they are and interrupts at its n-th call."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __repr__(self) -> str:  # what it does to images, by which a checkpoint knows it
        return "Interrupting"

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return x + 0.01 * torch.rand(x.shape, generator=generator)


def test_an_interrupt_keeps_what_was_reached(train: Examples) -> None:
    student = initialise(mlp(16, 8, 4), 0)
    start = copy.deepcopy(student)
    run = fit(student, train, epochs=9, batch=64, augment=Interrupting(13))
    assert run.interrupted and len(run.history) == 2  # 5 batches an epoch: the third was under way
    assert run.network is student and not student.training and not same(student, start)
    assert not fit(student, train, epochs=1, batch=64, augment=Interrupting(13)).interrupted


RUNS = {
    "labels": lambda teacher: (lambda: mlp(16, 8, 4), HardLabels()),
    "dropout": lambda teacher: (lambda: mlp(16, 8, 4, dropout=0.3), SoftTargets(teacher, 2)),
    "owned": lambda teacher: (
        lambda: mlp(16, 8, 4),
        SoftTargets(teacher, LearnedTemperature())
        + 0.1 * Variational(teacher, {"stage1": "stage1"})
        + progress * HardLabels(),
    ),
    "batchnorm": lambda teacher: (lambda: nn.Sequential(nn.Upsample(8), cnn(2, 4)), HardLabels()),
}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("at", [6, 13])
def test_a_resumed_run_is_bit_equal(
    teacher: MLP, train: Examples, test: Examples, tmp_path: Path, kind: str, at: int
) -> None:
    build, objective = RUNS[kind](teacher)

    def go(augment: Interrupting, checkpoint: Path | None):
        return fit(
            build(), train, objective, epochs=4, batch=64, seed=2, order_seed=3, validate=test,
            augment=augment, checkpoint=checkpoint,
        )  # fmt: skip

    whole = go(Interrupting(0), None)
    path = tmp_path / "run.pt"
    first = go(Interrupting(at), path)
    assert first.interrupted and len(first.history) == (at - 1) // 5
    resumed = Interrupting(0)
    second = go(resumed, path)
    assert resumed.calls == 20 - 5 * len(first.history)  # no epoch is done twice
    assert same(second.network, whole.network) and second.history == whole.history
    finished = Interrupting(2)  # a copy of it is tried once, before anything
    assert same(go(finished, path).network, whole.network) and finished.calls == 0


@pytest.mark.parametrize("damage", ["truncated", "corrupted", "empty", "foreign", "text"])
def test_a_damaged_checkpoint_is_told(train: Examples, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "run.pt"
    fit(mlp(16, 8, 4), train, epochs=1, seed=0, checkpoint=path)
    content = bytearray(path.read_bytes())
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        middle = len(content) // 2
        content[middle] ^= 255
        changed = {"truncated": content[:middle], "corrupted": content, "empty": b"", "text": b"hi"}
        path.write_bytes(changed[damage])
    ours = damage in ("truncated", "corrupted")  # only these may be deleted without a look
    said = r"damaged \(.*\); delete it and train again" if ours else "not one of ours; choose ano"
    with pytest.raises(OSError, match=f"run.pt is .*{said}"):
        fit(mlp(16, 8, 4), train, epochs=1, seed=0, checkpoint=path)


@pytest.mark.parametrize("seed", range(5))
def test_no_flipped_byte_is_ever_read_as_sound(tmp_path: Path, seed: int) -> None:
    path, content = tmp_path / "x.pt", {"w": torch.arange(50.0), "n": 3, "s": "text"}
    save(path, content)
    sound = path.read_bytes()
    places = torch.randint(len(sound), (20,), generator=torch.Generator().manual_seed(seed))
    for place in places.tolist():
        changed = bytearray(sound)
        changed[place] ^= 16
        path.write_bytes(changed)
        try:
            read = restore(path)
        except OSError:
            continue
        assert read["n"] == 3 and torch.equal(read["w"], content["w"])  # a byte nobody reads


def test_a_checkpoint_of_other_settings(train: Examples, teacher: MLP, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    fit(mlp(16, 8, 4), train, epochs=2, seed=0, checkpoint=path)
    for name, change in (
        ("lr", {"lr": 0.1}), ("epochs", {"epochs": 3}), ("batch", {"batch": 5}),
        ("order_seed", {"order_seed": 4}), ("start", {"seed": 1}),
        ("weight_decay", {"weight_decay": 1.0}),
        ("schedule", {"schedule": "constant"}), ("augment", {"augment": jitter(1)}),
        ("schedule", {"schedule": lambda progress: 1 - progress / 2}),
        ("accumulate", {"accumulate": 2}),
    ):  # fmt: skip
        settings = {"epochs": 2, "seed": 0} | change
        how = (
            "other starting weights; give a fresh copy" if name == "start" else f"{name}=.*use the"
        )
        with pytest.raises(ValueError, match=f"run.pt was written with {how}"):
            fit(mlp(16, 8, 4), train, checkpoint=path, **settings)
    with pytest.raises(ValueError, match="was written with other examples"):
        fit(mlp(16, 8, 4), train[:300], epochs=2, seed=0, checkpoint=path)
    with pytest.raises(ValueError, match="was written with other objective"):
        fit(mlp(16, 8, 4), train, SoftTargets(teacher, 4), epochs=2, seed=0, checkpoint=path)
    for foreign in ({"weights": torch.zeros(2)}, {"settings": 3}, {"settings": {}}, 3):
        save(path, foreign)
        with pytest.raises(ValueError, match="is no checkpoint of a run; choose another"):
            fit(mlp(16, 8, 4), train, epochs=2, seed=0, checkpoint=path)


def full_disk(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse_in_pytorch(content: object, file: object) -> None:
        if hasattr(file, "fileno") and "Bytes" not in type(file).__name__:
            raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")
        save_really(content, file)

    save_really = torch.save
    if where == "pytorch":
        monkeypatch.setattr(torch, "save", refuse_in_pytorch)
    else:
        monkeypatch.setattr(f"kdlib.files.os.{where}", refuse)


@pytest.mark.parametrize("where", ["fsync", "replace", "pytorch"])
def test_a_full_disk_leaves_the_old_file_and_the_run_alive(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / "run.pt"
    fit(mlp(16, 8, 4), train, epochs=3, batch=64, seed=0, checkpoint=path, augment=Interrupting(8))
    old = path.read_bytes()
    full_disk(monkeypatch, where)
    with pytest.warns(
        UserWarning, match=r"run.pt could not be saved .*untouched.*training goes on"
    ):
        run = fit(
            mlp(16, 8, 4),
            train,
            epochs=3,
            batch=64,
            seed=0,
            checkpoint=path,
            augment=Interrupting(0),
        )
    assert len(run.history) == 3 and path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    with pytest.raises(OSError, match=r"could not be saved .*free some space"):
        save(path, {"x": 1})


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_an_interrupt_while_a_file_is_written_leaves_nothing_behind(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "run.pt"
    save(path, {"x": 1})
    monkeypatch.setattr(f"kdlib.files.os.{where}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(path, {"x": 2})
    assert restore(path) == {"x": 1} and [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    run = fit(mlp(16, 8, 4), train, epochs=2, seed=0, checkpoint=tmp_path / "new.pt")
    assert run.interrupted and [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_files_are_whole_verified_and_run_no_code(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.pt"
    content = {"t": torch.arange(5.0), "n": [1, 2.5, "three", None], "d": {"x": True}}
    save(path, content)
    read = restore(path)
    assert torch.equal(read.pop("t"), content["t"])
    assert read == {"n": [1, 2.5, "three", None], "d": {"x": True}}
    with pytest.raises(FileNotFoundError, match=r"y.pt does not exist; check the name"):
        restore(tmp_path / "y.pt")

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "touched",))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"payload": Evil(), "sha256": ""}, protocol=2))
    with pytest.raises(OSError, match="damaged or not one of ours; choose another name"):
        restore(tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()
    with pytest.raises(OSError, match="could not be saved"):
        save(path / "under_a_file.pt", {})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (lambda train: mlp(16, 8, 4), "MLP"),
        (lambda train: fit(mlp(16, 8, 4), train, epochs=1), "Run"),
        (lambda train: {"a": 1, "b": [np.ones(3)]}, "ndarray"),
        (lambda train: {"a": np.float64(3)}, "float64"),
        (lambda train: lambda: 1, "function"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    train: Examples, tmp_path: Path, given, named: str
) -> None:
    path = tmp_path / "net.pt"
    save(path, {"w": torch.ones(2)})
    said = f"save was given {named}; expected tensors.*for a network save network.state_dict"
    with pytest.raises(ValueError, match=said):
        save(path, given(train))
    assert torch.equal(restore(path)["w"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt"]


def test_a_network_comes_back_as_the_docstring_says(tmp_path: Path) -> None:
    network, other = initialise(mlp(16, 8, 4), 0), initialise(mlp(16, 8, 4), 1)
    save(tmp_path / "net.pt", network.state_dict())
    other.load_state_dict(restore(tmp_path / "net.pt"))
    assert same(network, other)


def test_a_folder_and_an_unreadable_file_are_told(
    train: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for act in (restore, lambda path: save(path, 1)):
        with pytest.raises(OSError, match="is a folder; name a file in it"):
            act(tmp_path)
    with pytest.raises(OSError, match="is a folder; name a file in it"):
        fit(mlp(16, 8, 4), train, epochs=1, checkpoint=tmp_path)

    def refuse(path: Path, *how: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    save(tmp_path / "x.pt", 1)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match=r"x.pt could not be read \(Permission denied\); make it re"):
        restore(tmp_path / "x.pt")


def test_a_cache_that_may_not_be_read_costs_only_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdlib.bank import cache

    def refuse(path: Path, *how: object, **also: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    assert cache.find_bank(tmp_path / "none.pt") is None
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.warns(UserWarning, match=r"could not be read .*the bank is trained anew"):
        assert cache.find_bank(tmp_path / "x.pt") is None


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch": 0}, "batch=0"),
        ({"lr": 0.0}, "lr=0.0: expected .* learning rates above 0"),
        ({"lr": float("nan")}, "lr=nan"),
        (
            {"schedule": "steps"},
            "schedule='steps': expected 'one-cycle', 'cosine', 'constant', or a func",
        ),
        (
            {"schedule": lambda done: -done},
            "schedule gives -0.0 at progress 0; expected a factor",
        ),
        ({"keep": "first"}, "keep='first': expected 'last' or 'best'"),
        ({"keep": "best"}, "keep='best' chooses by the validation error; give validate="),
        ({"patience": 0}, "patience=0: expected a whole number of epochs, at least 1"),
        ({"patience": 2}, "patience=2 with schedule='one-cycle': its rates come down in the last"),
        ({"patience": 2, "schedule": "cosine"}, "patience=2 chooses by the validation error"),
        ({"accumulate": 0}, "accumulate=0 with batch=128: expected into how many parts"),
        ({"accumulate": 129}, "accumulate=129 with batch=128: expected into how many parts"),
        ({"after_epoch": 3}, "after_epoch=3; expected a function of the run so far"),
        ({"precision": "fp16"}, "precision='fp16': expected 'fp32', 'bf16' or 'auto'"),
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used here"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"epochs": 1.5}, "epochs=1.5.*expected whole numbers"),
        ({"epochs": "3"}, "epochs='3'"),
        ({"batch": 2.5}, "batch=2.5"),
        ({"lr": "3"}, "lr='3'"),
        ({"lr": None}, "lr=None"),
        ({"lr": float("inf")}, "lr=inf: .*finite learning rates"),
        ({"lr": {"": 1e-2, "head": "3"}}, "lr={.*'head': '3'}"),
        ({"seed": 1.5}, "^seed=1.5: expected a whole number"),
        ({"seed": 2**70}, "^seed=.*up to"),
        ({"order_seed": "a"}, "order_seed='a': expected a whole number"),
        ({"weight_decay": -1}, "weight_decay=-1: expected a finite number of at least 0"),
        ({"until": "x", "schedule": "constant"}, "until='x'"),
        ({"augment": "flip"}, "augment='flip'; expected a function"),
        ({"objective": HardLabels}, r"the class HardLabels \(are brackets missing\?\)"),
        ({"objective": nn.CrossEntropyLoss()}, "objective is of type CrossEntropyLoss"),
        ({"objective": "kd"}, "the objective is of type str; expected one made of terms"),
        ({"validate": (1, 2)}, "validate is of type tuple; expected Examples"),
        ({"validate": blobs(8)[:0]}, "validate holds no examples"),
        ({"validate": blobs(8).unlabelled()}, "errors are counted with labels"),
        ({"validate": bigger(blobs(8))}, r"images of \(1, 8, 8\) and training has \(1, 4, 4\)"),
    ],
)
def test_settings_are_checked_before_anything_happens(
    train: Examples, settings: dict, said: str
) -> None:
    student = mlp(16, 8, 4)
    before = fingerprint(student)
    with pytest.raises(ValueError, match=said):
        fit(student, train, **({"seed": 0} | settings))
    assert fingerprint(student) == before


def test_numbers_of_numpy_are_numbers(train: Examples, tmp_path: Path) -> None:
    """They train the same student, and its checkpoint is that of Python's numbers."""
    given: dict[str, Any] = {
        "lr": 2**-7, "weight_decay": 0.125, "until": 2**-20, "epochs": 2, "batch": 64, "seed": 1,
        "order_seed": 3, "schedule": "constant",
    }  # fmt: skip
    plain = fit(mlp(16, 8, 4), train, **given)
    for kind in (np.float32, np.float64):
        path = tmp_path / f"{kind.__name__}.pt"
        theirs = {
            name: kind(value) if isinstance(value, float) else np.int64(value)
            for name, value in given.items()
            if name != "schedule"
        }
        run = fit(mlp(16, 8, 4), train, **given | theirs, checkpoint=path)
        assert same(run.network, plain.network) and run.history == plain.history
        again = fit(mlp(16, 8, 4), train, **given, checkpoint=path)
        assert same(again.network, plain.network) and again.history == plain.history
        groups = {"head": kind(2**-7), "": kind(2**-8)}
        fit(
            mlp(16, 8, 4),
            train,
            epochs=np.int64(1),
            lr=groups,
            checkpoint=tmp_path / f"{path.name} 2",
        )
    assert len(fit(mlp(16, 8, 4), train, epochs=np.int64(3)).history) == 3  # one-cycle counts steps


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_images_and_teachers_of_another_precision(
    teacher: MLP, train: Examples, test: Examples, kind: torch.dtype
) -> None:
    other, said = (Examples((e.x / 255).to(kind), e.y) for e in (train, test))
    objective = HardLabels() + SoftTargets(teacher, 4) + Hint(teacher, {"stage1": "stage1"})
    for examples in (train, other):
        run = fit(mlp(16, 8, 4), examples, objective, epochs=2, seed=0, validate=said)
        assert run.history[-1]["validation error %"] == pytest.approx(run.error(said))
    if kind != torch.float64:  # batches are float32, which is what is tried before training
        with pytest.raises(ValueError, match=r"MLP cannot take torch.float32 images"):
            fit(mlp(16, 8, 4).double(), other, epochs=1)
    bank = train_bank(
        HardLabels() + SoftTargets(teacher, 4), student=mlp(16, 8, 4), examples=other, seeds=1,
        evaluate={"other": said}, epochs=1, cache=False, engine="reference",
    )  # fmt: skip
    assert bank.logits["other"].isfinite().all()


def test_a_student_is_not_its_own_teacher(train: Examples) -> None:
    network, layers = mlp(16, 8, 4), {"stage1": "stage1"}
    before = fingerprint(network)
    part = nn.Sequential(network.flatten, network.stage1, nn.Linear(8, 4))
    for term in (
        SoftTargets(network, 4), Hint(network, layers), Regularizer(towards=network),
        SoftTargets(part, 4),
    ):  # fmt: skip
        for settings in ({"seed": 1}, {}):
            with pytest.raises(
                ValueError, match=rf"{term.name} holds weights of the student.*copy.deepcopy\(net"
            ):
                fit(network, train, HardLabels() + term, epochs=1, **settings)
    assert fingerprint(network) == before
    copied = 0.1 * Regularizer(towards=copy.deepcopy(network))
    run = fit(network, train, HardLabels() + copied, epochs=2)
    assert run.history[-1]["Regularizer"] > 0


def test_what_training_does_not_change_may_be_shared(train: Examples) -> None:
    """A frozen part, which no seed draws again; a table, unless images are augmented."""
    teacher = initialise(mlp(16, 8, 4), 0).requires_grad_(False)
    student = nn.Sequential(teacher.normalise, teacher.flatten, teacher.stage1, nn.Linear(8, 4))
    said = "SoftTargets holds weights of the student"
    assert len(fit(student, train, SoftTargets(teacher, 4), epochs=1).history) == 1
    assert len(fit(student, train, SoftTargets(teacher, 4), epochs=1, seed=0).history) == 1
    network = initialise(mlp(16, 8, 4), 0)
    table = SoftTargets(tabulate(network, train), 4)
    assert len(fit(network, train, table, epochs=1, seed=1).history) == 1
    with pytest.raises(ValueError, match=said):
        fit(network, train, table, epochs=1, seed=1, augment=jitter(1))


class Picky(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        if len(x[0, 0]) != 8:
            raise AssertionError  # without a word
        return super().forward(x)


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (mlp(16, 8, 3), "MLP has 3 outputs and a label is 3; build it with 4"),
        (mlp(9, 8, 4), r"MLP cannot take torch.float32 images of \(1, 4, 4\) .*build it for"),
        (
            Picky(nn.Flatten(), nn.Linear(16, 4)),
            r"Picky cannot take .*\(AssertionError\); build it",
        ),
        (
            vision.models.VisionTransformer(32, 16, 1, 1, 8, 8, num_classes=4),
            r"VisionTransformer cannot take .* \(Wrong image height! Expected 32 but got 4!\)",
        ),
        (mlp(16, 8, 4).double(), r"MLP cannot take torch.float32 images .*same dtype.*and kind"),
        (cnn(2, 4, channels=3), r"CNN cannot take .* images of \(1, 4, 4\)"),
        (mlp(16, 8, 4).requires_grad_(False), "MLP has no weights that may change"),
        (nn.Sequential(nn.Flatten()), "Sequential has no weights that may change"),
        (nn.Conv2d(1, 4, 1), r"answers two images with shape \(2, 4, 4, 4\)"),
        (mlp, r"the function mlp \(is it to be called first\?\)"),
        (None, "the student is of type NoneType; expected a network"),
    ],
)
def test_students_are_checked_before_anything_happens(train: Examples, student, said: str) -> None:
    before = fingerprint(student) if isinstance(student, nn.Module) else None
    with pytest.raises(ValueError, match=said):
        fit(student, train, seed=0)
    assert before is None or fingerprint(student) == before


def test_a_student_may_have_more_outputs_than_classes_occur(train: Examples) -> None:
    assert len(fit(mlp(16, 8, 9), train, epochs=1, seed=0).history) == 1


def test_not_a_part_of_a_data_set_but_all_of_it(train: Examples) -> None:
    for whole in (Splits(train, train, train), (train.x, train.y), None):
        with pytest.raises(ValueError, match=r"examples is of type .*such as load\(…\).train"):
            fit(mlp(16, 8, 4), whole)  # type: ignore[arg-type]


def test_errors_are_of_labelled_images_and_of_numbers(train: Examples) -> None:
    run = fit(mlp(16, 8, 4), train, epochs=1, seed=0)
    with pytest.raises(ValueError, match="320 of 320 examples have no label"):
        run.error(train.unlabelled())
    run.network.head.bias.data[:] = torch.nan
    with pytest.raises(ValueError, match="320 of 320 answers are nan or inf"):
        run.error(train)
    student = initialise(mlp(16, 8, 4), 1)
    kept = fingerprint(student)
    with pytest.raises(ValueError, match="teacher MLP answers 320 of 320 times with nan"):
        fit(student, train, SoftTargets(run.network, 4), seed=0)
    assert fingerprint(student) == kept


def test_an_augmentation_that_forgets_its_return_is_told(train: Examples) -> None:
    def forgetful(x: Tensor, generator: torch.Generator) -> None:
        x.flip(-1)

    with pytest.raises(ValueError, match=r"augment made None of images .*does it return what"):
        fit(mlp(16, 8, 4), train, epochs=1, seed=0, augment=forgetful)  # type: ignore[arg-type]
    for bad in (lambda x, g: x[:3], lambda x, g: (255 * x).long(), lambda x, g: x.flatten(1)):
        with pytest.raises(ValueError, match=r"augment made torch.* expected as many images"):
            fit(mlp(16, 8, 4), train, epochs=1, seed=0, augment=bad)


def test_auxiliary_outputs_are_told(train: Examples) -> None:
    class Auxiliary(nn.Sequential):
        def forward(self, x: Tensor):  # as GoogLeNet: two answers while it trains
            z = super().forward(x)
            return (z, z) if self.training else z

    with pytest.raises(ValueError, match="Auxiliary answers with tuple, not one tensor"):
        fit(Auxiliary(nn.Flatten(), nn.Linear(16, 4)), train, epochs=1)


def test_examples_are_checked_before_anything_happens(teacher: MLP, train: Examples) -> None:
    student = mlp(16, 8, 4)
    before = fingerprint(student)
    for examples, said in ((train[:0], "holds no examples"), (train.unlabelled(), "has no labels")):
        with pytest.raises(ValueError, match=said):
            fit(student, examples, seed=0)
    with pytest.raises(ValueError, match="4 classes and the teacher with 9"):
        fit(mlp(16, 8, 4), train, SoftTargets(mlp(16, 8, 9), 4), seed=0)
    assert fingerprint(student) == before


def test_a_teacher_on_another_device(teacher: MLP, train: Examples) -> None:
    elsewhere = copy.deepcopy(teacher).to("meta")
    with pytest.raises(
        ValueError, match=r"teacher is on meta and the student .*teacher.to\('cpu'\)"
    ):
        fit(mlp(16, 8, 4), train, SoftTargets(elsewhere, 4))
    table = tabulate(teacher, train).to(torch.device("meta"))
    with pytest.raises(ValueError, match="teacher is on meta"):
        fit(mlp(16, 8, 4), train, SoftTargets(table, 4))


# ---- a learned temperature -----------------------------------------------------------------------


def test_descent_on_temperature_slides_to_a_bound_and_its_adversary_the_other_way(
    teacher: MLP, train: Examples
) -> None:
    ends = {}
    for adversarial in (True, False):
        warm = LearnedTemperature(1, 9, adversarial=adversarial)
        run = fit(
            mlp(16, 8, 4), train, SoftTargets(teacher, warm), epochs=20, batch=32, lr=0.05, seed=0
        )
        track = run.to_frame()[str(warm)]
        assert track.between(1, 9).all()
        ends[adversarial] = track.iloc[-1]
    assert ends[False] < 1.5 < 5 < ends[True]


# ---- mistakes that real projects ship ------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("augment", [None, jitter(1)])
def test_mistake_the_teacher_changes(train: Examples, mode: bool, augment) -> None:
    """Mode, buffers and weights of the teacher are as they were; BatchNorm and dropout included."""
    teacher = nn.Sequential(
        nn.Upsample(8), initialise(cnn(2, 16), 0), nn.Dropout(0.5), nn.Linear(16, 4)
    ).train(mode)
    teacher[1].stage1.train(not mode)
    before, modes = copy.deepcopy(teacher), [m.training for m in teacher.modules()]
    fit(mlp(16, 8, 4), train, SoftTargets(teacher, 4), epochs=2, seed=0, augment=augment)
    assert same(teacher, before) and [m.training for m in teacher.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


def test_mistake_the_student_stays_in_eval_after_validation(
    train: Examples, test: Examples
) -> None:
    student, modes = mlp(16, 8, 4, dropout=0.2), []
    student.register_forward_hook(lambda m, i, o: modes.append((m.training, o.requires_grad)))
    run = fit(student, train, epochs=3, batch=320, validate=test)
    training = [mode for mode, graded in modes if graded]
    assert training == [True] * 3
    assert [mode for mode, graded in modes if not graded] == [False] * (len(modes) - 3)
    assert len(modes) >= 6 and not run.network.training
    assert not any(module.training for module in run.network.modules())


def test_mistake_milestones_that_are_never_reached(train: Examples) -> None:
    """The one cycle ends with the run, however short: the last step is nearly none."""
    for epochs in (1, 3):
        rates: list[float] = []

        class Watched(torch.optim.AdamW):
            def step(self, closure=None, rates=rates):
                rates.append(self.param_groups[0]["lr"])
                return super().step(closure)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim, "AdamW", Watched)
            fit(mlp(16, 8, 4), train, epochs=epochs, batch=16, lr=1.0)
        assert len(rates) == 20 * epochs and max(rates) == pytest.approx(1.0, rel=0.1)
        assert rates[-1] < 0.03 and rates[0] == pytest.approx(1 / 25)


def test_mistake_a_baseline_trained_differently(teacher: MLP, train: Examples) -> None:
    """The student alone is the taught one with alpha = 0: same seeds, same batches, same result."""
    alone = fit(mlp(16, 8, 4), train, HardLabels(), epochs=2, batch=32, seed=0)
    weightless = 1.0 * HardLabels() + 0.0 * SoftTargets(teacher, 4)
    beside = fit(mlp(16, 8, 4), train, weightless, epochs=2, batch=32, seed=0)
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(tensor, beside.network.state_dict()[name])


def test_mistake_every_metric_logged_at_the_same_step(train: Examples, test: Examples) -> None:
    run = fit(mlp(16, 8, 4), train, epochs=3, batch=64, seed=0, validate=test)
    frame = run.to_frame()
    assert frame["epoch"].is_unique and frame["loss"].is_unique


def test_mistake_a_fresh_layer_in_a_trained_network(train: Examples) -> None:
    """Training with seed=None keeps what was learned; a seed is said to start afresh."""
    student = mlp(16, 16, 4)
    fit(student, train, epochs=4, batch=32, seed=0)
    kept = fit(copy.deepcopy(student), train, epochs=1, batch=320, lr=1e-5).history[0]["loss"]
    fresh = fit(copy.deepcopy(student), train, epochs=1, batch=320, lr=1e-5, seed=9).history[0][
        "loss"
    ]
    assert kept < 0.6 * fresh


def test_fit_warns_of_nothing(teacher: MLP, train: Examples) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective = HardLabels() + SoftTargets(teacher, LearnedTemperature())
        fit(mlp(16, 8, 4), train, objective, epochs=2, seed=0)
        train_bank(
            HardLabels() + SoftTargets(teacher, 4), student=mlp(16, 8, 4), examples=train,
            evaluate={}, epochs=1, seeds=2, engine="reference", cache=False,
        )  # fmt: skip


def test_no_more_threads_than_the_quota_allows(
    train: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlib.device.threads", lambda: 1)
    seen: list[int] = []

    def count(x: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(torch.get_num_threads())
        return x

    def watch(done: float, errors: dict[str, Tensor]) -> None:
        seen.append(torch.get_num_threads())

    torch.set_num_threads(2)
    try:
        fit(mlp(16, 4), train, epochs=1, batch=400, augment=count)
        how = {"student": mlp(16, 4, 4), "examples": train, "seeds": 1, "epochs": 1}
        train_bank(**how, evaluate={"train": train}, cache=False, watch=watch)
        assert seen == [1, 1, 1, 1]  # an augmentation is tried first
        assert torch.get_num_threads() == 2  # as it was
    finally:
        torch.set_num_threads(1)
