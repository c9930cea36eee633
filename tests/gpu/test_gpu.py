"""Training on a second device, which `pretend` makes up, ends as on the CPU.

`pretend` names what cannot be proved so; what only a recorded step does is in
tests/unit/test_capture.py.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu.pretend import Away, pretend
from torch import nn
from unit.blobs import blobs
from unit.test_objectives import every_term

from kdlib.adaptation import CORAL, DANN, MCC, MMD, MeanTeacher, adabn
from kdlib.adaptation.feature_gaussian import describe, fit_map
from kdlib.adaptation.gaussian import GaussianTerm
from kdlib.bank import ladder, train_bank
from kdlib.data import Examples, Sequences, Stream, Targets, cutmix, each_image, jitter, mixup
from kdlib.models import cnn, gru, initialise, mlp, predict
from kdlib.objectives import (
    BinaryLabels,
    Contrastive,
    Cosine,
    HardLabels,
    Hint,
    LearnedTemperature,
    MeanSquares,
    Objective,
    ParameterKL,
    ParameterL2,
    Relational,
    SigmoidTargets,
    Similarity,
    SoftTargets,
    TeacherMeanSquares,
    Variational,
    merge,
    prefixes,
    progress,
    tabulate,
)
from kdlib.training import Run, fit

SMALL = blobs(48)
EX = Examples(nn.functional.interpolate(SMALL.x.float(), 8).to(torch.uint8), SMALL.y)
PAIR = {"stage1": "stage1"}
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": lambda width: mlp(64, 16 * width, 4),
    "cnn": lambda width: cnn(width, 4),  # stage1 has 16 · width numbers, too
}
MORE: list[Callable[[nn.Module], Objective]] = [
    lambda t: HardLabels(0.1, weights=(1, 2, 3, 4)), lambda t: SoftTargets(t, 8 - 7 * progress),
    lambda t: SoftTargets(t, LearnedTemperature(1, 5)), lambda t: Hint(t, PAIR),
    lambda t: Cosine(t, PAIR), lambda t: Similarity(t, PAIR), lambda t: Relational(t, PAIR),
    lambda t: Contrastive(t, PAIR), lambda t: ParameterL2(t), lambda t: ParameterKL(t),
]  # fmt: skip
KINDS = len(every_term(mlp(64, 32, 4)))


def taught(kind: str = "mlp", seed: int = 1) -> nn.Module:
    return initialise(NETWORKS[kind](2), seed)


def student() -> nn.Module:
    return NETWORKS["mlp"](1)


def numbers(run: Run) -> list[float]:
    """All that a training tells, and the weights that it left."""
    told = [number for row in run.history for number in row.values()]
    return told + flat(*run.network.state_dict().values())


def flat(*tensors: torch.Tensor) -> list[float]:
    return [float(x) for tensor in tensors for x in tensor.cpu().flatten().tolist()]


def as_here(told: Callable[[Any], Sequence[float]], *, float64: bool = True) -> None:
    """What is told there is what is told here."""
    expected = told("cpu")
    with pretend(float64=float64) as device:
        there = told(device)
    assert len(expected) > 1 and list(there) == pytest.approx(expected, abs=1e-5)


# ---- fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("number", range(KINDS + len(MORE)))
def test_every_term(kind: str, number: int) -> None:
    def told(device: Any) -> list[float]:
        teacher = taught(kind).to(device)
        torch.manual_seed(0)
        kinds = every_term(teacher) + [term(teacher) for term in MORE]
        assert len(kinds) == KINDS + len(MORE)
        term: Any = kinds[number]
        if hasattr(term, "centres"):
            term = replace(term, centres=term.centres.to(device))
        aim = 0.5 * HardLabels() + term
        how: dict[str, Any] = dict(epochs=1, batch=16, seed=0, lr=1e-3, precision="fp32")
        # a table of weights speaks to a student of the teacher's shape
        own = NETWORKS[kind](2 if term.name.startswith(("Parameter", "Regular")) else 1)
        return numbers(fit(own, EX, aim, **how, validate=EX, device=device))

    as_here(told, float64=False)


AUGMENTS: dict[str, Any] = {
    "none": None, "jitter": jitter(1), "mixup": mixup(), "cutmix": cutmix(),
    "each": each_image(lambda image: image * torch.rand(1).item()),
}  # fmt: skip


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("name", AUGMENTS)
def test_what_fit_can_do(name: str, moved: bool) -> None:
    """The best of its epochs, patience, parts of a batch, clipping, changed images; wherever."""

    def told(device: Any) -> list[float]:
        images = EX.to(device) if moved else EX
        run = fit(
            student(), images, HardLabels() + SoftTargets(taught().to(device), 4), epochs=4,
            batch=16, seed=0, validate=EX, keep="best", patience=2, schedule="cosine", clip=0.5,
            accumulate=3, augment=AUGMENTS[name], weight_decay=0.1, device=device,
            lr={"head": 1e-2, "": 5e-2},
        )  # fmt: skip
        assert run.kept
        return [*numbers(run), run.kept, run.error(EX), run.error(EX.to(device))]

    as_here(told)


OPTIMIZERS: dict[str, Any] = {
    "adamw": None,
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9),
    "adam": lambda groups: torch.optim.Adam(groups, lr=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("way", ["there and here", "here and there", "there"])
def test_a_run_goes_on_where_it_did_not_begin(tmp_path: Path, way: str, name: str) -> None:
    def trained(first: Any, then: Any, file: str) -> list[float]:
        def run(device: Any, most: int) -> Run:
            teacher = taught().to(device)
            aim = HardLabels() + SoftTargets(teacher, LearnedTemperature()) + 0.1 * Hint(
                teacher, PAIR
            )  # fmt: skip
            return fit(
                initialise(student(), 0), EX, aim, epochs=3, batch=16, validate=EX, keep="best",
                checkpoint=tmp_path / file, optimizer=OPTIMIZERS[name], device=device, lr=1e-3,
                after_epoch=lambda run: len(run.history) < most,
            )  # fmt: skip

        assert len(run(first, 1).history) == 1
        return numbers(run(then, 9))

    expected = trained("cpu", "cpu", "here")
    with pretend() as device:
        first = "cpu" if way == "here and there" else device
        then = "cpu" if way == "there and here" else device
        assert trained(first, then, "there") == pytest.approx(expected, abs=1e-5)


class Pairs:
    """A data set as PyTorch's are."""

    targets = EX.y

    def __len__(self) -> int:
        return len(EX)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return EX.x[place], int(EX.y[place])


