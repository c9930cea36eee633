"""Examples whose answers are numbers: several labels an image, or regression."""

from typing import Any, NoReturn

import torch
from torch import Tensor

from kdlib.data.examples import Examples
from kdlib.data.numeric import check_targets, is_binary


class Targets(Examples):
    """Examples with K numbers each in place of a class: y (N, K), floats, nan = no target.

    0/1 labels (bool will do) for `BinaryLabels()`, numbers of any size for `MeanSquares()`; one
    number each is y[:, None]. Images as those of `Examples`; `Targets.of_features(f, y)` holds
    features. The student has K outputs. Raises ValueError for what nothing can be trained on.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.y.is_floating_point():
            object.__setattr__(self, "y", self.y.float())

    @classmethod
    def of_features(cls, f: Tensor, y: Tensor, *, name: str = "") -> "Targets":
        """As `Examples.of_features`, with targets (N, K)."""
        made = super().of_features(f, y, name=name)
        return made if y.is_floating_point() else made._with(y=y.float())

    def __repr__(self) -> str:
        without = len(self) - int(self.labelled.sum())
        missing = f", {without:,} without target" if without else ""
        shape = tuple(self.x.shape[1:])
        return f"Targets({self.name}: {len(self):,} × {shape} → {self.classes} numbers{missing})"

    @property
    def labelled(self) -> Tensor:
        """(N,) bool: which examples have a target at least."""
        return ~self.y.isnan().all(1)

    @property
    def binary(self) -> bool:
        """Whether all targets are 0 or 1."""
        return is_binary(self.y)

    @property
    def classes(self) -> int:
        """How many numbers each example has: the outputs that a student needs."""
        return self.y.shape[1]

    def unlabelled(self) -> "Targets":
        """The same images without their targets (nan)."""
        return self._with(y=torch.full_like(self.y, torch.nan))

    def labelled_as(self, y: Tensor) -> "Targets":
        """The same images with other targets (N, K)."""
        check_targets(y, len(self))
        return self._with(y=y if y.is_floating_point() else y.float())

    # ---- what a kind of examples says for itself ---------------------------------------------

    _check_labels = staticmethod(check_targets)

    @property
    def _strata(self) -> Tensor:
        return torch.zeros_like(self.domain)

    def __add__(self, other: Examples) -> "Targets":
        if isinstance(other, Targets) and self.classes != other.classes:
            raise ValueError(
                f"{self!r} and {other!r} have no targets of one width; give both the same"
            )
        joined: Any = super().__add__(other)
        return joined

    def _refuse(self, *given: Any, **named: Any) -> NoReturn:
        raise ValueError(
            f"{self!r} has numbers, no classes; choose by them: targets[targets.y[:, 0] > 0]"
        )

    seal = only = without = per_class = _refuse
