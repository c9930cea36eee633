"""Notebook 08: its checkers, its explorer, and its stored table trained again in samples."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson08 import exercises
from kdcourse.lessons.lesson08 import table as script
from kdcourse.lessons.lesson08.clouds import Clouds
from kdcourse.pages import tables
from kdlib import losses

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


def confusion(
    z: Tensor, T: float, *, diagonal: bool = False, rows: bool = True, soften: bool = True,
    weigh: bool = True, detach: bool = True, surer: float = 1.0,
) -> Tensor:  # fmt: skip
    """Exercise 2, with each of its mistakes to be switched on."""
    p = (z / T if soften else z).softmax(-1)
    weight = 1 + (surer * (p * p.log()).nan_to_num().sum(-1)).exp()
    weight = weight.detach() if detach else weight
    weight = len(p) * weight / weight.sum() if weigh else torch.ones_like(weight)
    c = p.T @ (weight[:, None] * p)
    c = c / c.sum(-1, keepdim=True) if rows else c
    return (c.sum() - (0 if diagonal else c.trace())) / p.shape[-1]


def confusion_by_loops(z: Tensor, T: float) -> Tensor:
    p = (z / T).softmax(-1)
    weight = (1 + (-torch.special.entr(p).sum(-1)).exp()).detach()
    c = (weight[:, None, None] * p[:, :, None] * p[:, None]).sum(0)
    beside = c.masked_fill(torch.eye(len(c), dtype=torch.bool), 0)
    return (beside.sum(1) / c.sum(1)).mean()


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


def follow_through_data(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Right as well: what is given to .data keeps no history."""
    for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.data = decay * mine + (1 - decay) * now
    for mine, now in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(now)


def from_the_blog(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """As the page gives it."""
    for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.data = (1 - decay) * mine + decay * now


def shares_mended(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """The first of the page's two faults mended, the second left."""
    from_the_blog(teacher, student, 1 - decay)


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
    (exercises.class_confusion, confusion),
    (exercises.class_confusion, confusion_by_loops),
    (exercises.class_confusion, losses.minimum_class_confusion),
    (exercises.follow, right_follow),
    (exercises.follow, follow_by_state),
    (exercises.follow, follow_through_data),
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
    "diagonal": (
        exercises.class_confusion,
        partial(confusion, diagonal=True),
        "leave the diagonal out",
    ),
    "rows": (exercises.class_confusion, partial(confusion, rows=False), "Divide each row"),
    "no T": (exercises.class_confusion, partial(confusion, soften=False), "softmax(z / T)"),
    "no weights": (
        exercises.class_confusion,
        partial(confusion, weigh=False),
        "W_i is proportional",
    ),
    "weights turned round": (
        exercises.class_confusion,
        partial(confusion, surer=-1.0),
        "W_i is proportional",
    ),
    "weights with gradient": (
        exercises.class_confusion,
        partial(confusion, detach=False),
        ".detach()",
    ),
    "a copy": (
        exercises.follow,
        lambda t, s, d: t.load_state_dict(s.state_dict()),
        "are the shares swapped",
    ),
    "swapped": (exercises.follow, swapped, "share of itself"),
    "no buffers": (exercises.follow, without_buffers, "copy them"),
    "the student moves": (exercises.follow, backwards, "share"),
    "one memory": (exercises.follow, tied, "ties both together"),
    "as on the blog": (exercises.follow, from_the_blog, "share of itself"),
    "only the shares mended": (exercises.follow, shares_mended, "copy them"),
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
    }
    return made | changed


def test_the_explorer_is_drawn_in_every_state() -> None:
    assert Clouds(LAM, **results(), n_test=500).sweep() == 3 * 2


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
    assert "every class is used, the rarest 50 times" in shown.sentence({"lam": 0.0, "term": "MMD"})
    said = shown.sentence({"lam": 10.0, "term": "entropy"})
    assert "classes 1, 7 have (nearly) disappeared" in said
    assert "class 5 has (nearly)" in shown.sentence({"lam": 1.0, "term": "entropy"})
    assert "every image is called 8" in shown.sentence({"lam": 0.0, "term": "entropy"})
    assert "10.0 % of 500 images" in said


def test_the_explorer_refuses_results_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="must speak of the same terms"):
        Clouds(LAM, **results(errors={"MMD": [1, 2, 3]}), n_test=500)
    with pytest.raises(ValueError, match="results for 2 values of lam"):
        Clouds(LAM[:2], **results(), n_test=500)


