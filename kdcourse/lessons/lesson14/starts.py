"""Networks with outputs that nobody trains, where students begin, and what these imitate."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from kdlib.bank import Bank, train_bank
from kdlib.data import Examples, transfer_set
from kdlib.models import MLP, initialise, mlp, observe, predict
from kdlib.objectives import HardLabels, Objective, SoftTargets, outputs, tabulate

CLASSES, OUTPUTS = 10, 30  # ten classes, and twenty outputs of which a student imitates m
COUNT = 8192  # noise images
BEFORE, EPOCHS = 10, 12  # of the teacher, of a student
OTHER = 1000  # added to a seed: another initialisation
HOW: dict[str, Any] = {
    "lr": 1e-3, "schedule": "constant", "cache": False, "engine": "sequential"
}  # fmt: skip

Start = Callable[[int], nn.Module]
"""Seed -> a network before training."""


def network() -> MLP:
    """mlp(784, 128, 128, 30); pixels in [0, 1] are seen as [-1, 1]."""
    built = mlp(784, 128, 128, OUTPUTS)
    built.normalise.mean.fill_(0.5)
    built.normalise.std.fill_(0.5)
    return built


@torch.no_grad()
def drawn(seed: int) -> nn.Module:
    """Weights N(0, 1 / inputs), biases 0, as Cloud et al. (2025) have them."""
    generator, begun = torch.Generator().manual_seed(seed), network()
    for weight in begun.parameters():
        if weight.dim() == 2:
            weight.normal_(generator=generator).div_(weight.shape[1] ** 0.5)
        else:
            weight.zero_()
    return begun


def other(seed: int) -> nn.Module:
    """Another initialisation than that of `drawn(seed)`."""
    return drawn(seed + OTHER)


def default(seed: int) -> nn.Module:
    """PyTorch's own initialisation: weights and biases uniform, a third of the variance."""
    return initialise(network(), seed)


def joined(hidden: nn.Module, head: nn.Module) -> nn.Module:
    """A network with the hidden layers of one and the head of the other."""
    built, parts = network(), dict(hidden.state_dict())
    built.load_state_dict(parts | {k: v for k, v in head.state_dict().items() if "head" in k})
    return built


def noise(train: Examples, count: int = COUNT, *, seed: int = 9) -> Examples:
    """Images of uniform noise, without labels."""
    return transfer_set(train, "noise", count=count, seed=seed)


def images(kind: str, train: Examples, count: int = COUNT) -> Examples:
    """Images without a digit, of another kind; "shuffled" digits are as dark as digits are."""
    if kind == "shuffled digits":
        return transfer_set(train, "shuffled", count=count, seed=9)
    if kind == "digits less their mean":  # at half the contrast, so that pixels stay in [0, 1]
        x = train.batch().x
        return Examples((x - x.mean(0)) / 2 + 0.5, torch.full((len(x),), -1), name=kind)
    generator = torch.Generator().manual_seed(9)
    side = 7 if kind == "coarse noise" else 28
    x = torch.rand(count, 1, side, side, generator=generator)
    made = {
        "black or white": (x > 0.5).float(),
        "coarse noise": x.repeat_interleave(28 // side, 2).repeat_interleave(28 // side, 3),
        "dark noise": 0.26 * x,  # as bright on average as digits are
    }
    return Examples(made[kind], torch.full((count,), -1), name=kind)


def taught(seeds: Iterable[int], train: Examples, test: Examples, start: Start = drawn,
           epochs: int = BEFORE) -> Bank:  # fmt: skip
    """Teachers, one for each seed: they learn the classes; no loss reads their other outputs."""
    where: dict[str, Any] = {"seeds": list(seeds), "evaluate": {"test": test}}
    labels = outputs(range(CLASSES), HardLabels())
    built = start(next(iter(seeds)))
    return train_bank(
        labels, student=built, examples=train, start=start, epochs=epochs, **where, **HOW
    )


def imitate(
    teacher: Start, images: Examples, which: Iterable[int], start: Start, test: Examples, *,
    seeds: Iterable[int], epochs: int = EPOCHS, shuffle: bool = False,
) -> Bank:  # fmt: skip
    """Students of `teacher(seed)`, seed by seed: KL on these outputs alone, on these images.

    shuffle: each image gets the answer to another one.
    """
    chosen, part = list(seeds), tuple(which)
    answers = {seed: tabulate(teacher(seed), images) for seed in chosen}
    if shuffle:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(9))
        answers = {s: t.answering(t.logits[order], "shuffled") for s, t in answers.items()}

    def objective(seed: int) -> Objective:
        return outputs(part, SoftTargets(answers[seed], T=1))

    where: dict[str, Any] = {"seeds": chosen, "evaluate": {"test": test}, "epochs": epochs}
    return train_bank(
        objective, student=start(chosen[0]), examples=images, start=start, **where, **HOW
    )


