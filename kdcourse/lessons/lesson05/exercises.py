"""Exercises of notebook 05."""

import math
from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses, metrics

_S = torch.tensor([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0], [2.0, 1.0, 1.0], [0.0, 3.0, -1.0]])
_T = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, -2.0], [-1.0, 0.5, 2.0]])
_Z = torch.tensor([[2.0, -1.0, 0.5, 1.0, 0.0], [0.0, 3.0, 1.0, -2.0, 4.0]])
_LENGTHS = torch.tensor([[1.0], [2.0], [3.0], [0.5]])


def _blocks(z: Tensor, old: int) -> Tensor:
    return torch.cat([z[:, :old].softmax(1), z[:, old:].softmax(1)], 1)


def _sums(f: Any, part: slice) -> bool:
    return close(torch.as_tensor(f(_Z, 2))[:, part].sum(1), torch.ones(2))


own_softmaxes = Exercise(
    "05.1",
    "outputs of their own",
    [
        Property(
            "one probability for each logit",
            lambda f: torch.as_tensor(f(_Z, 2)).shape == _Z.shape,
            "Two tables side by side: torch.cat([…, …], 1).",
        ),
        Property(
            "the first `old` outputs of each image sum to 1",
            lambda f: _sums(f, slice(2)),
            "A softmax of z[:, :old] alone, over dimension 1: the new outputs have no part in it.",
        ),
        Property(
            "the others sum to 1 as well",
            lambda f: _sums(f, slice(2, None)),
            "The new outputs have a softmax of their own: z[:, old:].softmax(1).",
        ),
        Property(
            "the number of old classes is an argument",
            lambda f: close(torch.as_tensor(f(_Z, 3))[:, :3].sum(1), torch.ones(2)),
            "Cut at `old`, not at a fixed place.",
        ),
        Property(
            "they are softmaxes",
            lambda f: close(f(_Z, 2), _blocks(_Z, 2)) and close(f(_Z, 3), _blocks(_Z, 3)),
            "Each block is exp(z) over the sum of its exp(z): no temperature, no sigmoid.",
        ),
    ],
    lambda f: f(_Z, 2),
)


def _averages(f: Any) -> bool:
    """Each image twice: an average grows by about log 2, a sum to more than its double."""
    twice = f(torch.cat([_S, _S]), torch.cat([_T, _T]), 0.5)
    return float(twice) - float(f(_S, _T, 0.5)) < 2


find_yourself = Exercise(
    "05.2",
    "each image finds itself",
    [
        Property(
            "one number",
            lambda f: torch.as_tensor(f(_S, _T, 0.5)).shape == (),
            "Cross-entropy averages over the batch: a single number.",
        ),
        Property(
            "it is an average over the images",
            _averages,
            "A sum grows with the batch: F.cross_entropy averages unless you ask for a sum.",
        ),
        Property(
            "the length of an image's feature does not matter",
            lambda f: close(f(_LENGTHS * _S, _LENGTHS.flip(0) * _T, 0.5), f(_S, _T, 0.5)),
            "Cosines: give each image's row length 1 (dim=1, not dim=0), on both sides.",
        ),
        Property(
            "at a very high temperature nobody is found: log of the batch",
            lambda f: close(f(_S, _T, 1e7), math.log(len(_S))),
            "Divide the cosines by the temperature, and take the cross-entropy over the images.",
        ),
        Property(
            "a perfect copy at a low temperature costs nothing",
            lambda f: abs(float(f(_T, _T, 0.01))) < 1e-3,
            "Row i's right answer is image i: torch.arange(batch). Divide by the temperature.",
        ),
        Property(
            "the student asks, the teacher's features are the answers",
            lambda f: close(f(_S, _T, 0.5), losses.contrastive(_S, _T, temperature=0.5)),
            "Rows are the student's images, columns the teacher's, f_s @ f_t.T; one direction "
            "only, not the mean of both.",
        ),
    ],
    lambda f: f(_S, _T, 0.5),
)

_TURN = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
_SHIFT = torch.tensor([3.0, 0.0, -1.0])

mended_cka = Exercise(
    "05.3",
    "CKA from tables of units",
    [
        Property(
            "widths may differ",
            lambda f: torch.as_tensor(f(_S[:, :2], _T)).shape == (),
            "aᵀb is (width, width): a.T @ b. The result is one number.",
        ),
        Property(
            "adding a number to one unit changes nothing",
            lambda f: close(f(_S + _SHIFT, _T), f(_S, _T), rtol=1e-3),
            "Centre each column by its own mean over the images: f.mean(0).",
        ),
        Property(
            "turning a space changes nothing",
            lambda f: close(f(_S @ _TURN, _T), f(_S, _T), rtol=1e-3),
            "Square each entry of aᵀb, then sum: .norm() ** 2, not .sum() ** 2.",
        ),
        Property(
            "it is 1 for a layer and itself",
            lambda f: close(f(_S, _S), 1.0, rtol=1e-3),
            "Above: the squared norm of aᵀb. Below: the product of the two norms, not their sum.",
        ),
        Property(
            "it is CKA",
            lambda f: close(f(_S, _T), metrics.cka(_S, _T), rtol=1e-3),
            "‖aᵀb‖² / (‖aᵀa‖ · ‖bᵀb‖), columns centred.",
        ),
    ],
    lambda f: f(_S, _T),
)
