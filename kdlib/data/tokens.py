"""Sequences of tokens as examples."""

from typing import Any, NoReturn

import torch
from torch import Tensor

from kdlib.arguments import check_sequences
from kdlib.data.batches import Batch
from kdlib.data.examples import Examples
from kdlib.data.numeric import check_joined


class Sequences(Examples):
    """Examples that are sequences of tokens 0, 1, …: (N, L) int64, -1 after a shorter one's end.

    Each token is a label: a network answers tokens (B, L) with logits (B, L, V), whose place t
    speaks of the token there, given those before it. `x` and `y` are the tokens; `unlabelled()`
    leaves them to be read, not to be learned. Raises ValueError for what is no such tensor, a
    sequence without a token, or -1 in the middle of one.
    """

    def __init__(self, tokens: Tensor, *, name: str = "") -> None:
        check_sequences(tokens)
        domain = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
        self.__dict__.update(x=tokens, y=tokens, domain=domain, name=name)

    def __repr__(self) -> str:
        unlabelled = "" if bool((self.y >= 0).any()) else ", without labels"
        return f"Sequences({self.name}: {len(self):,} × {self.x.shape[1]} tokens{unlabelled})"

    @property
    def tokens(self) -> Tensor:
        """(N, L), int64; -1 where a sequence is over."""
        return self.x

    @property
    def labelled(self) -> Tensor:
        """(N,) bool: which sequences have tokens to be learned."""
        return (self.y >= 0).any(1)

    def batch(self, index: Any = slice(None)) -> Batch:
        """These sequences, with 0 in the place of what is no token, and where there is one."""
        x, y, domain = self.x[index], self.y[index], self.domain[index]
        return Batch(x.clamp(min=0), y, domain, self.ids[index], where=x >= 0)

    def _check_rows(self, x: Tensor) -> None:
        check_sequences(x)

    @property
    def _strata(self) -> Tensor:
        return torch.zeros_like(self.domain)

    def __add__(self, other: Examples) -> "Sequences":
        if isinstance(other, Sequences) and self.x.shape[1] != other.x.shape[1]:
            raise ValueError(
                f"{self!r} and {other!r} are no sequences of one length; put -1 after the shorter "
                "ones"
            )
        check_joined(self, other)
        tokens, y = torch.cat([self.x, other.x]), torch.cat([self.y, other.y])
        domain = torch.cat([self.domain, other.domain])
        return self._made(tokens, y, domain, f"{self.name}+{other.name}")

    def _refuse(self, *given: Any, **named: Any) -> NoReturn:
        raise ValueError(
            f"{self!r} has a label for each token, none for a sequence; choose among the tokens, "
            "and make sequences of them: Sequences(tokens)"
        )

    labelled_as = transformed = seal = only = without = per_class = _refuse