@pytest.mark.parametrize("moved", [True, False])
def test_a_stream(moved: bool) -> None:
    def told(device: Any) -> list[float]:
        images = Stream(Pairs()).to(device) if moved else Stream(Pairs())
        aim = HardLabels() + SoftTargets(taught().to(device), 4)
        run = fit(
            student(), images, aim, epochs=1, batch=16, seed=0, validate=images, device=device
        )
        assert run.logits(images).device == images.device
        return [*numbers(run), run.error(images), *flat(images[[3, 1]].batch().x)]

    as_here(told)


VALUES: dict[str, tuple[Any, Callable[[Any], Objective]]] = {
    "0/1 labels": (nn.functional.one_hot(EX.y, 4) > 0, lambda t: BinaryLabels()),
    "0/1 taught": (nn.functional.one_hot(EX.y, 4) > 0, lambda t: SigmoidTargets(t)),
    "numbers": (predict(taught("mlp", 5), EX), lambda t: MeanSquares() + TeacherMeanSquares(t)),
}


@pytest.mark.parametrize("augment", [None, mixup()])
@pytest.mark.parametrize("name", VALUES)
def test_answers_that_are_numbers(name: str, augment: Any) -> None:
    def told(device: Any) -> list[float]:
        y, aim = VALUES[name]
        images = Targets(EX.x, y)
        run = fit(
            student(), images, aim(taught().to(device)), epochs=1, batch=16, seed=0,
            validate=images, augment=augment, device=device,
        )  # fmt: skip
        return numbers(run)

    as_here(told)


