"""Another domain from the same digits: eight ways in which images differ from place to place.

Each function returns `transform(x, generator) -> x` on float images (B, C, H, W) in [0, 1], whose
chance comes from the generator alone. `severity(name, level)` puts all of them on one axis: level 0
leaves the images exactly as they are, level 1 is a strong shift.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlib.data.numeric import check_pictures

Transform = Callable[[Tensor, torch.Generator], Tensor]


def mirror(p: float = 1.0) -> Transform:
    """Each image seen in a mirror (left and right exchanged) with probability p."""
    _within("p", p, 0, 1)

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures("mirror", x)
        chosen = torch.rand(len(x), 1, 1, 1, generator=generator).to(x.device) < p
        return torch.where(chosen, x.flip(-1), x)

    return _named(transform, f"mirror({p:g})")


def rotate(degrees: float) -> Transform:
    """Every image turned by this angle against the clock, about its middle, black coming in."""
    turn = math.radians(degrees)
    rows = [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]]

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures("rotate", x)
        return _moved(x, rows) if degrees % 360 else x

    return _named(transform, f"rotate({degrees:g})")


def shift(pixels: float) -> Transform:
    """Every image moved right and down by this many pixels (left and up when negative)."""

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures("shift", x)
        height, width = x.shape[-2:]
        rows = [[1.0, 0.0, -2 * pixels / width], [0.0, 1.0, -2 * pixels / height]]
        return _moved(x, rows) if pixels else x

    return _named(transform, f"shift({pixels:g})")


def crop(inner: int, size: int | None = None) -> Transform:
    """The inner × inner pixels in the middle, resized to size × size (as before when None)."""
    if inner < 1 or (size is not None and size < 1):
        raise ValueError(f"inner={inner} and size={size} pixels; expected 1 or more")

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures("crop", x)
        height, width = x.shape[-2:]
        if inner > min(height, width):
            raise ValueError(
                f"inner={inner} of {height}×{width} images; expected no more than that"
            )
        top, left = (height - inner) // 2, (width - inner) // 2
        target = (height, width) if size is None else (size, size)
        x = x[..., top : top + inner, left : left + inner]
        if tuple(x.shape[-2:]) == target:
            return x
        return F.interpolate(x, target, mode="bilinear", antialias=True).clamp(0, 1)

    return _named(transform, f"crop({inner})" if size is None else f"crop({inner}, {size})")


def blur(sigma: float) -> Transform:
    """A Gaussian blur whose standard deviation is sigma pixels, black beyond the edge."""
    _within("sigma", sigma, 0, math.inf)
    reach = math.ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.softmax(-0.5 * (steps / max(sigma, 1e-6)) ** 2, 0)

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        if not sigma:
            return x
        check_pictures("blur", x)
        one_by_one = x.reshape(-1, 1, *x.shape[-2:])  # (B·C, 1, H, W)
        weights = kernel.to(x)[None, None, None]  # (1, 1, 1, width of the kernel)
        wide = F.conv2d(one_by_one, weights, padding=(0, reach))
        high = F.conv2d(wide, weights.transpose(-1, -2), padding=(reach, 0))
        return high.reshape(x.shape).clamp(0, 1)

    return _named(transform, f"blur({sigma:g})")


def texture(strength: float) -> Transform:
    """Each image on a cloudy background of its own: |x - strength · clouds|.

    (The difference with a background, as MNIST-M was made: Ganin et al. 2016.)
    """
    _within("strength", strength, 0, 1)

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures("texture", x)
        height, width = x.shape[-2:]
        coarse = torch.rand(
            len(x), 1, math.ceil(height / 4), math.ceil(width / 4), generator=generator
        )
        clouds = F.interpolate(coarse.to(x), (height, width), mode="bilinear")
        return (x - strength * clouds).abs().clamp(0, 1)

    return _named(transform, f"texture({strength:g})")


def contrast(factor: float) -> Transform:
    """Distances from middle grey times factor: 0 is all grey, -1 the negative of the image."""

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        return x if factor == 1 else (0.5 + factor * (x - 0.5)).clamp(0, 1)

    return _named(transform, f"contrast({factor:g})")


def noise(std: float) -> Transform:
    """Gaussian noise of this standard deviation on every pixel, cut to [0, 1]."""
    _within("std", std, 0, math.inf)

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        disturbance = torch.randn(x.shape, generator=generator).to(x)
        return (x + std * disturbance).clamp(0, 1) if std else x

    return _named(transform, f"noise({std:g})")


def _closer(level: float) -> Transform:
    """Up to two sevenths of the width cut away: the inner 20×20 of 28×28 at level 1."""

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        width = min(x.shape[-2:])
        return crop(width - 2 * round(level * width / 7))(x, generator)

    return transform


SHIFTS: dict[str, Callable[[float], Transform]] = {
    "mirror": mirror,
    "rotate": lambda level: rotate(60 * level),
    "shift": lambda level: shift(5 * level),
    "crop": _closer,
    "blur": lambda level: blur(2.5 * level),
    "texture": texture,
    "contrast": lambda level: contrast(1 - 0.9 * level),
    "noise": lambda level: noise(0.6 * level),
}


def severity(name: str, level: float) -> Transform:
    """The shift of this name at a level in 0..1; level 0 is the identity, exactly."""
    if name not in SHIFTS:
        raise ValueError(f"shift {name!r} is unknown; choose one of {', '.join(SHIFTS)}")
    _within("level", level, 0, 1)
    transform = SHIFTS[name](level) if level else lambda x, generator: x
    return _named(transform, f"{name} at {level:g}")


def _moved(x: Tensor, rows: list[list[float]]) -> Tensor:
    """Images resampled by an affine map of their coordinates, which run from -1 to 1."""
    theta = torch.tensor(rows, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False).clamp(0, 1)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or math.isinf(value):
        above = "0 or more" if math.isinf(high) else f"{low:g} to {high:g}"
        raise ValueError(f"{name}={value}; expected {above}")


def _named(transform: Transform, name: str) -> Transform:
    """The name by which `Examples.transformed` calls its result."""
    transform.__name__ = name
    return transform
