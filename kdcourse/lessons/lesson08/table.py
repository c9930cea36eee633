"""Trains what page 08 shows but has no minute for, and stores it beside: table.json.

The build runs it whenever the stored table is not of this very file and library. Settings were
found on seeds 0 and 1; the rows are of seeds from 10 on. No method sees a target label: they are
opened at the end, to score (and by the oracle, to train). Kinds of rows:

way: a row of the course's growing table, both folds · more: variants, fold A · thinned: adapted on
images of which classes 0 to 4 were thinned to a tenth · fewer: as few images, classes even ·
diversity: SHOT-IM with other weights of its second term, even and thinned, seeds 20 to 29 ·
severity: MNIST's own digits, changed more and more.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import nn

from kdcourse.ground import domains
from kdcourse.ground.domains import Domains
from kdcourse.pages import tables
from kdlib import adaptation, metrics
from kdlib.adaptation import CORAL, MCC, MMD, InformationMaximization, MeanTeacher, adabn, freeze
from kdlib.data import Examples, jitter, load, shifts
from kdlib.models import cnn, initialise, predict
from kdlib.objectives import HardLabels, Objective, progress
from kdlib.training import fit

SEEDS = {"A": range(10, 20), "B": range(10, 15)}
FRESH = range(20, 30)
LEVELS = (0.25, 0.5, 0.75, 1.0)
SHIFTS = ("rotate", "contrast")
DIVERSITIES = (0.0, 0.3, 0.5, 1.0)
KERNELS = ("stage1.0", "stage2.0", "stage3.0", "head")  # all but BatchNorm's own weights
LABELS = HardLabels()
HOW: dict[str, Any] = {"batch": 128, "lr": 1e-2, "augment": jitter(1), "precision": "fp32"}

Way = Callable[[nn.Module, Domains, Examples, int], nn.Module]


class Place(NamedTuple):
    """One row: its kind, its name, fold and seed."""

    kind: str
    name: str
    fold: str
    seed: int


# ---- ways that see the target only --------------------------------------------------------------


def statistics(network: nn.Module, here: Domains, images: Examples, seed: int) -> nn.Module:
    """AdaBN."""
    return adabn(copy.deepcopy(network), images)


def on_target(
    network: nn.Module, here: Domains, images: Examples, seed: int,
    *, term: Objective, held: tuple[str, ...] = ("head",),
) -> nn.Module:  # fmt: skip
    """One term on the target's images, from AdaBN's network, `held` frozen."""
    moved = freeze(adabn(copy.deepcopy(network), images), *held)
    fit(moved, images, term, epochs=4, order_seed=seed, **HOW)
    return adabn(moved, images)


def self_training(
    network: nn.Module, here: Domains, images: Examples, seed: int, *, balanced: bool
) -> nn.Module:
    """Three rounds: answer, keep the confident answers as labels, train on them from AdaBN again.

    Kept are answers of at least 0.9; or, balanced, the most confident 40, 70 and 100 % of an even
    share for each class that is answered.
    """
    start = adabn(copy.deepcopy(network), images)
    moved = start
    for turn in range(3):
        confidence, y = predict(moved, images).softmax(-1).max(-1)
        keep = confidence >= 0.9
        if balanced:
            most = int(len(images) / 10 * (0.4 + 0.3 * turn))
            keep = torch.zeros(len(y), dtype=torch.bool)
            for k in range(10):
                of_class = (y == k).nonzero()[:, 0]
                best = confidence[of_class].argsort(descending=True)[:most]
                keep[of_class[best]] = True
        chosen = images.labelled_as(y)[keep]
        moved = copy.deepcopy(start)
        fit(moved, chosen, epochs=4, order_seed=seed + turn, **{**HOW, "lr": 3e-3})
        adabn(moved, images)
    return moved


# ---- ways that see both -------------------------------------------------------------------------


def jointly(
    network: nn.Module, here: Domains, images: Examples, seed: int,
    *, objective: Objective, epochs: int = 3,
) -> nn.Module:  # fmt: skip
    """Source (with labels) and target (without) in one training, then the target's statistics."""
    moved, both = copy.deepcopy(network), here.source + images
    fit(moved, both, objective, epochs=epochs, order_seed=seed, **{**HOW, "lr": 3e-3})
    return adabn(moved, images)


def oracle(network: nn.Module, here: Domains, images: Examples, seed: int) -> nn.Module:
    """Fresh weights, trained on the target's labels to the end."""
    fresh = initialise(cnn(16), seed)
    fit(fresh, here.target, epochs=40, order_seed=seed, **{**HOW, "batch": 64})
    return adabn(fresh, images)


def following(confidence: float) -> Objective:
    """The mean teacher: images of which it is less confident don't count."""
    return LABELS + 30 * progress * MeanTeacher(decay=0.95, confidence=confidence)


