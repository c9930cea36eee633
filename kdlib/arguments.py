"""What is asked of numbers, shapes, images, labels and answers; each error is one sentence."""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from kdlib.tensors import UNREAL, check_tensor, check_tensors

# ---- numbers -------------------------------------------------------------------------------------


def whole(value: Any, least: int) -> bool:
    """Whether this is a whole number of at least that."""
    return isinstance(value, Integral) and int(value) >= least


def finite(value: Any) -> bool:
    """Whether this is a plain number, neither nan nor inf."""
    return isinstance(value, Real) and math.isfinite(value)


def check_temperature(T: float | Tensor) -> None:
    """Plain numbers must be finite and > 0; tensors are checked where the grid is built."""
    if not isinstance(T, Tensor) and not (finite(T) and T > 0):
        raise ValueError(f"temperature T={T!r}: expected a finite number above 0, such as 4")


def check_fraction(name: str, value: float | Tensor) -> None:
    """Plain numbers must lie in [0, 1]."""
    if not isinstance(value, Tensor) and not (finite(value) and 0 <= value <= 1):
        raise ValueError(f"{name}={value!r}: expected a number from 0 to 1")


# ---- examples ------------------------------------------------------------------------------------


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
            "add a channel axis with x[:, None] for grey images; signals (N, C, L) and volumes "
            "are Examples.of_features(x, y)"
        )


def check_images(x: Any) -> None:
    """(N, C, H, W), uint8 or finite floats from 0 to 1."""
    check_tensor("images", x)
    check_shape(x)
    if x.dtype == torch.uint8 or not x.numel():
        return
    if not x.is_floating_point():
        low, high = (int(end) for end in x.long().aminmax())
        advice = "x.to(torch.uint8) makes them"
        if low < 0 or high > 255:  # which that would wrap
            advice = "divide pixels by the largest there can be, x / 65535 of 16 bits"
        elif high <= 1:  # which that would make all but black
            advice = "x.float() makes them"
        raise ValueError(
            f"images are {x.dtype}; expected torch.uint8 from 0 to 255, or floats from 0 to 1. "
            f"These hold {low} to {high}: {advice}. Tokens are Sequences(tokens), or "
            "Examples.of_features(tokens, y)"
        )
    low, high = x.detach().aminmax()  # one pass, and nan stays nan
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images hold values from {low:g} to {high:g}; expected finite floats from 0 to 1: "
            "divide pixels by 255 first (those of 16 bits by 65535), and leave normalising to the "
            "network, nn.Sequential(Normalise(mean, std), network)"
        )


def check_sequences(tokens: Any) -> None:
    """(N, L), int64, at least -1, which stands after the last token of a sequence alone."""
    rows = isinstance(tokens, list | tuple) and all(isinstance(row, list | tuple) for row in tokens)
    if rows and len({len(row) for row in tokens}) > 1:
        raise ValueError(
            f"sequences have {min(map(len, tokens))} to {max(map(len, tokens))} tokens; expected "
            "rows of one length: torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in "
            "rows], batch_first=True, padding_value=-1) makes them so"
        )
    check_tensor("tokens", tokens)
    if tokens.dim() != 2 or tokens.dtype != torch.int64:
        raise ValueError(
            f"tokens are {tokens.dtype} of shape {tuple(tokens.shape)}; expected torch.int64 "
            "(N, L): one row for each sequence"
        )
    there = tokens >= 0
    if bool((tokens < -1).any()):
        raise ValueError(
            f"a token is {int(tokens.min())}; expected 0, 1, …, and -1 after the end of a sequence"
        )
    if not tokens.shape[1] or not bool(there[:, 0].all()):
        raise ValueError("a sequence holds no token; leave it out")
    if bool((there[:, 1:] & ~there[:, :-1]).any()):
        raise ValueError(
            "a sequence has -1 before a token; -1 may stand after its last token alone"
        )


def check_labels(y: Any, count: int) -> None:
    """(count,), int64, at least -1."""
    check_tensor("labels", y)
    if y.shape != (count,):
        several = y.dim() == 2 and len(y) == count
        raise ValueError(
            f"labels have shape {tuple(y.shape)} for {count} images; "
            f"expected ({count},): one class index each, -1 where there is no label"
            + (". Several numbers for each are Targets(x, y)" if several else "")
        )
    if y.dtype != torch.int64:
        whole_ones = not y.is_floating_point() or bool((y == y.round()).all())
        advice = ": y.long() makes them so" * whole_ones  # others it would cut
        raise ValueError(
            f"labels are {y.dtype}; expected class indices, torch.int64{advice}. Numbers to be met "
            "are Targets(x, y[:, None])"
        )
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


