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
from kdlib import losses


def attention(f: Tensor) -> Tensor:
    return F.normalize(f.pow(2).sum(1).flatten(1), dim=1)


def attention_by_einsum(f: Tensor) -> Tensor:
    q = torch.einsum("bchw,bchw->bhw", f, f).reshape(len(f), -1)
    return q / q.norm(dim=1, keepdim=True)


def contrastive(f_s: Tensor, f_t: Tensor, temperature: float) -> Tensor:
    scores = F.normalize(f_s, dim=1) @ F.normalize(f_t, dim=1).T / temperature
    return F.cross_entropy(scores, torch.arange(len(f_s)))


def contrastive_by_hand(f_s: Tensor, f_t: Tensor, temperature: float) -> Tensor:
    scores = F.cosine_similarity(f_s[:, None], f_t[None], dim=2) / temperature
    return -scores.log_softmax(1).diagonal().mean()


def similarity(
    f_s: Tensor, f_t: Tensor, *, p: float = 2, power: int = 2, units: bool = False
) -> Tensor:
    grams = [f.T @ f if units else f @ f.T for f in (f_s, f_t)]
    g_s, g_t = (F.normalize(g, p=p, dim=1) for g in grams)
    return (g_s - g_t).pow(2).sum() / len(f_s) ** power


RIGHT = [
    (exercises.attention_map, attention),
    (exercises.attention_map, attention_by_einsum),
    (exercises.find_yourself, contrastive),
    (exercises.find_yourself, contrastive_by_hand),
    (exercises.find_yourself, lambda s, t, T: losses.contrastive(s, t, temperature=T)),
    (exercises.mended_similarity, similarity),
    (exercises.mended_similarity, losses.similarity),
]


def scores(f_s: Tensor, f_t: Tensor, temperature: float) -> Tensor:
    return F.normalize(f_s, dim=1) @ F.normalize(f_t, dim=1).T / temperature


WRONG = {
    "not flattened": (exercises.attention_map, lambda f: f.pow(2).sum(1), "flatten height"),
    "channels kept": (exercises.attention_map, lambda f: f.pow(2).flatten(1), "Sum over the chan"),
    "not squared": (
        exercises.attention_map,
        lambda f: F.normalize(f.sum(1).flatten(1), dim=1),
        "Square before you sum",
    ),
    "not normalised": (
        exercises.attention_map,
        lambda f: f.pow(2).sum(1).flatten(1),
        "F.normalize",
    ),
    "p for dim": (
        exercises.attention_map,
        lambda f: F.normalize(f.pow(2).sum(1).flatten(1), 1),
        "is p",
    ),
    "absolute values": (
        exercises.attention_map,
        lambda f: F.normalize(f.abs().sum(1).flatten(1), dim=1),
        "not absolute values",
    ),
    "no average": (
        exercises.find_yourself,
        lambda s, t, T: -scores(s, t, T).log_softmax(1).diagonal(),
        "single number",
    ),
    "products, not cosines": (
        exercises.find_yourself,
        lambda s, t, T: F.cross_entropy(s @ t.T / T, torch.arange(len(s))),
        "Cosines",
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
        lambda s, t, T: F.cross_entropy(scores(s, t, T), torch.zeros(len(s), dtype=torch.int64)),
        "torch.arange",
    ),
    "the teacher asks": (
        exercises.find_yourself,
        lambda s, t, T: contrastive(t, s, T),
        "f_s @ f_t.T",
    ),
    "as printed": (
        exercises.mended_similarity,
        lambda s, t: similarity(s, t, p=1, power=1, units=True),
        "f @ f.T",
    ),
    "units": (exercises.mended_similarity, lambda s, t: similarity(s, t, units=True), "f @ f.T"),
    "batch": (exercises.mended_similarity, lambda s, t: similarity(s, t, power=1), "len(f_s) ** 2"),
    "L1": (exercises.mended_similarity, lambda s, t: similarity(s, t, p=1), "dim=1"),
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
    shown.set(w=10, image=4)
    said = shown.sentence(shown.state)
    assert "Test image 4, a 1" in said and "5 are 1s for the teacher" in said
    assert "hint" in shown.formula(shown.state) and "10" in shown.formula(shown.state)
    near = shown.found({"w": 0.0, "image": 4})
    assert (near["taught"] == near["alone"]).all()  # weight 0 adds nothing
    shares = [
        int(shown.sentence({"w": w, "image": 0}).split("images: ")[1].split(" %")[0])
        for w in WEIGHTS
    ]
    assert shares == sorted(shares) and shares[0] < shares[-1]


def test_the_explorer_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, H, W\) and N of each"):
        explorer(alone=np.zeros((N - 1, 4)))
    with pytest.raises(ValueError, match="give both"):
        explorer(errors={0.0: np.ones(3)})
    for bad in ({"queries": []}, {"queries": [N]}, {"k": N}):
        with pytest.raises(ValueError, match="choose fewer"):
            explorer(**bad)
