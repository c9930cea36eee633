"""Places of examples, class by class: so many of each, parts in proportion, folds."""

from collections.abc import Iterable
from operator import index

import torch
from torch import Tensor

from kdlib.arguments import whole


def places_per_class(y: Tensor, count: int, seed: int) -> Tensor:
    """Places of `count` examples of each class among labels y (N,), drawn at random."""
    labelled = y[y >= 0]
    scarce = torch.unique(labelled, return_counts=True)[1].min() if len(labelled) else 0
    if not whole(count, 1) or count > scarce:
        raise ValueError(
            f"{count} examples per class were asked for; the rarest class has {int(scarce)}: "
            f"expected 1 to {int(scarce)}, a whole number"
        )
    rank, order = _rank_within_class(y, seed)
    return order[(rank < count) & (y[order] >= 0)]


def places_of_parts(y: Tensor, sizes: tuple[int, ...], seed: int) -> list[Tensor]:
    """Places of disjoint parts of these sizes, each with every class in proportion."""
    if not all(whole(size, 1) for size in sizes) or sum(sizes) > len(y):
        raise ValueError(
            f"parts of {sizes} were asked for out of {len(y)} examples; "
            "expected whole, positive sizes that sum to no more than that"
        )
    rank, order = _rank_within_class(y, seed)
    counts = torch.bincount(y + 1)
    fraction = (rank + 0.5) / counts[y[order] + 1]
    order = order[torch.argsort(fraction, stable=True)]
    return list(torch.split(order, [*sizes, len(y) - sum(sizes)]))[: len(sizes)]


def places_of_folds(y: Tensor, k: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """k pairs (places of the rest, of one fold), stratified."""
    if not whole(k, 2) or k > len(y):
        raise ValueError(
            f"k={k} folds of {len(y)} examples; expected 2 to {len(y)}, a whole number"
        )
    rank, order = _rank_within_class(y, seed)
    return [(order[rank % k != i], order[rank % k == i]) for i in range(k)]


def is_one_of(y: Tensor, classes: Iterable[int]) -> Tensor:
    """(N,) bool: which labels are among these classes, all of which must occur."""
    try:
        listed = [index(c) for c in classes]
    except TypeError as error:
        raise ValueError(
            f"classes={classes!r}; expected class indices in a list, as [1] is of one"
        ) from error
    wanted = torch.tensor(listed, dtype=torch.int64, device=y.device)
    unknown = sorted(set(wanted.tolist()) - set(y.unique().tolist()))
    if unknown:
        raise ValueError(
            f"class {unknown[0]} does not occur among {y.unique().tolist()}; "
            "choose classes that these examples have"
        )
    return torch.isin(y, wanted)


def _rank_within_class(y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A random order of all examples, and each one's rank among those of its class."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator).to(y.device)
    label = y[order]
    one_hot = torch.nn.functional.one_hot(label + 1)
    return one_hot.cumsum(0).gather(1, (label + 1)[:, None])[:, 0] - 1, order
