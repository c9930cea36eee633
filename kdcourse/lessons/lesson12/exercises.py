"""Exercises of notebook 12."""

from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close

_LAYERS = {
    "wide": torch.tensor([[0.1, -0.2, 0.3, -0.4], [0.05, 0.6, -0.7, 0.8]]),
    "narrow": torch.tensor([[-2.0, 1.5], [0.25, -0.9]]),
}
_AMOUNTS = (0.25, 0.5, 0.75)


def _masks(layers: dict[str, Tensor], amount: float) -> dict[str, Tensor]:
    every = torch.cat([weight.abs().flatten() for weight in layers.values()])
    count = round(amount * len(every))
    threshold = every.sort().values[count - 1] if count else -1.0
    return {name: weight.abs() > threshold for name, weight in layers.items()}


def _given(f: Any, amount: float) -> dict[str, Tensor]:
    masks = f({name: weight.clone() for name, weight in _LAYERS.items()}, amount)
    return {name: torch.as_tensor(masks[name]).bool() for name in _LAYERS}


def _zeros(f: Any, amount: float) -> int:
    return sum(int((~mask).sum()) for mask in _given(f, amount).values())


def _total(amount: float) -> int:
    return round(amount * sum(weight.numel() for weight in _LAYERS.values()))


global_masks = Exercise(
    "12.1",
    "one threshold for all layers",
    [
        Property(
            "a mask for each layer, of the shape of its weights",
            lambda f: all(_given(f, 0.5)[n].shape == w.shape for n, w in _LAYERS.items()),
            "Return a dictionary: name → a tensor of True and False, shaped like the weights.",
        ),
        Property(
            "True means that a weight stays",
            lambda f: _zeros(f, 0.25) == _total(0.25) or _zeros(f, 0.25) != 12 - _total(0.25),
            "It is the other way round: True where the weight stays, False where it becomes 0.",
        ),
        Property(
            "a large negative weight stays",
            lambda f: bool(_given(f, 0.25)["narrow"][0, 0]),
            "Small means small in magnitude: weight.abs().",
        ),
        Property(
            "the threshold is one for all layers",
            lambda f: int((~_given(f, 0.5)["wide"]).sum()) == 5,
            "Put the magnitudes of all layers in one row first (torch.cat), then look for the "
            "threshold there.",
        ),
        Property(
            "the share is that of all weights together",
            lambda f: all(_zeros(f, amount) == _total(amount) for amount in _AMOUNTS),
            "round(amount × all weights) of them become 0: the smallest so many, and no more.",
        ),
        Property(
            "the smallest go",
            lambda f: all(
                torch.equal(_given(f, amount)[name], mask)
                for amount in _AMOUNTS
                for name, mask in _masks(_LAYERS, amount).items()
            ),
            "Sort all magnitudes; what is not above the last one that goes, goes.",
        ),
    ],
    lambda f: f(dict(_LAYERS), 0.5),
)

# ---- the front ----------------------------------------------------------------------------------

_POINTS = {
    "big": (100.0, 2.0),
    "bigger, no better": (120.0, 2.0),
    "middle": (40.0, 3.0),
    "worse than middle": (40.0, 3.5),
    "dominated": (60.0, 4.0),
    "small": (10.0, 6.0),
    "lucky": (90.0, 1.9),
}
_FRONT = {"middle", "small", "lucky"}
_LINE = {"a": (1.0, 3.0), "b": (2.0, 2.0), "c": (3.0, 1.0)}
_TWINS = {"a": (1.0, 3.0), "twin of a": (1.0, 3.0), "b": (2.0, 4.0)}


def _names(f: Any, points: dict[str, tuple[float, float]]) -> set[str]:
    return set(f(dict(points)))


not_beaten = Exercise(
    "12.2",
    "who is on the front",
    [
        Property(
            "names come back",
            lambda f: _names(f, _LINE) <= set(_LINE),
            "Return names of the points: a list or a set of them.",
        ),
        Property(
            "cheaper or better: either is enough to stay",
            lambda f: _names(f, _LINE) == set(_LINE),
            "A point goes only if ONE other point is at least as cheap and at least as good.",
        ),
        Property(
            "a point of higher cost and higher error goes",
            lambda f: "dominated" not in _names(f, _POINTS),
            "Compare each point with every other, not only with the best or its neighbour.",
        ),
        Property(
            "equal in one and worse in the other goes, too",
            lambda f: not _names(f, _POINTS) & {"worse than middle", "bigger, no better"},
            "Beaten means: ≤ in both, and < in at least one of them.",
        ),
        Property(
            "a point is not beaten by its twin",
            lambda f: _names(f, _TWINS) == {"a", "twin of a"},
            "Equal in both is no defeat: at least one must be strictly lower.",
        ),
        Property(
            "the rest is the front",
            lambda f: _names(f, _POINTS) == _FRONT,
            "Low cost and low error are good; keep whoever nobody beats.",
        ),
    ],
    lambda f: f(dict(_POINTS)),
)

# ---- a pruned training --------------------------------------------------------------------------

_W = torch.tensor([[0.5, -1.5, 0.2, 0.9], [-0.1, 0.8, -0.6, 2.0]])
_AIM = torch.tensor([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]])


def _towards(W: Tensor) -> Tensor:
    """The gradient of half the squared distance to an aim."""
    return W - _AIM


def _trained(W: Tensor, gradient: Any, amount: float, lr: float, steps: int) -> Tensor:
    mask = W.abs() > W.abs().flatten().sort().values[round(amount * W.numel()) - 1]
    kept = W * mask
    for _ in range(steps):
        kept = kept - lr * mask * gradient(kept)
    return kept


def _unchanged(f: Any) -> bool:
    given = _W.clone()
    f(given, _towards, 0.5, 0.1, 2)
    return torch.equal(given, _W)


def _result(f: Any, steps: int) -> Tensor:
    return torch.as_tensor(f(_W.clone(), _towards, 0.5, 0.1, steps))


mended_training = Exercise(
    "12.3",
    "zeros that stay",
    [
        Property(
            "the caller's weights stay as they are",
            _unchanged,
            "W *= mask writes into the teacher itself: make a new tensor, W * mask.",
        ),
        Property(
            "before the first step the smallest magnitudes are 0",
            lambda f: close(_result(f, 0), _trained(_W, _towards, 0.5, 0.1, 0)),
            "−1.5 is a large weight: compare W.abs() with the threshold, and take that of W.abs().",
        ),
        Property(
            "zeros stay zeros in training",
            lambda f: bool((_result(f, 5)[_result(f, 0) == 0] == 0).all()),
            "A weight at 0 still has a gradient: mask it as well, in every step.",
        ),
        Property(
            "the other weights learn",
            lambda f: not close(_result(f, 5), _result(f, 0)),
            "The masked step still moves what stays: kept − lr · mask · gradient.",
        ),
        Property(
            "it is gradient descent at the masked weights",
            lambda f: close(_result(f, 5), _trained(_W, _towards, 0.5, 0.1, 5)),
            "Each step asks for the gradient at the weights as they are then, zeros included.",
        ),
    ],
    lambda f: f(_W.clone(), _towards, 0.5, 0.1, 1),
)
