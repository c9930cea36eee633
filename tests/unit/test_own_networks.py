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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdlib import losses, vision
from kdlib.adaptation import MeanTeacher, adabn, freeze
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import CNN, Ensemble, Together, cnn, initialise, mlp, observe, of_tokens, predict
from kdlib.objectives import (
    Attention,
    Contrastive,
    Cosine,
    Flow,
    HardLabels,
    Hint,
    Learner,
    NeuronSelectivity,
    Number,
    Objective,
    Relational,
    Similarity,
    SoftTargets,
    Step,
    Term,
    Variational,
    member,
    tabulate,
)
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
    for ask in (predict, tabulate, adabn, lambda *of: tabulate(*of, taps="1")):
        with pytest.raises(ValueError, match="of Examples, and this is a DataLoader; give Ex"):
            ask(student, loader)  # type: ignore[arg-type]
    pairs = [(x, int(y)) for x, y in zip(blobs(4).x, blobs(4).y, strict=True)]
    x, y = zip(*pairs, strict=True)  # as the advice has it
    assert predict(student, Examples(torch.stack(x), torch.tensor(y))).shape == (4, 4)
    for given in (loader, blobs(4), blobs(4).batch()):
        with pytest.raises(ValueError, match=f"x is a {type(given).__name__}; expected a tensor"):
            observe(student, given)  # type: ignore[arg-type]


# ---- what networks are built of ------------------------------------------------------------------


class Scaled(nn.Module):
    """Weights that belong to no layer: a token, and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 6), nn.Linear(6, 4)
        self.token = nn.Parameter(0.02 * torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x.flatten(1)).relu() + self.token)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.first, self.encoder = nn.Linear(4, 8), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.first(x.flatten(1, 2))).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.flatten(1, 2))[0][:, -1])


class Convolving(nn.Module):
    def __init__(self, dimensions: int) -> None:
        super().__init__()
        layers = (nn.Conv1d, nn.BatchNorm1d) if dimensions == 1 else (nn.Conv3d, nn.BatchNorm3d)
        self.shape = (1, *[1] * (dimensions - 1), 16)
        kernel = (*[1] * (dimensions - 1), 3)
        self.convolution, self.norm = layers[0](1, 8, kernel), layers[1](8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.convolution(x.reshape(len(x), *self.shape))).relu()
        return self.head(x.flatten(2).mean(-1))


class Tied(nn.Module):
    """One weight in two layers, one BatchNorm after both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
        self.b.weight = self.a.weight
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 4)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        x = self.norm(self.a(x.flatten(1))).relu()
        return self.head(scale * self.norm(self.b(x)))


