"""What is computed of tensors that are on a second device, and what is said of two at once."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gpu.pretend import pretend
from torch import Tensor
from torch.utils import _pytree as pytree
from unit.blobs import blobs

from kdlib import metrics
from kdlib.bank import train_bank
from kdlib.compression import factorise, prune, rounded, smaller
from kdlib.data import SHIFTS, Examples, channel_statistics
from kdlib.distances import DISTANCES, null_band
from kdlib.models import fingerprint, inherit, initialise, mlp, observe, predict
from kdlib.objectives import KernelSimilarity, ParameterL2, SoftTargets, merge, tabulate
from kdlib.training import fit

EX = blobs(40)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Z, OTHER, Y = drawn(40, 4), drawn(40, 4, seed=1), EX.y
F, F2 = drawn(30, 5), drawn(35, 5, seed=1) + 0.3
STRINGS, OTHERS = drawn(3, 6, 7), drawn(3, 6, 7, seed=1)
TOKENS = STRINGS.argmax(-1).roll(1, -1)

Case = tuple[Callable[..., Any], tuple[Tensor, ...]]
ON_LABELS: dict[str, Case] = {
    name: (getattr(metrics, name), (Z, Y))
    for name in (
        "accuracy", "calibration_error", "confusion", "coverage_error", "dark_knowledge",
        "error_percent", "macro_f1", "nll", "reliability", "wrong",
    )
} | {"inherited_errors": (metrics.inherited_errors, (Z, OTHER, Y))}  # fmt: skip
SCORES: dict[str, Case] = {
    **ON_LABELS,
    "agreement": (metrics.agreement, (Z, OTHER)),
    "calibration_null": (lambda z: metrics.calibration_null(z, draws=5), (Z,)),
    "cka": (metrics.cka, (F, F[:, :3].square())),
    "cka of wide maps": (metrics.cka, (drawn(4, 9), drawn(4, 9, seed=1))),
    "root_mean_square": (metrics.root_mean_square, (Z, OTHER)),
    "acceptance": (metrics.acceptance, (STRINGS, OTHERS)),
    "acceptance somewhere": (metrics.acceptance, (STRINGS, OTHERS, TOKENS > 1)),
    "errors_after": (metrics.errors_after, (TOKENS > 2,)),
    "log_probabilities": (metrics.log_probabilities, (STRINGS, TOKENS)),
    "sequence_scores": (
        lambda p, q: vars(metrics.sequence_scores(p, q)),
        (torch.full((4,), 0.25).log(), drawn(2, 4).log_softmax(-1)),
    ),
    "bnm": (metrics.bnm, (Z,)),
    "information_maximization_score": (metrics.information_maximization_score, (Z,)),
    "negative_entropy": (metrics.negative_entropy, (Z,)),
    "snd": (metrics.snd, (Z,)),
    "snd of features": (metrics.snd, (Z[:30], F)),
}
INTERVALS: dict[str, Case] = {
    "interval": (lambda v: vars(metrics.interval(v)), (Z,)),
    "difference": (lambda a, b: vars(metrics.difference(a, b)), (Z > 0, OTHER > 0)),
    "mean_intervals": (metrics.mean_intervals, (Z,)),
    "rank_correlation": (
        lambda a, b: vars(metrics.rank_correlation(a, b, draws=50)), (Z[:, 0], OTHER[:, 0]),
    ),
}  # fmt: skip
CLOUDS: dict[str, Case] = {name: (distance, (F, F2)) for name, distance in DISTANCES.items()}
CLOUDS["null_band"] = (lambda a, b: null_band(DISTANCES["mmd"], a, b, permutations=20), (F, F2))
ALL = {**SCORES, **INTERVALS, **CLOUDS}


def plain(told: Any) -> list[float]:
    """Every number in it, on the CPU."""
    leaves = pytree.tree_leaves(told)
    held = [leaf.cpu().double() if isinstance(leaf, Tensor) else np.array(leaf) for leaf in leaves]
    return [float(number) for part in held for number in np.asarray(part, dtype=float).ravel()]


@pytest.mark.parametrize("float64", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_of_tensors_that_are_there(name: str, float64: bool) -> None:
    act, given = ALL[name]
    with pretend(float64=float64) as device:
        told = plain(act(*(tensor.to(device) for tensor in given)))
    assert told == pytest.approx(plain(act(*given)), abs=1e-5, nan_ok=True) and told


@pytest.mark.parametrize("name", ON_LABELS)
def test_of_labels_that_stayed_here(name: str) -> None:
    """As in `metrics.accuracy(network(x), examples.y)`."""
    act, (*answers, y) = ON_LABELS[name]
    with pretend(float64=False) as device:
        told = plain(act(*(z.to(device) for z in answers), y))
    assert told == pytest.approx(plain(act(*answers, y)), abs=1e-5)


def test_every_score_is_tried() -> None:
    functions = {n for n, f in vars(metrics).items() if callable(f) and not isinstance(f, type)}
    tried = {name.split(" ")[0] for name in ALL}
    assert functions - tried == {
        "holm",
        "one_standard_error",
        "score",
    }  # of plain numbers; and `fit(validate=)`


# ---- examples and networks -----------------------------------------------------------------------

MADE: dict[str, Callable[[Any], Any]] = {
    "split": lambda d: [part.y for part in EX.to(d).split(10, 20)],
    "folds": lambda d: [part.y for pair in EX.to(d).folds(3) for part in pair],
    "per_class": lambda d: EX.to(d).per_class(3).x,
    "only": lambda d: EX.to(d).only([1, 2]).x,
    "chosen": lambda d: EX.to(d)[[3, 1]].x,
    "joined": lambda d: (EX.to(d) + EX.to(d)).batch([3, 41]).x,
    "sealed": lambda d: EX.to(d).seal()[1].error(predict(net(), EX), "to compare"),
    "statistics": lambda d: channel_statistics(EX.to(d)),
    "what is known again": lambda d: [EX.to(d).ids, int(EX.to(d).fingerprint[:8], 16)],
    "found": lambda d: tabulate(net(), EX).to(d).find(EX[[3, 1]].ids),
    "inherited": lambda d: answers_of(net(8, 2), lambda n: inherit(n, net().to(d))),
    "shrunk": lambda d: answers_of(net(4, 2), lambda n: inherit(n, net().to(d), shrink=True)),
    "fingerprint": lambda d: int(fingerprint(net().to(d))[:8], 16),
    "factorised": lambda d: predict(factorise(net().to(d), rank=2), EX),
    "pruned": lambda d: predict(prune(net().to(d), 0.5), EX),
    "rounded": lambda d: predict(rounded(net().to(d), 3), EX),
    "smaller": lambda d: predict(smaller(net().to(d), 0.5, EX.to(d).batch().x[:2]), EX),
} | {
    f"shifted by {name}": lambda d, make=make: EX.to(d).transformed(make(0.5)).x
    for name, make in SHIFTS.items()
}  # fmt: skip


def net(width: int = 8, seed: int = 1) -> Any:
    return initialise(mlp(16, width, 4), seed)


def answers_of(network: Any, act: Callable[[Any], Any]) -> Tensor:
    act(network)
    return predict(network, EX)


@pytest.mark.parametrize("name", MADE)
def test_of_examples_and_networks_that_are_there(name: str) -> None:
    with pretend(float64=False) as device:
        told = plain(MADE[name](device))
    assert told == pytest.approx(plain(MADE[name]("cpu")), abs=1e-5) and told


# ---- two devices at once -------------------------------------------------------------------------


def trained(term: Any, device: Any) -> Any:
    return fit(mlp(16, 6, 4), EX, term, epochs=1, seed=0, device=device)


def banked(term: Any, device: Any) -> Any:
    how: dict[str, Any] = dict(epochs=1, seeds=1, cache=False, device=device)
    return train_bank(term, student=mlp(16, 6, 4), examples=EX, evaluate={"test": EX}, **how)


PAIR = {"stage1": "stage1"}
TOLD: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "images here": (
        "MLP is on meta and the images are on cpu; move these there, x.to('meta')",
        lambda d: observe(net().to(d), EX.batch().x, "stage1"),
    ),
    "images there": (
        "MLP is on cpu and the images are on meta; move these there, x.to('cpu')",
        lambda d: observe(net(), EX.to(d).batch().x),
    ),
    "a table there": (
        "the teacher is on meta and the student trains on cpu; move the teacher with "
        "teacher.to('cpu')",
        lambda d: trained(SoftTargets(tabulate(net(), EX).to(d), 4), "cpu"),
    ),
    "a table there, and no device": (
        "the teacher is on meta and the student trains on cpu",
        lambda d: trained(SoftTargets(tabulate(net(), EX).to(d), 4), None),
    ),
    "a table here": (
        "move the teacher with teacher.to('meta')",
        lambda d: trained(SoftTargets(tabulate(net(), EX), 4), d),
    ),
    "a teacher there": (
        "move the teacher with teacher.to('cpu')",
        lambda d: trained(SoftTargets(net().to(d), 4), "cpu"),
    ),
    "a bank's teacher": (
        "move the teacher with teacher.to('meta')", lambda d: banked(SoftTargets(net(), 4), d),
    ),
    "a bank's table": (
        "move the teacher with teacher.to('cpu')",
        lambda d: banked(SoftTargets(tabulate(net(), EX).to(d), 4), None),
    ),
    "centres": (
        "KernelSimilarity holds weights or a tensor on cpu and the student trains on meta; move",
        lambda d: trained(KernelSimilarity(net().to(d), PAIR, drawn(4, 8)), d),
    ),
    "weights": (
        "ParameterL2 holds weights or a tensor on cpu and the student trains on meta; move",
        lambda d: trained(ParameterL2(net()), d),
    ),
    "two tables": (
        "table 1 is on meta and table 0 on cpu; move them with table.to(device)",
        lambda d: merge([tabulate(net(), EX), tabulate(net(), EX).to(d)]),
    ),
    "examples in parts": (
        "images on meta, labels on cpu, domains on cpu; use .to('meta')",
        lambda d: Examples(EX.x.to(d), EX.y),
    ),
    "two sets of examples": (
        "the first on cpu, the second on meta; use .to('cpu')", lambda d: EX + EX.to(d),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOLD)
def test_two_devices_are_told_in_one_sentence(what: str) -> None:
    sentence, act = TOLD[what]
    with pretend() as device, pytest.raises(ValueError, match=re.escape(sentence)) as told:
        act(device)
    assert "\n" not in str(told.value)
