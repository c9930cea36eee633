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


def _run(f: Any) -> tuple[Any, Any, list[_Network]]:
    given = [_Network(name) for name in ("teacher", "helper", "student")]
    answer = f(_train, *given, "images", 100)
    direct, chain = answer
    return direct, chain, given


def _begin_alike(f: Any) -> bool:
    direct, chain, _ = _run(f)
    return direct is not chain and all(
        {lesson[0] for lesson in network.lessons} == {guide}
        for network, guide in ((direct, "teacher"), (chain, "helper"))
    )


def _chained(f: Any) -> bool:
    _, chain, _ = _run(f)
    return all(
        bool(lessons) and {lesson[0] for lesson in lessons} == {"teacher"}
        for _, lessons, _, _ in chain.lessons
    )


def _budgets(f: Any) -> bool:
    direct, chain, _ = _run(f)
    helper = sum(lesson[-1] for lesson in chain.lessons[-1][1])
    return bool(direct.steps == helper + chain.steps)


compared = Exercise(
    "10.3",
    "a fair comparison",
    [
        Property(
            "it returns the direct student and the chain's student",
            lambda f: all(net.name == "student" for net in _run(f)[:2]),
            "return direct, chain: two students, in this order.",
        ),
        Property(
            "two students, one taught by the teacher alone, the other by the helper alone",
            _begin_alike,
            "train works in place: the second training goes on from the first. Give each student "
            "a copy of its own: copy.deepcopy(student).",
        ),
        Property(
            "the helper was taught by the teacher before it teaches",
            _chained,
            "First train the helper under the teacher; then pass the trained helper on.",
        ),
        Property(
            "the direct student has as many steps as the whole chain",
            _budgets,
            "Count the helper's steps as well: the chain takes twice `steps`.",
        ),
        Property(
            "the caller's networks are as before",
            lambda f: all(not net.lessons for net in _run(f)[2]),
            "The helper and the student that were given have to stay untrained: train copies.",
        ),
        Property(
            "all see the same images",
            lambda f: all(
                lesson[2] == "images"
                for net in _run(f)[:2]
                for lesson in (*net.lessons, *net.lessons[-1][1])
            ),
            "Pass `images` to every training.",
        ),
    ],
    lambda f: f(_train, *[_Network(n) for n in ("teacher", "helper", "student")], "images", 100),
)
