"""Networks of people's own: what they are built of, what they answer with, how they are held."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from kdlib.adaptation import MeanTeacher, freeze
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import CNN, Ensemble, Together, cnn, observe, predict
from kdlib.objectives import HardLabels, Hint, Learner, Objective, SoftTargets, member
from kdlib.training import fit


def moved(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    after = network.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


# ---- frozen, and put to rest ---------------------------------------------------------------------


class Running(nn.Module):
    """A normalisation of somebody's own: a buffer that moves in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.lerp_(x.detach().mean(), 0.1)
        return x - self.mean


NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(6),
    "BatchNorm1d, no weights": lambda: nn.BatchNorm1d(6, affine=False),
    "SyncBatchNorm": lambda: nn.Sequential(nn.Unflatten(1, (6, 1)), Quiet(6), nn.Flatten()),
    "InstanceNorm1d": lambda: instance_norm(affine=True),
    "InstanceNorm1d, no weights": lambda: instance_norm(affine=False),
    "one's own": Running,
    "spectral norm, old": lambda: nn.utils.spectral_norm(nn.Linear(6, 6)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(6, 6)),
}


class Quiet(nn.BatchNorm1d):
    """Stands for SyncBatchNorm, which refuses a CPU: a normalisation of another class."""


def instance_norm(*, affine: bool) -> nn.Module:
    norm = nn.InstanceNorm1d(3, affine=affine, track_running_stats=True)
    return nn.Sequential(nn.Unflatten(1, (3, 2)), norm, nn.Flatten())


def network(norm: str) -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(16, 6), NORMS[norm](), nn.Dropout(0.1))
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(6, 4))


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_frozen_has_statistics_that_do_not_move(norm: str) -> None:
    student = network(norm)
    before = state(student)
    fit(freeze(student, "1"), blobs(48), epochs=1, batch=16)
    assert moved(student, before) == {"3.weight", "3.bias"}
    free = network(norm)
    before = state(free)
    fit(free, blobs(48), epochs=1, batch=16)
    buffers = {name for name, _ in free.named_buffers()}
    assert moved(free, before) & buffers, "else nothing was shown"


def test_a_lazy_normalisation_is_frozen_too() -> None:
    student = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(16, 6), nn.LazyBatchNorm1d()), nn.Linear(6, 4)
    )
    student(blobs(4).batch().x)
    before = state(freeze(student, "1"))
    fit(student, blobs(48), epochs=1, batch=16)
    assert moved(student, before) == {"2.weight", "2.bias"}


@pytest.mark.parametrize("norm", NORMS)
def test_what_was_put_into_eval_mode_stays_in_it(norm: str) -> None:
    """The recipe of fine-tuning: weights of a normalisation learn, its statistics stay."""
    student = network(norm)
    for module in student[1][1].modules():
        module.eval()
    before = state(student)
    buffers = {name for name, _ in student.named_buffers()}
    fit(student, blobs(48), epochs=2, batch=16, validate=blobs(8))
    assert not moved(student, before) & buffers
    assert moved(student, before) >= {"1.0.bias", "3.weight"}


def test_what_rests_and_what_does_not() -> None:
    """A network that is in eval mode itself, as after a training, is trained whole."""
    student = cnn(2, 4)
    Learner(student.eval(), HardLabels()).train()
    assert all(module.training for module in student.modules())
    student.eval().stage1.train()
    Learner(student, HardLabels()).train()
    assert all(module.training for module in student.modules())
    student.stage1[2].eval()
    learner = Learner(student, HardLabels())
    for _ in range(2):
        learner.eval()
        learner.train()
        assert [m for m in student.modules() if not m.training] == [student.stage1[2]]
    trained = cnn(2, 4).eval()
    both = Together(helper=trained, student=student)
    Learner(both, member("helper", HardLabels()) + HardLabels()).train()
    assert trained.stage1[2].training and not student.stage1[2].training


@pytest.mark.parametrize("engine", ["reference", "sequential"])
@pytest.mark.parametrize("how", ["frozen", "at rest"])
def test_a_bank_holds_still_what_fit_does(engine: str, how: str) -> None:
    student = network("BatchNorm1d")
    if how == "frozen":
        freeze(student, "1.1")
    else:
        student[1][1].eval()
    examples = blobs(48)
    bank = train_bank(
        student=student, examples=examples, seeds=2, epochs=1, batch=16, engine=engine,
        evaluate={"test": examples}, cache=False,
    )  # fmt: skip
    for seed in (0, 1):
        norm = bank.network(seed=seed)[1][1]  # type: ignore[index]
        assert norm.running_mean.eq(0).all() and norm.num_batches_tracked == 0
        assert norm.weight.eq(1).all() == (how == "frozen")


def images(count: int) -> Examples:
    small = blobs(count)
    return Examples(small.x.repeat_interleave(2, -1).repeat_interleave(2, -2), small.y)