# ---- answers and features ------------------------------------------------------------------------


def check_label_for_each(z: Any, y: Any) -> None:
    # a call in a training step only where something is wrong
    if not isinstance(z, Tensor) or z.dtype in UNREAL or z.dim() < 2 or not z.shape[-1]:
        check_tensors(logits=z)
    if not isinstance(y, Tensor):
        check_tensor("labels", y)
    if y.shape != z.shape[:-1]:
        raise ValueError(
            f"labels have shape {tuple(y.shape)} and logits {tuple(z.shape)}; "
            f"expected {tuple(z.shape[:-1])}: one label for each image, -1 where there is none"
        )
    if y.dtype != torch.int64:
        raise ValueError(
            f"labels are {y.dtype}; expected class indices, torch.int64: y.long() makes them so"
        )


def check_where(where: Any, batch: torch.Size) -> None:
    if not isinstance(where, Tensor):
        raise ValueError(f"where is a {type(where).__name__}; expected a tensor of True and False")
    if where.shape != batch:
        raise ValueError(
            f"where has shape {tuple(where.shape)} and the batch {tuple(batch)}; "
            "expected True or False once for each image"
        )
    if where.dtype != torch.bool:
        raise ValueError(f"where is {where.dtype}; expected torch.bool: where.bool() makes it so")


def check_same_classes(z_s: Any, z_t: Any) -> None:
    both = isinstance(z_s, Tensor) and isinstance(z_t, Tensor)
    empty = both and not (z_s.dim() > 1 < z_t.dim() and z_s.shape[-1] and z_t.shape[-1])
    if not both or empty or z_s.dtype in UNREAL or z_t.dtype in UNREAL:
        check_tensors(z_s=z_s, z_t=z_t)
    if z_s.shape[-1] != z_t.shape[-1]:
        raise ValueError(
            f"the student answers with {z_s.shape[-1]} classes and the teacher with "
            f"{z_t.shape[-1]}; give both heads the same classes"
        )
    if z_s.shape != z_t.shape:
        raise ValueError(
            f"student logits have shape {tuple(z_s.shape)}, teacher logits {tuple(z_t.shape)}; "
            "both must speak of the same batch"
        )


def check_same_shape(f_s: Tensor, f_t: Tensor) -> None:
    check_tensors(f_s=f_s, f_t=f_t)
    if f_s.shape != f_t.shape:
        raise ValueError(
            f"student features have shape {tuple(f_s.shape)}, teacher features "
            f"{tuple(f_t.shape)}; project the student's to the teacher's shape first"
        )


def check_numbers(logits: Tensor) -> None:
    """Raises ValueError where the largest logit of an answer (…, classes) is no finite number."""
    check_tensors(logits=logits)
    finite = logits.amax(-1).isfinite()
    if not finite.all():
        raise ValueError(
            f"{int((~finite).sum())} of {finite.numel()} answers are nan or inf: did the training "
            "diverge, or was it stopped? Train again with a smaller lr, or score what is finite"
        )


def check_labelled(logits: Tensor, y: Tensor) -> None:
    """Raises ValueError unless there is a label, a class index, for each answer."""
    check_tensors(1, logits=logits)
    check_tensor("labels", y)
    if logits.dim() < 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; expected (…, N, classes)")
    if y.dim() not in (1, 2) or y.dtype != torch.int64:
        raise ValueError(
            f"labels are {y.dtype} of shape {tuple(y.shape)}; expected class indices (N,), "
            "torch.int64: y.long() makes them so"
        )
    if y.dim() == 2:  # of sequences
        if logits.shape[-3:-1] != y.shape:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)} for sequences {tuple(y.shape)}; expected "
                "(…, N, L, V): an answer for each token"
            )
        y = y.amax(-1)
    elif logits.shape[-2] != len(y):
        raise ValueError(f"{logits.shape[-2]} answers for {len(y)} labels; give one per label")
    if (y < 0).any():
        raise ValueError(
            f"{int((y < 0).sum())} of {len(y)} examples have no label (y = -1); "
            "score labelled examples only"
        )
    if y.numel() and int(y.max()) >= logits.shape[-1]:
        raise ValueError(
            f"a label is {int(y.max())} and the logits speak of {logits.shape[-1]} classes; "
            "score examples whose classes the network has"
        )
