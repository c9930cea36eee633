"""A batch on its way through the networks, and the orders in which examples come."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Batch:
    """A few examples on their way through the networks.

    x: float (B, C, H, W) in [0, 1] · y: (B,), -1 = no label · domain: (B,), 0 = source ·
    ids: (B,) content hashes, None once the images were changed (augmented) · original: the images
    before that · other, share: where they were mixed, the labels (B,) of those mixed in, and the
    share (B,) of the own ones. Of sequences: x: int64 (B, L), 0 in place of what is no token · y:
    (B, L) · where: (B, L), the places that hold a token; None for images. Of `Targets`: y: floats
    (B, K), nan = no target.
    """

    x: Tensor
    y: Tensor
    domain: Tensor
    ids: Tensor | None = None
    original: Tensor | None = None
    where: Tensor | None = None
    other: Tensor | None = None
    share: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def changed(self, x: Tensor) -> "Batch":
        """The same labels with other images, which no table of teacher outputs knows."""
        mixed = {"other": self.other, "share": self.share}
        return Batch(x, self.y, self.domain, original=self.x, **mixed)

    def mixed(self, partners: Tensor, shares: Tensor) -> "Batch":
        """The same images with the labels of others (places in the batch) beside their own.

        Of labels that are numbers there is the mean: every loss that is linear in them has it so.
        """
        if self.y.is_floating_point():
            means = torch.lerp(self.y[partners], self.y, shares.to(self.y)[:, None])
            return replace(self, y=means)
        return replace(self, other=self.y[partners], share=shares)

    def part(self, places: slice) -> "Batch":
        """The examples at these places."""
        if places == slice(None):
            return self
        held = {name: t[places] for name, t in vars(self).items() if t is not None}
        return replace(self, **held)

    def rewritten(self, tokens: Tensor) -> "Batch":
        """Other sequences (B, L) in the place of these; -1 where there is no token."""
        return Batch(tokens.clamp(min=0), tokens, self.domain, where=tokens >= 0)


def source(y: Tensor) -> Tensor:
    """The domain (N,) of as many examples of the source: 0."""
    return torch.zeros(len(y), dtype=torch.int64, device=y.device)


def without_graph(x: Tensor) -> Tensor:
    """The same numbers, with no gradient for who gave them: examples are not trained."""
    return x.detach() if x.requires_grad else x


def orders(
    domain: Tensor, size: int, generator: torch.Generator | None, *, balanced: bool
) -> list[Tensor]:
    """The places of examples of these domains (N,) in each of the batches of about `size`."""
    batches, parts = batch_count(domain, size, balanced=balanced), _parts(domain, balanced)
    if len(parts) < 2:
        return list(_order(len(domain), generator).to(domain.device).tensor_split(batches))
    longest = max(map(len, parts))
    streams = [_cycle(part, longest, generator).tensor_split(batches) for part in parts]
    return [torch.cat(chunk) for chunk in zip(*streams, strict=True)]


def batch_count(domain: Tensor, size: int, *, balanced: bool) -> int:
    """How many batches `orders` makes; ValueError for one that cannot hold every domain."""
    parts = _parts(domain, balanced)
    least = max(1, len(parts))
    if size < least:
        raise ValueError(f"a batch of {size} examples; expected at least {least}")
    if len(parts) < 2:
        return max(1, math.ceil(len(domain) / size))
    return math.ceil(max(map(len, parts)) / (size // len(parts)))


def _parts(domain: Tensor, balanced: bool) -> list[Tensor]:
    """The places of each domain's examples, where batches are to be balanced; else none."""
    if not balanced:
        return []
    return [(domain == number).nonzero()[:, 0] for number in domain.unique().tolist()]


def _order(count: int, generator: torch.Generator | None) -> Tensor:
    return torch.arange(count) if generator is None else torch.randperm(count, generator=generator)


def _cycle(index: Tensor, length: int, generator: torch.Generator | None) -> Tensor:
    """`length` of these numbers: all of them, again and again, each time in a new order."""
    rounds = [
        index[_order(len(index), generator).to(index.device)]
        for _ in range(math.ceil(length / len(index)))
    ]
    return torch.cat(rounds)[:length]
