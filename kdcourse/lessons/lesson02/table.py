"""Trains the students of page 02 once more and asks them about MNIST's 10,000 test images.

A thousand test images do not resolve one point; ten thousand do. table.json keeps, for each setting
and student, its error in every draw, its interval, and what it saves against the other students of
the setting (negative: costs), in points, as [mean, low, high].
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.ground import mnist
from kdcourse.pages import tables
from kdlib import losses, metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, jitter, load
from kdlib.models import mlp, predict
from kdlib.objectives import (
    HardLabels,
    Objective,
    SoftTargets,
    TeacherLabels,
    TeacherTable,
    tabulate,
)
from kdlib.training import fit

DRAWS = range(10)
LABELS = HardLabels()


def distilled(answers: TeacherTable) -> Objective:
    return (1 - mnist.ALPHA) * LABELS + mnist.ALPHA * SoftTargets(answers, mnist.T)


def even_doubt(z: Tensor, T: float = mnist.T) -> Tensor:
    """Logits whose softmax at T is as confident as z's, with the doubt spread evenly."""
    p = (z / T).softmax(1)
    first = F.one_hot(z.argmax(1), z.shape[1]).bool()
    doubt = (1 - p.amax(1, keepdim=True)).clamp(min=1e-12) / (z.shape[1] - 1)
    return T * torch.where(first, p, doubt).log()


def recipes(teacher: TeacherTable) -> dict[str, Objective]:
    """What each student learns from; class means need the draw's images and stand apart."""
    shuffle = torch.Generator().manual_seed(0)
    permuted = losses.permute_wrong_classes(teacher.logits, generator=shuffle)
    return {
        "label-only": LABELS,
        "label smoothing": HardLabels(smoothing=0.1),
        "first answers": (1 - mnist.ALPHA) * LABELS + mnist.ALPHA * TeacherLabels(teacher),
        "even doubt": distilled(teacher.answering(even_doubt(teacher.logits), "even doubt")),
        "permuted": distilled(teacher.answering(permuted, "permuted")),
        "distilled": distilled(teacher),
    }


def class_means(
    teacher: TeacherTable, seen: Examples, labels: Tensor, *, false: int | None = None
) -> Objective:
    """The mean soft target of the class's images; false: shuffled once a class, by this seed."""
    answers = teacher.find(seen.ids)
    assert answers is not None
    z = losses.class_mean_logits(answers, labels, mnist.T)
    if false is not None:
        of_class = torch.stack([z[labels == c][0] for c in range(10)])
        shuffle = torch.Generator().manual_seed(false)
        z = losses.permute_wrong_classes(of_class, generator=shuffle)[labels]
    return distilled(TeacherTable(seen.ids, z, name="class means"))


def students(
    lessons: Mapping[str, Objective], seen: Examples, draw: int, test: Examples, epochs: int
) -> dict[str, Tensor]:
    """Which test images each student of this draw gets wrong: name → bool (images,)."""
    bank = train_bank(
        lambda recipe: lessons[recipe],
        student=mlp(784, mnist.WIDTH, 10),
        examples=seen,
        grid={"recipe": list(lessons)},
        seeds=[draw],
        evaluate={"test": test},
        epochs=epochs,
        batch=mnist.BATCH,
        cache=False,
    )
    return dict(zip(lessons, bank.wrong()[:, 0], strict=True))


def three(interval: metrics.Interval) -> list[float]:
    return [round(end, 2) for end in (interval.mean, interval.low, interval.high)]


def rows(setting: str, wrong: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """One for each student: wrong is name → bool (draws, images)."""
    return [
        {
            "setting": setting,
            "student": name,
            "errors": [round(100 * float(part.double().mean()), 2) for part in missed],
            "error": three(metrics.interval(100 * missed.double())),
            "saves against": {
                other: three(metrics.difference(theirs, missed))
                for other, theirs in wrong.items()
                if other != name
            },
        }
        for name, missed in wrong.items()
    ]


def main() -> None:
    torch.set_num_threads(1)
    train, test = load("mnist5k").train, load("mnist").test
    network = mnist.teacher(train)
    teacher = tabulate(network, train)
    first = dict(zip(teacher.ids.tolist(), teacher.logits.argmax(1).tolist(), strict=True))
    lessons = recipes(teacher)
    three_of_them = {name: lessons[name] for name in ("label-only", "even doubt", "distilled")}
    kept: list[dict[str, Any]] = []

    def few(draw: int, labels: int) -> Examples:
        return train.per_class(labels, seed=draw)

    def transfer(draw: int) -> Examples:
        labelled = torch.isin(train.ids, few(draw, 20).ids)
        return train.labelled_as(torch.where(labelled, train.y, -1))

    def keep(setting: str, of_draw: list[dict[str, Tensor]]) -> None:
        wrong = {name: torch.stack([d[name] for d in of_draw]) for name in of_draw[0]}
        kept.extend(rows(setting, wrong))

    of_draw = []
    for draw in DRAWS:
        seen = few(draw, 100)
        means = {
            "class means": class_means(teacher, seen, seen.y),
            "false class means": class_means(teacher, seen, seen.y, false=draw),
        }
        of_draw.append(students(lessons | means, seen, draw, test, mnist.epochs(seen)))
    keep("100 labels per class", of_draw)

    for setting, steps in (("", mnist.STEPS), (", stopped early", 120)):
        of_draw = []
        for draw in DRAWS:
            seen = few(draw, 20)
            epochs = mnist.epochs(seen, steps)
            of_draw.append(students(three_of_them, seen, draw, test, epochs))
        keep(f"20 labels per class{setting}", of_draw)

    told = {
        name: lessons[name] for name in ("first answers", "even doubt", "permuted", "distilled")
    }
    of_draw = []
    for draw in DRAWS:
        seen, own = transfer(draw), few(draw, 20)
        answers = torch.tensor([first[one] for one in seen.ids.tolist()])
        means = {"class means": class_means(teacher, seen, answers)}
        alone = {"label-only": LABELS}
        of_draw.append(
            students(alone, own, draw, test, mnist.epochs(own))
            | students(told | means, seen, draw, test, mnist.epochs(seen))
        )
    keep("20 labels per class, transfer set", of_draw)

    means = {"class means": class_means(teacher, train, train.y)}
    all_lessons = lessons | means
    keep("all labels", [students(all_lessons, train, draw, test, 20) for draw in DRAWS])

    moved = []
    for seed in range(5):
        student = mlp(784, mnist.WIDTH, 10)
        how: dict[str, Any] = {"epochs": 20, "precision": "fp32", "augment": jitter(2)}
        fit(student, train, seed=seed, **how)
        moved.append({"label-only": metrics.wrong(predict(student, test), test.y)})
    keep("all labels, images moved", moved)
    tables.write(__file__, kept)


if __name__ == "__main__":
    main()