def auxiliary(m: int) -> range:
    """The first m outputs that no loss of the teacher reads."""
    return range(CLASSES, CLASSES + m)


def wrong(bank: Bank) -> Tensor:
    """Which digits are answered wrong by the ten class outputs: (seeds, images)."""
    return bank.logits["test"][..., :CLASSES].argmax(-1) != bank.labels["test"]


def of(bank: Bank) -> Start:
    """Seed -> this bank's network."""
    return lambda seed: bank.network(seed=seed)


def untrained(start: Start, test: Examples, seeds: Iterable[int]) -> Tensor:
    """Which digits networks before training answer wrong: (seeds, images)."""
    answers = [predict(start(s), test)[:, :CLASSES].argmax(1) for s in seeds]
    return torch.stack(answers) != test.y


def mislabelled(train: Examples) -> Examples:
    """The same images, their labels shuffled."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(9))
    return train.labelled_as(train.y[order])


def apart(
    teacher: nn.Module, student: nn.Module | None, images: Examples, which: Iterable[int]
) -> float:
    """KL(p ‖ q) on these outputs, mean over images; without a student q is the mean of all p."""
    part = list(which)
    log_p = predict(teacher, images)[:, part].log_softmax(1)
    one = log_p.exp().mean(0, keepdim=True).log()
    log_q = one if student is None else predict(student, images)[:, part].log_softmax(1)
    return float((log_p.exp() * (log_p - log_q)).sum(1).mean())


@torch.no_grad()
def probe(network: nn.Module, train: Examples, test: Examples) -> Tensor:
    """Which digits a new head reads wrong, (images,): ridge regression on the last hidden layer."""
    features = []
    for examples in (train, test):
        seen = observe(network.eval(), examples.batch().x, "embedding").features["embedding"]
        features.append(torch.cat([seen, torch.ones(len(seen), 1)], 1))
    aim = torch.nn.functional.one_hot(train.y, CLASSES).float()
    gram = features[0].T @ features[0] + torch.eye(features[0].shape[1])
    head = torch.linalg.solve(gram, features[0].T @ aim)
    return (features[1] @ head).argmax(1) != test.y


def way(begun: nn.Module, now: nn.Module) -> Tensor:
    """How far each weight has moved: one vector."""
    ends = [parameters_to_vector(net.parameters()).detach() for net in (begun, now)]
    return ends[1] - ends[0]


# ---- rivals -------------------------------------------------------------------------------------


def shifted(start: Start, seed: int) -> nn.Module:
    """Another initialisation of the kind of `start`."""
    return start(seed + OTHER)


def uncentred(seed: int) -> nn.Module:
    """`drawn(seed)`, normalised by MNIST's statistics: noise is then seen as far too bright."""
    built, state = network(), drawn(seed).state_dict()
    usual = mlp(784, 1).normalise.state_dict()
    built.load_state_dict(state | {f"normalise.{name}": value for name, value in usual.items()})
    return built


@torch.no_grad()
def near(seed: int, rho: float) -> nn.Module:
    """Weights that correlate with those of `drawn(seed)` by rho, as large as these."""
    mixed, apart = drawn(seed), other(seed)
    for weight, far in zip(mixed.parameters(), apart.parameters(), strict=True):
        weight.mul_(rho).add_((1 - rho**2) ** 0.5 * far)
    return mixed


@torch.no_grad()
def reordered(begun: nn.Module, first: Tensor, second: Tensor) -> nn.Module:
    """The same function: the units of both hidden layers in another order."""
    state = begun.state_dict()
    state["stage1.0.weight"] = state["stage1.0.weight"][first]
    state["stage1.0.bias"] = state["stage1.0.bias"][first]
    state["stage2.0.weight"] = state["stage2.0.weight"][second][:, first]
    state["stage2.0.bias"] = state["stage2.0.bias"][second]
    state["head.weight"] = state["head.weight"][:, second]
    built = network()
    built.load_state_dict(state)
    return built


def shuffled(seed: int) -> nn.Module:
    """`drawn(seed)` with its hidden units in another order."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(128, generator=generator) for _ in range(2)]
    return reordered(drawn(seed), *orders)


def aligned(seed: int) -> nn.Module:
    """`other(seed)`, its hidden units in the order in which they are most like `drawn(seed)`."""
    own, far = drawn(seed).state_dict(), other(seed)
    first = _order(own["stage1.0.weight"], far.get_parameter("stage1.0.weight"))
    half = reordered(far, first, torch.arange(128)).state_dict()
    rows = [torch.cat([s["stage2.0.weight"], s["head.weight"].T], 1) for s in (own, half)]
    return reordered(far, first, _order(*rows))


def _order(wanted: Tensor, given: Tensor) -> Tensor:
    """Which row of `given` goes where, so that the rows' products with `wanted` are largest."""
    _, order = linear_sum_assignment((wanted @ given.T).detach().numpy(), maximize=True)
    return torch.as_tensor(order)
