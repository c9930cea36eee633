"""Notebook 06: its checkers accept the right and reject the wrong; its explorers, swept whole."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.ground import domains
from kdcourse.lessons.lesson06 import classes, exercises
from kdcourse.lessons.lesson06 import table as script
from kdcourse.lessons.lesson06.mean_distances import MeanDistances
from kdcourse.lessons.lesson06.severity import Severity
from kdcourse.pages import tables
from kdlib import distances, metrics, models


def coral_by_hand(
    f_a: Tensor, f_b: Tensor, *, centred: bool = True, free: int = 1, root: bool = False
) -> Tensor:
    """CORAL, with each likely mistake to be switched on."""

    def covariance(f: Tensor) -> Tensor:
        f = f - f.mean(0) if centred else f
        return f.T @ f / (len(f) - free)

    squares = (covariance(f_a) - covariance(f_b)).square().sum()
    return (squares.sqrt() if root else squares) / (4 * f_a.shape[1] ** 2)


def with_cov(f_a: Tensor, f_b: Tensor) -> float:
    gap = np.cov(f_a.numpy(), rowvar=False) - np.cov(f_b.numpy(), rowvar=False)
    return float(np.linalg.norm(gap) ** 2 / (2 * f_a.shape[1]) ** 2)


def band(
    distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int,
    *, pooled: bool = True, extremes: bool = False, halves: bool = False, replace: bool = False,
    upper: float = 0.975, seeded: bool = True, turned: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """A null band, with each likely mistake to be switched on."""
    generator = torch.Generator().manual_seed(seed) if seeded else None
    values, rows = [], torch.cat([f_a, f_b])
    size = len(rows) // 2 if halves else len(f_a)
    for _ in range(permutations):
        if replace:
            order = torch.randint(len(rows), (len(rows),), generator=generator)
        else:
            order = torch.randperm(len(rows), generator=generator)
        dealt = rows[order] if pooled else rows
        values.append(float(distance(dealt[:size], dealt[size:])))
    if extremes:
        return min(values), max(values)
    low, high = np.quantile(values, [1 - upper, upper])
    return (float(high), float(low)) if turned else (float(low), float(high))


def the_library(distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int) -> Any:
    return distances.null_band(distance, f_a, f_b, permutations=permutations, seed=seed)


def through_numpy(distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int) -> Any:
    draws, rows, values = np.random.default_rng(seed), torch.cat([f_a, f_b]), []
    for _ in range(permutations):
        order = torch.from_numpy(draws.permutation(len(rows)))
        values.append(distance(rows[order[len(f_b) :]], rows[order[: len(f_b)]]))
    return torch.stack(values).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))


def sorted_by_hand(distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int) -> Any:
    generator, rows, values = torch.Generator().manual_seed(seed), torch.cat([f_b, f_a]), []
    for _ in range(permutations):
        dealt = rows[torch.randperm(len(rows), generator=generator)]
        values.append(distance(dealt[: len(f_a)], dealt[len(f_a) :]).item())
    values.sort()
    return values[int(0.025 * permutations)], values[int(0.975 * permutations)]


def shuffled_apart(distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int) -> Any:
    generator, values = torch.Generator().manual_seed(seed), []
    for _ in range(permutations):
        a = f_a[torch.randperm(len(f_a), generator=generator)]
        b = f_b[torch.randperm(len(f_b), generator=generator)]
        values.append(float(distance(a, b)))
    return min(values), max(values)


def class_gaps(
    f_a: Tensor, y_a: Tensor, f_b: Tensor, y_b: Tensor,
    *, centred: bool = False, squared: bool = False, alike: bool = False,
) -> Tensor:  # fmt: skip
    """Exercise 1, with each likely mistake to be switched on."""
    y_b = y_a if alike else y_b
    f_a, f_b = (f - f.mean(0) if centred else f for f in (f_a, f_b))
    gaps = [f_a[y_a == k].mean(0) - f_b[y_b == k].mean(0) for k in range(10)]
    return torch.stack([gap.square().sum() if squared else gap.norm() for gap in gaps])


def gaps_in_numpy(f_a: Tensor, y_a: Tensor, f_b: Tensor, y_b: Tensor) -> Any:
    a, b = ((f.numpy(), y.numpy()) for f, y in ((f_a, y_a), (f_b, y_b)))
    means = [np.stack([f[y == k].mean(0) for k in range(10)]) for f, y in (a, b)]
    return np.linalg.norm(means[0] - means[1], axis=1)


def gaps_by_product(f_a: Tensor, y_a: Tensor, f_b: Tensor, y_b: Tensor) -> Tensor:
    sums = [torch.nn.functional.one_hot(y, 10).double() for y in (y_a, y_b)]
    means = [(s.T @ f) / s.sum(0)[:, None] for s, f in zip(sums, (f_a, f_b), strict=True)]
    return torch.cdist(*means).diagonal()


def mean_of_gaps(f_a: Tensor, y_a: Tensor, f_b: Tensor, y_b: Tensor) -> Tensor:
    return class_gaps(f_a, y_a, f_b, y_b).mean()


def gaps_over_images(f_a: Tensor, y_a: Tensor, f_b: Tensor, y_b: Tensor) -> Tensor:
    """Averages over features, not over images, and cuts the longer class."""
    rows = [(f_a[y_a == k].mean(1), f_b[y_b == k].mean(1)) for k in range(10)]
    return torch.stack([(a - b).norm() for a, b in rows])


def seeded_in_the_loop(
    distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int
) -> Any:
    rows, values = torch.cat([f_a, f_b]), []
    for _ in range(permutations):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        values.append(float(distance(rows[order][: len(f_a)], rows[order][len(f_a) :])))
    return tuple(np.quantile(values, [0.025, 0.975]))


def as_printed(
    distance: Any, f_a: Tensor, f_b: Tensor, permutations: int, seed: int,
    *, once: bool = False, sizes: bool = False,
) -> Any:  # fmt: skip
    """As the page gives it; either of its two faults can be mended."""
    pooled, values = torch.cat([f_a, f_b]), []
    kept = torch.Generator().manual_seed(seed)
    for _ in range(permutations):
        generator = kept if once else torch.Generator().manual_seed(seed)
        shuffled = pooled[torch.randperm(len(pooled), generator=generator)]
        sides = shuffled.split([len(f_a), len(f_b)]) if sizes else shuffled.chunk(2)
        values.append(float(distance(*sides)))
    return tuple(torch.tensor(values).quantile(torch.tensor([0.025, 0.975])).tolist())


RIGHT = [
    (exercises.class_gaps, class_gaps),
    (exercises.class_gaps, lambda *given: class_gaps(*given).tolist()),
    (exercises.class_gaps, lambda *given: list(class_gaps(*given))),
    (exercises.class_gaps, gaps_in_numpy),
    (exercises.class_gaps, gaps_by_product),
    (exercises.coral, coral_by_hand),
    (exercises.coral, with_cov),
    (exercises.coral, distances.coral),
    (exercises.mended_band, band),
    (exercises.mended_band, partial(as_printed, once=True, sizes=True)),
    (exercises.mended_band, the_library),
    (exercises.mended_band, through_numpy),
    (exercises.mended_band, sorted_by_hand),
]
WRONG = {
    "one mean": (exercises.class_gaps, mean_of_gaps, "one number for each class"),
    "all rows": (
        exercises.class_gaps,
        lambda a, ya, b, yb: torch.stack(
            [(a[ya == k].mean(0) - b.mean(0)).norm() for k in range(10)]
        ),
        "class k of the other",
    ),
    "the labels of a for both": (
        exercises.class_gaps,
        partial(class_gaps, alike=True),
        "rows of cloud b by y_b",
    ),
    "centred": (exercises.class_gaps, partial(class_gaps, centred=True), "Do not centre"),
    "squared": (exercises.class_gaps, partial(class_gaps, squared=True), "take the root"),
    "over features": (exercises.class_gaps, gaps_over_images, "over dim 0"),
    "not centred": (
        exercises.coral,
        lambda a, b: coral_by_hand(a, b, centred=False),
        "Centre each cloud",
    ),
    "not summed": (exercises.coral, lambda a, b: torch.cov(a.T) - torch.cov(b.T), "Sum over all"),
    "a root": (exercises.coral, lambda a, b: coral_by_hand(a, b, root=True), "do not take a root"),
    "divided by n": (exercises.coral, lambda a, b: coral_by_hand(a, b, free=0), "n − 1 rows"),
    "4 d": (exercises.coral, lambda a, b: coral_by_hand(a, b) * a.shape[1], "4 d²"),
    "d²": (exercises.coral, lambda a, b: coral_by_hand(a, b) * 4, "4 d²"),
    "rows for features": (
        exercises.coral,
        lambda a, b: (torch.cov(a) - torch.cov(b)).square().sum(),
        "(d, d)",
    ),
    "means": (exercises.coral, lambda a, b: distances.euclidean(a, b), "Centre each cloud"),
    "as printed": (exercises.mended_band, as_printed, "the same seed"),
    "only the seed mended": (
        exercises.mended_band,
        partial(as_printed, once=True),
        "first len(f_a)",
    ),
    "only the sides mended": (
        exercises.mended_band,
        partial(as_printed, sizes=True),
        "the same seed",
    ),
    "not pooled, min and max": (
        exercises.mended_band,
        partial(band, pooled=False, extremes=True),
        "pool both clouds",
    ),
    "min and max": (exercises.mended_band, partial(band, extremes=True), "quantiles"),
    "two halves": (exercises.mended_band, partial(band, halves=True), "first len(f_a)"),
    "rows drawn twice": (
        exercises.mended_band,
        partial(band, replace=True),
        "Shuffle the pooled rows once",
    ),
    "quantiles, but not pooled": (
        exercises.mended_band,
        partial(band, pooled=False),
        "pool both clouds",
    ),
    "the middle half": (exercises.mended_band, partial(band, upper=0.75), "quantiles"),
    "a 90 % band": (exercises.mended_band, partial(band, upper=0.95), "quantiles"),
    "a 99 % band": (exercises.mended_band, partial(band, upper=0.995), "quantiles"),
    "the upper edge first": (exercises.mended_band, partial(band, turned=True), "lower edge first"),
    "no seed": (exercises.mended_band, partial(band, seeded=False), "seeded by `seed`"),
    "each cloud by itself": (exercises.mended_band, shuffled_apart, "pool both clouds"),
    "seeded in the loop": (exercises.mended_band, seeded_in_the_loop, "the same seed"),
}


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


# ---- where the classes lie ----------------------------------------------------------------------


def test_class_means_are_those_of_a_centred_cloud() -> None:
    f, y = torch.tensor([[0.0, 0], [2, 0], [4, 6]]), torch.tensor([0, 0, 1])
    torch.testing.assert_close(classes.class_means(f, y), torch.tensor([[-1.0, -2], [2, 4]]))


def test_a_moved_cloud_has_its_classes_where_they_were_and_a_swapped_one_has_not() -> None:
    f, y = torch.randn(30, 4).double(), torch.arange(3).repeat(10)
    f = f + 9 * torch.nn.functional.one_hot(y, 4)
    assert classes.between_classes(f, y, f + 5, y).argmin(1).tolist() == [0, 1, 2]
    assert classes.between_classes(f, y, f, (y + 1) % 3).argmin(1).tolist() == [2, 0, 1]


# ---- the stored rows -----------------------------------------------------------------------------


def test_the_table_was_made_by_its_script_and_is_whole() -> None:
    assert tables.is_current(Path(script.__file__)), "run `python3 course.py build 06`"
    rows = tables.read(script.__file__)
    count = sum(map(len, script.SEEDS.values()))
    assert [row["way"] for row in rows if "way" in row] == [
        w for w in script.WAYS for _ in range(count)
    ]
    for name in ("inner 24", *script.SOURCES):
        wrong = classes.answers(rows, name)
        assert wrong.shape == (5, 500)


@pytest.mark.slow
def test_a_stored_row_is_trained_again() -> None:
    here = domains.domains("A")
    network = domains.source_network(script.made(here.source, "mirrored"), seed=10)
    wrong = metrics.wrong(models.predict(network, here.target_test), here.target_test.y)
    stored = classes.answers(tables.read(script.__file__), "mirrored")[0]
    assert 100 * float(wrong.double().mean()) == pytest.approx(
        100 * float(stored.double().mean()), abs=6
    )


# ---- the playground of three distances -----------------------------------------------------------


@pytest.mark.slow
def test_the_playground_is_drawn_in_every_state() -> None:
    assert MeanDistances(count=20).sweep() == 7 * 4 * 3


def test_the_playgrounds_distances_are_what_geometry_says() -> None:
    shown = MeanDistances(count=30)
    for state in shown.states():
        said = shown.distances(state)
        turn, stretch = np.radians(state["angle"]), state["stretch"]
        along, across = 0.36 * stretch**0.5, 0.36 * stretch**-0.5
        delta = 2 * np.array([np.cos(turn), np.sin(turn)])
        assert said["euclidean"] == pytest.approx(2)
        expected = np.sqrt(delta[0] ** 2 / along + delta[1] ** 2 / across)
        assert said["mahalanobis"] == pytest.approx(expected)
        middle = np.full(2, state["origin"] / np.sqrt(2))
        a, b = middle - delta / 2, middle + delta / 2
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert said["cosine"] == pytest.approx(1 - cosine, abs=1e-9)


def test_the_playground_opens_where_its_distances_differ() -> None:
    shown = MeanDistances(count=20)
    values = shown.distances(shown.state)
    assert shown.state == {"angle": 90, "stretch": 4, "origin": 4}
    assert 0.05 < values["cosine"] < 0.2 and values["mahalanobis"] > 2 * values["euclidean"]


def test_the_playground_says_its_three_numbers() -> None:
    shown = MeanDistances(count=20)
    shown.set(angle=90, stretch=8, origin=8)
    said = shown.sentence(shown.state)
    assert "2.00 apart" in said and "5.61 (Mahalanobis)" in said
    assert "90°" in shown.formula(shown.state)


def test_the_playground_needs_a_cloud() -> None:
    with pytest.raises(ValueError, match="count=3"):
        MeanDistances(count=3)


# ---- the severity explorer -----------------------------------------------------------------------


def severity(**changes: Any) -> Severity:
    noise = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "shifts": ["mirror", "rotate"],
        "levels": [0.0, 0.5, 1.0],
        "images": noise.random((2, 3, 4, 8, 8)),
        "distances": {"mmd": [[-0.1, 2, 30], [0.5, 4, 9]], "euclidean": [[1, 1, 4], [1, 6, 8]]},
        "edges": {"mmd": 1.0, "euclidean": 2.0},
        "errors": [[5.0, 20.0, 60.0], [5.0, 11.0, 33.0]],
        "n": 880,
    }
    return Severity(**{**parts, **changes})


def test_the_severity_explorer_is_drawn_in_every_state() -> None:
    assert severity().sweep() == 2 * 3


def test_it_says_how_many_distances_left_their_band() -> None:
    shown = severity()
    assert "no distance leaves" in shown.sentence({"shift": "mirror", "level": 0.0})
    some = shown.sentence({"shift": "mirror", "level": 0.5})
    assert "1 of 2 distances" in some and "20.0 % of 880" in some
    all_of_them = shown.sentence({"shift": "mirror", "level": 1.0})
    assert "2 of 2" in all_of_them and "mmd the furthest (30 times" in all_of_them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"errors": [[5.0, 20.0]]}, r"errors must begin with .*\(2, 3\)"),
        ({"distances": {"mmd": [[1, 2]]}, "edges": {"mmd": 1.0}}, "mmd must begin"),
        ({"edges": {"mmd": 1.0}}, "for each distance"),
        ({"edges": {"mmd": 1.0, "euclidean": 0.0}}, "above 0"),
        ({"images": np.zeros((2, 3, 8, 8))}, "images must begin"),
    ],
)
def test_it_refuses_tables_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        severity(**changes)