class Deciding(nn.Module):
    """What it does depends on what tensors hold."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.head(x if x.mean() > 0 else -x)


def of_layers(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *layers)


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return of_layers(norm(nn.Linear(16, 6)), nn.Linear(6, 4))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated", "ignore:.*performance drop")
@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(
    ("build", "engines", "drawn"),
    [
        (Scaled, "rs", False),
        (Attending, "rs", True),
        (Recurrent, "s", True),
        (lambda: Convolving(1), "rs", True),
        (lambda: Convolving(3), "rs", True),
        (Tied, "rs", True),
        (Deciding, "s", True),
        (lambda: of_layers(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.LazyLinear(4)), "rs", True),
        (lambda: normed(parametrizations.weight_norm), "rs", False),
        (lambda: normed(parametrizations.spectral_norm), "s", False),
        (lambda: normed(nn.utils.weight_norm), "", False),
        (lambda: nn.DataParallel(of_layers(nn.Linear(16, 4))), "rs", True),
        (lambda: of_layers(nn.Linear(16, 6), nn.RReLU(), nn.Linear(6, 4)), "s", True),
    ],
    ids=[
        "own weights", "TransformerEncoder", "LSTM", "Conv1d", "Conv3d", "tied", "deciding", "lazy",
        "weight norm", "spectral norm", "old weight norm", "DataParallel", "RReLU",
    ],
)  # fmt: skip
def test_a_network_trains_as_its_seed_says_alone_and_in_a_bank(
    build: Callable[[], nn.Module], engines: str, drawn: bool
) -> None:
    """`drawn`: whether a seed can draw the weights of a network that was built already."""
    examples = blobs(48)
    how: dict[str, Any] = {"epochs": 1, "batch": 16}
    once = [predict(fit(build, examples, seed=s, **how).network, examples) for s in (0, 1, 0)]
    assert torch.equal(once[0], once[2]) and not torch.equal(once[0], once[1])
    if drawn:
        network = build()
        assert torch.equal(fit(network, examples, seed=0, **how).logits(examples), once[0])
        assert predict(network, examples) is not None, "it is the one that was trained"
    else:
        with pytest.raises(TypeError, match=r"give a function that builds .*lambda: build\(\)"):
            fit(build(), examples, seed=0, **how)
    for engine in ("reference", "sequential"):
        what: dict[str, Any] = {"examples": examples, "seeds": 2, "engine": engine, "cache": False}
        what |= {"evaluate": {"test": examples}, **how}
        if engine[0] not in engines:
            with pytest.raises(ValueError, match=r"engine=.*'sequential'|cannot be copied.*param"):
                train_bank(student=build, **what)
            continue
        bank = train_bank(student=build, **what)
        for seed in (0, 1):
            off = 1e-6 if engine == "sequential" else 1e-2  # AdamW, of gradients that are 0
            torch.testing.assert_close(bank.logits["test"][seed], once[seed], rtol=0, atol=off)
            again = predict(bank.network(seed=seed), examples)
            torch.testing.assert_close(again, bank.logits["test"][seed], rtol=1e-4, atol=1e-4)
        if drawn:
            given = train_bank(student=build(), **what)
            torch.testing.assert_close(given.logits["test"], bank.logits["test"])


def test_one_network_under_every_seed_is_refused() -> None:
    one, examples = Scaled(), blobs(16)
    for train in (
        lambda: fit(lambda: copy.deepcopy(one), examples, seed=0),
        lambda: train_bank(student=one, examples=examples, evaluate={"test": examples}),
        lambda: train_bank(student=lambda: one, examples=examples, evaluate={"test": examples}),
    ):
        before = state(one)
        with pytest.raises(TypeError, match="no seed can draw"):
            train()
        assert not moved(one, before)


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(4, 6, sparse=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words((3 * x.flatten(1)).long()).mean(1))


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 6, dtype=torch.complex64), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x.flatten(1).to(torch.complex64)).abs())


@pytest.mark.parametrize(
    ("build", "said", "maker"),
    [
        (Embedding, "'words' .Embedding. has sparse gradients.* sparse=False", torch.optim.SGD),
        (Complex, "Complex has complex weights.*AdamW", torch.optim.AdamW),
    ],
)
def test_weights_that_adamw_does_not_take_are_told(build: Any, said: str, maker: Any) -> None:
    student, examples = build(), blobs(32)
    before = state(student)
    with pytest.raises(ValueError, match=said):
        fit(student, examples, seed=0)
    with pytest.raises(ValueError, match=said):
        train_bank(student=student, examples=examples, evaluate={"test": examples}, cache=False)
    assert not moved(student, before)
    fit(student, examples, epochs=1, optimizer=lambda groups: maker(groups))
    assert moved(student, before)


def test_batchnorm_and_a_batch_of_one_image() -> None:
    def student() -> nn.Module:
        return of_layers(nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))

    few, network = blobs(3), student()
    before = state(network)
    two = few + few.as_domain(1).unlabelled()
    for examples, batch in ((few, 1), (few, 2), (two, 2)):
        with pytest.raises(ValueError, match=r"BatchNorm one image.* such as (3|6)$"):
            fit(network, examples, batch=batch, seed=0)
        with pytest.raises(ValueError, match=r"BatchNorm one image"):
            train_bank(
                student=network, examples=examples, batch=batch, evaluate={"test": few}, cache=False
            )
        assert not moved(network, before)
        fit(student(), examples, batch=3 * len(examples.domains), epochs=1)
    network[2].eval()  # type: ignore[index]
    fit(network, few, batch=1, epochs=1)  # at rest it needs no others
    small = images(3)
    fit(cnn(2, 4), Examples(small.x.repeat(1, 1, 2, 2), small.y), batch=1, epochs=1)


# ---- layers of more and fewer axes ---------------------------------------------------------------


class Positions(nn.Module):
    """A block whose answer has positions: tokens, or maps of one to three axes."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        layers: dict[str, Callable[[], nn.Module]] = {
            "tokens": lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, width)),
            "length": lambda: nn.Conv1d(4, width, 3, padding=1),
            "plane": lambda: nn.Conv2d(1, width, 3, padding=1),
            "space": lambda: nn.Conv3d(1, width, 3, padding=1),
        }
        self.block, self.head = layers[kind](), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2) if self.kind in ("tokens", "length") else x
        f = self.block(x[:, :, None] if self.kind == "space" else x)
        return self.head(f.mean(1) if self.kind == "tokens" else f.flatten(2).mean(-1))


