"""A CUDA graph's rules on a CPU: operators are recorded with tensors and numbers, and replayed.

As in a CUDA graph, a replay runs the same operators on the same memory; nothing of Python runs
again. As there, reading a number off the device, shapes that depend on what a tensor holds, and
tensors made of Python's numbers (a copy from the host) cannot be recorded.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select")
COPIES = ("lift_fresh",)


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, by_mask = func.overloadpacket.__name__, False
        if name in ("index", "index_put", "index_put_"):
            by_mask = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if name in READS + COPIES or by_mask:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        out = func(*args, **(kwargs or {}))
        if not _is_view(func):
            self.operators.append((func, args, kwargs or {}, out))
        return out


def _is_view(func: Any) -> bool:
    made = [result.alias_info for result in func._schema.returns]
    return bool(made) and all(alias is not None and not alias.is_write for alias in made)


def _fresh(func: Any, out: Any) -> list[Tensor]:
    """What the operator made, as opposed to what it changed in place."""
    if any(result.alias_info is not None for result in func._schema.returns):
        return []
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]


def tape(call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """call -> (replay, outputs). Recording computes here, so the first replay has been run."""
    with _Tape() as recorded:
        outputs = call()
    first = True

    def replay() -> None:
        nonlocal first
        if first:
            first = False
            return
        with torch.no_grad():
            for func, args, kwargs, out in recorded.operators:
                anew = _fresh(func, func(*args, **kwargs))
                for old, new in zip(_fresh(func, out), anew, strict=True):
                    old.detach().copy_(new)

    return replay, outputs
