"""Networks of people's own: what they are built of, what they answer with, how they are held."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from kdlib.adaptation import MeanTeacher, freeze
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import CNN, Together, cnn
from kdlib.objectives import HardLabels, Learner, member
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
