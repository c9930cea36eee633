"""What a compressed network costs: bytes, products, microseconds."""

import io
import time
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdlib.arguments import whole
from kdlib.compression.permanent import as_stored, made_permanent
from kdlib.compression.pruning import every_weight
from kdlib.models import evaluating, multiply_adds


@dataclass(frozen=True)
class Latency:
    """Microseconds for one batch: the median of repeats, and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.0f} ({self.low:,.0f} to {self.high:,.0f}) µs"


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    weights, nonzero: numbers that it holds, and those of them that are not 0 · bytes, zipped: its
    state dict as torch saves it, and deflated · multiply_adds: for one image; None where int8
    layers hide them · one, many: microseconds for 1 image and for 256, one thread.
    """

    weights: int
    nonzero: int
    bytes: int
    zipped: int
    multiply_adds: int | None
    one: Latency
    many: Latency


def bytes_on_disk(network: nn.Module) -> int:
    """Bytes of the state dict as torch.save writes it; pruned or rounded weights as plain ones."""
    return len(_saved(network))


def zipped_bytes(network: nn.Module) -> int:
    """The same bytes after zlib's level 6: zeros take next to no room there."""
    return len(zlib.compress(_saved(network), 6))


def latency(network: nn.Module, x: Tensor, *, batch: int = 1, repeats: int = 21) -> Latency:
    """Microseconds for `batch` of the images x (N, C, H, W), repeated as needed, on one thread.

    In eval mode without gradient; each of the `repeats` times as many calls as take 2 milliseconds.
    Other programs make it longer, so compare networks side by side, by their medians. The number of
    threads and the network's mode are as before afterwards.
    """
    if not (whole(batch, 1) and whole(repeats, 1) and len(x)):
        raise ValueError(
            f"batch={batch!r}, repeats={repeats!r}, {len(x)} images: "
            "expected whole numbers ≥ 1 of all"
        )
    images = x[torch.arange(batch, device=x.device) % len(x)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with evaluating(network):
            calls = max(1, int(2e-3 / _seconds(network, images, 3)))
            times = [1e6 * _seconds(network, images, calls) for _ in range(repeats)]
    finally:
        torch.set_num_threads(before)
    low, median, high = torch.tensor(times).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return Latency(median, low, high)


def cost(network: nn.Module, x: Tensor, *, repeats: int = 21) -> Cost:
    """All of it, for images x (N, C, H, W): pruned or rounded weights as plain ones."""
    plain = made_permanent(network)
    weights = every_weight(plain)
    return Cost(
        weights=sum(weight.numel() for weight in weights),
        nonzero=sum(int(weight.count_nonzero()) for weight in weights),
        bytes=bytes_on_disk(plain),
        zipped=zipped_bytes(plain),
        multiply_adds=_counted(plain, x),
        one=latency(plain, x, repeats=repeats),
        many=latency(plain, x, batch=256, repeats=repeats),
    )


def _counted(network: nn.Module, x: Tensor) -> int | None:
    """Multiply-adds; None where PyTorch's counter cannot see them, never a silent 0."""
    if any(type(module).__module__.startswith("torch.ao.") for module in network.modules()):
        return None
    return multiply_adds(network, x) or None


def _saved(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(as_stored(network), buffer)
    return buffer.getvalue()


def _seconds(network: nn.Module, images: Tensor, calls: int) -> float:
    """Mean seconds of a call, until the answer is there."""
    _wait(images.device)
    begun = time.perf_counter()
    for _ in range(calls):
        network(images)
    _wait(images.device)
    return max((time.perf_counter() - begun) / calls, 1e-9)


def _wait(device: torch.device) -> None:
    """A call on an accelerator returns before the work is done."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type == device.type:
        torch.accelerator.synchronize(device)
