"""What a network costs a device: bytes, and time for one image and for many."""

import time

import torch
from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.models import parameter_count

HEAD = ["", "weights", "kB (float32)", "ms, one image", "µs an image, 1,000 at once"]


def row(name: str, network: nn.Module, images: Examples) -> list[str]:
    """A row under HEAD; images: 1,000 of them."""
    weights, x = parameter_count(network), images[:1000].batch().x
    alone, together = _seconds(network, x[:1], 200), _seconds(network, x, 10) / len(x)
    size = f"{4 * weights / 1000:.1f}"
    return [name, f"{weights:,}", size, f"{1e3 * alone:.3f}", f"{1e6 * together:.1f}"]


def _seconds(network: nn.Module, x: Tensor, repeats: int) -> float:
    """The time of one forward pass in a quiet moment: a tenth of the passes are faster."""
    times = []
    network.eval()
    with torch.inference_mode():
        for _ in range(repeats):
            begin = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - begin)
    return sorted(times)[repeats // 10]
