"""Examples that are read when they are needed: data larger than memory."""

import copy
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from kdlib.arguments import check_images, check_labels, one_place
from kdlib.data.batches import Batch, source
from kdlib.data.examples import Examples
from kdlib.data.hashes import content_hash


class Stream(Examples):
    """Examples out of a PyTorch `Dataset`: `dataset[i]` -> (image, label), read batch by batch.

    Images (C, H, W), uint8 or floats from 0 to 1, all of one size. y: the labels (N,); None takes
    those in `dataset.targets`, or reads the whole data set once: where there are none, or the
    first, middle or last item has another (as `target_transform` makes them). The data set may
    change its images at random (transforms draw from PyTorch's generator, which `fit` seeds), so
    teachers are asked live, no table of answers is made, and no bank is kept; a checkpoint knows
    the labels and the first image alone. Raises ValueError for a data set whose items are no such
    pairs.
    """

    _dataset: Any
    _first: Tensor
    _places: Tensor

    def __init__(self, dataset: Any, y: Tensor | None = None, *, name: str = "") -> None:
        if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and len(dataset)):
            inside = hasattr(dataset, "dataset")
            raise ValueError(
                f"the data set is a {type(dataset).__name__} without items by number; expected one "
                f"with len() and [i]{': give loader.dataset' if inside else ''}"
            )
        first = _image(dataset, 0)[None].clone()
        check_images(first)
        if y is None:
            y = _labels(dataset)
        check_labels(y, len(dataset))
        y = y.detach()
        # `x` tells the shape and dtype of all, and holds no image: who reads it is stopped
        x = torch.empty(len(y), *first.shape[1:], dtype=first.dtype, device="meta")
        self.__dict__.update(x=x, y=y, domain=source(y), name=name)
        self.__dict__.update(_dataset=dataset, _first=first, _places=torch.arange(len(y)))

    def __repr__(self) -> str:
        return super().__repr__().replace("Examples(", "Stream(", 1)

    @property
    def ids(self) -> NoReturn:
        raise ValueError(
            f"{self!r} is read anew each time, so no table can know its images; give the teacher's "
            "network itself, which is then asked live"
        )

    @property
    def _known_ids(self) -> None:
        return None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of labels, domains, their order, and the first image."""
        return content_hash(self.x, self._first, self._places, self.y, self.domain)

    @property
    def device(self) -> torch.device:
        return self.y.device

    def __getitem__(self, index: Any) -> Self:
        if isinstance(index, Integral):
            index = one_place(int(index), len(self))
        places = self._places[index.cpu() if isinstance(index, Tensor) else index]
        return self._changed(y=self.y[index], domain=self.domain[index], _places=places)

    def to(self, device: str | torch.device) -> Self:
        return self._changed(y=self.y.to(device), domain=self.domain.to(device))

    def batch(self, index: Any = slice(None)) -> Batch:
        """These examples, read now, as `Examples.batch` gives them; nobody knows their ids."""
        places = self._places[index.cpu() if isinstance(index, Tensor) else index].tolist()
        images = [_image(self._dataset, place) for place in places]
        for place, image in zip(places, images, strict=True):
            if image.shape != self.x.shape[1:] or image.dtype != self.x.dtype:
                raise ValueError(
                    f"item {place} of {self!r} is {image.dtype} {tuple(image.shape)}, the first "
                    f"{self.x.dtype} {tuple(self.x.shape[1:])}; let the data set resize them"
                )
        x = torch.stack(images)
        check_images(x)
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        x = x.to(kind) / 255 if x.dtype == torch.uint8 else x.to(kind)
        return Batch(x.to(self.y.device), self.y[index], self.domain[index])

    def _with(self, **changes: Any) -> Self:
        return self._changed(**changes)

    def _changed(self, **parts: Any) -> Self:
        made = copy.copy(self)
        made.__dict__.pop("fingerprint", None)
        made.__dict__.update(parts)
        made.__dict__["x"] = self.x.new_empty(len(made.y), *self.x.shape[1:])
        return made

    def _refuse(self, *given: Any, **named: Any) -> NoReturn:
        raise ValueError(
            f"{self!r} is read from a data set; change or join data sets (ConcatDataset), and make "
            "one Stream of the result"
        )

    transformed = __add__ = _refuse


def _image(dataset: Any, place: int) -> Tensor:
    """The image of one item; raises ValueError for what is no pair that begins with a tensor."""
    item = dataset[place]
    if not (isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], Tensor)):
        what = f"a {type(item).__name__}"
        if isinstance(item, Sequence) and len(item):
            what = f"a {type(item).__name__} that begins with a {type(item[0]).__name__}"
        raise ValueError(
            f"item {place} of the data set is {what}; expected (image, label) with a tensor, as "
            "the transform torchvision.transforms.PILToTensor() makes of pictures"
        )
    return item[0].detach()


def _labels(dataset: Any) -> Tensor:
    """The labels it names, where its items have the same; else those of every item."""
    advice = "give class indices: Stream(dataset, torch.tensor([…])), one for each item"
    named = getattr(dataset, "targets", None)
    try:
        if named is None or not _has(dataset, named):
            named = [torch.as_tensor(dataset[place][1]) for place in range(len(dataset))]
            named = torch.stack(named)
        y = torch.as_tensor(named)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the data set's labels are no numbers ({error}); {advice}") from error
    if y.dtype != torch.int64 or y.shape != (len(dataset),):
        raise ValueError(
            f"the data set's labels are {y.dtype} {tuple(y.shape)}; {advice}. Several numbers for "
            "each are Targets(x, y), of images in memory"
        )
    return y


def _has(dataset: Any, named: Any) -> bool:
    """Whether the first, middle and last item have the labels in this list."""
    count = len(dataset)
    try:
        pairs = [(named[i], dataset[i][1]) for i in {0, count // 2, count - 1}]
        same = all(torch.as_tensor(a).tolist() == torch.as_tensor(b).tolist() for a, b in pairs)
    except (TypeError, ValueError, RuntimeError, LookupError):
        return False
    return same and len(named) == count
