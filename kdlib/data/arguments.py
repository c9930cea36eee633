"""What examples ask of images, labels and domains."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor


def whole(value: Any, least: int) -> bool:
    """Whether this is a whole number of at least that."""
    return isinstance(value, Integral) and int(value) >= least


def one_place(index: int, count: int) -> slice:
    """Where the one example at this index is; IndexError outside, which ends a loop over all."""
    if not -count <= index < count:
        raise IndexError(
            f"example {index} was asked for out of {count}; choose one of 0, 1, …, "
            "or count back from the last, -1"
        )
    return slice(index % count, index % count + 1)


def check_shape(x: Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(
            f"images have shape {tuple(x.shape)}; expected (N, C, H, W): "
            "add a channel axis with x[:, None] for grey images"
        )


def check_images(x: Any) -> None:
    """(N, C, H, W), uint8 or finite floats from 0 to 1."""
    _check_tensor("images", x)
    check_shape(x)
    if x.dtype == torch.uint8 or not x.numel():
        return
    if not x.is_floating_point():
        raise ValueError(
            f"images are {x.dtype}; expected torch.uint8 from 0 to 255, as x.to(torch.uint8) makes "
            "them, or floats from 0 to 1"
        )
    low, high = x.detach().aminmax()  # one pass, and nan stays nan
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images hold values from {low:g} to {high:g}; expected finite floats from 0 to 1: "
            "divide pixels by 255 first, and leave normalising to the network"
        )


def check_labels(y: Any, count: int) -> None:
    """(count,), int64, at least -1."""
    _check_tensor("labels", y)
    if y.shape != (count,):
        raise ValueError(
            f"labels have shape {tuple(y.shape)} for {count} images; "
            f"expected ({count},): one class index each, -1 where there is no label"
        )
    if y.dtype != torch.int64:
        raise ValueError(f"labels are {y.dtype}; expected torch.int64: y.long() makes them so")
    if count and int(y.min()) < -1:
        raise ValueError(
            f"a label is {int(y.min())}; expected class indices 0, 1, …, and -1 for no label"
        )


def check_domain(domain: Any, count: int) -> None:
    """(count,), int64, at least 0."""
    tensor = isinstance(domain, Tensor)
    if not tensor or domain.shape != (count,) or domain.dtype != torch.int64:
        what = f"{domain.dtype} of shape {tuple(domain.shape)}" if tensor else repr(domain)
        raise ValueError(
            f"domain is {what} for {count} images; expected torch.int64 of shape ({count},) "
            "(a name is given with name=…)"
        )
    if count and int(domain.min()) < 0:
        raise ValueError(
            f"a domain is {int(domain.min())}; expected 0 (source) or a target's 1, 2, …"
        )


def _check_tensor(what: str, given: Any) -> None:
    if not isinstance(given, Tensor):
        raise ValueError(
            f"{what} are a {type(given).__name__}; expected a tensor: torch.as_tensor(…) makes one"
        )
