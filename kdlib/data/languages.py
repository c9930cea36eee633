"""Languages small enough for exact answers, and the words of a book that Python brings with it."""

import math
import re
from functools import cached_property
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import check_fraction, finite, whole

END = 26  # the token that ends a word; letters are 0 … 25
_MOST = 200_000  # strings that are listed


class Language:
    """Sequences of L = `length` tokens: a dialect's mark, L - 2 letters, and the mark again.

    Each letter is one of two successors that the token before it has in that dialect, with
    probabilities `likely` and 1 - `likely`; which ones, `seed` decides. The dialect ranked r-th is
    drawn in proportion to r**-skew. Tokens: marks are 0 … dialects - 1, letters dialects … V - 1.
    With dialects · 2**(L - 2) strings (1,536 unless told otherwise), shares and divergences are
    sums over all of them. Raises ValueError for other sizes than those below.
    """

    def __init__(
        self,
        dialects: int = 6,
        letters: int = 6,
        length: int = 10,
        *,
        seed: int = 0,
        skew: float = 0.5,
        likely: float = 0.7,
    ) -> None:
        if not (whole(dialects, 1) and dialects <= 26 and whole(letters, 2) and letters <= 26):
            raise ValueError(
                f"dialects={dialects!r}, letters={letters!r}: expected whole numbers, dialects "
                "from 1 to 26 and letters from 2 to 26, so that each has a letter to be shown by"
            )
        if not whole(length, 3):
            raise ValueError(
                f"length={length!r}: expected a whole number of at least 3, for a mark, a letter "
                "and the mark again"
            )
        if not (finite(likely) and 0 < likely < 1):
            raise ValueError(
                f"likely={likely!r}: expected a number between 0 and 1, such as 0.7, so that each "
                "letter has two successors"
            )
        if not finite(skew):
            raise ValueError(f"skew={skew!r}: expected a finite number, such as 0.5")
        self.dialects, self.length, self.seed = dialects, length, seed
        self.vocabulary = dialects + letters  # V
        self.skew, self.likely = skew, likely
        weights = torch.arange(1, dialects + 1, dtype=torch.float64) ** -skew
        self.priors = weights / weights.sum()  # (dialects,)
        generator = torch.Generator().manual_seed(1000 + seed)

        def successors() -> Tensor:
            return dialects + torch.randperm(letters, generator=generator)[:2]

        after = [[successors() for _ in range(letters)] for _ in range(dialects)]
        first = [successors() for _ in range(dialects)]
        # (dialects, V + 1, 2): the likely and the other letter after each token; after a mark, and
        # after the start, those that begin.
        self._successors = torch.stack(
            [torch.stack([*[first[k]] * dialects, *after[k], first[k]]) for k in range(dialects)]
        )

    def __repr__(self) -> str:
        return (
            f"Language(dialects={self.dialects}, letters={self.vocabulary - self.dialects}, "
            f"length={self.length}, seed={self.seed}, skew={self.skew:g}, likely={self.likely:g})"
        )

    @cached_property
    def support(self) -> Tensor:
        """Every grammatical string: int64 (M, L), by dialect; ValueError beyond 200,000 of them."""
        inner = self.length - 2
        count = self.dialects * 2**inner
        if count > _MOST:
            raise ValueError(
                f"the language has {count:,} strings, too many to list: expected {_MOST:,} at "
                "most; choose a smaller length, or score strings that are drawn"
            )
        mark = torch.arange(self.dialects).repeat_interleave(2**inner)
        choice = torch.arange(2**inner).repeat(self.dialects)
        columns = [mark]
        for place in reversed(range(inner)):
            columns.append(self._successors[mark, columns[-1], choice >> place & 1])
        return torch.stack([*columns, mark], -1)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Of each string of the support, in nats: float64 (M,)."""
        truth = self.next_log_probabilities(self.support, smoothing=0)
        return truth.gather(-1, self.support[..., None])[..., 0].sum(-1)

    def draw(self, count: int, *, seed: int = 0) -> Tensor:
        """Strings of the language, drawn independently: int64 (count, L)."""
        if not whole(count, 0):
            raise ValueError(f"count={count!r}: expected a whole number of strings, 0 or more")
        generator = torch.Generator().manual_seed(seed)
        chance = torch.rand(count, self.length - 1, generator=generator, dtype=torch.float64)
        shares = self.priors.cumsum(0) / self.priors.sum()
        mark = (shares <= chance[:, :1]).sum(-1)
        columns = [mark]
        for unlikely in (chance[:, 1:] >= self.likely).long().unbind(-1):
            columns.append(self._successors[mark, columns[-1], unlikely])
        return torch.stack([*columns, mark], -1)

    def wrong(self, tokens: Tensor) -> Tensor:
        """Which positions break the grammar, given the tokens before them: bool (…, L).

        A letter after a wrong one is judged by its own predecessor, in the dialect of the mark;
        without a mark at the beginning everything is wrong.
        """
        truth = self.next_log_probabilities(tokens, smoothing=0)
        impossible = truth.gather(-1, tokens[..., None])[..., 0] == -math.inf
        return impossible | (tokens[..., :1] >= self.dialects)

    def next_log_probabilities(self, tokens: Tensor, *, smoothing: float = 1e-3) -> Tensor:
        """The language's own log-probabilities of each token, given those before: (…, L, V).

        float64, in nats, mixed with the uniform distribution by `smoothing`, so that a reverse KL
        is finite. Defined after mistakes too: what comes after a mark in the middle is what comes
        after one at the beginning; without a mark at the beginning all tokens are equally likely.
        """
        check_fraction("smoothing", smoothing)
        self._check(tokens)
        if tokens.shape[-1] != self.length:
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)}; expected (…, {self.length}): whole "
                "sequences of this language"
            )
        before = torch.cat(
            [torch.full_like(tokens[..., :1], self.vocabulary), tokens[..., :-1]], -1
        )
        phase = torch.ones(self.length, dtype=torch.int64)
        phase[0], phase[-1] = 0, 2
        mark = tokens[..., :1].clamp(max=self.dialects).expand_as(tokens)
        table = (1 - smoothing) * self._table + smoothing / self.vocabulary
        return table.log()[mark.cpu(), before.cpu(), phase.expand(tokens.shape)].to(tokens.device)

    @cached_property
    def _table(self) -> Tensor:
        """(dialects + 1, V + 1, 3, V): of the next token by mark (the last row: none), token before
        and phase: the beginning, among the letters, the end."""
        V, marks = self.vocabulary, torch.arange(self.dialects)
        table = torch.zeros(self.dialects + 1, V + 1, 3, V, dtype=torch.float64)
        table[-1] = 1 / V
        table[:, :, 0] = 0
        table[:, :, 0, : self.dialects] = self.priors
        chances = torch.tensor([self.likely, 1 - self.likely], dtype=torch.float64)
        table[:-1, :, 1].scatter_(-1, self._successors, chances.expand(self._successors.shape))
        table[marks, :, 2, marks] = 1
        return table

    def letters(self, tokens: Tensor) -> list[str]:
        """Readable strings, one for each row of (…, L): marks are A, B, …, letters a, b, …"""
        self._check(tokens)
        rows = tokens.reshape(-1, tokens.shape[-1]).tolist()
        marks = [chr(ord("A") + i) for i in range(self.dialects)]
        signs = marks + [chr(ord("a") + i) for i in range(self.vocabulary - self.dialects)]
        return ["".join(signs[token] for token in row) for row in rows]

    def _check(self, tokens: Any) -> None:
        check_tokens(tokens, self.vocabulary)


def check_tokens(tokens: Any, vocabulary: int, *, least: int = 0) -> None:
    """Raises ValueError unless these are int64 (…, L) from `least` to vocabulary - 1."""
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64 or not tokens.dim():
        what = str(tokens.dtype) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(f"tokens are {what}; expected an int64 tensor (…, L)")
    low, high = (int(end) for end in tokens.aminmax()) if tokens.numel() else (least, least)
    if low < least or high >= vocabulary:
        raise ValueError(
            f"tokens run from {low} to {high}; expected {least} to {vocabulary - 1}, as a network "
            f"with a vocabulary of {vocabulary} writes them"
        )


def words(longest: int = 8) -> Tensor:
    """English words of 2 to `longest` letters: int64 (N, longest + 1), in alphabetical order.

    Letters a … z are 0 … 25; token 26 ends a word, and -1 fills the row. The words are those of
    `pydoc_data.topics`, Python's own manual, whose text (and so N) changes with Python's version.
    """
    if not whole(longest, 2):
        raise ValueError(f"longest={longest!r}: expected a whole number of letters, 2 or more")
    from pydoc_data.topics import topics  # 700 kB of text: read when asked for

    text = " ".join(topics.values())
    alone = rf"(?<!\S)[a-z]{{2,{longest}}}(?=[.,;:?!]?(?!\S))"  # neither code nor half of "don't"
    found = sorted(set(re.findall(alone, text)))
    rows = [[ord(letter) - ord("a") for letter in word] + [END] for word in found]
    return torch.tensor([row + [-1] * (longest + 1 - len(row)) for row in rows])


def as_words(tokens: Tensor) -> list[str]:
    """What each row of (…, L) spells, up to its first token 26 or -1."""
    check_tokens(tokens, END + 1, least=-1)
    rows = tokens.reshape(-1, tokens.shape[-1]).tolist()
    spelled = (takewhile(lambda token: 0 <= token < END, row) for row in rows)
    return ["".join(chr(ord("a") + token) for token in row) for row in spelled]
