"""Trains the teachers that the page has no minute for, and stores what became of their students.

Each recipe trains five teachers (seeds 0 to 4), each teacher three students of its own: as many as
there are students without a teacher. All are scored on MNIST's 10,000 test images; everything runs
in float32. A row "teacher" is a recipe; a row "pair" compares two of them, teacher by teacher and
image by image; in a row "shifted" the student sees shifted images, and the teacher answers either
the very image that the student sees, or the unshifted one (Beyer et al. 2022, in small).
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.pages import tables
from kdlib import losses, metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, jitter, load
from kdlib.models import cnn, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, TeacherTable
from kdlib.training import fit

TEACHERS, STUDENTS = 5, 3  # seeds of each recipe; students of each teacher
SHIFTED = 3  # seeds of the students that see shifted images
COMMON = "cnn 16"
PAIRS = (
    ("cnn 16, brief", "mlp 300"),
    (COMMON, "mlp 300"),
    ("cnn 4", "mlp 100"),
    ("five mlp 100", "mlp 100"),
    ("five cnn 16", COMMON),
    ("cnn 16, long", COMMON),
    ("cnn 16, smoothed", COMMON),
    ("cnn 16, not shifted", COMMON),
)


class Recipe(NamedTuple):
    """How one kind of teacher is trained. networks: how many whose logits are averaged."""

    network: nn.Module
    epochs: int
    batch: int = 64
    shifts: int = 2
    smoothing: float = 0.0
    networks: int = 1


RECIPES = {
    COMMON: Recipe(cnn(16), 8),
    "cnn 16, long": Recipe(cnn(16), 24),
    "cnn 16, not shifted": Recipe(cnn(16), 8, shifts=0),
    "cnn 16, smoothed": Recipe(cnn(16), 8, smoothing=0.1),
    "cnn 16, brief": Recipe(cnn(16), 2),
    "cnn 4": Recipe(cnn(4), 8),
    "mlp 300": Recipe(mlp(784, 300, 10), 40),
    "mlp 100": Recipe(mlp(784, 100, 10), 20, batch=128, shifts=0),
    "mlp 100, brief": Recipe(mlp(784, 100, 10), 2, batch=128, shifts=0),
    "five mlp 100": Recipe(mlp(784, 100, 10), 20, batch=128, shifts=0, networks=5),
}


@cache
def images() -> tuple[Examples, Examples]:
    """Our training images, and MNIST's 10,000 test images."""
    return load("mnist5k").train, load("mnist").test


class Taught(NamedTuple):
    """One recipe: wrong answers (teachers, images) of its teachers and of their students' mean."""

    teachers: Tensor
    students: Tensor
    entropy: float


def trained(recipe: Recipe, seed: int) -> tuple[Tensor, Tensor]:
    """A teacher's logits on the training and on the test images."""
    train, test = images()
    network = initialise(recipe.network, seed)
    how: dict[str, Any] = {"epochs": recipe.epochs, "batch": recipe.batch, "precision": "fp32"}
    if recipe.shifts:
        how["augment"] = jitter(recipe.shifts)
    fit(network, train, HardLabels(smoothing=recipe.smoothing), seed=seed, **how)
    return predict(network, train), predict(network, test)


@cache
def answers(name: str, seed: int) -> tuple[Tensor, Tensor]:
    """Logits on training and test images; of an ensemble, the mean of its networks' logits."""
    if name == "five cnn 16":  # the five of the common recipe: one ensemble, whatever the seed
        every = [answers(COMMON, member) for member in range(TEACHERS)]
    else:
        count = RECIPES[name].networks
        every = [trained(RECIPES[name], count * seed + member) for member in range(count)]
    here, there = zip(*every, strict=True)
    return torch.stack(here).mean(0), torch.stack(there).mean(0)


def students(objective: Any, group: int) -> Tensor:
    """Share of a teacher's students that are wrong (images,); group: which seeds."""
    train, test = images()
    seeds = [STUDENTS * group + one for one in range(STUDENTS)]
    student, epochs = mlp(784, mnist.WIDTH, 10), mnist.epochs(train)
    how: dict[str, Any] = {"evaluate": {"test": test}, "epochs": epochs, "cache": False}
    bank = train_bank(objective, student=student, examples=train, seeds=seeds, **how)
    return bank.wrong().double().mean(0)


