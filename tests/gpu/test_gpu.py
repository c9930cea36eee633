"""Training on a second device, which `pretend` makes up, ends as on the CPU.

`pretend` names what cannot be proved so.
"""

import copy
from typing import Any

import pytest
import torch
from gpu.pretend import Away, pretend
from torch import nn
from unit.blobs import blobs

from kdlib.adaptation.feature_gaussian import describe, fit_map
from kdlib.adaptation.gaussian import GaussianTerm
from kdlib.bank import train_bank
from kdlib.models import cnn, mlp, predict
from kdlib.objectives import HardLabels, LogitMSE, SoftTargets, TeacherTable, tabulate
from kdlib.training import fit

EX = blobs()
TERMS = [lambda t: SoftTargets(t, T=4), lambda t: LogitMSE(t)]


def student() -> nn.Module:
    return mlp(EX.x[0].numel(), 8, EX.classes)


def small(kind: str) -> nn.Module:
    return cnn(4, outputs=EX.classes) if kind == "cnn" else student()


@pytest.mark.parametrize("float64", [True, False])
@pytest.mark.parametrize("term", TERMS)
def test_fit_and_its_errors(term: Any, float64: bool) -> None:
    teacher = student()

    def history(device: Any) -> Any:
        aim = 0.5 * HardLabels() + 0.5 * term(copy.deepcopy(teacher).to(device))
        run = fit(student(), EX, aim, epochs=2, seed=0, validate=EX, device=device)
        return [list(row.values()) for row in run.history], run.error(EX.to(device))

    rows, error = history("cpu")
    with pretend(float64=float64) as device:
        there, error_there = history(device)
    assert there == [pytest.approx(row, abs=1e-5) for row in rows] and error == error_there


@pytest.mark.parametrize("engine", ["fast", "reference", "sequential"])
@pytest.mark.parametrize("moved", [True, False])
def test_a_bank_where_its_examples_are_or_where_it_is_told(engine: str, moved: bool) -> None:
    def errors(**where: Any) -> Any:
        told: list[Any] = []
        images = where.pop("images", EX)
        bank = train_bank(
            student=student(), examples=images, evaluate={"test": images}, epochs=2, seeds=2,
            cache=False, engine=engine, watch=lambda done, errors: told.append(errors), **where,
        )  # fmt: skip
        assert told and len(bank.frame()) == 1
        return bank.errors()

    expected = errors()
    with pretend() as device:
        there = errors(images=EX.to(device)) if moved else errors(device=device)
        assert torch.allclose(there, expected)


def test_a_table_takes_its_network_along() -> None:
    teacher = student()
    with pretend() as device:
        table = tabulate(teacher, EX).to(device)
        assert table.network is not teacher
        fit(
            student(), EX, SoftTargets(table, T=4), epochs=1, seed=0, device=device,
            augment=lambda x, generator: x + 0.1,
        )  # fmt: skip
        there = tabulate(copy.deepcopy(teacher).to(device), EX, taps="embedding")
        assert not isinstance(there.logits, Away)
        assert torch.allclose(there.logits, predict(teacher, EX), atol=1e-5)
        assert isinstance(there, TeacherTable)


def test_the_gaussian_transfer() -> None:
    teacher, target = student(), EX.unlabelled().as_domain(1)

    def loss(device: Any) -> float:
        known = copy.deepcopy(teacher).to(device)
        cloud = describe(fit_map(known, EX, width=4, epochs=1), target, EX)
        assert cloud.to("cpu").mean.device.type == "cpu"
        aim = 0.5 * HardLabels() + 0.5 * GaussianTerm(cloud, noise_std=0.0, centre_weight=0.0)
        run = fit(student(), EX + target, aim, epochs=1, seed=0, device=device)
        return run.history[-1]["loss"]

    here = loss("cpu")
    with pretend() as device:
        assert loss(device) == pytest.approx(here, abs=1e-4)
