"""Examples: images, labels and domains as tensors on one device."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, Self, cast

import torch
from torch import Tensor

from kdlib.arguments import check_domain, check_images, check_labels, one_place, whole
from kdlib.data import strata
from kdlib.data.batches import Batch, orders, source, without_graph
from kdlib.data.hashes import content_hash, image_ids
from kdlib.data.numeric import check_features, check_joined, check_rank, check_together
from kdlib.data.sealed import SealedLabels
from kdlib.data.transforms import changed_once


@dataclass(frozen=True, eq=False)
class Examples:
    """x: uint8, or float in [0, 1], (N, C, H, W) · y: int64 (N,), -1 = no label · domain: (N,).

    (`Sequences` are examples of tokens.) Raises ValueError for images, labels or domains that
    nothing can be trained on. What is made of examples (a slice, a split, a sum) is not looked
    through again.
    """

    x: Tensor
    y: Tensor
    domain: Tensor = None  # type: ignore[assignment]  # zeros where none is given
    name: str = ""

    def __post_init__(self) -> None:
        check_images(self.x)
        self._check_labels(self.y, len(self.x))
        if cast(Any, self.domain) is None:
            object.__setattr__(self, "domain", source(self.y))
        check_domain(self.domain, len(self.x))
        check_together(images=self.x, labels=self.y, domains=self.domain)
        self.__dict__.update(x=without_graph(self.x), y=without_graph(self.y))

    @classmethod
    def of_features(cls, f: Tensor, y: Tensor, *, name: str = "") -> Self:
        """Numbers of any size in place of images: features (N, width), as (N, width, 1, 1).

        For what a frozen network says, or a table; the student begins with `nn.Flatten()`. Signals
        or tokens (N, C, L) and volumes (N, C, D, H, W) stay so. Whole numbers become floats.
        """
        check_features(f)
        cls._check_labels(y, len(f))
        f = f.float() if f.dtype == torch.uint8 else f  # no pixels, which are divided by 255
        return cls._made(f[:, :, None, None] if f.dim() == 2 else f, y, source(y), name)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        labelled = int(self.labelled.sum())
        unlabelled = f", {len(self) - labelled:,} without label" if labelled < len(self) else ""
        return f"Examples({self.name}: {len(self):,} × {tuple(self.x.shape[1:])}{unlabelled})"

    @cached_property
    def ids(self) -> Tensor:
        """One int64 per image: a hash of its content (equal pictures, equal id)."""
        return image_ids(self.x).to(self.y.device)

    @property
    def _known_ids(self) -> Tensor | None:
        return self.__dict__.get("ids")

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything: images and their shape, labels, domains, and their order."""
        return content_hash(self.x, self.ids, self.y, self.domain)

    @property
    def labelled(self) -> Tensor:
        """(N,) bool: which examples have a label."""
        return self.y >= 0

    @property
    def classes(self) -> int:
        """How many classes the labels speak of."""
        return int(self.y.max()) + 1 if len(self) else 0

    @property
    def device(self) -> torch.device:
        return self.x.device

    # ---- choosing ----------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Self:
        if isinstance(index, Integral):
            index = one_place(int(index), len(self))
        x = self.x[index]
        self._check_rows(x)
        ids = None if self._known_ids is None else self._known_ids[index]
        return self._made(x, self.y[index], self.domain[index], self.name, ids)

    def to(self, device: str | torch.device) -> Self:
        x, y, domain = (part.to(device) for part in (self.x, self.y, self.domain))
        ids = None if self._known_ids is None else self._known_ids.to(device)
        return self._made(x, y, domain, self.name, ids)

    def called(self, name: str) -> Self:
        return self._with(name=name)

    def unlabelled(self) -> Self:
        """The same images without their labels (y = -1)."""
        return self._with(y=torch.full_like(self.y, -1))

    def labelled_as(self, y: Tensor) -> "Examples":
        """The same images with other labels (N,)."""
        check_labels(y, len(self))
        return self._with(y=y)

    def as_domain(self, domain: int) -> Self:
        """The same examples as those of a domain: 0 = source, 1, 2, … = targets."""
        if not whole(domain, 0):
            raise ValueError(f"domain {domain}; expected 0 (source) or a target's 1, 2, …")
        return self._with(domain=torch.full_like(self.domain, domain))

    def of_domain(self, domain: int) -> Self:
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

        x is float in [0, 1], a thousand at a time; dtype (uint8 rounded), labels, domains stay.
        """
        x = changed_once(self.x, transform, seed)
        how = getattr(transform, "__name__", "changed").replace("<lambda>", "changed")
        return self._with(x=x, name=f"{self.name}, {how}")

    def seal(self) -> "tuple[Examples, SealedLabels]":
        """The examples without their labels, and the labels in an envelope that counts.

        Raises ValueError where there is no label, as in examples that are sealed already.
        """
        return self.unlabelled(), SealedLabels(self.y)

    def _with(self, **changes: Any) -> Self:
        parts = {"x": self.x, "y": self.y, "domain": self.domain, "name": self.name}
        ids = None if "x" in changes else self._known_ids
        return self._made(**{**parts, **changes}, ids=ids)

    def only(self, classes: Iterable[int]) -> "Examples":
        """The examples of these classes."""
        return self[strata.is_one_of(self.y, classes)]

    def without(self, classes: Iterable[int]) -> "Examples":
        """The examples of all other classes."""
        return self[~strata.is_one_of(self.y, classes)]

    def per_class(self, count: int, *, seed: int = 0) -> "Examples":
        """`count` examples of each class, drawn at random."""
        return self[strata.places_per_class(self.y, count, seed)]

    def split(self, *sizes: int, seed: int = 0) -> tuple[Self, ...]:
        """Disjoint parts of these sizes, each with every class in proportion (stratified)."""
        return tuple(self[part] for part in strata.places_of_parts(self._strata, sizes, seed))

    def folds(self, k: int, *, seed: int = 0) -> list[tuple[Self, Self]]:
        """k pairs (the rest, one fold) for cross-validation, stratified."""
        pairs = strata.places_of_folds(self._strata, k, seed)
        return [(self[rest], self[fold]) for rest, fold in pairs]

    def __add__(self, other: "Examples") -> "Examples":
        check_joined(self, other)
        x, y = torch.cat([self.x, other.x]), torch.cat([self.y, other.y])
        domain = torch.cat([self.domain, other.domain])
        known = [ids for ids in (self._known_ids, other._known_ids) if ids is not None]
        ids = torch.cat(known) if len(known) == 2 else None
        return self._made(x, y, domain, f"{self.name}+{other.name}", ids)

    # what a kind of examples says for itself

    _check_labels = staticmethod(check_labels)

    def _check_rows(self, x: Tensor) -> None:
        check_rank(x, self.x.dim())  # an index may take an axis away

    @property
    def _strata(self) -> Tensor:  # what is to be spread evenly over parts, (N,)
        return self.y

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

    @classmethod
    def _made(
        cls, x: Tensor, y: Tensor, domain: Tensor, name: str, ids: Tensor | None = None
    ) -> Self:
        """Out of parts that are known to be sound: no value is looked at again.

        ids: hashes of the images where they are known already.
        """
        made = object.__new__(cls)
        made.__dict__.update(x=without_graph(x), y=without_graph(y), domain=domain, name=name)
        if ids is not None:
            made.__dict__["ids"] = ids  # as cached_property keeps them
        return made