def test_a_mean_teacher_normalises_as_its_student_does() -> None:
    both = images(32) + images(32).unlabelled().as_domain(1)
    for hold in (freeze, lambda network, name: network.get_submodule(name).eval()):
        student: CNN = cnn(2, 4)
        hold(student, "stage1.2")
        learner = Learner.of(student, HardLabels() + MeanTeacher(), both, per_domain=True)
        learner.train()
        learner(both)
        modes = [m.training for m in learner.owned.modules() if isinstance(m, nn.BatchNorm2d)]
        assert modes == [False, True, True]


# ---- what networks answer with -------------------------------------------------------------------


@dataclass
class Output:
    """As a language model's library answers."""

    logits: Tensor
    hidden: tuple[Tensor, ...] = ()
    loss: Tensor | None = None


class Logits(NamedTuple):
    logits: Tensor
    features: Tensor


ANSWERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a dict": lambda z, f: {"features": f, "logits": z},
    "as torchvision's segmentation": lambda z, f: {"out": z, "aux": z},
    "a dict of one": lambda z, f: {"anything": z, "steps": 3},
    "a tuple": lambda z, f: (z, f),
    "features in a list, then logits": lambda z, f: ([f, f], z),
    "a tuple of one": lambda z, f: (z,),
    "a recurrent network's": lambda z, f: (z, (f, f)),
    "a list": lambda z, f: [z, f],
    "an object": lambda z, f: Output(z, (f,)),
    "an object that is a tuple": lambda z, f: Logits(z, f),
    "an object without a class of its own": lambda z, f: SimpleNamespace(logits=z, features=f),
}
UNCLEAR: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "auxiliary logits": lambda z, f: (z, z),
    "features first": lambda z, f: (f, z),
    "a dict of others": lambda z, f: {"a": z, "b": f},
    "nothing": lambda z, f: None,
    "no tensor": lambda z, f: {"logits": z.tolist()},
    "numbers": lambda z, f: (1, 2),
}


class Answering(nn.Module):
    def __init__(self, how: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.head, self.how = nn.Linear(16, 6), nn.Linear(6, 4), how

    def forward(self, x: Tensor) -> Any:
        f = self.first(x.flatten(1)).relu()
        return self.how(self.head(f), f)


@pytest.mark.parametrize("kind", ANSWERS)
def test_logits_are_found_in_what_a_network_answers(kind: str) -> None:
    torch.manual_seed(0)
    examples, student = blobs(48), Answering(ANSWERS[kind])
    plain = Answering(lambda z, f: z)
    plain.load_state_dict(student.state_dict())
    teacher = Answering(ANSWERS[kind])
    wanted = predict(plain, examples)
    assert torch.equal(predict(student, examples), wanted)
    assert torch.equal(observe(student, examples.batch().x, "first").logits, wanted)
    both = Together(a=copy.deepcopy(teacher), b=copy.deepcopy(student))
    assert torch.equal(predict(both, examples), wanted)
    assert torch.equal(observe(both, examples.batch().x, "b").features["b"], wanted)
    assert torch.equal(predict(Ensemble(student), examples), wanted)

    def term(of: nn.Module) -> Objective:
        return HardLabels() + SoftTargets(of, T=2) + Hint(of, {"first": "first"})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(student, examples, term(teacher), epochs=1, batch=16, seed=0)
        fit(plain, examples, term(teacher), epochs=1, batch=16, seed=0)
    assert torch.equal(predict(student, examples), predict(plain, examples))
    for engine in ("reference", "sequential"):
        bank = train_bank(
            term(teacher), student=student, examples=examples, seeds=2, epochs=1, batch=16,
            engine=engine, evaluate={"test": examples}, cache=False,
        )  # fmt: skip
        torch.testing.assert_close(
            bank.logits["test"][0], predict(plain, examples), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("kind", UNCLEAR)
def test_an_answer_in_doubt_is_refused(kind: str) -> None:
    student, examples = Answering(UNCLEAR[kind]), blobs(16)
    before = state(student)
    said = r"Answering answers with \w+, not one tensor of logits; .*{'logits': logits}"
    with pytest.raises(ValueError, match=said):
        predict(student, examples)
    with pytest.raises(ValueError, match=said):
        fit(student, examples, seed=0)
    with pytest.raises(ValueError, match=said):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), examples, SoftTargets(student, T=1))
    assert not moved(student, before)


def test_what_is_no_images_is_told() -> None:
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    loader = torch.utils.data.DataLoader([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no images in a DataLoader to predict; expected Examples"):
        predict(student, loader)  # type: ignore[arg-type]
    for given in (loader, blobs(4), blobs(4).batch()):
        with pytest.raises(ValueError, match=f"x is a {type(given).__name__}; expected a tensor"):
            observe(student, given)  # type: ignore[arg-type]
