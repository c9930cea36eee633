"""Exercises of notebook 13."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close

# ---- both directions -----------------------------------------------------------------------------


def _logits(seed: int) -> Tensor:
    return 2 * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))


_S, _T = _logits(1), _logits(2)
_WHERE = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()


def _kl(a: Tensor, b: Tensor) -> Tensor:
    log_a, log_b = a.log_softmax(-1), b.log_softmax(-1)
    return (log_a.exp() * (log_a - log_b)).sum(-1)


def _mean(of: Tensor, where: Tensor = _WHERE) -> float:
    return float(of[where].mean())


def _pair(f: Any, where: Tensor = _WHERE) -> tuple[float, float]:
    forward, reverse = f(_S.clone(), _T.clone(), where.clone())
    return float(forward), float(reverse)


def _not(f: Any, value: float, place: int, where: Tensor = _WHERE) -> bool:
    return not close(_pair(f, where)[place], value)


_ALL = torch.ones_like(_WHERE)

both_directions = Exercise(
    "13.1",
    "both directions of the KL on given sequences",
    [
        Property(
            "two numbers come back",
            lambda f: len(_pair(f)) == 2,
            "Return forward and reverse, one number each.",
        ),
        Property(
            "forward comes first",
            lambda f: (
                _not(f, _mean(_kl(_S, _T), _ALL), 0, _ALL)
                or _not(f, _mean(_kl(_T, _S), _ALL), 1, _ALL)
            ),
            "They are exchanged. Forward weighs by the teacher's probabilities p.",
        ),
        Property(
            "sums run over the vocabulary, means over tokens",
            lambda f: (
                _not(f, _mean(_kl(_T, _S), _ALL) / 5, 0, _ALL)
                and _not(f, float(_kl(_T, _S).sum()), 0, _ALL)
                and _not(f, float(_kl(_T, _S).sum(1).mean()), 0, _ALL)
            ),
            "KL sums over the vocabulary; then take the mean over positions, not their sum, nor a "
            "mean over the vocabulary.",
        ),
        Property(
            "where every token is there, both are right",
            lambda f: close(_pair(f, _ALL), (_mean(_kl(_T, _S), _ALL), _mean(_kl(_S, _T), _ALL))),
            "Forward is the sum of p · (log p − log q), reverse that of q · (log q − log p), with "
            "log_softmax over the last axis.",
        ),
        Property(
            "every token counts alike",
            lambda f: _not(f, float(((_kl(_T, _S) * _WHERE).sum(1) / _WHERE.sum(1)).mean()), 0),
            "A mean of each sequence's mean gives tokens of short sequences more weight: divide "
            "one sum by the number of all tokens.",
        ),
        Property(
            "what is no token counts nothing",
            lambda f: close(_pair(f), (_mean(_kl(_T, _S)), _mean(_kl(_S, _T)))),
            "Take positions where `where` is True alone, and divide by their number.",
        ),
    ],
    lambda f: f(_S.clone(), _T.clone(), _WHERE.clone()),
)

# ---- a step on own prefixes ----------------------------------------------------------------------


class _Tiny(nn.Module):
    """Logits (B, L, 4) that depend on the tokens; it writes what it always writes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(4, 4, generator=generator))
        self.text = torch.randint(0, 4, (2, 3), generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.table[x]


class _Trial:
    """One call of an answer, and what it did."""

    def __init__(self, f: Any, done: float, warm: float = 0.4) -> None:
        self.student, self.teacher = _Tiny(3), _Tiny(4)
        self.given = torch.tensor([[0, 1, 1], [2, 2, 3]])
        self.writers: list[nn.Module] = []
        self.counts: list[int] = []
        self.loss = torch.as_tensor(
            f(self.student, self.teacher, self.given.clone(), self._write, done, warm)
        )

    def _write(self, network: nn.Module, count: int) -> Tensor:
        self.writers.append(network)
        self.counts.append(int(count))
        text: Any = network.text
        return text.repeat(math.ceil(count / len(text)), 1)[:count].clone()

    def expected(self, direction: str, text: Tensor) -> Tensor:
        z_t, z_s = self.teacher(text), self.student(text)
        return (_kl(z_t, z_s) if direction == "forward" else _kl(z_s, z_t)).mean()

    def own(self, direction: str = "reverse") -> Tensor:
        return self.expected(direction, self.student.text)

    def gradient(self) -> tuple[Tensor | None, Tensor | None]:
        self.loss.backward()
        return self.student.table.grad, self.teacher.table.grad


own_step = Exercise(
    "13.2",
    "a step on own prefixes, after a warm-up",
    [
        Property(
            "in the warm-up: forward KL on the given sequences",
            lambda f: close((t := _Trial(f, 0.1)).loss, t.expected("forward", t.given)),
            "While done < warm the loss is the mean of KL(p ‖ q) at the given tokens.",
        ),
        Property(
            "nothing is written in the warm-up",
            lambda f: not _Trial(f, 0.1).writers,
            "Writing costs time: call write(…) only after the warm-up.",
        ),
        Property(
            "afterwards the student writes, not the teacher",
            lambda f: (t := _Trial(f, 0.7)).writers == [t.student],
            "write(student, …), once: own prefixes are the student's.",
        ),
        Property(
            "it writes as many sequences as were given",
            lambda f: _Trial(f, 0.7).counts == [2],
            "len(given) sequences keep the batch as large as before.",
        ),
        Property(
            "then it is reverse KL",
            lambda f: not close((t := _Trial(f, 0.7)).loss, t.own("forward")),
            "KL(q ‖ p) weighs by the student's probabilities.",
        ),
        Property(
            "on the text that the student wrote",
            lambda f: close((t := _Trial(f, 0.7)).loss, t.own()),
            "Both networks read what write(…) returned, in place of the given sequences.",
        ),
        Property(
            "a warm-up of 0.4 is over at 0.4, and one of 0 at once",
            lambda f: all(
                close((t := _Trial(f, done, warm)).loss, t.own())
                for done, warm in ((0.4, 0.4), (0.0, 0.0))
            ),
            "done < warm is the warm-up; at done = warm it is over.",
        ),
        Property(
            "the student gets a gradient",
            lambda f: (g := _Trial(f, 0.7).gradient()[0]) is not None and bool(g.abs().sum() > 0),
            "torch.no_grad() is for the teacher alone: the student's logits need their gradient.",
        ),
    ],
    lambda f: _Trial(f, 0.1).loss,
)

# ---- three scores --------------------------------------------------------------------------------

_P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
_Q = torch.tensor([0.4, 0.02, 0.1, 0.08], dtype=torch.float64).log()


def _three(f: Any, log_p: Tensor = _P, log_q: Tensor = _Q) -> list[float]:
    return [float(score) for score in f(log_p.clone(), log_q.clone())]


mended_scores = Exercise(
    "13.3",
    "three scores of a language student",
    [
        Property(
            "three numbers come back",
            lambda f: len(_three(f)) == 3,
            "Return share, coverage and KL.",
        ),
        Property(
            "the share is what falls on the language",
            lambda f: close(_three(f)[0], 0.6),
            "log_q has the language's strings only, so q need not sum to 1: its sum is the share.",
        ),
        Property(
            "coverage counts probability, not strings",
            lambda f: close(_three(f)[1], 0.7),
            "Sum p over the strings with q ≥ p / 10; a mean would count each string alike, and q "
            "in its place would ask the student.",
        ),
        Property(
            "the KL is the forward one",
            lambda f: close(_three(f)[2], float((_P.exp() * (_P - _Q)).sum())),
            "From the language to the student: weigh log p − log q by p.",
        ),
        Property(
            "a student that leaves strings out has a high KL, whatever its share",
            lambda f: _three(f, _P, torch.tensor([1 - 3e-9, 1e-9, 1e-9, 1e-9]).log())[2] > 5,
            "q hardly sees what it leaves out; p does.",
        ),
    ],
    lambda f: f(_P.clone(), _Q.clone()),
)