@pytest.mark.parametrize("written", [True, False])
def test_sequences(written: bool) -> None:
    tokens = torch.randint(5, (24, 6), generator=torch.Generator().manual_seed(0))

    def told(device: Any) -> list[float]:
        aim: Objective = SoftTargets(initialise(gru(5, 6), 3).to(device), 2)
        aim = prefixes("student", aim) if written else HardLabels() + aim
        examples, how = Sequences(tokens), dict[str, Any](epochs=1, batch=8, seed=0, lr=1e-3)
        return numbers(fit(gru(5, 4), examples, aim, **how, validate=examples, device=device))

    as_here(told)


# ---- two domains ---------------------------------------------------------------------------------

TARGET = Examples(255 - EX.x, EX.y)
BOTH = EX + TARGET.unlabelled().as_domain(1)
TAP = "embedding"


@pytest.mark.parametrize("augment", [None, jitter(1)])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("term", [CORAL(TAP), MMD(TAP), DANN(TAP), MCC(), MeanTeacher(0.9)])
def test_terms_of_adaptation(term: Any, kind: str, augment: Any) -> None:
    def told(device: Any) -> list[float]:
        how: dict[str, Any] = dict(epochs=1, batch=48, seed=0, lr=1e-3, precision="fp32")
        own, aim = NETWORKS[kind](1), HardLabels() + 0.5 * term
        return numbers(fit(own, BOTH, aim, **how, augment=augment, validate=EX, device=device))

    as_here(told, float64=False)


@pytest.mark.parametrize("moved", [True, False])
def test_statistics_of_other_images(moved: bool) -> None:
    def told(device: Any) -> list[float]:
        network = adabn(taught("cnn").to(device), TARGET.to(device) if moved else TARGET)
        return flat(*network.state_dict().values())

    as_here(told, float64=False)


def test_the_gaussian_transfer() -> None:
    def told(device: Any) -> list[float]:
        target = TARGET.unlabelled().as_domain(1)
        cloud = describe(fit_map(taught().to(device), EX, width=4, epochs=1), target, EX)
        assert cloud.to("cpu").mean.device.type == "cpu"
        aim = 0.5 * HardLabels() + 0.5 * GaussianTerm(cloud, noise_std=0.0, centre_weight=0.0)
        run = fit(student(), EX + target, aim, epochs=1, seed=0, device=device)
        return [number for row in run.history for number in row.values()]

    as_here(told, float64=False)


# ---- tables and banks ----------------------------------------------------------------------------


def test_a_table_takes_its_network_along() -> None:
    teacher = taught()

    def told(device: Any) -> list[float]:
        table = tabulate(teacher, EX).to(device)
        assert (table.network is teacher) == (device == "cpu")
        there = tabulate(copy.deepcopy(teacher).to(device), EX, taps="stage1")
        assert not isinstance(there.logits, Away)  # where the images are
        aim = SoftTargets(table, T=4)  # changed images are asked of its network
        run = fit(student(), EX, aim, epochs=1, seed=0, device=device, augment=jitter(1))
        return [*numbers(run), *flat(there.logits, there.features["stage1"])]

    as_here(told)


MERGED: dict[str, Callable[[Any], Any]] = {
    "logits": lambda tables: merge(tables),
    "probabilities": lambda tables: merge(tables, "probabilities", weights=[1, 3]),
    "confidence": lambda tables: merge(tables, "confidence"),
    "weights an image": lambda tables: merge(tables, weights=torch.rand(2, len(EX)).round() + 1),
    "specialists": lambda tables: merge(tables, classes=[[0, 1, 2, 3], [5, 4, 3, 2]]),
    "a rest": lambda tables: merge(tables, classes=[[0, 1, 2], [2, 3, 4]], rest=True),
}


