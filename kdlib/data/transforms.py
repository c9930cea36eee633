"""Images changed on the fly: each a function (x, generator) -> x, for `fit(augment=…)`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdlib.arguments import check_images, finite, whole
from kdlib.data.batches import Batch
from kdlib.data.numeric import check_features, check_pictures
from kdlib.device import seeded

Transform = Callable[[Tensor, torch.Generator], Any]
Mixed = tuple[Tensor, Tensor, Tensor]
"""Images, and whose labels they have besides their own: partners (B,) and shares (B,)."""


def changed(who: str, transform: Transform, x: Tensor, generator: torch.Generator) -> Tensor:
    """`transform(x, generator)`: as many images (B, C, H, W) as x, floats; else ValueError."""
    return _images(who, transform(x, generator), x)


def augmented(augment: Transform, batch: Batch, generator: torch.Generator) -> tuple[Batch, Tensor]:
    """The batch and its images changed by `augment`, which may mix labels.

    Those are in the batch: labels of classes in pairs (`Batch.other`, `share`), numbers in their
    mean. Raises ValueError for what are no images, or no (images, partners, shares).
    """
    made = augment(batch.x, generator)
    if not isinstance(made, tuple):
        return batch, _images("augment", made, batch.x)
    if len(made) != 3 or not all(isinstance(part, Tensor) for part in made):
        raise ValueError(
            f"augment made {len(made)} things at once; expected images, or images, partners (B,) "
            "and shares (B,): the places in the batch whose labels count, too, and the share of "
            "the own ones"
        )
    x, partners, shares = made
    count = len(batch)
    places = partners.dtype == torch.int64 and partners.shape == (count,)
    if not places or shares.shape != (count,) or not shares.is_floating_point():
        raise ValueError(
            f"augment made partners {partners.dtype} {tuple(partners.shape)} and shares "
            f"{shares.dtype} {tuple(shares.shape)} of {count} images; expected int64 and floats "
            f"({count},)"
        )
    shares = shares.to(batch.x)
    return batch.mixed(partners.to(batch.y.device), shares), _images("augment", x, batch.x)


def _images(who: str, made: Any, x: Tensor) -> Tensor:
    tensor = isinstance(made, Tensor)
    if not tensor or len(made) != len(x) or made.dim() != x.dim() or not made.is_floating_point():
        what = f"{made.dtype} {tuple(made.shape)}" if tensor else f"a {type(made).__name__}"
        what = "None" if made is None else what
        raise ValueError(
            f"{who} made {what} of images {tuple(x.shape)}; expected as many images, floats "
            "(N, C, H, W): does it return what it made?"
        )
    return made


def changed_once(x: Tensor, transform: Transform, seed: int) -> Tensor:
    """All images (N, …), changed a thousand at a time; uint8 stay so, and features any size."""
    generator = torch.Generator().manual_seed(seed)
    pixels = x.dtype == torch.uint8
    features = not pixels and (x.dim() != 4 or x.shape[2:] == (1, 1))
    parts = [part.float() / 255 if pixels else part.clone() for part in x.split(1000)]
    made = torch.cat([changed("the transform", transform, part, generator) for part in parts])
    made = made.clamp(0, 1) if pixels else made
    if features:
        check_features(made.flatten(1))
    else:
        check_images(made)
    return (made * 255).round().to(torch.uint8) if pixels else made


def each_image(
    transform: Callable[[Tensor], Tensor],
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """`transform(image) -> image`, (C, H, W) each, for every image by itself, as an augment.

    Transforms such as torchvision's draw once a call: given a batch, they flip all images or none.
    PyTorch's random numbers in it come from the generator.
    """
    if not callable(transform):
        raise ValueError(f"transform={transform!r}; expected a function image -> image")

    def one_by_one(x: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**40, (), generator=generator))
        with seeded(seed, x.device):
            return torch.stack([transform(image) for image in x])

    one_by_one.__name__ = getattr(transform, "__name__", type(transform).__name__)
    return one_by_one


def mixup(alpha: float = 1.0) -> Callable[[Tensor, torch.Generator], Mixed]:
    """Each image mixed with another of its batch: share · x + (1 - share) · x[partner].

    (Zhang et al. 2018.) One share, drawn from Beta(alpha, alpha), for a batch. Labels are mixed
    alike, in the terms on labels; teachers see what was mixed.
    """
    _check_alpha(alpha)

    def mix(x: Tensor, generator: torch.Generator) -> Mixed:
        partners, share = _drawn(x, alpha, generator)
        return torch.lerp(x[partners], x, share), partners, x.new_full((len(x),), share)

    return _mixer(mix, f"mixup({alpha:g})")


def cutmix(alpha: float = 1.0) -> Callable[[Tensor, torch.Generator], Mixed]:
    """A box of each image (B, C, H, W) is cut out, and filled by that of another of its batch.

    (Yun et al. 2019.) The box has 1 - share of the area, share from Beta(alpha, alpha), and its
    middle anywhere: what lies outside is cut, and the share is that of what is left. One box for a
    batch. Labels are mixed as in `mixup`.
    """
    _check_alpha(alpha)

    def mix(x: Tensor, generator: torch.Generator) -> Mixed:
        check_pictures("cutmix", x)
        partners, share = _drawn(x, alpha, generator)
        box, area = [], 1.0
        for size in x.shape[-2:]:
            middle = int(torch.randint(size, (), generator=generator))
            reach = int(size * (1 - share) ** 0.5) // 2
            box.append(slice(max(middle - reach, 0), min(middle + reach, size)))
            area *= (box[-1].stop - box[-1].start) / size
        x = x.clone()
        x[..., box[0], box[1]] = x[partners][..., box[0], box[1]]
        return x, partners, x.new_full((len(x),), 1 - area)

    return _mixer(mix, f"cutmix({alpha:g})")


def mixes_labels(augment: Any) -> bool:
    """Whether it is known of this augment that it does."""
    return getattr(augment, "mixes_labels", False)


def _mixer(mix: Any, name: str) -> Any:
    mix.__name__, mix.mixes_labels = name, True
    return mix


def _check_alpha(alpha: float) -> None:
    if not (finite(alpha) and alpha > 0):
        raise ValueError(f"alpha={alpha!r}: expected a finite number above 0, such as 1")


def _drawn(x: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Whom each image is mixed with, and the share of its own."""
    partners = torch.randperm(len(x), generator=generator).to(x.device)
    seed = int(torch.randint(2**40, (), generator=generator))  # PyTorch's Beta takes no generator
    return partners, float(np.random.default_rng(seed).beta(alpha, alpha))


def jitter(pixels: int = 2) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Shifts each image (B, C, H, W) by up to `pixels` each way, with black coming in.

    (The augmentation of Hinton et al. 2015, section 3.)
    """
    if not whole(pixels, 0):
        raise ValueError(f"pixels={pixels!r}: expected a whole number of 0 or more, such as 2")

    def shift(x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures("jitter", x)
        count, _, height, width = x.shape
        padded = torch.nn.functional.pad(x, (pixels,) * 4)
        down, right = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator).to(x.device)
        rows = (torch.arange(height, device=x.device) + down)[:, None, :, None]
        columns = (torch.arange(width, device=x.device) + right)[:, None, None, :]
        images = torch.arange(count, device=x.device)[:, None, None, None]
        channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        return padded[images, channels, rows, columns]

    return shift
