"""Languages, their teachers, and students with a recipe: what the page and its table train."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.bank import Bank, train_bank
from kdlib.data import Language, Sequences
from kdlib.metrics import errors_after, log_probabilities, sequence_scores
from kdlib.models import gru, sample, transformer
from kdlib.objectives import Objective, ReverseKL, SoftTargets, after, prefixes
from kdlib.training import fit

FRESH = 19_200  # sequences: 400 steps of 48, each seen once
SEEDS = 5
WARM = 0.4
KEYS = ("share", "coverage", "kl")


@cache
def language(grammar: int = 0) -> Language:
    """Six dialects over six letters; ten tokens, 1,536 strings."""
    return Language(seed=grammar)


@cache
def teacher(grammar: int = 0, kind: str = "gru", steps: int = 500) -> nn.Module:
    """The one teacher of a grammar: gru(V, 64) or a transformer of width 48, on fresh sequences."""
    L = language(grammar)
    data = Sequences(L.draw(96 * steps), name="the language")
    big = gru(L.vocabulary, 64) if kind == "gru" else transformer(L.vocabulary, 48)
    lr = 1.5e-2 if kind == "gru" else 1e-2
    return fit(big, data, epochs=1, lr=lr, batch=96, seed=0, precision="fp32").network.eval()


@cache
def written(grammar: int = 0, kind: str = "gru", temperature: float = 1.0) -> Tensor:
    """What the teacher wrote: 19,200 sequences."""
    return sample(teacher(grammar, kind), FRESH, 10, seed=1, temperature=temperature)


def repeated(tokens: Tensor, n: int, total: int = FRESH) -> Sequences:
    """The first n sequences, again and again, until there are `total`."""
    return Sequences(tokens[torch.arange(total) % n], name=f"{n} sequences")


def recipe(net: nn.Module, direction: Any, warm: Any, own: Any = None) -> Objective:
    """Forward KL in the warm-up, then (1 - direction) forward + direction reverse.

    own: the share of sequences that the student writes after the warm-up; None: all are given.
    """
    r = direction * after(warm)
    mixed = (1 - r) * SoftTargets(net, T=1) + r * ReverseKL(net, T=1)
    return mixed if own is None else prefixes("student", mixed, share=own * after(warm))


def students(
    objective: Any, train: Sequences, grammar: int = 0, *, kind: str = "gru", width: int = 0,
    grid: Any = None, **how: Any,
) -> Bank:  # fmt: skip
    """Students gru(V, 16), or transformers of width 12, asked about every string."""
    L = language(grammar)
    small: nn.Module = gru(L.vocabulary, width or 16)
    if kind != "gru":
        small = transformer(L.vocabulary, width or 12)
    asked = {"strings": Sequences(L.support)}
    asked["written"] = Sequences(sample(teacher(grammar, kind), 500, 10, seed=2))
    settings = {"epochs": 1, "lr": 2e-2, "batch": 48, "clip": 1.0, "seeds": SEEDS} | how
    return train_bank(
        objective, student=small, examples=train, grid=grid, evaluate=asked, cache=False, **settings
    )


def scores(z: Tensor, grammar: int = 0) -> dict[str, Tensor]:
    """Share, coverage and KL, each (…), exact, from logits (…, strings, L, V)."""
    L = language(grammar)
    found = sequence_scores(L.log_probabilities, log_probabilities(z, L.support))
    return {key: getattr(found, key) for key in KEYS}


def lists(z: Tensor, grammar: int = 0) -> dict[str, list[float]]:
    """The same by seed, rounded, as a table keeps them."""
    found = scores(z, grammar)
    return {key: [round(v, 4) for v in values.tolist()] for key, values in found.items()}


def slips(networks: list[nn.Module], grammar: int = 0) -> dict[str, list[float]]:
    """Of what each network writes: rates of wrong tokens before any error, and after one."""
    wrong = [language(grammar).wrong(sample(net, 1000, 10, seed=3)) for net in networks]
    first, later = errors_after(torch.stack(wrong))
    return {
        "first": [round(v, 4) for v in first.tolist()],
        "later": [round(v, 4) for v in later.tolist()],
    }