WAYS: dict[str, Way] = {
    "AdaBN": statistics,
    "Tent": partial(on_target, term=InformationMaximization(diversity=0), held=KERNELS),
    "entropy": partial(on_target, term=InformationMaximization(diversity=0)),
    "SHOT-IM": partial(on_target, term=InformationMaximization()),
    "self-training": partial(self_training, balanced=False),
    "self-training, balanced": partial(self_training, balanced=True),
    "source, longer": partial(jointly, objective=LABELS),
    "MMD": partial(jointly, objective=LABELS + 3 * MMD("embedding")),
    "CORAL": partial(jointly, objective=LABELS + 100 * CORAL("embedding")),
    "DANN": partial(jointly, objective=LABELS + adaptation.DANN("embedding", strength=0.3)),
    "MCC": partial(jointly, objective=LABELS + MCC()),
    "mean teacher": partial(jointly, objective=following(0.8), epochs=6),
    "oracle": oracle,
}
MORE: dict[str, Way] = {
    "DANN, strength 1": partial(jointly, objective=LABELS + adaptation.DANN("embedding")),
    "DANN, strength 3": partial(
        jointly, objective=LABELS + adaptation.DANN("embedding", strength=3)
    ),
    "CDAN": partial(jointly, objective=LABELS + adaptation.CDAN("embedding")),
    "MCC, target only": partial(on_target, term=MCC()),
    "mean teacher, all images": partial(jointly, objective=following(0.0), epochs=6),
    "source, longer, 6 epochs": partial(jointly, objective=LABELS, epochs=6),
    "SHOT-IM, all weights": partial(on_target, term=InformationMaximization(), held=()),
    "AdaBN, uncropped": statistics,
    "SHOT-IM, uncropped": partial(on_target, term=InformationMaximization()),
}
NO_SOURCE = ("AdaBN", "Tent", "entropy", "SHOT-IM", "self-training", "self-training, balanced")
THINNED = (*NO_SOURCE, "source, longer", "MMD", "DANN", "MCC")
FEWER = ("AdaBN", "SHOT-IM", "self-training, balanced", "MMD", "DANN", "MCC")
QUICK = ("source only", "AdaBN", "SHOT-IM")


# ---- rows ---------------------------------------------------------------------------------------


def places() -> Iterator[Place]:
    """Every row of the table, in order."""
    both = [(fold, seed) for fold, seeds in SEEDS.items() for seed in seeds]
    first = SEEDS["A"][:5]
    yield from (Place("way", name, *at) for name in WAYS for at in both)
    for name in MORE:
        seeds = SEEDS["A"] if "DANN" in name else first
        yield from (Place("more", name, "A", seed) for seed in seeds)
    for name in THINNED:
        yield from (Place("thinned", name, *at) for at in both if at[0] == "A" or name in NO_SOURCE)
    yield from (Place("fewer", name, "A", seed) for name in FEWER for seed in first)
    for weight in DIVERSITIES:
        for classes in ("even", "thinned"):
            name = f"{weight:g}, {classes}"
            yield from (Place("diversity", name, "A", seed) for seed in FRESH)
    for where in ("none at 0", *(f"{name} at {level:g}" for name in SHIFTS for level in LEVELS)):
        yield from (
            Place("severity", f"{name}, {where}", "A", seed) for name in QUICK for seed in first
        )


@cache
def images_of(fold: str, inner: int = 20) -> Domains:
    return domains.domains(fold, inner=inner)


@cache
def changed(where: str) -> Domains:
    """The source's own held-out digits, changed: 500 to adapt on, 1,000 to be scored on."""
    here, (name, level) = images_of("A"), where.split(" at ")
    change = shifts.severity("rotate" if name == "none" else name, float(level))
    spare = load("mnist5k").validation.transformed(shifts.crop(20, 16))
    target, test = (part.transformed(change).as_domain(1) for part in (spare, here.source_test))
    return here._replace(target=target, target_test=test)


def thinned(target: Examples, seed: int) -> Examples:
    """The target with classes 0 to 4 thinned to about a tenth."""
    chance = torch.rand(len(target), generator=torch.Generator().manual_seed(seed))
    return target[(target.y >= 5) | (chance < 0.1)]


def adapted(place: Place) -> tuple[nn.Module, Domains, Examples]:
    """The network of a row, the images of its domains, and those it was adapted on."""
    kind, name, fold, seed = place
    here = images_of(fold, 28 if name.endswith("uncropped") else 20)
    way: Way
    if kind == "severity":
        name, where = name.split(", ")
        here = changed(where)
    network = domains.source_network(here.source, seed=seed)
    images = here.target
    if kind == "thinned" or name.endswith("thinned"):
        images = thinned(here.target, seed)
    elif kind == "fewer":
        images = here.target.split(len(thinned(here.target, seed)), seed=seed)[0]
    images = images.unlabelled()
    if name == "source only":
        return network, here, images
    if kind == "diversity":
        term = InformationMaximization(diversity=float(name.split(",")[0]))
        way = partial(on_target, term=term)
    else:
        way = (WAYS | MORE)[name]
    return way(network, here, images, seed), here, images


def cell(place: Place) -> dict[str, Any]:
    """What the table keeps of one network: its errors, its answers and scores without labels."""
    network, here, images = adapted(place)
    logits = predict(network, images)
    more: dict[str, Any] = {"counts": logits.argmax(-1).bincount(minlength=10).tolist()}
    if place.kind in ("way", "thinned"):
        more["scores"] = {
            "negative entropy": round(metrics.negative_entropy(logits), 4),
            "IM score": round(metrics.information_maximization_score(logits), 4),
            "SND": round(metrics.snd(logits), 4),
            "BNM": round(metrics.bnm(logits), 4),
        }
    row = domains.row(place.name, place.fold, place.seed, network, here, **more)
    name = row.pop("way")
    return {"way": name, **row} if place.kind == "way" else {place.kind: name, **row}


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, [cell(place) for place in places()])


if __name__ == "__main__":
    main()
