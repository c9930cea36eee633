"""Exercises of notebook 05."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses

_MAPS = torch.tensor(
    [[[[1.0, 0.0], [2.0, -1.0]], [[-2.0, 0.0], [0.0, 1.0]], [[0.0, 3.0], [1.0, 1.0]]],
     [[[0.0, 1.0], [1.0, 0.0]], [[2.0, 0.0], [-3.0, 0.0]], [[1.0, 1.0], [0.0, 2.0]]]],
    dtype=torch.float64,
)  # fmt: skip
_S = torch.tensor([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0], [2.0, 1.0, 1.0], [0.0, 3.0, -1.0]])
_T = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, -2.0], [-1.0, 0.5, 2.0]])


def _attention(f: Tensor) -> Tensor:
    return F.normalize(f.square().sum(1).flatten(1), dim=1)


attention_map = Exercise(
    "05.1",
    "where a layer is active",
    [
        Property(
            "one row per image, one entry per position",
            lambda f: f(_MAPS).shape == (2, 4),
            "Sum over the channels (dimension 1), then flatten height and width: .flatten(1).",
        ),
        Property(
            "the sign of a feature does not matter",
            lambda f: close(f(-_MAPS), f(_MAPS)),
            "Square before you sum, or positive and negative channels cancel.",
        ),
        Property(
            "each row has length 1",
            lambda f: close(f(_MAPS).norm(dim=1), torch.ones(2)),
            "F.normalize(…, dim=1): Euclidean length. (Its second argument by place is p.)",
        ),
        Property(
            "it is Σ over channels of f²",
            lambda f: close(f(_MAPS), _attention(_MAPS)),
            "Squares, summed over channels: not absolute values, not the mean squared.",
        ),
    ],
    lambda f: f(_MAPS),
)

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
            "lengths do not matter",
            lambda f: close(f(3 * _S, 5 * _T, 0.5), f(_S, _T, 0.5)),
            "Cosines: give both sides' rows length 1 (dim=1) before the product.",
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
            "Rows are the student's images, columns the teacher's: f_s @ f_t.T.",
        ),
    ],
    lambda f: f(_S, _T, 0.5),
)

mended_similarity = Exercise(
    "05.3",
    "a similarity loss that compares images",
    [
        Property(
            "widths may differ",
            lambda f: torch.as_tensor(f(_S[:, :2], _T)).shape == (),
            "F Fᵀ is (batch, batch), FᵀF is (width, width): f @ f.T compares images.",
        ),
        Property(
            "turning the student's space changes nothing",
            lambda f: close(f(_S[:, [2, 0, 1]] * torch.tensor([1, -1, 1]), _T), f(_S, _T)),
            "Similarities of images do not see which unit is which: f @ f.T.",
        ),
        Property(
            "rows have Euclidean length 1",
            lambda f: close(
                f(_S, _T) * losses.similarity(_S**2, _T), f(_S**2, _T) * losses.similarity(_S, _T)
            ),
            "F.normalize(G, 1) sets p = 1. Write dim=1.",
        ),
        Property(
            "it averages over batch² entries",
            lambda f: close(f(_S, _T), losses.similarity(_S, _T)),
            "G has batch × batch entries: divide by len(f_s) ** 2.",
        ),
    ],
    lambda f: f(_S, _T),
)
