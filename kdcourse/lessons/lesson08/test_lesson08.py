"""Notebook 08: its checkers, its explorer, and its stored table trained again in samples."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson08 import exercises, stored
from kdcourse.lessons.lesson08 import table as script
from kdcourse.lessons.lesson08.clouds import Clouds, in_one_plane
from kdcourse.lessons.lesson08.table import Place
from kdcourse.pages import tables
from kdlib.data import Examples
from kdlib.models import cnn, initialise

KINDS = ("way", "more", "thinned", "fewer", "diversity", "severity")

# ---- exercises -----------------------------------------------------------------------------------


def right_vanished(logits: Tensor, share: float = 0.1) -> list[int]:
    classes = logits.shape[-1]
    counts = torch.bincount(logits.argmax(-1), minlength=classes)
    return (counts < share * len(logits) / classes).nonzero()[:, 0].tolist()


def vanished_as_tensor(logits: Tensor) -> Tensor:
    counts = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).sum(0)
    return torch.arange(logits.shape[-1])[counts < 0.1 * counts.float().mean()]


def counts_of(logits: Tensor) -> Tensor:
    return torch.bincount(logits.argmax(-1), minlength=logits.shape[-1])


def right_leak(
    x: Tensor, y: Tensor, size: int, seed: int,
    *, shuffled: bool = True, itself: bool = False, percent: bool = True, first: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """Exercise 2, with each of its mistakes to be switched on."""
    generator = torch.Generator().manual_seed(seed)
    at_random = torch.randperm(len(x), generator=generator) if shuffled else torch.arange(len(x))

    def error(order: Tensor) -> float:
        train, test = order[:-size], order[-size:]
        if first:
            test, train = order[:size], order[size:]
        train = order if itself else train
        nearest = torch.cdist(x[test], x[train]).argmin(1)
        wrong = (y[train][nearest] != y[test]).double().mean()
        return float(100 * wrong if percent else wrong)

    return error(at_random), error(torch.arange(len(x)))


def leak_in_numpy(x: Tensor, y: Tensor, size: int, seed: int) -> Any:
    pixels, labels = x.numpy(), y.numpy()
    errors = []
    for order in (np.random.default_rng(seed).permutation(len(x)), np.arange(len(x))):
        train, test = order[:-size], order[-size:]
        squares = ((pixels[test][:, None] - pixels[train][None]) ** 2).sum(-1)
        errors.append(100 * np.mean(labels[train][squares.argmin(1)] != labels[test]))
    return np.array(errors)


def leak_by_scikit_learn(x: Tensor, y: Tensor, size: int, seed: int) -> Any:
    from sklearn.model_selection import train_test_split
    from sklearn.neighbors import KNeighborsClassifier

    errors = []
    for how in ({"random_state": seed}, {"shuffle": False}):
        parts = train_test_split(x.numpy(), y.numpy(), test_size=size, **how)
        nearest = KNeighborsClassifier(1).fit(parts[0], parts[2])
        errors.append(torch.tensor(100 * (1 - nearest.score(parts[1], parts[3]))))
    return errors


def turned_round(x: Tensor, y: Tensor, size: int, seed: int) -> tuple[float, float]:
    at_random, in_order = right_leak(x, y, size, seed)
    return in_order, at_random


def labels_left_behind(x: Tensor, y: Tensor, size: int, seed: int) -> tuple[float, float]:
    """The rows are shuffled, their labels are not."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return right_leak(x[order], y, size, seed, shuffled=False)[0], right_leak(x, y, size, seed)[1]


@torch.no_grad()
def right_follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(now, 1 - decay)
    for mine, now in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(now)


