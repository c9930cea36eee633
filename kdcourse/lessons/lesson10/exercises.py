"""Exercises of notebook 10."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property, close

_Z = torch.tensor(
    [
        [[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]],
        [[-1.0, 4.0, 0.0], [1.0, 2.0, -2.0]],
        [[0.5, 0.0, 3.0], [-2.0, 0.0, 1.0]],
    ]
)
_W = torch.tensor([0.5, 0.3, 0.2])


def _mixed(T: float, w: Tensor = _W) -> Tensor:
    return (w[:, None, None] * (_Z / T).softmax(-1)).sum(0)


def _table(f: Any, T: float, w: Tensor = _W) -> Tensor:
    return torch.as_tensor(f(_Z, w, T)).double()


as_one = Exercise(
    "10.1",
    "several teachers as one",
    [
        Property(
            "one row for each image: the teachers are gone",
            lambda f: _table(f, 2.0).shape == _Z.shape[1:],
            "Sum over dimension 0, the teachers. For that the weights need the shape "
            "(teachers, 1, 1).",
        ),
        Property(
            "logits, not probabilities",
            lambda f: not close(_table(f, 2.0), _mixed(2.0)),
            "SoftTargets takes a softmax of what you return: give it the logarithm.",
        ),
        Property(
            "at T = 1 its softmax is the weighted mean of the probabilities",
            lambda f: close(_table(f, 1.0).softmax(-1), _mixed(1.0)),
            "Average probabilities, not logits or log-probabilities, with the weights given; "
            "then take the logarithm.",
        ),
        Property(
            "the teachers are softened before they are averaged",
            lambda f: (
                not close((_table(f, 4.0) / 4).softmax(-1), (_mixed(1.0).log() / 4).softmax(-1))
            ),
            "Divide the logits by T before the softmax. A mean at T = 1 that is softened later "
            "is another distribution.",
        ),
        Property(
            "and SoftTargets will divide by T again",
            lambda f: not close(_table(f, 4.0).softmax(-1), _mixed(4.0)),
            "Multiply the logarithm by T, so that dividing by T gives it back.",
        ),
        Property(
            "softened at T it is the mean of the softened probabilities",
            lambda f: all(
                close((_table(f, T) / T).softmax(-1), _mixed(T)) for T in (0.5, 2.0, 4.0)
            ),
            "softmax(z / T), weighted and summed over the teachers; its logarithm; times T.",
        ),
    ],
    lambda f: f(_Z, _W, 2.0),
)


_TWO = [
    torch.tensor([[2.0, 0.0, 1.0, -1.0], [0.0, 1.0, 0.0, 3.0]]),
    torch.tensor([[1.0, 0.5, 2.0], [4.0, 0.0, -1.0]]),
]
_KNOWN = [[0, 3, 1], [1, 2]]  # in no order; both know class 1


def _scores(z: list[Tensor], known: list[list[int]]) -> Tensor:
    sums, counts = torch.zeros(len(z[0]), 4), torch.zeros(4)
    for logits, classes in zip(z, known, strict=True):
        sums[:, classes] += logits[:, :-1] - logits[:, -1:]
        counts[classes] += 1
    return sums / counts


def _of(f: Any, z: list[Tensor] | None = None) -> Tensor:
    return torch.as_tensor(f([part.clone() for part in z or _TWO], copy.deepcopy(_KNOWN)))


specialists = Exercise(
    "10.2",
    "specialists whose classes overlap",
    [
        Property(
            "a score for each image and class",
            lambda f: _of(f).shape == (2, 4),
            "Begin with torch.zeros(images, classes); the classes are all that any specialist "
            "knows. The last output is no class.",
        ),
        Property(
            "a constant added to a specialist's logits changes nothing",
            lambda f: close(_of(f, [_TWO[0] + 5, _TWO[1] - 2]), _of(f)),
            "log p(class) − log p(none of mine) is a difference of two logits of one specialist.",
        ),
        Property(
            "scores stand at the classes that the specialist names",
            lambda f: (
                close(_of(f)[:, [0, 3]], _scores(_TWO, _KNOWN)[:, [0, 3]])
                and close(_of(f)[:, 2], _scores(_TWO, _KNOWN)[:, 2])
            ),
            "known[k] lists the classes in the order of the outputs, which need not be sorted. "
            "Subtract the LAST output, “none of mine”.",
        ),
        Property(
            "a class that two specialists know gets the mean of both scores",
            lambda f: close(_of(f)[:, 1], _scores(_TWO, _KNOWN)[:, 1]),
            "Add up the scores, count for each class how many specialists know it, and divide: "
            "neither the sum, nor the last one's.",
        ),
        Property(
            "they are those scores for any logits",
            lambda f: close(
                _of(f, [2 * _TWO[0], -_TWO[1]]), _scores([2 * _TWO[0], -_TWO[1]], _KNOWN)
            ),
            "score = logit of the class − logit of “none of mine”, averaged over the specialists "
            "that know the class.",
        ),
    ],
    lambda f: f([part.clone() for part in _TWO], copy.deepcopy(_KNOWN)),
)


class _Network(nn.Module):
    """A network that only remembers how it was trained: (guide's own lessons, images, steps)."""

    def __init__(self, name: str, lessons: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.name, self.lessons = name, lessons

    @property
    def steps(self) -> int:
        return sum(lesson[-1] for lesson in self.lessons)


def _train(network: Any, guide: Any, images: Any, steps: Any) -> Any:
    network.lessons = (*network.lessons, (guide.name, guide.lessons, images, int(steps)))
    return network


def _given() -> list[_Network]:
    return [_Network(name) for name in ("teacher", "helper", "student")]


def _run(f: Any) -> tuple[list[Any], list[_Network]]:
    given = _given()
    return list(f(_train, *given, "images", "few", 100)), given


def _begin_alike(f: Any) -> bool:
    students = _run(f)[0]
    return len({id(network) for network in students}) == 3 and all(
        {lesson[0] for lesson in network.lessons} == {guide}
        for network, guide in zip(students, ("teacher", "helper", "helper"), strict=True)
    )


def _chained(f: Any) -> bool:
    return all(
        bool(lessons) and {lesson[0] for lesson in lessons} == {"teacher"}
        for chain in _run(f)[0][1:]
        for _, lessons, _, _ in chain.lessons
    )


def _seen_by_helpers(f: Any) -> list[set[Any]]:
    """Which images the helper of the chain, and that of the control, have learned from."""
    return [
        {lesson[2] for _, lessons, _, _ in chain.lessons for lesson in lessons}
        for chain in _run(f)[0][1:]
    ]


def _budgets(f: Any) -> bool:
    direct, *chains = _run(f)[0]
    return all(
        direct.steps == sum(lesson[-1] for lesson in chain.lessons[-1][1]) + chain.steps
        for chain in chains
    )


compared = Exercise(
    "10.3",
    "a fair comparison",
    [
        Property(
            "it returns three students: direct, the chain's, and the control's",
            lambda f: [net.name for net in _run(f)[0]] == ["student"] * 3,
            "return direct, chain, control: three students, in this order. The control is a "
            "second chain.",
        ),
        Property(
            "each student is a network of its own: the first taught by the teacher alone, the "
            "others by a helper alone",
            _begin_alike,
            "train works in place: the second training goes on from the first. Give each student "
            "a copy of its own: copy.deepcopy(student).",
        ),
        Property(
            "a helper was taught by the teacher before it teaches",
            _chained,
            "First train the helper under the teacher; then pass the trained helper on.",
        ),
        Property(
            "all students see the student's few images",
            lambda f: all(lesson[2] == "few" for net in _run(f)[0] for lesson in net.lessons),
            "Pass `few` to every training of a student: `images` are the helper's alone.",
        ),
        Property(
            "the chain's helper has learned from all images",
            lambda f: _seen_by_helpers(f)[0] == {"images"},
            "Train the chain's helper on `images`, and on nothing else; a helper of the control "
            "needs a copy of its own.",
        ),
        Property(
            "the control's helper has learned from the student's images alone",
            lambda f: _seen_by_helpers(f)[1] == {"few"},
            "The control differs from the chain in one thing: train a second copy of the helper "
            "on `few`.",
        ),
        Property(
            "the direct student has as many steps as a whole chain",
            _budgets,
            "Count the helper's steps as well: the chain takes twice `steps`, and so does its "
            "control.",
        ),
        Property(
            "the caller's networks are as before",
            lambda f: all(not net.lessons for net in _run(f)[1]),
            "The helper and the student that were given have to stay untrained: train copies.",
        ),
    ],
    lambda f: f(_train, *_given(), "images", "few", 100),
)
