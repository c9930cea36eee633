"""What is asked of examples that are numbers: features, signals, targets, and outputs for these."""

from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import check_labelled
from kdlib.tensors import check_tensor, check_tensors


def check_features(f: Any) -> None:
    """(N, width) or (N, C, …), finite numbers; whole ones only as large as float32 can tell."""
    check_tensor("features", f)
    if f.dim() in (0, 1, 4) or not bool(f.isfinite().all()):
        raise ValueError(
            f"features have shape {tuple(f.shape)}; expected (N, width), signals (N, C, L) or "
            "volumes (N, C, D, H, W), all of them finite; maps are f.flatten(2)"
        )
    if not f.is_floating_point() and f.numel() and int(f.long().abs().max()) > 2**24:
        raise ValueError(
            f"features are {f.dtype} up to {int(f.long().abs().max())}, and a batch's float32 "
            "knows whole numbers up to 2**24 alone; number what occurs: "
            "torch.unique(f, return_inverse=True)[1]"
        )


def check_pictures(name: str, x: Tensor) -> None:
    """Raises ValueError for what has no pixels that could be moved."""
    if x.dim() != 4 or x.shape[2:] == (1, 1):
        raise ValueError(
            f"{name} moves pixels, and here are features or signals {tuple(x.shape)}; expected "
            "images (B, C, H, W) of more than one pixel: use another augment, such as mixup()"
        )


def check_targets(y: Any, count: int) -> None:
    """(count, K), finite floats or nan, or bool."""
    check_tensor("targets", y)
    if y.dim() != 2 or len(y) != count or not y.shape[1]:
        one = ": y[:, None] where there is one" if y.shape == (count,) else ""
        raise ValueError(
            f"targets have shape {tuple(y.shape)} for {count} images; expected ({count}, K), K "
            f"numbers each{one}"
        )
    if not (y.is_floating_point() or y.dtype == torch.bool):
        raise ValueError(
            f"targets are {y.dtype}; expected floats, as y.float() makes them, or bool"
        )
    if bool(y.isinf().any()):
        raise ValueError("a target is inf; expected finite numbers, and nan for no target")


def is_binary(y: Tensor) -> bool:
    """Whether these targets are labels of 0 and 1 alone (or nan: none)."""
    return bool(((y == 0) | (y == 1) | y.isnan()).all())


def check_outputs(z: Tensor, y: Tensor) -> None:
    """Raises ValueError unless outputs (…, N, K) are there for targets (N, K)."""
    check_tensors(1, outputs=z)
    check_tensor("targets", y)
    if z.dim() < 2 or z.shape[-2:] != y.shape:
        raise ValueError(
            f"outputs have shape {tuple(z.shape)} and targets {tuple(y.shape)}; give one output "
            "for each target, (…, N, K)"
        )


def check_binary(logits: Tensor, y: Tensor) -> None:
    """Raises ValueError unless errors can be counted: outputs for labels of 0 and 1."""
    check_outputs(logits, y)
    if not is_binary(y):
        raise ValueError(
            f"targets are numbers from {y.nan_to_num(0).min():g} to {y.nan_to_num(0).max():g}, and "
            "errors are counted of labels; use metrics.root_mean_square(outputs, y)"
        )
    if bool(y.isnan().all(-1).any()):
        raise ValueError(
            f"{int(y.isnan().all(-1).sum())} of {len(y)} examples have no target (nan); score the "
            "others alone: targets[targets.labelled]"
        )


def check_scored(logits: Tensor, y: Tensor) -> None:
    """Raises ValueError unless there is a label, or are labels of 0 and 1, for each answer."""
    check_tensors(1, logits=logits)
    check_tensor("labels", y)
    (check_binary if y.is_floating_point() else check_labelled)(logits, y)


def check_rank(x: Tensor, axes: int) -> None:
    """Raises ValueError for what an index left of examples with so many axes."""
    if x.dim() != axes:
        raise ValueError(
            f"images have shape {tuple(x.shape)} after this index, with {x.dim()} axes and not "
            f"{axes}; choose whole examples: examples[i], examples[a:b], examples[mask]"
        )


def check_together(**parts: Tensor) -> None:
    """Raises ValueError unless all of these are on one device."""
    places = {name: str(part.device) for name, part in parts.items()}
    if len(set(places.values())) > 1:
        told = ", ".join(f"{name} on {place}" for name, place in places.items())
        place = next(iter(places.values()))
        raise ValueError(f"examples are on one device, and here are {told}; use .to('{place}')")


def check_joined(first: Any, second: Any) -> None:
    """Raises ValueError unless both are examples of one kind, size, dtype and device."""
    if type(first) is not type(second):
        what = repr(second) if hasattr(second, "domain") else f"a {type(second).__name__}"
        kinds = f"{type(first).__name__} and {type(second).__name__}"
        raise ValueError(
            f"{first!r} and {what} are of different kinds ({kinds}); join examples of one kind"
        )
    if first.x.shape[1:] != second.x.shape[1:] or first.x.dtype != second.x.dtype:
        raise ValueError(
            f"{first.name} holds {first.x.dtype} images of {tuple(first.x.shape[1:])} and "
            f"{second.name} {second.x.dtype} of {tuple(second.x.shape[1:])}; "
            "load both with the same size= first"
        )
    check_together(**{"the first": first.x, "the second": second.x})
