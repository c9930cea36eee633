"""What is asked of whatever shall be a tensor; each error is one sentence."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

UNREAL = {torch.bool, torch.complex32, torch.complex64, torch.complex128}


def check_tensor(what: str, given: Any) -> None:
    if not isinstance(given, Tensor):
        raise ValueError(
            f"{what} are a {type(given).__name__}; expected a tensor: torch.as_tensor(…) makes one"
        )
    if given.is_complex():
        raise ValueError(
            f"{what} are {given.dtype}; expected real numbers: .real has them, and "
            "torch.view_as_real(…).flatten(1) both parts as features"
        )


def check_tensors(axes: int = 2, /, **given: Any) -> None:
    """Raises ValueError unless each is a tensor of real numbers with at least so many axes."""
    for name, one in given.items():
        if not isinstance(one, Tensor):
            what = "None" if one is None else f"a {type(one).__name__}"
            raise ValueError(
                f"{name} is {what}; expected a tensor, as torch.as_tensor(…) makes of a list or of "
                "NumPy's numbers"
            )
        if one.dtype in UNREAL:
            raise ValueError(
                f"{name} is {one.dtype}; expected real numbers: .float() makes them of True and "
                "False, .real of complex ones"
            )
        if one.dim() < axes:
            raise ValueError(
                f"{name} has shape {tuple(one.shape)}; expected {axes} axes or more, the first of "
                "them the batch's: put in one that is missing, as x[None] does"
            )
        if one.dim() > 1 and not all(one.shape[1:]):
            raise ValueError(
                f"{name} has shape {tuple(one.shape)}: an axis beside the batch's is empty, and "
                "there is nothing to compare"
            )


def check_factors(**given: Any) -> None:
    """Raises ValueError for plain factors that are no finite numbers; tensors are the grid's."""
    for name, one in given.items():
        if not isinstance(one, Tensor) and not (isinstance(one, Real) and math.isfinite(one)):
            raise ValueError(f"{name}={one!r}: expected a finite number, such as 1")
