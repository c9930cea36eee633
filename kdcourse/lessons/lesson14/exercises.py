"""Exercises of notebook 14."""

from typing import Any

import torch
from torch import Tensor

from kdcourse.checks.exercises import Exercise, Property, close

# ---- the loss on auxiliary outputs --------------------------------------------------------------

_GENERATOR = torch.Generator().manual_seed(14)
_TEACHER, _STUDENT = (2 * torch.randn(6, 13, generator=_GENERATOR) for _ in range(2))
_CLASSES = 10


def _kl(z_t: Tensor, z_s: Tensor, classes: int) -> Tensor:
    log_p, log_q = (z[:, classes:].log_softmax(1) for z in (z_t, z_s))
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def _with_other(z: Tensor, part: slice) -> Tensor:
    """Logits whose outputs in this part are other ones."""
    changed = z.clone()
    changed[:, part] += torch.linspace(-2, 2, changed[:, part].numel()).view_as(changed[:, part])
    return changed


def _value(f: Any, z_t: Tensor = _TEACHER, z_s: Tensor = _STUDENT, classes: int = _CLASSES) -> Any:
    return torch.as_tensor(f(z_t.clone(), z_s.clone(), classes), dtype=torch.float32)


auxiliary_kl = Exercise(
    "14.1",
    "KL on the auxiliary outputs alone",
    [
        Property(
            "one number",
            lambda f: _value(f).numel() == 1,
            "Sum over the outputs, then average over the images.",
        ),
        Property(
            "0 where the student says what the teacher says",
            lambda f: close(_value(f, z_s=_TEACHER), torch.tensor(0.0)),
            "KL is Σ p (log p − log q): both logarithms, and p from the teacher.",
        ),
        Property(
            "the classes have no part in it",
            lambda f: close(_value(f), _value(f, _with_other(_TEACHER, slice(0, _CLASSES)))),
            "Cut first, then take the softmax: over all outputs, the classes stand in its sum.",
        ),
        Property(
            "the auxiliary outputs have",
            lambda f: not close(_value(f), _value(f, _with_other(_TEACHER, slice(_CLASSES, None)))),
            "The auxiliary outputs are those after the classes: z[:, classes:].",
        ),
        Property(
            "0 for a single auxiliary output",
            lambda f: close(_value(f, _TEACHER[:, :11], _STUDENT[:, :11]), torch.tensor(0.0)),
            "The softmax of one output is 1, whatever it is.",
        ),
        Property(
            "it is KL(p ‖ q), with the teacher's p first",
            lambda f: not close(_value(f), _kl(_STUDENT, _TEACHER, _CLASSES)),
            "This is KL(q ‖ p): weigh with the teacher's probabilities.",
        ),
        Property(
            "averaged over images",
            lambda f: close(_value(f), _kl(_TEACHER, _STUDENT, _CLASSES)),
            "Sum over outputs, mean over images (and natural logarithms, T = 1).",
        ),
    ],
    lambda f: f(_TEACHER.clone(), _STUDENT.clone(), _CLASSES),
)

# ---- the first step -----------------------------------------------------------------------------

_J = torch.randn(5, 3, 7, generator=_GENERATOR)  # images, outputs, weights
_STEP = torch.randn(7, generator=_GENERATOR)
_GAP = torch.einsum("now,w->no", _J, _STEP)


def _first(J: Tensor, gap: Tensor) -> Tensor:
    return torch.einsum("now,no->w", J, gap) / len(J)


def _step(f: Any, J: Tensor = _J, gap: Tensor = _GAP) -> Tensor:
    return torch.as_tensor(f(J.clone(), gap.clone()), dtype=torch.float32)


first_step = Exercise(
    "14.2",
    "the student's first step",
    [
        Property(
            "a number for each weight",
            lambda f: _step(f).shape == (7,),
            "Sum over images and outputs; what stays is one number for each weight.",
        ),
        Property(
            "no step where the student says what the teacher says",
            lambda f: bool((_step(f, gap=torch.zeros_like(_GAP)) == 0).all()),
            "The step is J transposed times the gap: no gap, no step.",
        ),
        Property(
            "it does not point away from the teacher's step",
            lambda f: float(_step(f) @ _STEP) > 0,
            "The gap is teacher minus student, so the step DOWN the loss is +Jᵀ gap.",
        ),
        Property(
            "its product with the teacher's step is twice the loss",
            lambda f: close(_step(f) @ _STEP, _GAP.square().sum(1).mean()),
            "The loss is the mean over images of half the squared gap, SUMMED over outputs.",
        ),
        Property(
            "each image has its own derivatives",
            lambda f: close(_step(f), _first(_J, _GAP)),
            "Pair each image's gap with the same image's J: einsum('now,no->w', J, gap) / images.",
        ),
    ],
    lambda f: f(_J.clone(), _GAP.clone()),
)

# ---- a plan -------------------------------------------------------------------------------------

_SEEDS = range(1000)
_KEYS = ("teacher learns", "student imitates", "same", "other", "scored by")


def _plan(f: Any, seed: int = 3, m: int = 5) -> dict[str, Any]:
    plan = f(seed, m)
    return {key: plan[key] for key in _KEYS}


def _part(f: Any, key: str, m: int = 5) -> list[int]:
    return [int(output) for output in _plan(f, m=m)[key]]


def _others(f: Any) -> list[int]:
    return [int(_plan(f, seed)["other"]) for seed in _SEEDS]


mended_plan = Exercise(
    "14.3",
    "a plan without a leak",
    [
        Property(
            "a dictionary with the five entries",
            lambda f: all(key in f(3, 5) for key in _KEYS),
            "Return the same keys as the plan that was given.",
        ),
        Property(
            "the teacher learns the classes alone",
            lambda f: _part(f, "teacher learns") == list(range(10)),
            "A label trains the outputs that it is read from: auxiliary outputs must not be "
            "among them.",
        ),
        Property(
            "the student imitates auxiliary outputs, m of them, and no class",
            lambda f: all(
                sorted(_part(f, "student imitates", m)) == list(range(10, 10 + m)) for m in (1, 5)
            ),
            "Outputs 0 to 9 are classes: with them the student is told the digits' answers.",
        ),
        Property(
            "the digits are read from the classes",
            lambda f: _part(f, "scored by") == list(range(10)),
            "An answer such as 12 is no digit: the largest of the ten classes is the answer.",
        ),
        Property(
            "the same start has the teacher's seed",
            lambda f: all(int(_plan(f, seed)["same"]) == seed for seed in _SEEDS),
            "'same' is the seed that drew the teacher's first weights.",
        ),
        Property(
            "another start is no teacher's, and each seed has one of its own",
            lambda f: not set(_others(f)) & set(_SEEDS) and len(set(_others(f))) == len(_SEEDS),
            "Seeds 0 to 999 are teachers' own: add what leads to no teacher's seed, such as 1000.",
        ),
    ],
    lambda f: f(3, 5),
)
