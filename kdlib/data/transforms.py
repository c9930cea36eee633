"""Images changed on the fly: each a function (x, generator) -> x, for `fit(augment=…)`."""

from collections.abc import Callable

import torch
from torch import Tensor


def changed(
    who: str,
    transform: Callable[[Tensor, torch.Generator], Tensor],
    x: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """`transform(x, generator)`: as many images (B, C, H, W) as x, floats; else ValueError."""
    made = transform(x, generator)
    tensor = isinstance(made, Tensor)
    if not tensor or len(made) != len(x) or made.dim() != 4 or not made.is_floating_point():
        what = f"{made.dtype} {tuple(made.shape)}" if tensor else repr(made)
        raise ValueError(
            f"{who} made {what} of images {tuple(x.shape)}; expected as many images, floats "
            "(N, C, H, W): does it return what it made?"
        )
    return made


def jitter(pixels: int = 2) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Shifts each image (B, C, H, W) by up to `pixels` each way, with black coming in.

    (The augmentation of Hinton et al. 2015, section 3.)
    """
    if pixels < 0:
        raise ValueError(f"pixels={pixels}: expected 0 or more")

    def shift(x: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = x.shape
        padded = torch.nn.functional.pad(x, (pixels,) * 4)
        down, right = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator).to(x.device)
        rows = (torch.arange(height, device=x.device) + down)[:, None, :, None]
        columns = (torch.arange(width, device=x.device) + right)[:, None, None, :]
        images = torch.arange(count, device=x.device)[:, None, None, None]
        channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        return padded[images, channels, rows, columns]

    return shift
