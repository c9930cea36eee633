"""Notebook 01: its checkers accept the right answers and name what is wrong with the others."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson01 import exercises
from kdcourse.lessons.lesson01.abstention import Abstention
from kdlib import metrics


def needed(d, points):
    return d * (196 / points) ** 2


def needed_whole(d, points):
    return math.ceil(needed(d, points))


def needed_by_search(d, points):
    n = 1
    while 196 * (d / n) ** 0.5 > points:
        n += 1
    return n


def by_differences(wrong_a, wrong_b):
    differences = 100 * (wrong_a.double() - wrong_b.double())
    half = 1.96 * differences.std() / len(differences) ** 0.5
    mean = differences.mean()
    return mean, mean - half, mean + half


def by_numpy(wrong_a, wrong_b):
    differences = 100 * (np.asarray(wrong_a, dtype=float) - np.asarray(wrong_b, dtype=float))
    half = 1.96 * differences.std() / np.sqrt(differences.size)
    return [differences.mean(), differences.mean() - half, differences.mean() + half]


def by_kdlib(wrong_a, wrong_b):
    return metrics.difference(wrong_a[None], wrong_b[None])


def as_shares(wrong_a, wrong_b):
    return [end / 100 for end in by_differences(wrong_a, wrong_b)]


def unpaired(wrong_a, wrong_b):
    a, b = 100 * wrong_a.double(), 100 * wrong_b.double()
    half = 1.96 * (a.var() / len(a) + b.var() / len(b)).sqrt()
    return a.mean() - b.mean(), a.mean() - b.mean() - half, a.mean() - b.mean() + half


def of_images(wrong_a, wrong_b):
    differences = 100 * (wrong_a.double() - wrong_b.double())
    half = 1.96 * differences.std()
    return differences.mean(), differences.mean() - half, differences.mean() + half


def one_standard_error(wrong_a, wrong_b):
    mean, low, high = by_differences(wrong_a, wrong_b)
    return mean, mean - (mean - low) / 1.96, mean + (high - mean) / 1.96


def other_way_round(wrong_a, wrong_b):
    return by_differences(wrong_b, wrong_a)


def turned_round(wrong_a, wrong_b):
    mean, low, high = by_differences(wrong_a, wrong_b)
    return mean, high, low


def epoch(
    network, batches, optimizer, *, mode=True, soft=False, zero=True, weighted=True, plain=True,
    reduction="mean",
):  # fmt: skip
    """One epoch, right as it stands; each argument puts one fault into it."""
    network.train(mode)
    losses, sizes = [], []
    for batch in batches:
        z = network(batch.x)
        given = z.softmax(-1) if soft else z
        loss = torch.nn.functional.cross_entropy(given, batch.y, reduction=reduction)
        if zero:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()) if plain else loss)
        sizes.append(len(batch.y) if weighted else 1)
    return sum(n * loss for n, loss in zip(sizes, losses, strict=True)) / sum(sizes)


def without_mode(network, batches, optimizer):
    return epoch(network, batches, optimizer, mode=network.training)


def double_softmax(network, batches, optimizer):
    return epoch(network, batches, optimizer, soft=True)


def summed(network, batches, optimizer):
    return epoch(network, batches, optimizer, reduction="sum")


def gradients_add_up(network, batches, optimizer):
    return epoch(network, batches, optimizer, zero=False)


def mean_of_batches(network, batches, optimizer):
    return epoch(network, batches, optimizer, weighted=False)


def with_its_graph(network, batches, optimizer):
    return epoch(network, batches, optimizer, plain=False)


def by_hand(network, batches, optimizer):
    network.train()
    total, count = torch.zeros(()), 0
    for batch in batches:
        log_p = network(batch.x).log_softmax(-1)
        loss = -log_p[range(len(batch.y)), batch.y].mean()
        network.zero_grad()
        loss.backward()
        optimizer.step()
        total, count = total + len(batch.y) * loss.detach(), count + len(batch.y)
    return total / count


def nothing(*given):
    sum(range(3))


RIGHT = [
    (exercises.images_needed, needed),
    (exercises.images_needed, needed_whole),
    (exercises.images_needed, needed_by_search),
    (exercises.paired, by_differences),
    (exercises.paired, by_numpy),
    (exercises.paired, by_kdlib),
    (exercises.one_epoch, epoch),
    (exercises.one_epoch, by_hand),
]
WRONG = [
    (exercises.images_needed, lambda d, points: d * (1.96 / points) ** 2, "in points"),
    (exercises.images_needed, lambda d, points: d * 196 / points, "square both sides"),
    (exercises.images_needed, lambda d, points: d**0.5 * (196 / points) ** 2, "under the root"),
    (exercises.images_needed, lambda d, points: d * (100 / points) ** 2, "the 1.96"),
    (exercises.images_needed, lambda d, points: 196 * (d / points) ** 0.5, "square both sides"),
    (exercises.paired, lambda a, b: by_differences(a, b)[0], "(mean, low, high)"),
    (exercises.paired, other_way_round, "a minus error of b"),
    (exercises.paired, as_shares, "times 100"),
    (exercises.paired, turned_round, "mean − half"),
    (exercises.paired, unpaired, "image by image"),
    (exercises.paired, of_images, "divided by √n"),
    (exercises.paired, one_standard_error, "1.96"),
    (exercises.one_epoch, without_mode, "network.train()"),
    (exercises.one_epoch, double_softmax, "give it logits"),
    (exercises.one_epoch, summed, "mean over the batch"),
    (exercises.one_epoch, gradients_add_up, "zero_grad() before"),
    (exercises.one_epoch, mean_of_batches, "divide by all images"),
    (exercises.one_epoch, with_its_graph, "holds its graph"),
    *((exercise, nothing, "`return` missing") for exercise in exercises_of(exercises)),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


def _made_up() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 5
    z = torch.randn(200, 5, generator=generator)
    z[torch.arange(200), y] += 2
    return {"calm": 0.3 * z, "sure": 4 * z}, y


def test_the_explorer_shows_every_state() -> None:
    logits, y = _made_up()
    explorer = Abstention(logits, y, thresholds=[0, 0.5, 0.9, 1])
    assert explorer.sweep() == 8


def test_the_explorer_counts_as_the_metrics_do() -> None:
    logits, y = _made_up()
    explorer = Abstention(logits, y, thresholds=[0, 0.7, 1])
    for name, z in logits.items():
        for threshold in (0.0, 0.7):
            kept = z.double().softmax(-1).amax(-1) >= threshold
            wrong = int((z.argmax(-1) != y)[kept].sum())
            seen = explorer.answered({"network": name, "threshold": threshold})
            assert seen == (int(kept.sum()), wrong)
    assert "answers none" in explorer.sentence({"network": "calm", "threshold": 1.0})


def test_the_explorer_refuses_what_it_cannot_show() -> None:
    logits, y = _made_up()
    with pytest.raises(ValueError, match="threshold"):
        Abstention(logits, y, thresholds=[0, 90])
    with pytest.raises(ValueError, match="no network"):
        Abstention({}, y)
    with pytest.raises(ValueError, match="shape"):
        Abstention({"one": logits["sure"][0]}, y)
