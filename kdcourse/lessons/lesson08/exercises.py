"""Exercises of notebook 08."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close
from kdlib import losses

_EYE = 9 * torch.eye(4)
_SURE = _EYE.repeat(25, 1)  # every class 25 times
_LOST = _EYE[torch.tensor([0, 1, 3])].repeat(30, 1)  # class 2 never comes
_RARE = torch.cat([_LOST, _EYE[2:3]])  # class 2 comes once in 91


def _hundred(count: int) -> Tensor:
    """Logits of 100 images, of which class 2 is answered for so many; its even share is 25."""
    others = _EYE[torch.tensor([0, 1, 3])].repeat(34, 1)
    return torch.cat([others[: 100 - count], _EYE[2:3].repeat(count, 1)])


def _says(logits: Tensor, classes: list[int]) -> Callable[[Any], bool]:
    return lambda f: sorted(int(c) for c in f(logits)) == classes


vanished = Exercise(
    "08.1",
    "the classes that a network has forgotten to answer",
    [
        Property(
            "where every class comes equally often, none has vanished",
            lambda f: len(f(_SURE)) == 0,
            "Count the answers of each class; an even share is len(logits) / classes.",
        ),
        Property(
            "a class that never comes is named by its number",
            _says(_LOST, [2]),
            "torch.bincount(answers) is too short where the last class is missing, and unique() "
            "never names what isn't there: give minlength=.",
        ),
        Property(
            "the last class can vanish, too",
            _says(_EYE[:3].repeat(20, 1), [3]),
            "torch.bincount needs minlength=logits.shape[-1], or it stops at the largest answer.",
        ),
        Property(
            "a class below a tenth of its even share has vanished as well",
            _says(_RARE, [2]),
            "Compare each count with 0.1 · len(logits) / classes, not with 0.",
        ),
        Property(
            "among 4 classes the bound lies between 2 and 3 of 100 images",
            lambda f: _says(_hundred(2), [2])(f) and _says(_hundred(3), [])(f),
            "A tenth of the even share: that is 0.1 · len(logits) / classes, not a tenth of all.",
        ),
        Property(
            "the size of the batch plays no part",
            lambda f: len(f(_SURE[:8])) == 0 and len(f(_SURE.repeat(9, 1))) == 0,
            "The threshold is a share of len(logits), no fixed number.",
        ),
    ],
    lambda f: f(_SURE),
)

_Z = 2 * torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


def _unweighted(z: Tensor) -> Tensor:
    """MCC of answers that all weigh the same: copies of one image's logits, classes rotated."""
    return torch.stack([z[0].roll(k) for k in range(4)])


def _slope(f: Any) -> Tensor:
    z = _Z.clone().requires_grad_()
    return torch.autograd.grad(f(z, 2.5), z)[0]


class_confusion = Exercise(
    "08.2",
    "minimum class confusion",
    [
        Property(
            "one number",
            lambda f: f(_Z, 2.5).shape == (),
            "Sum what lies beside the diagonal and divide by the classes.",
        ),
        Property(
            "sure answers confuse nothing",
            lambda f: abs(float(f(200 * torch.eye(4, dtype=torch.float64), 1.0))) < 1e-6,
            "Only pairs of different classes count: leave the diagonal out.",
        ),
        Property(
            "answers that know nothing give (C - 1) / C",
            lambda f: close(f(torch.zeros(8, 4, dtype=torch.float64), 1.0), 0.75),
            "Divide each row of pᵀ W p by its sum first; then it does not grow with the batch.",
        ),
        Property(
            "where all weigh alike it is right",
            lambda f: close(
                f(_unweighted(_Z), 1.0), losses.minimum_class_confusion(_unweighted(_Z), 1.0)
            ),
            "C = pᵀ p, rows divided by their sums, then the mean over classes of all but the "
            "diagonal.",
        ),
        Property(
            "T softens the answers",
            lambda f: not close(f(_unweighted(_Z), 4.0), f(_unweighted(_Z), 1.0)),
            "Use softmax(z / T).",
        ),
        Property(
            "surer images weigh more",
            lambda f: close(f(_Z, 2.5), losses.minimum_class_confusion(_Z, 2.5)),
            "W_i is proportional to 1 + exp(-H(p_i)), with p at T: p.T @ (W[:, None] * p).",
        ),
        Property(
            "the weights pass no gradient",
            lambda f: close(_slope(f), _slope(losses.minimum_class_confusion)),
            "The weights are a judgement, not a handle: .detach() them.",
        ),
    ],
    lambda f: f(_Z, 1.0),
)


def _pair() -> tuple[nn.Module, nn.Module]:
    """A teacher, and a student that is elsewhere: other weights, other running statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        teacher, student = (
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)) for _ in range(2)
        )
        student(torch.randn(16, 3))
    return teacher, student


def _followed(f: Any, decay: float = 0.9) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The teacher as it was, as it is after f, and the student."""
    teacher, student = _pair()
    before = copy.deepcopy(teacher)
    f(teacher, student, decay)
    return before, teacher, student


def _averaged(f: Any, decay: float) -> bool:
    before, teacher, student = _followed(f, decay)
    return all(
        torch.allclose(now, decay * was + (1 - decay) * new)
        for was, now, new in zip(
            before.parameters(), teacher.parameters(), student.parameters(), strict=True
        )
    )


def _same_buffers(f: Any) -> bool:
    _, teacher, student = _followed(f)
    return all(map(torch.equal, teacher.buffers(), student.buffers()))


def _alone(f: Any) -> bool:
    """The student is untouched, and shares nothing with the teacher afterwards."""
    _, fresh = _pair()
    _, teacher, student = _followed(f)
    untouched = all(map(torch.equal, fresh.state_dict().values(), student.state_dict().values()))
    kept = [tensor.clone() for tensor in teacher.state_dict().values()]
    with torch.no_grad():
        for tensor in student.state_dict().values():
            tensor.add_(1)
    return untouched and all(map(torch.equal, kept, teacher.state_dict().values()))


def _without_history(f: Any) -> bool:
    _, teacher, _ = _followed(f)
    return all(parameter.is_leaf for parameter in teacher.parameters())


follow = Exercise(
    "08.3",
    "a mean teacher that follows",
    [
        Property(
            "at decay 0 the teacher's weights are the student's",
            lambda f: _averaged(f, 0.0),
            "decay is the share of itself that the teacher keeps.",
        ),
        Property(
            "at decay 0.9 it moves by a tenth",
            lambda f: _averaged(f, 0.9),
            "teacher = decay · teacher + (1 - decay) · student: are the shares swapped?",
        ),
        Property(
            "its buffers are the student's",
            _same_buffers,
            "Running means, variances and counts are buffers(), not parameters(): copy them.",
        ),
        Property(
            "the student is left alone, and shares no memory with its teacher",
            _alone,
            "Write into the teacher with copy_ or lerp_; assigning .data ties both together.",
        ),
        Property(
            "no gradient runs through the average",
            _without_history,
            "Do it under torch.no_grad(), in place.",
        ),
    ],
    _followed,  # it works in place, and returns nothing
)