def follow_by_state(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    now, weights = student.state_dict(), dict(student.named_parameters())
    state = {
        name: decay * was + (1 - decay) * now[name] if name in weights else now[name].clone()
        for name, was in teacher.state_dict().items()
    }
    teacher.load_state_dict(state)


def follow_averaging_buffers(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """As timm's ModelEma and AveragedModel(use_buffers=True): floating-point buffers, too."""
    with torch.no_grad():
        for mine, now in zip(
            teacher.state_dict().values(), student.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(now, 1 - decay)
            else:
                mine.copy_(now)


def follow_through_data(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Right as well: what is given to .data keeps no history."""
    for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.data = decay * mine + (1 - decay) * now
    for mine, now in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(now)


def as_printed(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """As the page gives it."""
    for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.data = (1 - decay) * mine.data + decay * now.data


def shares_mended(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """The first of the page's two faults mended, the second left."""
    as_printed(teacher, student, 1 - decay)


def buffers_mended(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """The second of the page's two faults mended, the first left."""
    follow_through_data(teacher, student, 1 - decay)


@torch.no_grad()
def swapped(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    right_follow(teacher, student, 1 - decay)


@torch.no_grad()
def without_buffers(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(now, 1 - decay)


def backwards(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """The student is moved as well."""
    right_follow(teacher, student, decay)
    right_follow(student, teacher, decay)


def tied(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    right_follow(teacher, student, decay)
    for mine, now in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.data = now.data


RIGHT = [
    (exercises.vanished, right_vanished),
    (exercises.vanished, vanished_as_tensor),
    (exercises.leak, right_leak),
    (exercises.leak, leak_in_numpy),
    (exercises.leak, leak_by_scikit_learn),
    (exercises.follow, right_follow),
    (exercises.follow, follow_by_state),
    (exercises.follow, follow_through_data),
    (exercises.follow, follow_averaging_buffers),
]
WRONG = {
    "the frequent ones": (
        exercises.vanished,
        lambda z: z.argmax(-1).unique().tolist(),
        "even share",
    ),
    "no minlength": (
        exercises.vanished,
        lambda z: (torch.bincount(z.argmax(-1)) < 0.1 * len(z) / z.shape[-1]).nonzero()[:, 0],
        "minlength",
    ),
    "only zero": (exercises.vanished, lambda z: (counts_of(z) == 0).nonzero()[:, 0], "not with 0"),
    "a tenth of all": (
        exercises.vanished,
        lambda z: (counts_of(z) < 0.1 * len(z)).nonzero()[:, 0],
        "a tenth of all",
    ),
    "a fifth of the share": (
        exercises.vanished,
        lambda z: right_vanished(z, 0.2),
        "A tenth of the even share",
    ),
    "a fixed number": (
        exercises.vanished,
        lambda z: (counts_of(z) < 3).nonzero()[:, 0],
        "share of len(logits)",
    ),
    "a mask": (
        exercises.vanished,
        lambda z: counts_of(z) < 0.1 * len(z) / z.shape[-1],
        "not a mask",
    ),
    "the pair turned round": (exercises.leak, turned_round, "x[-size:]"),
    "test images find themselves": (exercises.leak, partial(right_leak, itself=True), "itself"),
    "the first rows are the test": (exercises.leak, partial(right_leak, first=True), "x[-size:]"),
    "a share": (exercises.leak, partial(right_leak, percent=False), "100 ×"),
    "no shuffling": (exercises.leak, partial(right_leak, shuffled=False), "torch.randperm"),
    "labels left behind": (exercises.leak, labels_left_behind, "same order"),
    "one number": (exercises.leak, lambda *given: [right_leak(*given)[1]], "Return a pair"),
    "a copy": (
        exercises.follow,
        lambda t, s, d: t.load_state_dict(s.state_dict()),
        "are the shares swapped",
    ),
    "swapped": (exercises.follow, swapped, "share of itself"),
    "no buffers": (exercises.follow, without_buffers, "not parameters()"),
    "the student moves": (exercises.follow, backwards, "share"),
    "one memory": (exercises.follow, tied, "ties both together"),
    "as printed": (exercises.follow, as_printed, "share of itself"),
    "only the shares mended": (exercises.follow, shares_mended, "not parameters()"),
    "only the buffers mended": (exercises.follow, buffers_mended, "share of itself"),
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

LAM = [0.0, 1.0, 10.0]
TERMS = ["MMD", "entropy"]


def results(**changed: Any) -> dict[str, Any]:
    noise = np.random.default_rng(0)
    made: dict[str, Any] = {
        "source": {term: noise.normal(size=(3, 40, 2)) for term in TERMS},
        "target": {term: 2 + noise.normal(size=(3, 30, 2)) for term in TERMS},
        "counts": {term: noise.integers(10, 20, (3, 10)) for term in TERMS},
        "errors": {term: [30.0, 20.0, 10.0] for term in TERMS},
        "shares": {term: np.full(10, 50) for term in TERMS},
        "losses": {term: f"CE + {{lam}} · {term}" for term in TERMS},
    }
    return made | changed


def test_the_explorer_is_drawn_in_every_state() -> None:
    assert Clouds(LAM, **results(), n_test=500).sweep() == 3 * 2


def test_the_explorer_starts_where_it_is_told_and_shows_its_loss() -> None:
    shown = Clouds(LAM, **results(), n_test=500, start={"lam": 1.0, "term": "entropy"})
    assert shown.state == {"lam": 1.0, "term": "entropy"}
    formula = shown.formula(shown.state)
    assert "· entropy" in formula and ">1<" in formula


def test_the_explorer_measures_the_gap_and_names_what_is_gone() -> None:
    counts = {"MMD": np.full((3, 10), 50), "entropy": np.full((3, 10), 50)}
    counts["entropy"][2, [1, 7]] = [0, 4]
    counts["entropy"][1, 5] = 0
    counts["entropy"][0] = 499 * (np.arange(10) == 8)
    square = np.array([[0, 0], [0, 2], [2, 0], [2, 2]], dtype=float)  # its radius is √2
    points = {term: np.stack([square] * 3) for term in TERMS}
    moved = {term: np.stack([square + np.array([3, 4])] * 3) for term in TERMS}
    shown = Clouds(LAM, **results(counts=counts, source=points, target=moved), n_test=500)
    assert shown.gap({"lam": 0.0, "term": "MMD"}) == pytest.approx(5 / 2**0.5)
    assert shown.percent({"lam": 0.0, "term": "MMD"}).tolist() == [10.0] * 10
    assert "every class is used, the rarest 50 times" in shown.sentence({"lam": 0.0, "term": "MMD"})
    sentence = shown.sentence({"lam": 10.0, "term": "entropy"})
    assert "classes 1, 7 have (nearly) disappeared" in sentence
    assert "class 5 has (nearly)" in shown.sentence({"lam": 1.0, "term": "entropy"})
    assert "every image is called 8" in shown.sentence({"lam": 0.0, "term": "entropy"})
    assert "10.0 % of 500 images" in sentence


def test_the_error_stands_in_the_picture() -> None:
    shown = Clouds(LAM, **results(), n_test=500)
    shown.set(lam=10.0)
    assert shown._error.get_text() == "target error 10.0 %"


def test_the_explorer_refuses_results_that_do_not_fit() -> None:
    for changed in ({"errors": {"MMD": [1, 2, 3]}}, {"shares": {}}, {"losses": {"MMD": ""}}):
        with pytest.raises(ValueError, match="must speak of the same terms"):
            Clouds(LAM, **results(**changed), n_test=500)
    with pytest.raises(ValueError, match="results for 2 values of lam"):
        Clouds(LAM[:2], **results(), n_test=500)


def test_all_networks_are_shown_in_the_plane_of_the_first() -> None:
    here = script.images_of("A")
    first = initialise(cnn(16), 0).eval()
    parts = here.source_test[:20], here.target_test[:12]
    source, target = in_one_plane({"x": [first, first]}, *parts, first=first)
    assert source["x"].shape == (2, 20, 2) and target["x"].shape == (2, 12, 2)
    both = np.concatenate([source["x"][0], target["x"][0]])
    assert np.abs(both.mean(0)).max() < 1e-4  # centred on both clouds


# ---- the stored table ----------------------------------------------------------------------------


SAMPLES = [
    Place("way", "SHOT-IM", "A", 10),
    Place("way", "MCC", "B", 10),
    Place("thinned", "self-training, balanced", "A", 10),
    Place("severity", "AdaBN, rotate at 0.5", "A", 10),
]


def error(row: dict[str, Any]) -> float:
    bits = [int(bit) for bit in f"{int(row['wrong'], 16):b}"[1:]]
    return 100 * float(np.mean(bits))


def test_the_table_was_made_by_its_script_and_is_whole() -> None:
    assert tables.is_current(Path(script.__file__)), "run `python3 course.py build 08`"
    rows = tables.read(script.__file__)
    found = [
        (next(kind for kind in KINDS if kind in row), row["fold"], row["seed"]) for row in rows
    ]
    assert found == [(place.kind, place.fold, place.seed) for place in script.places()]
    assert [row[place.kind] for row, place in zip(rows, script.places(), strict=True)] == [
        place.name for place in script.places()
    ]


def test_rows_are_found_by_kind_and_name() -> None:
    assert stored.answers("way", "SHOT-IM").shape == (10, 500)
    assert stored.answers("way", "SHOT-IM", "B").shape == (5, 500)
    assert stored.counts("way", "SHOT-IM").sum(1).tolist() == [1097] * 10
    assert len(stored.scores("thinned", "AdaBN", "IM score")) == 10
    with pytest.raises(ValueError, match="no 'way' of the name 'magic'"):
        stored.rows("way", "magic")


def test_thinning_leaves_a_tenth_of_the_low_classes_and_all_others() -> None:
    target = script.images_of("A").target
    before, after = (part.y.bincount(minlength=10) for part in (target, script.thinned(target, 10)))
    assert after[5:].tolist() == before[5:].tolist()
    assert 0.04 < float(after[:5].sum() / before[:5].sum()) < 0.16


@pytest.mark.slow
@pytest.mark.parametrize("place", SAMPLES, ids=lambda place: " ".join(map(str, place)))
def test_sampled_rows_are_trained_again(place: Place) -> None:
    """Another processor rounds otherwise, so a training wanders; it arrives nearby."""
    again = script.cell(place)
    row = stored.rows(place.kind, place.name, place.fold)[0]
    assert row["seed"] == place.seed
    assert error(again) == pytest.approx(error(row), abs=4)
    for name, score in row.get("scores", {}).items():
        assert again["scores"][name] == pytest.approx(score, abs=0.15), name


def test_adapting_and_scoring_never_share_an_image() -> None:
    for here in (script.images_of("A"), script.images_of("B"), script.changed("rotate at 0.5")):
        assert not set(here.target.ids.tolist()) & set(here.target_test.ids.tolist())
        assert not set(here.source.ids.tolist()) & set(here.source_test.ids.tolist())


def test_no_way_but_the_oracle_is_given_a_target_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training that the table asks for sees target images with y = -1, or with answers."""
    seen: dict[str, bool] = {}
    asked: list[str] = []
    here = script.images_of("A")
    few = here._replace(source=here.source[:40], target=here.target[:40])

    def watched(student: nn.Module, examples: Examples, *given: Any, **how: Any) -> Any:
        target = examples[examples.domain > 0]
        true = dict(zip(few.target.ids.tolist(), few.target.y.tolist(), strict=True))
        right = [true[k] == y for k, y in zip(target.ids.tolist(), target.y.tolist(), strict=True)]
        seen[asked[-1]] = seen.get(asked[-1], False) or (bool(right) and all(right))

    monkeypatch.setattr(script, "fit", watched)
    network = initialise(cnn(16), 0)  # untrained: its own answers are no labels
    for name, way in (script.WAYS | script.MORE).items():
        asked.append(name)
        way(network, few, few.target.unlabelled(), 0)
    assert [name for name, looked in seen.items() if looked] == ["oracle"]