ON_LAYERS = [
    Hint, Cosine, Attention, NeuronSelectivity, Similarity, Relational, Contrastive, Variational,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["tokens", "length", "plane", "space"])
@pytest.mark.parametrize("term", ON_LAYERS)
def test_terms_compare_layers_of_every_kind(kind: str, term: Any) -> None:
    torch.manual_seed(0)
    examples, teacher = blobs(32), Positions(kind, 6)
    objective = HardLabels() + term(teacher, {"block": "block"})
    for width in (6, 5):
        how: dict[str, Any] = {"epochs": 1, "batch": 16, "lr": 1e-3, "precision": "fp32"}
        run = fit(Positions(kind, width), examples, objective, seed=0, **how)
        bank = train_bank(
            objective, student=Positions(kind, width), examples=examples, seeds=1,
            engine="reference", evaluate={"a": examples}, cache=False, **how,
        )  # fmt: skip
        torch.testing.assert_close(bank.logits["a"][0], run.logits(examples), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("term", [Hint, Cosine, Attention, Similarity, Relational, Contrastive])
def test_a_network_as_its_own_teacher_has_nothing_to_learn_from(term: Any) -> None:
    """And where the student's layers are turned round, it has."""
    torch.manual_seed(0)
    few = blobs(8).batch()
    for kind in ("tokens", "length", "plane", "space"):
        teacher = Positions(kind, 6)
        objective = term(teacher, {"block": "block"})
        loss, _ = Learner.of(copy.deepcopy(teacher), 1.0 * objective, few)(few)
        if term is not Contrastive:
            assert loss.abs() < 1e-5
        other, _ = Learner.of(Positions(kind, 6), 1.0 * objective, few)(few)
        assert other > loss + 1e-4


def test_tokens_are_maps_with_their_width_as_channels() -> None:
    torch.manual_seed(0)
    few, teacher, student = blobs(8).batch(), Positions("tokens", 6), Positions("tokens", 5)
    f_s, f_t = (observe(n, few.x, "block").features["block"] for n in (student, teacher))
    assert f_s.shape == (8, 4, 5)
    two = (Attention, losses.attention), (NeuronSelectivity, losses.neuron_selectivity)
    for term, loss in two:
        told, _ = Learner.of(student, 1.0 * term(teacher, {"block": "block"}), few)(few)
        torch.testing.assert_close(told, loss(f_s.transpose(1, 2), f_t.transpose(1, 2)))
    flow = Flow(teacher, {"block.0": "block.0", "block": "block"})
    assert torch.isfinite(Learner.of(student, 1.0 * flow, few)(few)[0])


def test_patches_with_their_channels_last_are_maps_too() -> None:
    torch.manual_seed(0)
    swins = [
        vision.models.SwinTransformer([2, 2], width, [1, 1], [2, 2], [2, 2], num_classes=4)
        for width in (8, 12)
    ]
    x, tap = torch.rand(3, 3, 8, 8), "features.1"
    f_s, f_t = (observe(swin.eval(), x, tap).features[tap] for swin in swins)
    assert f_s.shape == (3, 4, 4, 8) and f_t.shape == (3, 4, 4, 12)
    few = Examples(x, torch.arange(3)).batch()
    told, _ = Learner.of(swins[0], 1.0 * Attention(swins[1], {tap: tap}), few)(few)
    torch.testing.assert_close(told, losses.attention(f_s.movedim(-1, 1), f_t.movedim(-1, 1)))
    learner = Learner.of(swins[0], 1.0 * Hint(swins[1], {tap: tap}), few)
    assert [tuple(w.shape) for w in learner.owned.parameters()] == [(12, 8, 1, 1), (12,)]


def test_tokens_or_a_map_is_told_by_layers_or_asked() -> None:
    parts = {"a": nn.LayerNorm(2), "b": nn.Conv1d(2, 2, 1), "c": nn.ReLU(), "d": nn.Linear(2, 2)}
    for held, tap, said in (
        ("abcd", "a", True), ("abcd", "b", False), ("abcd", "c", None), ("abcd", "d", True),
        ("bcd", "c", False), ("acd", "c", True), ("cd", "c", True),
    ):  # fmt: skip
        assert of_tokens(nn.ModuleDict({name: parts[name] for name in held}), tap) is said

    class Mixed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1, 2))

    def mixed() -> nn.Module:
        layers = nn.Conv1d(4, 6, 1), nn.ReLU(), nn.LayerNorm(4), nn.Flatten(), nn.Linear(24, 4)
        return Mixed(*layers)

    few = blobs(8).batch()
    said = r"layer '1' gives \(6, 4\) per image, and nothing tells"
    for term in (Hint, Attention):
        with pytest.raises(ValueError, match=said):
            Learner.of(mixed(), 1.0 * term(mixed(), {"1": "1"}), few)
        Learner.of(mixed(), 1.0 * term(mixed(), {"0": "0"}), few)  # as the advice has it
    Learner.of(mixed(), 1.0 * Similarity(mixed(), {"1": "1"}), few)  # where it does not matter
    with pytest.raises(ValueError, match=r"cannot pair 'block', of shape \(4, 6\) per image"):
        pair = Hint(Positions("plane", 6), {"block": "block"})
        Learner.of(Positions("tokens", 6), 1.0 * pair, few)


