"""The rows of table.json as pages ask for them: of one kind and name, in the order of seeds."""

from typing import Any

import torch
from torch import Tensor

from kdcourse.lessons.lesson08 import table
from kdcourse.pages import tables


def rows(kind: str, name: str, fold: str = "A") -> list[dict[str, Any]]:
    """The rows of a kind ("way", "more", "thinned", …); ValueError where there is none."""
    of_name = [
        row for row in tables.read(table.__file__) if row.get(kind) == name and row["fold"] == fold
    ]
    if not of_name:
        raise ValueError(f"the table has no {kind!r} of the name {name!r} in fold {fold}")
    return sorted(of_name, key=lambda row: row["seed"])


def answers(kind: str, name: str, fold: str = "A") -> Tensor:
    """Which test images are answered wrongly, (seeds, images)."""
    bits = [f"{int(row['wrong'], 16):b}"[1:] for row in rows(kind, name, fold)]
    return torch.tensor([[bit == "1" for bit in one] for one in bits])


def counts(kind: str, name: str, fold: str = "A") -> Tensor:
    """How often each class is the answer to the images adapted on, (seeds, classes)."""
    return torch.tensor([row["counts"] for row in rows(kind, name, fold)])


def scores(kind: str, name: str, validator: str) -> list[float]:
    """What a validator says of each network, (seeds,)."""
    return [row["scores"][validator] for row in rows(kind, name)]
