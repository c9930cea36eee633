"""A batch on its way through the networks, and the orders in which examples come."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """A few examples on their way through the networks.

    x: float (B, C, H, W) in [0, 1] · y: (B,), -1 = no label · domain: (B,), 0 = source ·
    ids: (B,) content hashes, None once the images were changed (augmented) · original: the images
    before that · memory: what each teacher said of this batch, so that three objectives with one
    teacher cost one forward.
    """

    x: Tensor
    y: Tensor
    domain: Tensor
    ids: Tensor | None = None
    original: Tensor | None = None
    memory: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def changed(self, x: Tensor) -> "Batch":
        """The same labels with other images, which no table of teacher outputs knows."""
        return Batch(x, self.y, self.domain, original=self.x)


def orders(
    domain: Tensor, size: int, generator: torch.Generator | None, *, balanced: bool
) -> list[Tensor]:
    """The places of examples of these domains (N,) in each of the batches of about `size`."""
    count = len(domain)
    domains = domain.unique().tolist() if balanced else []
    if size < max(1, len(domains)):
        least = max(1, len(domains))
        raise ValueError(f"a batch of {size} examples; expected at least {least}")
    if len(domains) < 2:
        order = _order(count, generator).to(domain.device)
        return list(torch.tensor_split(order, max(1, math.ceil(count / size))))
    parts = [(domain == one).nonzero()[:, 0] for one in domains]
    longest = max(map(len, parts))
    batches = math.ceil(longest / (size // len(parts)))
    streams = [torch.tensor_split(_cycle(p, longest, generator), batches) for p in parts]
    return [torch.cat(chunk) for chunk in zip(*streams, strict=True)]


def _order(count: int, generator: torch.Generator | None) -> Tensor:
    return torch.arange(count) if generator is None else torch.randperm(count, generator=generator)


def _cycle(index: Tensor, length: int, generator: torch.Generator | None) -> Tensor:
    """`length` of these numbers: all of them, again and again, each time in a new order."""
    rounds = [
        index[_order(len(index), generator).to(index.device)]
        for _ in range(math.ceil(length / len(index)))
    ]
    return torch.cat(rounds)[:length]
