"""A device that is not there: tensors say that they are elsewhere, and hold values on the CPU.

Whole trainings run on it with real numbers, held to these rules of a second device:

- tensors of two devices in one operator are an error, unless the one of the CPU has no dimensions;
- a generator of the CPU draws nothing on it;
- NumPy does not see its memory; values come to the CPU by `.cpu()`, `.item()`, `.tolist()`,
  `.to("cpu")`, and out of a file, alone;
- float64 is refused (as MPS does) where `pretend(float64=False)`;
- a tensor that was made past it, and has no values, is refused, so that no result is a lie.

Each is shown to bite in tests/gpu/test_pretend.py.

It is called "meta", the one device beside the CPU that every build of PyTorch knows, so that no
compiler is needed.

What it cannot prove: that a real device's kernels exist for a dtype, or give the same numbers
(sums in another order, determinism, bf16 and TF32: autocast does nothing here); that random numbers
are the CPU's (here they are, on a card never); what code does only where `device.type` is "cuda" or
"mps", such as recording a step or seeding (tests/unit/test_capture.py holds that to a tape, and a
student that draws on the host, too); that a clock waits for the answer; streams and their races,
memory and its allocator, layouts such as channels_last, speed, a second card, drivers.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")


class Away(torch.Tensor):
    """A tensor of the device; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls: Any, held: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a pretend tensor to numpy; use Tensor.cpu() first")

    is_meta = False  # else PyTorch warns that nothing can be copied into it

    def tolist(self) -> Any:
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_listed(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_listed(index), value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)  # in a file it is any tensor

    def __repr__(self, **_: Any) -> str:
        return f"Away({self.held!r})"


def _listed(index: Any) -> Any:
    """Lists in it as tensors of the host: PyTorch would make them on the device, without values."""
    if isinstance(index, tuple):
        return tuple(map(_listed, index))
    return torch.tensor(index, device="cpu") if isinstance(index, list) else index


class _Machine(TorchDispatchMode):
    """Sees what is made on the device, where no argument is a tensor of it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


_float64 = True


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    away = [t for t in tensors if isinstance(t, Away)]
    asked = kwargs.get("device")
    to_device = asked is not None and torch.device(asked).type == DEVICE.type
    if not away and not to_device:
        return func(*args, **kwargs)
    if kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'meta' device type for generator but found 'cpu'")
    here = [t for t in tensors if not isinstance(t, Away)]
    if away and any(t.is_meta for t in here):
        raise RuntimeError(f"{name}: a tensor was made past the made-up device, and has no values")
    moves = name in ("_to_copy", "copy_")
    if away and here and not moves:
        by_index = name.startswith("index") and isinstance(args[1], list | tuple)
        indices = [i for i in args[1] if i is not None] if by_index else []
        for tensor in here:
            if tensor.dim() and not any(tensor is i for i in indices):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two "
                    f"devices, meta and cpu! ({name}, a CPU tensor of {tuple(tensor.shape)})"
                )
    to_host = name == "_to_copy" and asked is not None and not to_device
    if not _float64 and not to_host and kwargs.get("dtype") == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
    inner = pytree.tree_map_only(Away, lambda t: t.held, (args, kwargs))
    if "device" in kwargs:
        inner[1]["device"] = torch.device("cpu")
    known = {id(t.held): t for t in away}
    out = func(*inner[0], **inner[1])
    if to_host:
        return out.clone() if any(out is t.held for t in away) else out
    if name == "copy_" and not isinstance(args[0], Away):
        return args[0]
    if name == "_to_copy" and any(out is t for t in tensors):
        out = out.clone()
    made = [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]
    if not _float64 and any(t.dtype == torch.float64 for t in made):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def wrapped(tensor: torch.Tensor) -> torch.Tensor:  # what came in, changed, is the same object
        return known[id(tensor)] if id(tensor) in known else Away(tensor)

    return pytree.tree_map_only(torch.Tensor, wrapped, out)


@contextlib.contextmanager
def pretend(*, float64: bool = True) -> Iterator[torch.device]:
    """Within it there is the device, which it gives."""
    global _float64
    tensor, as_tensor, autocast = torch.tensor, torch.as_tensor, torch.autocast
    adam: Any = sys.modules[torch.optim.Adam.__module__]  # the package hides the module's name
    future = torch.__future__
    swaps, before = future.get_swap_module_params_on_conversion(), _float64

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> Any:
        """PyTorch's would hold no values: made on the host, then copied, as on a real device."""
        if device is None:
            return tensor(data, **kwargs)
        return tensor(data, device="cpu", **kwargs).to(device)

    def casting(kind: str, *args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext() if kind == DEVICE.type else autocast(kind, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", made)
        patch.setattr(torch, "as_tensor", lambda data, **kw: _as(as_tensor, made, data, kw))
        patch.setattr(torch, "autocast", casting)
        patch.setattr(adam, "_device_dtype_check_for_fused", lambda *args, **kwargs: None)
        future.set_swap_module_params_on_conversion(True)
        _float64 = float64
        try:
            with _Machine():
                yield DEVICE
        finally:
            _float64 = before
            future.set_swap_module_params_on_conversion(swaps)


def _as(as_tensor: Any, made: Any, data: Any, settings: dict[str, Any]) -> Any:
    """A tensor is moved; what is none yet is made."""
    if isinstance(data, torch.Tensor):
        return data.to(**settings) if settings else data
    return made(data, **settings) if settings.get("device") else as_tensor(data, **settings)
