"""Trains what the page shows but has no minute for, and stores it beside: table.json.

The build runs it whenever the stored table is not of this very file and library. One cell of the
table is one trained network: a shift (which target), a method, a seed. Settings were found on
seeds 0 and 1 and left alone; the table holds fresh seeds from 10 on. Everything runs in float32.
No method sees a target label: they are opened at the end, to score (and by the oracle, to train).
"""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from kdcourse.pages import tables
from kdlib import adaptation, metrics
from kdlib.data import Examples, jitter, load, shifts
from kdlib.models import cnn, initialise, predict
from kdlib.objectives import HardLabels, Objective, progress
from kdlib.training import fit

SEEDS = range(10, 15)
LEVELS = (0.25, 0.5, 0.75, 1.0)
SHIFTS = ("rotate", "texture", "contrast")
STRENGTHS = (0.3, 1.0, 3.0)
LABELS = HardLabels()

JOINT: dict[str, Objective] = {
    "source, longer": LABELS,
    "MMD": LABELS + 3 * adaptation.MMD("embedding"),
    "CORAL": LABELS + 100 * adaptation.CORAL("embedding"),
    "CDAN": LABELS + adaptation.CDAN("embedding"),
    "mean teacher": LABELS + 3 * progress * adaptation.MeanTeacher(decay=0.95),
    "MCC": LABELS + adaptation.MCC(),
    "MCC, cold start": LABELS + adaptation.MCC(),
    **{f"DANN, {s:g}": LABELS + adaptation.DANN("embedding", strength=s) for s in STRENGTHS},
}
FREE: dict[str, Objective] = {
    "entropy alone": adaptation.InformationMaximization(diversity=0),
    "MCC, frozen head": adaptation.MCC(),
    "SHOT-IM": adaptation.InformationMaximization(),
}
QUICK = ("source only", "AdaBN", "SHOT-IM")


class Domains(NamedTuple):
    """source and target: images to train on · source_test, target_test: to score on."""

    source: Examples
    source_test: Examples
    target: Examples
    target_test: Examples


def cells() -> Iterator[tuple[str, str, int]]:
    """(shift, method, seed) of every network in the table."""
    for method in ("source only", "AdaBN", *FREE, *JOINT, "oracle"):
        many = method.startswith("DANN")
        yield from (("digits", method, s) for s in (range(10, 20) if many else SEEDS))
    for method in ("source only", "AdaBN", "SHOT-IM", "MCC", "oracle"):
        yield from (("digits, cropped source", method, seed) for seed in SEEDS)
    for name in ("none at 0", *(f"{name} at {level:g}" for name in SHIFTS for level in LEVELS)):
        yield from ((name, method, seed) for method in QUICK for seed in SEEDS)


@cache
def domains(shift: str) -> Domains:
    """The images of one shift: scikit-learn's digits, or MNIST-5k changed."""
    if shift.startswith("digits"):
        cropped = shift != "digits"
        mnist = load("mnist5k") if cropped else load("mnist5k", size=16)
        train, _, test = (one.transformed(shifts.crop(20, 16)) if cropped else one for one in mnist)
        away = load("digits", size=16)
        return Domains(train, test, away.train.as_domain(1), away.test)
    train, validation, test = load("mnist5k", size=16)
    name, level = shift.split(" at ")
    change = shifts.severity("rotate" if name == "none" else name, float(level))
    target, target_test = (one.transformed(change) for one in (validation, test))
    return Domains(train, test, target.as_domain(1), target_test)


@cache
def at_home(cropped: bool, seed: int) -> nn.Module:
    """The network trained on the source alone, which all warm methods start from."""
    source = domains("digits, cropped source" if cropped else "digits").source
    how: dict[str, Any] = {"epochs": 4, "batch": 64, "lr": 1e-2, "augment": jitter(1)}
    return fit(cnn(16), source, seed=seed, order_seed=seed, precision="fp32", **how).network


def adapted(shift: str, method: str, seed: int) -> nn.Module:
    """The network of one cell. Its BatchNorm statistics are the target's, but for source only."""
    here = domains(shift)
    target = here.target if method == "oracle" else here.target.unlabelled()
    network = copy.deepcopy(at_home(shift == "digits, cropped source", seed))
    how: dict[str, Any] = {"batch": 128, "order_seed": seed, "precision": "fp32"}
    if method == "source only":
        return network
    if method == "oracle":
        initialise(network, seed)
        fit(network, target, epochs=15, lr=1e-2, augment=jitter(1), **how)
    elif method in FREE:
        adaptation.freeze(adaptation.adabn(network, target), "head")
        fit(network, target, FREE[method], epochs=4, lr=1e-2, augment=jitter(1), **how)
    elif method in JOINT:
        if "cold" in method:
            initialise(network, seed)
        both = here.source.as_domain(0) + target
        epochs, lr = (7, 1e-2) if "cold" in method else (3, 3e-3)  # 7: 4 at home and 3 together
        fit(network, both, JOINT[method], epochs=epochs, lr=lr, augment=jitter(1), **how)
    return adaptation.adabn(network, target)


def cell(shift: str, method: str, seed: int) -> dict[str, Any]:
    """What the table keeps of one network: its errors, counts and scores without labels."""
    here, network = domains(shift), adapted(shift, method, seed)
    logits, unseen = predict(network, here.target), predict(network, here.target_test)
    wrong = metrics.wrong(unseen, here.target_test.y)
    at_source = copy.deepcopy(network)
    if method != "source only":
        adaptation.adabn(at_source, here.source)
    return {
        "shift": shift,
        "method": method,
        "seed": seed,
        "wrong": "".join(f"{int(one)}" for one in wrong),
        "source error": float(
            metrics.error_percent(predict(at_source, here.source_test), here.source_test.y)
        ),
        "counts": torch.bincount(logits.argmax(-1), minlength=10).tolist(),
        "scores": {
            "negative entropy": round(metrics.negative_entropy(logits), 5),
            "information maximization": round(metrics.information_maximization_score(logits), 5),
            "SND": round(metrics.snd(logits), 5),
            "BNM": round(metrics.bnm(logits), 5),
        },
    }


def packed(row: dict[str, Any]) -> dict[str, Any]:
    """Right and wrong as hexadecimal digits, four images each; the first digit is a 1."""
    return row | {"wrong": f"{int('1' + row['wrong'], 2):x}"}


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, [packed(cell(*place)) for place in cells()])


if __name__ == "__main__":
    main()
