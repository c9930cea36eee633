"""Where the classes of two clouds lie: the table that no distance between clouds looks at."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def class_means(f: Tensor, y: Tensor) -> Tensor:
    """(N, width), (N,) -> (classes, width): each class's mean, the cloud's own mean taken away."""
    return torch.stack([f[y == k].mean(0) for k in range(int(y.max()) + 1)]) - f.mean(0)


def between_classes(f_a: Tensor, y_a: Tensor, f_b: Tensor, y_b: Tensor) -> Tensor:
    """(classes of b, classes of a): how far each class of b lies from each class of a."""
    return torch.cdist(class_means(f_b, y_b), class_means(f_a, y_a))


def answers(rows: Iterable[Mapping[str, Any]], source: str) -> Tensor:
    """(seeds, images): which target images are answered wrongly, from a source's stored rows."""
    of_source = [row["wrong"] for row in rows if row.get("source") == source]
    return torch.tensor([[bit == "1" for bit in f"{int(bits, 16):b}"[1:]] for bits in of_source])