def test_relations_of_maps_are_those_of_their_vectors_without_all_their_differences() -> None:
    torch.manual_seed(0)
    f_s, f_t = torch.randn(10, 3, 4, 4), torch.randn(10, 5, 2, 2)
    f_s[1] = f_s[0]  # equal images have no direction between them
    f_s.requires_grad_()
    for where in (None, torch.arange(10) % 3 > 0):
        found = losses.relational(f_s, f_t, where=where)
        wanted = losses.relational(f_s.flatten(1), f_t.flatten(1), where=where)
        torch.testing.assert_close(found, wanted)
        slopes = [torch.autograd.grad(loss, f_s)[0] for loss in (found, wanted)]
        torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-6)

    sizes: list[int] = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kw: Any = None) -> Any:
            out = func(*args, **(kw or {}))
            sizes.extend(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))
            return out

    large = torch.randn(12, 4, 20, 20, requires_grad=True)
    with Sizes():
        losses.relational(large, torch.randn(12, 4, 20, 20)).backward()
    assert max(sizes) == large.numel() < 12 * large.numel()


# ---- terms of one's own --------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Weighted(Term):
    """Cross-entropy whose classes have weights."""

    weights: Tensor
    sharpness: Number = 1.0

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        z, sharpness = step.observation.logits, step.value(self.sharpness)
        return nn.functional.cross_entropy(sharpness * z, step.batch.y, self.weights)


def test_terms_with_tensors_train_and_are_compared() -> None:
    weights, examples = torch.tensor([1.0, 2.0, 3.0, 4.0]), blobs(32)
    one, same = Weighted(weights), Weighted(weights)
    assert one == same and hash(one) == hash(same)
    assert one != Weighted(weights.clone()) and one != Weighted(weights, 2.0)
    assert one != HardLabels() and 0.5 * one + HardLabels() == 0.5 * same + HardLabels()
    assert 0.5 * one != 0.5 * Weighted(weights.clone())
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    run = fit(student, examples, one, epochs=1, batch=16, seed=0)
    bank = train_bank(
        lambda sharpness: Weighted(weights, sharpness), student=student, examples=examples,
        grid={"sharpness": [1.0, 2.0]}, seeds=1, epochs=1, batch=16, cache=False,
        evaluate={"test": examples},
    )  # fmt: skip
    torch.testing.assert_close(bank.logits["test"][0, 0], run.logits(examples))


