"""Notebook 05: its checkers accept the right and reject the wrong; its explorer, swept whole."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson05 import exercises
from kdcourse.lessons.lesson05.neighbours import Neighbours, nearest, shared
from kdlib import losses, metrics


def blocks(z: Tensor, old: int) -> Tensor:
    return torch.cat([z[:, :old].softmax(1), z[:, old:].softmax(1)], 1)


def blocks_by_hand(z: Tensor, old: int) -> Any:
    out = z.exp().clone()
    for part in (slice(old), slice(old, None)):
        out[:, part] /= out[:, part].sum(1, keepdim=True)
    return out.numpy()


def renormalised(z: Tensor, old: int) -> Any:
    p = z.softmax(1)
    old_part, new_part = p[:, :old], p[:, old:]
    halves = (old_part / old_part.sum(1, True), new_part / new_part.sum(1, True))
    return torch.cat(halves, 1).tolist()


def cosines(f_s: Tensor, f_t: Tensor, temperature: float, dim: int = 1) -> Tensor:
    return F.normalize(f_s, dim=dim) @ F.normalize(f_t, dim=dim).T / temperature


def contrastive(f_s: Tensor, f_t: Tensor, temperature: float, **how: Any) -> Tensor:
    scores = cosines(f_s, f_t, temperature)
    return F.cross_entropy(scores, torch.arange(len(f_s)), **how)


def contrastive_by_hand(f_s: Tensor, f_t: Tensor, temperature: float) -> Tensor:
    scores = F.cosine_similarity(f_s[:, None], f_t[None], dim=2) / temperature
    return -scores.log_softmax(1).diagonal().mean()


def cka(a: Tensor, b: Tensor) -> Tensor:
    a, b = (f - f.mean(0) for f in (a, b))
    return (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())


def cka_of_tables(a: Tensor, b: Tensor) -> float:
    a, b = (f.double() - f.double().mean(0) for f in (a, b))
    k, m = a @ a.T, b @ b.T
    return float((k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt())


def broken_cka(a: Tensor, b: Tensor, *, centre: Any, square: bool, product: bool) -> Tensor:
    a, b = (f - centre(f) for f in (a, b))
    shared = (a.T @ b).norm() ** 2 if square else (a.T @ b).sum() ** 2
    ends = (a.T @ a).norm(), (b.T @ b).norm()
    return shared / (ends[0] * ends[1] if product else ends[0] + ends[1])


def by_unit(f: Tensor) -> Tensor:
    return f.mean(0)


RIGHT = [
    (exercises.own_softmaxes, blocks),
    (exercises.own_softmaxes, blocks_by_hand),
    (exercises.own_softmaxes, renormalised),
    (exercises.find_yourself, contrastive),
    (exercises.find_yourself, contrastive_by_hand),
    (exercises.find_yourself, lambda s, t, T: float(contrastive(s, t, T))),
    (exercises.find_yourself, lambda s, t, T: losses.contrastive(s, t, temperature=T)),
    (exercises.mended_cka, cka),
    (exercises.mended_cka, cka_of_tables),
    (exercises.mended_cka, metrics.cka),
]
WRONG = {
    "one softmax": (exercises.own_softmaxes, lambda z, old: z.softmax(1), "no part in it"),
    "over the images": (
        exercises.own_softmaxes,
        lambda z, old: torch.cat([z[:, :old].softmax(0), z[:, old:].softmax(0)], 1),
        "over dimension 1",
    ),
    "the old block only": (
        exercises.own_softmaxes,
        lambda z, old: z[:, :old].softmax(1),
        "side by side",
    ),
    "new logits as they are": (
        exercises.own_softmaxes,
        lambda z, old: torch.cat([z[:, :old].softmax(1), z[:, old:]], 1),
        "a softmax of their own",
    ),
    "cut at 2": (exercises.own_softmaxes, lambda z, old: blocks(z, 2), "not at a fixed place"),
    "softened": (exercises.own_softmaxes, lambda z, old: blocks(z / 4, old), "no temperature"),
    "logs": (exercises.own_softmaxes, lambda z, old: blocks(z, old).log(), "softmax of z"),
    "no average": (
        exercises.find_yourself,
        lambda s, t, T: -cosines(s, t, T).log_softmax(1).diagonal(),
        "single number",
    ),
    "a sum": (
        exercises.find_yourself,
        lambda s, t, T: contrastive(s, t, T, reduction="sum"),
        "A sum grows",
    ),
    "products, not cosines": (
        exercises.find_yourself,
        lambda s, t, T: F.cross_entropy(s @ t.T / T, torch.arange(len(s))),
        "Cosines",
    ),
    "columns of length 1": (
        exercises.find_yourself,
        lambda s, t, T: F.cross_entropy(cosines(s, t, T, dim=0), torch.arange(len(s))),
        "not dim=0",
    ),
    "no temperature": (
        exercises.find_yourself,
        lambda s, t, T: contrastive(s, t, 1.0),
        "by the temperature",
    ),
    "times temperature": (
        exercises.find_yourself,
        lambda s, t, T: contrastive(s, t, 1 / T),
        "Divide",
    ),
    "always the first": (
        exercises.find_yourself,
        lambda s, t, T: F.cross_entropy(cosines(s, t, T), torch.zeros(len(s), dtype=torch.int64)),
        "torch.arange",
    ),
    "the teacher asks": (
        exercises.find_yourself,
        lambda s, t, T: contrastive(t, s, T),
        "f_s @ f_t.T",
    ),
    "both directions": (
        exercises.find_yourself,
        lambda s, t, T: (contrastive(s, t, T) + contrastive(t, s, T)) / 2,
        "one direction",
    ),
    "as printed": (
        exercises.mended_cka,
        lambda a, b: broken_cka(a, b, centre=Tensor.mean, square=False, product=False),
        "f.mean(0)",
    ),
    "not centred": (
        exercises.mended_cka,
        lambda a, b: broken_cka(a, b, centre=lambda f: 0, square=True, product=True),
        "f.mean(0)",
    ),
    "images centred": (
        exercises.mended_cka,
        lambda a, b: broken_cka(
            a, b, centre=lambda f: f.mean(1, keepdim=True), square=True, product=True
        ),
        "f.mean(0)",
    ),
    "squared sum": (
        exercises.mended_cka,
        lambda a, b: broken_cka(a, b, centre=by_unit, square=False, product=True),
        "Square each entry",
    ),
    "sum of norms": (
        exercises.mended_cka,
        lambda a, b: broken_cka(a, b, centre=by_unit, square=True, product=False),
        "not their sum",
    ),
    "the root": (exercises.mended_cka, lambda a, b: cka(a, b) ** 0.5, "columns centred"),
    "images for units": (
        exercises.mended_cka,
        lambda a, b: ((a - a.mean(0)) @ (b - b.mean(0)).T).norm(),
        "a.T @ b",
    ),
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


# ---- the explorer --------------------------------------------------------------------------------

N, WEIGHTS = 30, [0.0, 1.0, 10.0]


def explorer(**changes: Any) -> Neighbours:
    noise = np.random.default_rng(0)
    y = np.arange(N) % 3
    teacher = np.eye(3)[y] + 0.1 * noise.standard_normal((N, 3))
    alone = noise.standard_normal((N, 4))
    mixed = {w: np.concatenate([w * teacher, alone], 1) for w in WEIGHTS}
    given: dict[str, Any] = {
        "images": noise.integers(0, 255, (N, 8, 8)).astype(np.uint8),
        "labels": y,
        "teacher": teacher,
        "alone": alone,
        "taught": mixed,
        "errors": {w: 10 - w / 2 + noise.random(5) for w in WEIGHTS},
        "n": 1000,
        "queries": [0, 4, 8, 11],
        "term": "hint",
    }
    given |= changes
    return Neighbours(given.pop("images"), given.pop("labels"), **given)


def test_the_explorer_is_drawn_in_every_state() -> None:
    assert explorer().sweep() == len(WEIGHTS) * 4


def test_neighbours_are_by_direction_and_never_the_image_itself() -> None:
    features = np.array([[1.0, 0.0], [5.0, 0.1], [-1.0, 0.0], [-7.0, 0.2]])
    assert nearest(features, 1)[:, 0].tolist() == [1, 0, 3, 2]
    found = nearest(np.random.default_rng(1).standard_normal((9, 2)), 8)
    assert all(sorted([i, *row]) == list(range(9)) for i, row in enumerate(found.tolist()))
    assert shared(np.array([[1, 2, 3]]), np.array([[3, 4, 1]])).tolist() == [2 / 3]


def test_the_explorer_says_what_it_shows() -> None:
    shown = explorer()
    shown.set(w=10, query=2)
    said = shown.sentence(shown.state)
    assert "Query 2, a 1" in said and "5 are 1s for the teacher" in said
    assert "hint" in shown.formula(shown.state) and "10" in shown.formula(shown.state)
    near = shown.found({"w": 0.0, "query": 2})
    assert (near["taught"] == near["alone"]).all()  # weight 0 adds nothing
    shares = [
        int(shown.sentence({"w": w, "query": 1}).split("images: ")[1].split(" %")[0])
        for w in WEIGHTS
    ]
    assert shares == sorted(shares) and shares[0] < shares[-1]


def test_telling_queries_are_those_that_come_nearest_to_the_teacher() -> None:
    shown = explorer()
    teacher = np.eye(N)[:, :5] + np.random.default_rng(2).standard_normal((N, 5))
    before = np.random.default_rng(3).standard_normal((N, 5))
    gains = shared(nearest(teacher, 5), nearest(teacher, 5))
    gains = gains - shared(nearest(before, 5), nearest(teacher, 5))
    places = shown.telling(before, teacher, teacher, count=4)
    assert gains[places].min() >= np.sort(gains)[-4]


def test_the_explorer_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, H, W\) and N of each"):
        explorer(alone=np.zeros((N - 1, 4)))
    with pytest.raises(ValueError, match="give both"):
        explorer(errors={0.0: np.ones(3)})
    for bad in ({"queries": []}, {"queries": [N]}, {"k": N}):
        with pytest.raises(ValueError, match="choose fewer"):
            explorer(**bad)
