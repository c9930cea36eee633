"""Pictures of four classes that a network learns in milliseconds."""

import torch

from kdlib.data import Examples


def blobs(count: int = 320, *, seed: int = 0, noise: float = 60.0) -> Examples:
    """uint8 images (count, 1, 4, 4) of four classes: a pattern each, and noise."""
    generator = torch.Generator().manual_seed(99)
    patterns = 60 + 130 * torch.rand(4, 1, 4, 4, generator=generator)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    x = patterns[y] + noise * torch.randn(count, 1, 4, 4, generator=generator)
    return Examples(x.clamp(0, 255).to(torch.uint8), y, name="blobs")
