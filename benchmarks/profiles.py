"""Where our time goes, and how far the processor's own peak would carry."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.contenders import Taken
from benchmarks.work import STUDENTS, Work

KINDS = {
    "matrix products": ("mm", "bmm", "addmm", "baddbmm"),
    "convolutions": ("mkldnn_convolution", "convolution_backward"),
    "BatchNorm": ("native_batch_norm", "native_batch_norm_backward"),
    "pooling": ("max_pool2d_with_indices", "max_pool2d_with_indices_backward"),
    "AdamW": ("_fused_adamw_",),
    "copies, casts, picking rows": ("copy_", "index", "index_select", "cat", "fill_"),
}


def shares(run: Callable[[int], Taken], steps: int) -> dict[str, float]:
    """Percent of the operators' own time by kind, those under 1 % left out."""
    run(2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run(steps)
    own = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(own.values())
    found = {
        kind: 100 * sum(own.get(f"aten::{name}", 0) for name in names) / total
        for kind, names in KINDS.items()
    }
    found["all else"] = 100 - sum(found.values())
    return {kind: share for kind, share in found.items() if share >= 1}


def peak(dtype: torch.dtype) -> float:
    """10⁹ multiplications and additions a second of one thread, at the bank's size."""
    a, b = torch.randn(2048, 784).to(dtype), torch.randn(784, 512).to(dtype)
    taken = []
    for _ in range(30):
        start = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - start)
    return 2 * a.shape[0] * b.numel() / sorted(taken)[len(taken) // 2] / 1e9


def floor(work: Work, dtype: torch.dtype) -> float:
    """Seconds that the first layer's two products alone take at that peak, for all students."""
    products = 2 * 2 * STUDENTS * work.width * 784 * len(work.examples) * work.epochs
    return products / peak(dtype) / 1e9
