"""Scores of networks that write: exact over all strings of a language, or token by token."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import check_numbers, check_same_classes
from kdlib.tensors import check_tensor, check_tensors


@dataclass(frozen=True)
class SequenceScores:
    """Three scores (…), float64, of what networks think of a language; each alone misleads."""

    share: Tensor  # of what the network writes, what is in the language
    coverage: Tensor  # of the language, what the network writes at least a tenth as often
    kl: Tensor  # from the language to the network, in nats per sequence


def log_probabilities(logits: Tensor, tokens: Tensor) -> Tensor:
    """Of tokens (N, L) by logits (…, N, L, V): (…, N) float64, in nats, summed over positions.

    A token of -1 counts nothing. Raises ValueError for other shapes and tokens beyond V - 1.
    """
    check_tensors(3, logits=logits)
    check_tensors(tokens=tokens)
    if logits.shape[-3:-1] != tokens.shape:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)} and tokens {tuple(tokens.shape)}; expected "
            "(…, N, L, V) and (N, L): a distribution for each token"
        )
    if tokens.numel() and int(tokens.max()) >= logits.shape[-1]:
        raise ValueError(
            f"a token is {int(tokens.max())} and the logits speak of {logits.shape[-1]}; score "
            "tokens of the network's vocabulary"
        )
    if tokens.dtype != torch.int64:
        raise ValueError(f"tokens are {tokens.dtype}; expected torch.int64, as .long() makes them")
    check_numbers(logits)
    logits, tokens = logits.cpu(), tokens.cpu()
    log_q = logits.double().log_softmax(-1)
    index = tokens.clamp(min=0).expand(logits.shape[:-1])[..., None]
    return log_q.gather(-1, index)[..., 0].masked_fill(tokens < 0, 0).sum(-1)


def sequence_scores(log_p: Tensor, log_q: Tensor) -> SequenceScores:
    """Scores of networks, from log-probabilities of every string of a language.

    log_p (N,) is the language's own, log_q (…, N) the networks', as `log_probabilities` gives it.
    share = Σ q; coverage = Σ p where q ≥ p / 10; kl = Σ p (log p - log q), in nats. Raises
    ValueError where p does not sum to 1, and for another number of strings.
    """
    check_tensors(1, log_p=log_p, log_q=log_q)
    if log_p.dim() != 1 or log_q.shape[-1:] != log_p.shape:
        raise ValueError(
            f"log_p has shape {tuple(log_p.shape)} and log_q {tuple(log_q.shape)}; expected (N,) "
            "and (…, N): both of every string of the language"
        )
    log_p, log_q = log_p.cpu().double(), log_q.cpu().double()
    p = log_p.exp()
    if not abs(float(p.sum()) - 1) <= 1e-6:
        raise ValueError(
            f"the language's probabilities sum to {float(p.sum()):g}; expected 1: give every "
            "string of its support once"
        )
    if bool(log_q.isnan().any() | (log_q > 1e-6).any()):
        raise ValueError(
            "log_q holds nan, or numbers above 0, which no logarithm of a probability is; give "
            "what log_probabilities gives"
        )
    covered = log_q >= log_p - math.log(10)
    gaps = torch.where(p > 0, p * (log_p - log_q), 0)
    return SequenceScores(log_q.exp().sum(-1), (p * covered).sum(-1), gaps.sum(-1))


def acceptance(z_s: Tensor, z_t: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean chance (…) that a teacher takes a student's token, from logits (…, B, L, V) of both.

    Σ_v min(p, q) = 1 - total variation, at the positions `where` (…, B, L), all unless given; the
    acceptance rate of speculative decoding (Leviathan et al. 2023). Raises ValueError for two
    vocabularies, and for no position at all.
    """
    check_tensors(3, z_s=z_s, z_t=z_t)
    if z_s.shape[-1] != z_t.shape[-1] or z_s.shape[-3:] != z_t.shape[-3:]:
        check_same_classes(z_s, z_t)
    check_numbers(z_s)
    check_numbers(z_t)
    taken = torch.minimum(*(z.cpu().double().softmax(-1) for z in (z_s, z_t))).sum(-1)
    chosen = torch.ones_like(taken) if where is None else _positions(where, taken.shape)
    chosen = chosen.expand_as(taken)
    counts = chosen.sum((-2, -1))
    if not bool((counts > 0).all()):
        raise ValueError("acceptance was asked for at no position; give at least one in `where`")
    return (taken * chosen).sum((-2, -1)) / counts


def _positions(where: Any, shape: torch.Size) -> Tensor:
    """Where tokens count, as numbers; ValueError for what is no bool of that shape."""
    check_tensor("where", where)
    sizes = zip(where.shape[::-1], shape[::-1], strict=False)
    if (
        where.dtype != torch.bool
        or where.dim() > len(shape)
        or any(a not in (1, b) for a, b in sizes)
    ):
        raise ValueError(
            f"where is {where.dtype} of shape {tuple(where.shape)}; expected torch.bool "
            f"{tuple(shape)}: True or False once for each token"
        )
    return where.cpu().double()


def errors_after(wrong: Tensor) -> tuple[Tensor, Tensor]:
    """Rates (…) of wrong tokens before anything went wrong, and after: from bool (…, N, L).

    first: of the positions with nothing wrong before them, the share that is wrong; after: of those
    with something wrong before them. nan where there are none. The second minus the first is what
    a network loses by its own mistakes (exposure bias; Ranzato et al. 2016).
    """
    check_tensor("wrong", wrong)
    if wrong.dtype != torch.bool or wrong.dim() < 2:
        raise ValueError(
            f"wrong is {wrong.dtype} of shape {tuple(wrong.shape)}; expected torch.bool (…, N, L), "
            "as Language.wrong gives it"
        )
    wrong = wrong.cpu()
    mistakes = wrong.long().cumsum(-1) - wrong.long()
    clean, w = (mistakes == 0).double(), wrong.double()
    first = (w * clean).sum((-2, -1)) / clean.sum((-2, -1))
    after = (w * (1 - clean)).sum((-2, -1)) / (1 - clean).sum((-2, -1))
    return first, after
