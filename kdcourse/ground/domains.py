"""The domain task of pages 06 to 09, and the one table to which each of them adds its rows.

Source: MNIST-5k, cut to its inner 20 × 20 pixels and resized to 16 × 16. Target: scikit-learn's
digits in the order of their file, which follows their writers, resized to 16 × 16. Fold A adapts on
its first 1,097 images and is tested on the last 500; fold B adapts on the last 1,097 and is tested
on the first 500. The same source network stands at every start: cnn(16), 4 epochs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdcourse.catalogue import Course
from kdcourse.ground.keeping import kept
from kdcourse.pages import tables
from kdlib import metrics
from kdlib.data import Examples, jitter, load, shifts
from kdlib.models import cnn, initialise, predict
from kdlib.training import fit

PIXELS, FOLDS = 16, ("A", "B")


class Domains(NamedTuple):
    """Images to train on and to score on, at home (domain 0) and in the new place (domain 1).

    spare: 200 target images of neither, to choose rates on (in fold A; in B they are adapted on).
    """

    source: Examples
    source_test: Examples
    target: Examples
    target_test: Examples
    spare: Examples


def domains(fold: str = "A", *, inner: int = 20) -> Domains:
    """The images of a fold; inner=28 leaves MNIST's margin on. ValueError for other folds."""
    if fold not in FOLDS:
        raise ValueError(f"fold {fold!r}; expected 'A' or 'B'")
    source, _, source_test = load("mnist5k")
    cut = shifts.crop(inner, PIXELS)
    digits = load("digits", size=PIXELS)
    whole = (digits.train + digits.validation + digits.test).as_domain(1)
    target, target_test = (
        (whole[:1097], whole[1297:]) if fold == "A" else (whole[700:], whole[:500])
    )
    return Domains(
        source.transformed(cut).called("MNIST, inner part"),
        source_test.transformed(cut).called("MNIST, inner part, test"),
        target.called("digits"),
        target_test.called("digits, other writers"),
        whole[1097:1297].called("digits, to choose rates"),
    )


def source_network(source: Examples, *, seed: int, epochs: int = 4) -> nn.Module:
    """cnn(16), trained on the source alone for 4 epochs; trained once and kept."""
    network = initialise(cnn(16), seed)

    def training(network: nn.Module) -> None:
        how: dict[str, Any] = {"epochs": epochs, "batch": 64, "lr": 1e-2, "augment": jitter(1)}
        fit(network, source, seed=seed, order_seed=seed, precision="fp32", **how)

    return kept(network, training, source.fingerprint, epochs, seed)


# ---- the table ----------------------------------------------------------------------------------


def row(
    way: str, fold: str, seed: int, network: nn.Module, here: Domains, **more: Any
) -> dict[str, Any]:
    """What a lesson's `table.json` keeps of one network: which test images it gets wrong."""
    wrong = metrics.wrong(predict(network, here.target_test), here.target_test.y)
    at_home = metrics.wrong(predict(network, here.source_test), here.source_test.y)
    bits = "".join(f"{int(bit)}" for bit in wrong)
    return {
        "way": way,
        "fold": fold,
        "seed": seed,
        "wrong": f"{int('1' + bits, 2):x}",  # four images a digit; the first digit is a 1
        "source error": round(100 * float(at_home.double().mean()), 2),
        **more,
    }


@dataclass
class Way:
    """One way to the target, from the stored rows of its page.

    wrong: fold → bool (seeds, images) · source_error: mean error % at home, fold A · page: "08".
    """

    page: str
    wrong: dict[str, Tensor] = field(default_factory=dict)
    source_error: float = float("nan")

    def error(self, fold: str = "A") -> metrics.Interval:
        """Target error % with its 95 % interval, over seeds and images."""
        return metrics.interval(100 * self.wrong[fold].double())


def ways(until: str, course: Course | None = None) -> dict[str, Way]:
    """The ways of all pages up to this one, "08", in order: name → Way."""
    found: dict[str, Way] = {}
    for lesson in (course or Course()).lessons():
        if lesson.number <= until and lesson.maker.exists():
            found |= _read(lesson.number, tables.read(lesson.maker))
    return found


def _read(page: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Way]]:
    of_way: dict[str, list[Mapping[str, Any]]] = {}
    for one in (one for one in rows if {"way", "fold"} <= set(one)):
        of_way.setdefault(one["way"], []).append(one)
    for name, many in of_way.items():
        way = Way(page)
        for fold in FOLDS:
            here = sorted((one for one in many if one["fold"] == fold), key=lambda one: one["seed"])
            if here:
                way.wrong[fold] = torch.stack([_bits(one["wrong"]) for one in here])
        at_home = [one["source error"] for one in many if one["fold"] == "A"]
        way.source_error = sum(at_home) / len(at_home)
        yield name, way


def _bits(packed: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in bin(int(packed, 16))[3:]])


def table(ways: Mapping[str, Way], new: str = "") -> tuple[list[str], list[list[str]]]:
    """Head and rows for `figures.show_table`: way, target error in both folds, source error, page.

    new: the page whose own rows stand in bold.
    """
    head = ["", "target error %, fold A", "fold B", "source error %", "page"]
    rows = []
    for name, way in ways.items():
        errors = [f"{way.error(fold):.1f}" if fold in way.wrong else "" for fold in FOLDS]
        bold = "**" if way.page == new else ""
        rows.append([f"{bold}{name}{bold}", *errors, f"{way.source_error:.1f}", way.page])
    return head, rows