@pytest.mark.parametrize("how", MERGED)
def test_merged_teachers(how: str) -> None:
    def told(device: Any) -> list[float]:
        torch.manual_seed(0)
        tables = [tabulate(taught("mlp", seed), EX).to(device) for seed in (1, 2)]
        merged = MERGED[how](tables)
        if merged.network is None:
            return flat(merged.logits)
        aim = SoftTargets(merged, 4)
        run = fit(student(), EX, aim, epochs=1, seed=0, device=device, augment=jitter(1))
        return flat(merged.logits, predict(merged.network, EX)) + numbers(run)

    as_here(told)


ENGINES = ["fast", "reference", "sequential"]
Y = nn.functional.one_hot(EX.y, 4).float()
BANKS: dict[str, tuple[list[str], Any, dict[str, Any]]] = {
    "a grid": (
        ENGINES,
        lambda t: lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(t, T),
        {"grid": {"T": [1.0, 4.0], "alpha": [0.5, 0.9]}},
    ),
    "class weights": (
        ENGINES, lambda t: HardLabels(weights=(1, 2, 3, 4)) + SoftTargets(t, 4), {},
    ),
    "a start": (
        ENGINES, lambda t: HardLabels(), {"start": lambda seed: initialise(student(), 90 + seed)},
    ),
    "some labels": (
        ENGINES, lambda t: HardLabels() + SoftTargets(t, 4),
        {"examples": EX[:20] + EX[20:].unlabelled()},
    ),
    "targets": (
        ENGINES[1:], lambda t: BinaryLabels() + SigmoidTargets(t),
        {"examples": Targets(EX.x, Y), "evaluate": {"test": Targets(EX.x, Y)}},
    ),
    "layers": (ENGINES[1:], lambda t: HardLabels() + Variational(t, PAIR), {"clip": 1.0}),
    "an optimiser": (ENGINES[2:], lambda t: SoftTargets(t, 4), {"optimizer": OPTIMIZERS["sgd"]}),
}  # fmt: skip


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize(
    ("name", "engine"), [(name, engine) for name in BANKS for engine in BANKS[name][0]]
)
def test_a_bank_where_its_examples_are_or_where_it_is_told(
    name: str, engine: str, moved: bool
) -> None:
    def told(device: Any) -> list[float]:
        watched: list[Any] = []
        how = {"examples": EX, "evaluate": {"test": EX}} | BANKS[name][2]
        if moved:
            how |= {
                "examples": how["examples"].to(device),
                "evaluate": {"test": how["evaluate"]["test"].to(device)},
            }
        bank = train_bank(
            BANKS[name][1](taught().to(device)), student=student(), epochs=2, seeds=2, batch=16,
            cache=False, engine=engine, watch=lambda done, errors: watched.append(errors),
            **how, **({} if moved else {"device": device}),
        )  # fmt: skip
        assert watched and bank.engine == engine and len(bank.frame()) >= 1
        return flat(bank.logits["test"], bank.errors())

    as_here(told)


@pytest.mark.parametrize("given", ["a network", "one that is there", "its table"])
def test_a_ladder(given: str) -> None:
    def told(device: Any) -> list[float]:
        teacher: Any = taught()
        if given != "a network":
            teacher = teacher.to(device) if given != "its table" else tabulate(teacher, EX)
        banks = ladder(
            teacher, [student(), mlp(64, 5, 4)], objective=lambda one: SoftTargets(one, 4),
            examples=EX, evaluate={"test": EX}, epochs=1, seeds=2, cache=False, device=device,
        )  # fmt: skip
        return flat(*(bank.logits["test"] for bank in banks))

    as_here(told)