def test_a_term_that_is_no_frozen_dataclass_is_told() -> None:
    class Plain(Term):
        def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
            return step.observation.logits.sum()

    @dataclass
    class Thawed(Term):
        T: Number = 1.0

    class Initialised(Plain):
        def __init__(self) -> None:
            self.T = 1.0

    student, examples = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), blobs(16)
    before = state(student)
    for kind in (Plain, Thawed, Initialised):
        with pytest.raises(ValueError, match=f"{kind.__name__} .* @dataclass.frozen=True. above"):
            fit(student, examples, kind(), seed=0)
    assert not moved(student, before)


def test_a_weight_may_be_a_tensor_of_one_number() -> None:
    half, term = torch.tensor(0.5), HardLabels()
    for found in (half * term, term * half, term / torch.tensor(2.0), half.double() * term):
        assert found == 0.5 * term and str(found) == str(0.5 * term)
    with pytest.raises(ValueError, match="nan"):
        torch.tensor(torch.nan) * term
    for weight in (torch.ones(2), torch.tensor(0.5, requires_grad=True)):  # it would not be learned
        with pytest.raises(TypeError):
            weight * term


# ---- torchvision ---------------------------------------------------------------------------------


def shallow_vgg() -> nn.Module:
    network = vision.models.vgg11(weights=None)
    network.classifier = nn.Sequential(nn.Linear(512 * 49, 10))  # its own takes half a minute
    return network  # type: ignore[no-any-return]


def of_torchvision(name: str) -> nn.Module:
    """One of this kind with 10 classes for 32 × 32 pixels, untrained and as small as it gets."""
    kinds, how = vision.models, {"weights": None, "num_classes": 10}
    if name == "googlenet":
        how |= {"aux_logits": False, "init_weights": True}
    built = {
        "maxvit": lambda: kinds.MaxVit(
            (32, 32), 8, 4, [8, 16], [1, 1], 8, 0.1, num_classes=10
        ),
        "swin": lambda: kinds.SwinTransformer(
            [2, 2], 12, [1, 1], [2, 2], [2, 2], num_classes=10
        ),
        "swin 2": lambda: kinds.SwinTransformer(
            [2, 2], 12, [1, 1], [2, 2], [2, 2], num_classes=10,
            block=kinds.swin_transformer.SwinTransformerBlockV2,
            downsample_layer=kinds.swin_transformer.PatchMergingV2,
        ),
        "vgg": shallow_vgg,
        "vit": lambda: kinds.VisionTransformer(32, 16, 1, 2, 32, 64, num_classes=10),
    }  # fmt: skip
    return built[name]() if name in built else getattr(kinds, name)(**how)  # type: ignore[no-any-return]


TORCHVISION = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "maxvit",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin", "swin 2", "vgg", "vit",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_kind_of_torchvision_trains_from_a_seed_and_in_a_bank(name: str) -> None:
    size = 64 if name == "alexnet" else 32
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 3, size, size, generator=generator)
    examples = Examples(x, torch.arange(8) % 4)
    how: dict[str, Any] = {"epochs": 1, "batch": 4, "precision": "fp32"}

    def build() -> nn.Module:
        return of_torchvision(name)

    run = fit(build, examples, seed=0, **how)
    assert len(run.history) == 1 and run.logits(examples).isfinite().all()
    bank = train_bank(
        student=build, examples=examples, seeds=2, engine="sequential", cache=False,
        evaluate={"test": examples}, **how,
    )  # fmt: skip
    assert not torch.equal(*bank.logits["test"])
    torch.testing.assert_close(bank.logits["test"][0], run.logits(examples), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("how", ["table", "augmented", "layers"])
def test_a_teacher_of_another_precision_is_asked_in_its_own(dtype: torch.dtype, how: str) -> None:
    examples = Examples(torch.rand(24, 1, 4, 4), torch.arange(24) % 4)
    teacher = initialise(mlp(16, 8, 4), 1).to(dtype)
    plain = copy.deepcopy(teacher).float()
    runs = []
    for one in (teacher, plain):
        objective = Hint(one, {"stage1": "stage1"}) if how == "layers" else SoftTargets(one, 4)
        augment = (lambda x, generator: x + 0.0) if how == "augmented" else None
        run = fit(mlp(16, 8, 4), examples, objective, epochs=2, seed=0, augment=augment)
        runs.append(run.logits(examples))
    torch.testing.assert_close(*runs, rtol=0.1, atol=0.1)
    assert next(teacher.parameters()).dtype == dtype
