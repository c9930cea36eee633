"""Whose prefixes a term is for, and the uniform numbers with which they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.data import Batch
from kdlib.models import evaluating, write
from kdlib.objectives.symbols import Number
from kdlib.objectives.teachers import Teacher, ask


@dataclass(frozen=True)
class Writing:
    """How prefixes are written: by "student" or a network, in this share of the sequences.

    The others are those of the data. temperature: of writing, not of the loss · prompt: so many
    tokens of each sequence are given · end: a token after which there is none.
    """

    by: str | nn.Module
    share: Number = 1.0
    temperature: Number = 1.0
    prompt: int = 0
    end: int | None = None

    def rewrite(
        self, student: nn.Module, batch: Batch, draws: Tensor, value: Callable[[Number], Any]
    ) -> Tensor:
        """Tokens (B, L), -1 where there is none: no gradient flows through them.

        draws: uniform (B, L + 1); the last of each row decides whether the sequence is written.
        """
        network = student if isinstance(self.by, str) else self.by
        with evaluating(network):
            written = write(
                network, batch.x, draws[:, :-1], temperature=value(self.temperature),
                prompt=self.prompt, end=self.end,
            )  # fmt: skip
        assert batch.where is not None
        given = torch.where(batch.where, batch.x, -1)
        return torch.where((draws[:, -1] < value(self.share))[:, None], written, given)

    def __str__(self) -> str:
        return "student" if isinstance(self.by, str) else "teacher"


Text = tuple[Tensor, dict[Teacher, Tensor]]
"""Tokens (B, L) that were written in a step, and teachers' logits (B, L, V) of them."""


def said_of(teachers: Iterable[Teacher], tokens: Tensor) -> Text:
    """Tokens (…, B, L) with what each teacher says of them, (…, B, L, V); all asked at once."""
    rows = tokens.flatten(0, -2)
    text = Batch(rows.clamp(min=0), rows, rows.new_zeros(len(rows)), where=rows >= 0)
    said = {teacher: ask(teacher, text).logits for teacher in dict.fromkeys(teachers)}
    return tokens, {teacher: z.unflatten(0, tokens.shape[:-1]) for teacher, z in said.items()}


def uniform(order_seed: int, seed: int, step: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1) for one student's step, as these three alone decide.

    Nothing else that is trained beside it changes them, and a run that goes on has them again.
    """
    generator = np.random.default_rng([n % 2**64 for n in (order_seed, seed, step)])
    return torch.from_numpy(generator.random(shape, dtype=np.float32))
