"""What the lesson's pages measure, and what its table.json holds."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.ground.domains import Domains
from kdcourse.lessons.lesson07 import table
from kdcourse.pages import tables
from kdlib.data import Examples
from kdlib.metrics import Interval, difference, interval
from kdlib.models import predict

ALL, SCRATCH, HEAD = (f"10 labels: {way}" for way in ("all", "from scratch", "head only"))
ADABN, TAUGHT = (f"10 labels: {way}" for way in ("AdaBN, then head only", "all + old teacher"))


def wrong_answers(networks: Iterable[nn.Module], examples: Examples) -> Tensor:
    """Which images each network gets wrong: (networks, images)."""
    answers = [predict(network, examples).argmax(-1) for network in networks]
    return torch.stack([answer != examples.y for answer in answers])


def both_errors(networks: Iterable[nn.Module], here: Domains) -> list[str]:
    """Error % with its interval, as text, on the new and on the old test images."""
    of = list(networks)
    parts = (here.target_test, here.source_test)
    return [f"{interval(100 * wrong_answers(of, part).double()):.1f}" for part in parts]


@cache
def _rows() -> list[dict[str, Any]]:
    return tables.read(table.__file__)


def tried(way: str, amount: str) -> dict[str, float]:
    """Learning rate → mean error % on the spare images, for "few" or "many" labels."""
    found = [r for r in _rows() if (r.get("tried"), r.get("labels")) == (way, amount)]
    return dict(found[0]["errors"])


def rate(way: str, amount: str) -> float:
    """The learning rate that a way was given."""
    errors = tried(way, amount)
    return float(min(errors, key=lambda lr: errors[lr]))


def rates_in_words(way: str, amount: str) -> tuple[str, str]:
    """All rates with their errors, and the rate taken."""
    written = ", ".join(f"{lr}: {error:.1f}" for lr, error in tried(way, amount).items())
    return written, f"{rate(way, amount):g}"


def study(kind: str) -> Tensor:
    """Error % by labels per class: (counts, seeds)."""
    rows = [r for r in _rows() if r.get("still") == kind]
    counts = [[r["error"] for r in rows if r["labels"] == count] for count in table.COUNTS]
    return torch.tensor(counts)


def moved(kind: str) -> Tensor:
    """How far each part moved, in % of its length, mean over seeds: (counts, parts)."""
    rows = [r for r in _rows() if r.get("still") == kind]
    far = [[r["moved"] for r in rows if r["labels"] == count] for count in table.COUNTS]
    return torch.tensor(far).mean(1)


def _of(name: str, fold: str) -> list[dict[str, Any]]:
    return [r for r in _rows() if r.get("way", r.get("other")) == name and r["fold"] == fold]


def wrong(name: str, fold: str = "A") -> Tensor:
    """Which new test images each seed gets wrong: (seeds, images)."""
    words = [bin(int(row["wrong"], 16))[3:] for row in _of(name, fold)]
    return torch.tensor([[bit == "1" for bit in word] for word in words])


def new_error(name: str, fold: str = "A") -> Tensor:
    """Error % on the new domain, each seed."""
    return 100 * wrong(name, fold).double().mean(1)


def old_error(name: str, fold: str = "A") -> Tensor:
    """Error % on the old domain, each seed."""
    return torch.tensor([row["source error"] for row in _of(name, fold)]).double()


def saved(way: str, against: str, fold: str = "A") -> Interval:
    """What a way saves against another on the new domain, in points."""
    return difference(wrong(against, fold), wrong(way, fold))


def saved_on_old(way: str, against: str, fold: str = "A") -> Interval:
    """The same on the old domain, over seeds."""
    return interval(old_error(against, fold) - old_error(way, fold))


def old_interval(way: str, fold: str = "A") -> Interval:
    """Error % on the old domain, over seeds."""
    return interval(old_error(way, fold))


def all_saves(against: str, labels: int, fold: str = "A") -> Interval:
    """What "all" saves against another way, on the new domain."""
    return saved(f"{labels} labels: all", f"{labels} labels: {against}", fold)


def in_words(wrongs: Mapping[str, Sequence[Tensor]]) -> list[list[str]]:
    """Name, then mean error % with its interval for each table of (seeds, images)."""
    return [
        [name, *(f"{interval(100 * wrong.double()):.1f}" for wrong in tables_of)]
        for name, tables_of in wrongs.items()
    ]