# ---- the stored table ----------------------------------------------------------------------------


@cache
def stored() -> dict[tuple[str, str, int], dict[str, Any]]:
    cells = tables.read(script.__file__)
    return {(row["shift"], row["method"], row["seed"]): row for row in cells}


SAMPLES = [
    ("digits", "source only", 10),
    ("digits", "SHOT-IM", 10),
    ("digits", "DANN, 1", 10),
    ("digits, cropped source", "AdaBN", 10),
    ("rotate at 0.5", "SHOT-IM", 10),
]


def errors(row: dict[str, Any]) -> list[int]:
    return [int(bit) for bit in f"{int(row['wrong'], 16):b}"[1:]]


def test_the_table_was_made_by_its_script_and_is_whole() -> None:
    assert tables.is_current(Path(script.__file__)), "run `python3 course.py build 08`"
    assert list(stored()) == list(script.cells())
    for (shift, *_), row in stored().items():
        images, tested = (1097, 500) if shift.startswith("digits") else (500, 1000)
        assert sum(row["counts"]) == images and len(errors(row)) == tested


def test_the_page_states_the_weights_of_the_table() -> None:
    page = Path(__file__).with_name("page.py").read_text()
    for name in ("MMD", "CORAL"):
        weighed = str(script.JOINT[name]).split(" + ")[1].split("(")[0]
        assert weighed in (f"3 · {name}", f"100 · {name}") and weighed in page
    assert "3 * progress · MeanTeacher(decay=0.95" in str(script.JOINT["mean teacher"])
    assert "a weight that grows evenly from 0 to 3, at decay 0.95" in page
    for name in ("CDAN", "MCC"):
        assert " · " not in str(script.JOINT[name])
    assert script.STRENGTHS == (0.3, 1.0, 3.0) and "DANN with strengths 0.3, 1 and 3" in page


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: " ".join(map(str, sample)))
def test_sampled_cells_are_trained_again(sample: tuple[str, str, int]) -> None:
    """Another processor rounds otherwise, so a training wanders; it arrives nearby."""
    again, row = script.packed(script.cell(*sample)), stored()[sample]
    mine, theirs = (np.mean(errors(one)) * 100 for one in (again, row))
    near = 6 if "DANN" in sample[1] or sample[1] == "source only" else 3
    assert mine == pytest.approx(theirs, abs=near)
    assert again["source error"] == pytest.approx(row["source error"], abs=1.5)
    for name, score in row["scores"].items():
        assert again["scores"][name] == pytest.approx(score, abs=0.15), name


def test_adapting_and_scoring_never_share_an_image() -> None:
    for shift in ("digits", "digits, cropped source", "rotate at 0.5"):
        here = script.domains(shift)
        assert not set(here.target.ids.tolist()) & set(here.target_test.ids.tolist())
        assert not set(here.source.ids.tolist()) & set(here.source_test.ids.tolist())


def test_no_method_but_the_oracle_is_given_a_target_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training the table asks for sees target images with y = -1 only."""
    seen: dict[str, bool] = {}
    here = script.domains("digits")
    few = here._replace(source=here.source[:40], target=here.target[:40])

    def watched(student: nn.Module, examples: Any, *given: Any, **how: Any) -> Any:
        away = examples.y[examples.domain > 0]
        seen[method] = bool((away >= 0).any())

    monkeypatch.setattr(script, "domains", lambda shift: few)
    monkeypatch.setattr(script, "at_home", lambda cropped, seed: script.cnn(16))
    monkeypatch.setattr(script, "fit", watched)
    for method in (*script.FREE, *script.JOINT, "oracle"):
        script.adapted("digits", method, 0)
    assert [method for method, looked in seen.items() if looked] == ["oracle"]
    assert len(seen) == len(script.FREE) + len(script.JOINT) + 1