@cache
def taught(name: str) -> Taught:
    """All teachers of a recipe, and their students."""
    train, test = images()
    wrong, learnt, entropies = [], [], []
    for seed in range(TEACHERS):
        here, there = answers(name, seed)
        table = TeacherTable(train.ids, here, None, f"{name}, seed {seed}")
        soft = SoftTargets(table, mnist.T)
        learnt.append(students((1 - mnist.ALPHA) * HardLabels() + mnist.ALPHA * soft, seed))
        wrong.append(metrics.wrong(there, test.y).double())
        entropies.append(float(losses.entropy(here.double() / mnist.T)))
    return Taught(torch.stack(wrong), torch.stack(learnt), sum(entropies) / len(entropies))


def stored(table: Tensor) -> list[float]:
    """The interval of differences (seeds, images), in points, as [mean, low, high]."""
    interval = metrics.interval(100 * table)
    return [round(end, 3) for end in (interval.mean, interval.low, interval.high)]


def percents(table: Tensor) -> list[float]:
    """Error % of each seed."""
    return [round(float(error), 2) for error in 100 * table.mean(1)]


def rows() -> Iterator[dict[str, Any]]:
    """Every row of the table."""
    label_only = torch.stack([students(HardLabels(), group) for group in range(TEACHERS)])
    yield {"kind": "label-only", "students": percents(label_only)}
    for name in (*RECIPES, "five cnn 16"):
        teachers, learnt, entropy = taught(name)
        yield {
            "kind": "teacher",
            "name": name,
            "teachers": percents(teachers),
            "students": percents(learnt),
            "saves": stored(label_only - learnt),
            "entropy": round(entropy, 3),
        }
    for one, other in PAIRS:
        a, b = taught(one), taught(other)
        lead, arrived = b.teachers - a.teachers, b.students - a.students
        numbers = {"lead": lead, "arrived": arrived, "lost": lead - arrived}
        yield {"kind": "pair", "one": one, "other": other} | {
            key: stored(table) for key, table in numbers.items()
        }
    yield from with_shifts(label_only)


def shifted(seed: int, answered: str, teacher: nn.Module) -> Tensor:
    """Wrong answers (images,) of a student that sees shifted images.

    answered: "nothing" (labels only), "the image as it was" (answers kept in a table), "the shifted
    image" (the teacher is asked anew).
    """
    train, test = images()
    kept = TeacherTable(train.ids, predict(teacher, train))
    student, move = initialise(mlp(784, mnist.WIDTH, 10), seed), jitter(2)
    epochs = mnist.epochs(train)
    steps = epochs * -(-len(train) // mnist.BATCH)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-2, weight_decay=0.0, fused=True)
    up_and_down = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, total_steps=steps + 1, cycle_momentum=False
    )
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(epoch)
        for batch in train.batches(mnist.BATCH, generator):
            x = move(batch.x, generator)
            z = student(x)
            loss = nn.functional.cross_entropy(z, batch.y)
            if answered != "nothing":
                with torch.no_grad():
                    told = teacher(x) if "shifted" in answered else kept.find(batch.ids)
                assert told is not None  # the table knows all of them
                soft = losses.soft_targets(z, told, mnist.T)
                loss = (1 - mnist.ALPHA) * loss + mnist.ALPHA * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            up_and_down.step()
    return metrics.wrong(predict(student, test), test.y).double()


def with_shifts(label_only: Tensor) -> Iterator[dict[str, Any]]:
    """What shifts bring to a student, and what a teacher adds to them."""
    teacher, seeds = mnist.teacher(images()[0]), range(SHIFTED)
    base = label_only[:SHIFTED]
    alone = torch.stack([shifted(seed, "nothing", teacher) for seed in seeds])
    for answered in ("nothing", "the image as it was", "the shifted image"):
        again = answered != "nothing"
        wrong = torch.stack([shifted(s, answered, teacher) for s in seeds]) if again else alone
        yield {
            "kind": "shifted",
            "answered": answered,
            "students": percents(wrong),
            "saves": stored(base - wrong),
            "saves against shifts alone": stored(alone - wrong) if again else [0.0, 0.0, 0.0],
        }


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, rows())


if __name__ == "__main__":
    main()
