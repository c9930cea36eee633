"""Exercises of notebook 08."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close

_EYE = 9 * torch.eye(4)
_EVEN = _EYE.repeat(25, 1)  # every class 25 times
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
            lambda f: len(f(_EVEN)) == 0,
            "Count the answers of each class; an even share is len(logits) / classes. Return the "
            "numbers of classes, not a mask.",
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
            lambda f: len(f(_EVEN[:8])) == 0 and len(f(_EVEN.repeat(9, 1))) == 0,
            "The threshold is a share of len(logits), no fixed number.",
        ),
    ],
    lambda f: f(_EVEN),
)


def _book() -> tuple[Tensor, Tensor]:
    """Rows as four writers filled a file, 40 rows each: every writer has a hand of his own.

    Rows of one writer and class are alike; the last writer's hand is nearly the second's, with the
    classes exchanged. So a random split is read without error, and the last writer wholly wrongly.
    """
    y = torch.arange(4).repeat(40)
    writer = torch.arange(160) // 40
    hand = torch.where(writer == 3, 1.05, writer.double())
    shown = torch.where(writer == 3, (y + 1) % 4, y)
    x = torch.zeros(160, 2, dtype=torch.float64)
    x[:, 0], x[:, 1] = 10.0 * shown, 100.0 * hand
    return x, y


_X, _Y = _book()


def _both(f: Any, size: int = 40, seed: int = 0) -> tuple[float, float]:
    at_random, in_order = f(_X, _Y, size, seed)
    return float(at_random), float(in_order)


def _mixed(size: int) -> tuple[Tensor, Tensor]:
    """The book with its second half of the last writer given back the right classes."""
    x = _X.clone()
    x[-20:, 0] = 10.0 * _Y[-20:]
    return x, _Y


def _halved(f: Any) -> float:
    x, y = _mixed(40)
    return float(f(x, y, 40, 0)[1])


leak = Exercise(
    "08.2",
    "the leak between images adapted on and images scored on",
    [
        Property(
            "two numbers: the random split's, then the file order's",
            lambda f: len(f(_X, _Y, 40, 0)) == 2,
            "Return a pair: (error at random, error in file order).",
        ),
        Property(
            "in file order the test images are the last `size` rows",
            lambda f: _both(f)[1] > 0.9,
            "Test on x[-size:], look for neighbours among x[:-size] only; an image that may find "
            "itself is never wrong.",
        ),
        Property(
            "it is an error in percent",
            lambda f: close(_both(f)[1], 100.0, rtol=1e-3),
            "100 × the mean of the wrong answers.",
        ),
        Property(
            "half of the last writer right: 50 %",
            lambda f: close(_halved(f), 50.0, rtol=1e-3),
            "Give each test image the label of its one nearest image (cdist, then argmin over the "
            "images adapted on).",
        ),
        Property(
            "a random split has every writer on both sides",
            lambda f: _both(f)[0] < 10 and _both(f, seed=1)[0] < 10,
            "Shuffle the rows (torch.randperm with a generator seeded by `seed`) before you cut; "
            "x and y in the same order.",
        ),
        Property(
            "the random split, too, keeps test images out of the others",
            lambda f: _without_twins(f) > 60,
            "Cut the shuffled rows in two: the first len(x) - size, and the last size.",
        ),
    ],
    lambda f: f(_X, _Y, 40, 0),
)


def _without_twins(f: Any) -> float:
    """Labels that have nothing to do with images: only an image that finds itself is right."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(200, 3, dtype=torch.float64, generator=generator)
    y = torch.randint(10, (200,), generator=generator)
    return float(f(x, y, 60, 0)[0])


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


def _buffers_follow(f: Any) -> bool:
    """Copied, or averaged as the weights are; whole numbers (how many batches) may be copied."""
    for decay in (0.9, 0.0):
        before, teacher, student = _followed(f, decay)
        for was, now, new in zip(
            before.buffers(), teacher.buffers(), student.buffers(), strict=True
        ):
            average = decay * was + (1 - decay) * new
            if now.is_floating_point() and not (
                torch.allclose(now, new) or torch.allclose(now, average)
            ):
                return False
    return True


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
            "its buffers follow, copied or averaged",
            _buffers_follow,
            "Running means and variances are buffers(), not parameters(): copy them, or average "
            "those that are floating-point.",
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
