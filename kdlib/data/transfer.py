"""Transfer sets: images without labels, made from others, for a teacher to answer."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlib.arguments import whole
from kdlib.data.examples import Examples
from kdlib.data.streams import Stream

PATCH = 7  # pixels


def transfer_set(
    examples: Examples, kind: str, *, count: int | None = None, seed: int = 0
) -> Examples:
    """`count` images (as many as there are examples by default) without labels.

    kind: "noise" (uniform) · "pixels" (each pixel from the same place of another image) ·
    "shuffled" (the pixels of an image in another order) · "mixup" (a mean of two images with
    a share drawn from 0 to 1, Zhang et al. 2018) · "halves" (left half of one image, right half of
    another) · "patches" (squares of 7 × 7 pixels from many images). All of them are as large and
    of the dtype of the examples, and of domain 0; `+` mixes sets. Raises ValueError for
    an unknown kind, no examples, or a count below 1.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected {', '.join(map(repr, KINDS))}")
    if not isinstance(examples, Examples):
        raise ValueError(f"examples is a {type(examples).__name__}; expected Examples")
    if isinstance(examples, Stream):
        raise ValueError(
            f"a transfer set is made of images in memory, and {examples!r} is read as it goes; "
            "make Examples of some: Examples(examples[:1000].batch().x, examples.y[:1000])"
        )
    if not whole(seed, 0):
        raise ValueError(f"seed={seed!r}: expected a whole number of at least 0")
    count = len(examples) if count is None else count
    if not len(examples) or not whole(count, 1):
        raise ValueError(
            f"count={count!r} of {examples!r}: expected at least one image, made of at least one"
        )
    generator = torch.Generator().manual_seed(seed)
    pixels = examples.x.dtype == torch.uint8
    x = examples.x.cpu().float() / 255 if pixels else examples.x.cpu()
    made = KINDS[kind](x, count, generator)
    made = (255 * made).round().to(torch.uint8) if pixels else made.to(examples.x.dtype)
    y = torch.full((count,), -1)
    return Examples(made, y, name=f"{kind} of {examples.name}").to(examples.device)


def _noise(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, *x.shape[1:], generator=generator)


def _pixels(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    source = torch.randint(len(x), (count, *x.shape[1:]), generator=generator)
    return x.gather(0, source)


def _shuffled(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    flat = _drawn(x, count, generator).flatten(2)
    order = torch.rand(count, 1, flat.shape[2], generator=generator).argsort(2)
    return flat.gather(2, order.expand_as(flat)).view(count, *x.shape[1:])


def _mixup(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    share = torch.rand(count, 1, 1, 1, generator=generator)
    return torch.lerp(_drawn(x, count, generator), _drawn(x, count, generator), share.to(x.dtype))


def _halves(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    left, right = _drawn(x, count, generator), _drawn(x, count, generator)
    middle = x.shape[-1] // 2
    return torch.cat([left[..., :middle], right[..., middle:]], -1)


def _patches(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    made = x.new_empty(count, *x.shape[1:])
    for top in range(0, x.shape[2], PATCH):
        for left in range(0, x.shape[3], PATCH):
            square = (..., slice(top, top + PATCH), slice(left, left + PATCH))
            made[square] = _drawn(x, count, generator)[square]
    return made


def _drawn(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return x[torch.randint(len(x), (count,), generator=generator)]


KINDS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "noise": _noise,
    "pixels": _pixels,
    "shuffled": _shuffled,
    "mixup": _mixup,
    "halves": _halves,
    "patches": _patches,
}
