"""Examples: images, labels and domains as tensors on one device."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from kdlib.arguments import (
    check_domain,
    check_images,
    check_labels,
    check_shape,
    one_place,
    whole,
)
from kdlib.data.batches import Batch, orders
from kdlib.data.hashes import fingerprint, image_ids
from kdlib.data.sealed import SealedLabels
from kdlib.data.transforms import changed


@dataclass(frozen=True, eq=False)
class Examples:
    """x: uint8, or float in [0, 1], (N, C, H, W) · y: int64 (N,), -1 = no label · domain: (N,).

    Raises ValueError for images, labels or domains that nothing can be trained on. What is made of
    examples (a slice, a split, a sum) is not looked through again.
    """

    x: Tensor
    y: Tensor
    domain: Tensor = None  # type: ignore[assignment]  # zeros where none is given
    name: str = ""

    def __post_init__(self) -> None:
        check_images(self.x)
        check_labels(self.y, len(self.x))
        if cast(Any, self.domain) is None:
            object.__setattr__(self, "domain", torch.zeros_like(self.y))
        check_domain(self.domain, len(self.x))

    @classmethod
    def of_features(cls, f: Tensor, y: Tensor, *, name: str = "") -> "Examples":
        """Features (N, width) of any size in place of images, as (N, width, 1, 1).

        For `fit` on what a frozen network says; its first module is then `nn.Flatten()`.
        """
        if f.dim() != 2 or not bool(f.isfinite().all()):
            raise ValueError(
                f"features have shape {tuple(f.shape)}; expected (N, width), all of them finite"
            )
        check_labels(y, len(f))
        return _examples(f[:, :, None, None], y, torch.zeros_like(y), name)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        labelled = int((self.y >= 0).sum())
        unlabelled = f", {len(self) - labelled:,} without label" if labelled < len(self) else ""
        return f"Examples({self.name}: {len(self):,} × {tuple(self.x.shape[1:])}{unlabelled})"

    @cached_property
    def ids(self) -> Tensor:
        """One int64 per image: a hash of its content (equal pictures, equal id)."""
        return image_ids(self.x).to(self.y.device)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything: images and their shape, labels, domains, and their order."""
        return fingerprint(self.x, self.ids, self.y, self.domain)

    @property
    def classes(self) -> int:
        """How many classes the labels speak of."""
        return int(self.y.max()) + 1 if len(self) else 0

    @property
    def device(self) -> torch.device:
        return self.x.device

    # ---- choosing ----------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> "Examples":
        if isinstance(index, Integral):
            index = one_place(int(index), len(self))
        x = self.x[index]
        check_shape(x)  # an index may take an axis away
        chosen = _examples(x, self.y[index], self.domain[index], self.name)
        if "ids" in self.__dict__:
            chosen.__dict__["ids"] = self.ids[index]
        return chosen

    def to(self, device: str | torch.device) -> "Examples":
        x, y, domain = (part.to(device) for part in (self.x, self.y, self.domain))
        moved = _examples(x, y, domain, self.name)
        if "ids" in self.__dict__:
            moved.__dict__["ids"] = self.ids.to(device)
        return moved

    def called(self, name: str) -> "Examples":
        return self._with(name=name)

    def unlabelled(self) -> "Examples":
        """The same images without their labels (y = -1)."""
        return self._with(y=torch.full_like(self.y, -1))

    def labelled_as(self, y: Tensor) -> "Examples":
        """The same images with other labels (N,)."""
        check_labels(y, len(self))
        return self._with(y=y)

    def as_domain(self, domain: int) -> "Examples":
        """The same examples as those of a domain: 0 = source, 1, 2, … = targets."""
        if not whole(domain, 0):
            raise ValueError(f"domain {domain}; expected 0 (source) or a target's 1, 2, …")
        return self._with(domain=torch.full_like(self.domain, domain))

    def of_domain(self, domain: int) -> "Examples":
        """The examples of one domain."""
        if domain not in self.domains:
            raise ValueError(f"{self!r} has the domains {self.domains}, not {domain}; choose one")
        return self[self.domain == domain]

    @property
    def domains(self) -> list[int]:
        """The domains that occur, sorted."""
        return self.domain.unique().tolist()

    def transformed(
        self, transform: Callable[[Tensor, torch.Generator], Tensor], *, seed: int = 0
    ) -> "Examples":
        """Each image changed once and for all by `transform(x, generator) -> x` (`data.shifts`).

        x is float in [0, 1], a thousand at a time; dtype (uint8 rounded), labels and domains stay.
        """
        generator = torch.Generator().manual_seed(seed)
        pixels = self.x.dtype == torch.uint8
        parts = [x.float() / 255 if pixels else x.clone() for x in self.x.split(1000)]
        x = torch.cat([changed("the transform", transform, part, generator) for part in parts])
        x = x.clamp(0, 1) if pixels else x
        check_images(x)
        x = (x * 255).round().to(torch.uint8) if pixels else x
        how = getattr(transform, "__name__", "changed").replace("<lambda>", "changed")
        return self._with(x=x, name=f"{self.name}, {how}")

    def seal(self) -> "tuple[Examples, SealedLabels]":
        """The examples without their labels, and the labels in an envelope that counts."""
        return self.unlabelled(), SealedLabels(self.y)

    def _with(self, **changes: Any) -> "Examples":
        parts = {"x": self.x, "y": self.y, "domain": self.domain, "name": self.name}
        altered = _examples(**{**parts, **changes})
        if "ids" in self.__dict__ and "x" not in changes:
            altered.__dict__["ids"] = self.ids
        return altered

    def only(self, classes: Iterable[int]) -> "Examples":
        """The examples of these classes."""
        return self[self._is_one_of(classes)]

    def without(self, classes: Iterable[int]) -> "Examples":
        """The examples of all other classes."""
        return self[~self._is_one_of(classes)]

    def _is_one_of(self, classes: Iterable[int]) -> Tensor:
        wanted = torch.tensor(list(classes), dtype=torch.int64, device=self.y.device)
        unknown = sorted(set(wanted.tolist()) - set(self.y.unique().tolist()))
        if unknown:
            raise ValueError(
                f"class {unknown[0]} does not occur among {self.y.unique().tolist()}; "
                "choose classes that these examples have"
            )
        return torch.isin(self.y, wanted)

    def per_class(self, count: int, *, seed: int = 0) -> "Examples":
        """`count` examples of each class, drawn at random."""
        labelled = self.y[self.y >= 0]
        scarce = torch.unique(labelled, return_counts=True)[1].min() if len(labelled) else 0
        if not whole(count, 1) or count > scarce:
            raise ValueError(
                f"{count} examples per class were asked for; the rarest class has {int(scarce)}: "
                f"expected 1 to {int(scarce)}, a whole number"
            )
        rank, order = self._rank_within_class(seed)
        return self[order[(rank < count) & (self.y[order] >= 0)]]

    def split(self, *sizes: int, seed: int = 0) -> tuple["Examples", ...]:
        """Disjoint parts of these sizes, each with every class in proportion (stratified)."""
        if not all(whole(size, 1) for size in sizes) or sum(sizes) > len(self):
            raise ValueError(
                f"parts of {sizes} were asked for out of {len(self)} examples; "
                "expected whole, positive sizes that sum to no more than that"
            )
        rank, order = self._rank_within_class(seed)
        counts = torch.bincount(self.y + 1)
        fraction = (rank + 0.5) / counts[self.y[order] + 1]
        order = order[torch.argsort(fraction, stable=True)]
        parts = torch.split(order, [*sizes, len(self) - sum(sizes)])
        return tuple(self[part] for part in parts[: len(sizes)])

    def folds(self, k: int, *, seed: int = 0) -> list[tuple["Examples", "Examples"]]:
        """k pairs (the rest, one fold) for cross-validation, stratified."""
        if not whole(k, 2) or k > len(self):
            raise ValueError(
                f"k={k} folds of {len(self)} examples; expected 2 to {len(self)}, a whole number"
            )
        rank, order = self._rank_within_class(seed)
        return [(self[order[rank % k != i]], self[order[rank % k == i]]) for i in range(k)]

    def _rank_within_class(self, seed: int) -> tuple[Tensor, Tensor]:
        """A random order of all examples, and each one's rank among those of its class."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator).to(self.device)
        y = self.y[order]
        one_hot = torch.nn.functional.one_hot(y + 1)
        return one_hot.cumsum(0).gather(1, (y + 1)[:, None])[:, 0] - 1, order

    def __add__(self, other: "Examples") -> "Examples":
        if self.x.shape[1:] != other.x.shape[1:] or self.x.dtype != other.x.dtype:
            raise ValueError(
                f"{self.name} holds {self.x.dtype} images of {tuple(self.x.shape[1:])} and "
                f"{other.name} {other.x.dtype} of {tuple(other.x.shape[1:])}; "
                "load both with the same size= first"
            )
        x, y = torch.cat([self.x, other.x]), torch.cat([self.y, other.y])
        domain = torch.cat([self.domain, other.domain])
        both = _examples(x, y, domain, f"{self.name}+{other.name}")
        if "ids" in self.__dict__ and "ids" in other.__dict__:
            both.__dict__["ids"] = torch.cat([self.ids, other.ids])
        return both

    # ---- reading -----------------------------------------------------------------------------

    def batch(self, index: Any = slice(None)) -> Batch:
        """These examples as floats in [0, 1]: float64 where the images are, else float32."""
        kind = torch.float64 if self.x.dtype == torch.float64 else torch.float32
        # A slice is a view; who changed the batch would change the examples.
        x = self.x[index].to(kind, copy=isinstance(index, slice))
        x = x.div_(255) if self.x.dtype == torch.uint8 else x
        return Batch(x, self.y[index], self.domain[index], self.ids[index])

    def batches(
        self, size: int, generator: torch.Generator | None = None, *, balanced: bool = False
    ) -> Iterator[Batch]:
        """All examples once, in the generator's order (or as they stand), about `size` at a time.

        The N examples are cut into ceil(N / size) batches whose sizes differ by at most one, so
        that no short last batch pulls harder than the others (or has BatchNorm fail on one image).
        balanced: each batch holds as many examples of every domain; the largest domain is seen
        once, the others again and again, each time in a new order.
        """
        for index in self.order(size, generator, balanced=balanced):
            yield self.batch(index)

    def order(
        self, size: int, generator: torch.Generator | None = None, *, balanced: bool = False
    ) -> list[Tensor]:
        """The places of the examples in each of the batches that `batches` makes."""
        return orders(self.domain, size, generator, balanced=balanced)


def _examples(x: Tensor, y: Tensor, domain: Tensor, name: str) -> Examples:
    """Examples out of parts that are known to be sound: no value is looked at again."""
    made = object.__new__(Examples)
    made.__dict__.update(x=x, y=y, domain=domain, name=name)
    return made


class Splits(NamedTuple):
    """What `load` returns: `train, validation, test = load("mnist5k")`."""

    train: Examples
    validation: Examples
    test: Examples
