"""Where the work runs: device, threads and precision."""

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn


def pick(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best one that works here: CUDA, then MPS, then the CPU.

    Raises ValueError when the device asked for is not on this machine, or computes nothing.
    """
    if device is None:
        here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        best = (name for name, there in here.items() if there and why_not(name) is None)
        return torch.device(next(best, "cpu"))
    if (why := why_not(device)) is not None:
        raise ValueError(
            f"device {str(device)!r} cannot be used here ({why}); "
            "use device='cpu', or None for the best device of this machine"
        )
    return torch.device(device)


def why_not(device: str | torch.device) -> str | None:
    """Why nothing can be computed on this device; None where it can.

    It takes a kernel to know: memory can be had of a card that this PyTorch has no kernels for.
    """
    try:
        torch.zeros(1, device=torch.device(device)).add_(1)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return None


def threads(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processors this process may use: affinity, then the container's quota, at least 1.

    `os.cpu_count()` counts the host's processors; on Binder that is many more than one may use.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    return max(1, min(available or 1, int(quota) if quota else available or 1))


@contextlib.contextmanager
def within_quota() -> Iterator[None]:
    """At most as many threads as there are processors to use; more would wait for each other.

    The load of the moment is left out of it: numbers would depend on the neighbours.
    """
    before, allowed = torch.get_num_threads(), threads()
    if before > allowed:
        torch.set_num_threads(allowed)
    try:
        yield
    finally:
        if before > allowed:
            torch.set_num_threads(before)


@functools.cache
def keep_freed_memory() -> None:
    """From now on, in the whole process: glibc keeps up to 256 MiB that were freed.

    Otherwise each step faults them in again: a vmap step of 64 students takes three quarters of the
    time so. Where there is no glibc nothing changes.
    """
    trim_threshold, mmap_threshold, size = -1, -3, 256 << 20  # the numbers are malloc.h's
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, size)
        mallopt(mmap_threshold, size) or mallopt(mmap_threshold, 32 << 20)  # old versions' most


def _quota(cgroup: Path) -> float | None:
    try:
        if (cgroup / "cpu.max").exists():  # cgroup v2: "200000 100000" or "max 100000"
            limit, period = (cgroup / "cpu.max").read_text().split()
        else:  # cgroup v1
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        return int(limit) / int(period) if limit not in ("max", "-1") else None
    except (OSError, ValueError):
        return None


def has_bf16(device: str | torch.device = "cpu") -> bool:
    """Whether bf16 products have hardware of their own here (AMX, AVX-512 BF16, or a GPU)."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8
    if kind == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False


def check_precision(precision: str) -> None:
    """Raises ValueError for a precision that there is not."""
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision={precision!r}: expected 'fp32', 'bf16' or 'auto'")


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """A context in which matrix products run in the given precision ("fp32" or "bf16")."""
    check_precision(precision)
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def resolve_precision(precision: str, network: nn.Module, device: torch.device) -> str:
    """ "auto" is bf16 for convolutional networks where the hardware has it, else fp32.

    A card without it (before Ampere, such as a T4) computes "bf16" all the same, and slower.
    """
    check_precision(precision)
    if precision != "auto":
        return precision
    convolutional = any(isinstance(module, nn.Conv2d) for module in network.modules())
    return "bf16" if convolutional and has_bf16(device) else "fp32"


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Random numbers inside start from `seed`; those outside go on as if nothing had happened."""
    kind = torch.device(device).type
    devices = [torch.device(device)] if kind == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which also seeds devices that nobody restores, in a millisecond.
        torch.default_generator.manual_seed(seed)
        with torch.cuda.device(device) if kind == "cuda" else contextlib.nullcontext():
            if kind == "cuda":
                torch.cuda.manual_seed(seed)  # of the device that is current
            with _seeded_mps(seed) if kind == "mps" else contextlib.nullcontext():
                yield


@contextlib.contextmanager
def _seeded_mps(seed: int) -> Iterator[None]:
    """`fork_rng` knows no MPS."""
    before = torch.mps.get_rng_state()
    torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        torch.mps.set_rng_state(before)
