"""Notebook 09: its checkers accept the right and reject the wrong; its explorer, swept whole."""

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.explorers import BankExplorer
from kdcourse.lessons.lesson09 import exercises, scores, stored, table
from kdcourse.pages import tables
from kdlib import losses
from kdlib.adaptation import adabn
from kdlib.bank import Bank
from kdlib.data import Examples
from kdlib.models import mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, Symbol


def across(
    z_s: Tensor, z_t: Tensor, y: Tensor, domain: Tensor, T_source: float, T_target: float,
    lam: float, *, power: int = 2, reverse: bool = False, mean: bool = False,
    swapped: bool = False, turned: bool = False, ignore: bool = True, plain: bool = False,
    labelled: bool = False, empty: bool = True, outside: bool = False, batch: bool = False,
) -> Tensor:  # fmt: skip
    """The loss of exercise 1, with each of its mistakes to be switched on."""
    cold, hot = (T_target, T_source) if turned else (T_source, T_target)
    T = torch.where(domain == 0, cold, hot)[:, None]
    T = T.mean() if batch else T
    log_p, log_q = (z_t / T).log_softmax(-1), (z_s / T).log_softmax(-1)
    log_p, log_q = (log_q, log_p) if reverse else (log_p, log_q)
    kl = log_p.exp() * (log_p - log_q)
    scaled = (T**power * kl) if not outside else kl
    scaled = scaled[y >= 0] if labelled else scaled
    soft = scaled.mean() if mean else scaled.sum(-1).mean()
    soft = soft * (T**2).mean() if outside else soft
    if plain:
        return (1 - lam) * F.cross_entropy(z_s, y) + lam * soft  # no ignore_index: raises
    each = F.cross_entropy(z_s, y, ignore_index=-1, reduction="none")
    hard = each.sum() / ((y >= 0).sum().clamp(min=1) if empty else (y >= 0).sum())
    hard = hard if ignore else each.mean()
    return lam * hard + (1 - lam) * soft if swapped else (1 - lam) * hard + lam * soft


def by_two_calls(z_s: Any, z_t: Any, y: Any, domain: Any, T_s: Any, T_t: Any, lam: Any) -> Any:
    """Domain by domain, weighted by their shares of the batch."""
    hard = losses.hard_labels(z_s, y)
    parts = [
        (domain == d).double().mean() * losses.soft_targets(z_s[domain == d], z_t[domain == d], T)
        for d, T in enumerate((T_s, T_t))
        if bool((domain == d).any())
    ]
    return (1 - lam) * hard + lam * sum(parts)


def by_numpy(z_s: Any, z_t: Any, y: Any, domain: Any, T_s: Any, T_t: Any, lam: Any) -> Any:
    """Plain numpy, a float back."""
    T = np.where(domain.numpy() == 0, T_s, T_t)[:, None]

    def log_softmax(z: Any) -> Any:
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    student, answers = z_s.detach().numpy(), z_t.numpy()
    p, q = log_softmax(answers / T), log_softmax(student / T)
    soft = (T[:, 0] ** 2 * (np.exp(p) * (p - q)).sum(-1)).mean()
    known = y.numpy() >= 0
    picked = log_softmax(student)[np.arange(len(student)), y.numpy()][known]
    hard = -picked.sum() / max(1, known.sum())
    return float((1 - lam) * hard + lam * soft)


def score(z: Tensor) -> float:
    p = z.softmax(-1)
    return float(torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(-1).mean())


def choose(answers: dict[str, Tensor], score: Any = score) -> str:
    return max(answers, key=lambda name: score(answers[name]))


def by_logarithm(z: Tensor) -> Tensor:
    """log_softmax for each answer, a clamp for their mean."""
    p, mean = z.softmax(-1), z.softmax(-1).mean(0)
    each = (p * z.log_softmax(-1)).sum(-1).mean()
    return each - (mean * mean.clamp(min=1e-12).log()).sum()


def confidence(z: Tensor) -> Tensor:
    return z.softmax(-1).amax(-1).mean()


def variety(z: Tensor) -> Tensor:
    return torch.special.entr(z.softmax(-1).mean(0)).sum()


def naive_logarithm(z: Tensor) -> Tensor:
    p = z.softmax(-1)
    return (p * p.log()).sum(-1).mean() - (p.mean(0) * p.mean(0).log()).sum()


def of_the_logits(z: Tensor) -> Tensor:
    """Takes the logits for probabilities."""
    p = z.clamp(min=1e-12)
    return (p * p.log()).sum(-1).mean() - (p.mean(0) * p.mean(0).log()).sum()


def answers(
    network: nn.Module, target: Examples, test: Examples,
    *, copied: bool = True, training: bool = False, leak: bool = False, adapted: bool = True,
) -> Any:  # fmt: skip
    """The evaluation of exercise 3, with each of its leaks to be switched on."""
    moved = copy.deepcopy(network) if copied else network
    if adapted:
        adabn(moved, test + target if leak else target)
    if training:
        moved.train()
        return moved(test.batch().x).detach()
    return predict(moved, test)


def by_modules(network: nn.Module, target: Examples, test: Examples) -> Any:
    """eval() and no_grad, in numpy."""
    moved = adabn(copy.deepcopy(network), target).eval()
    with torch.no_grad():
        return moved(test.batch().x).numpy()


RIGHT = [
    (exercises.across, across),
    (exercises.across, by_two_calls),
    (exercises.across, by_numpy),
    (exercises.choose, choose),
    (exercises.choose, partial(choose, score=by_logarithm)),
    (exercises.mended_answers, answers),
    (exercises.mended_answers, by_modules),
    (exercises.mended_answers, lambda *given: answers(*given).tolist()),
]
WRONG = {
    "not averaged": (exercises.across, lambda z_s, *rest: z_s.sum(-1), "one number"),
    "weights swapped": (exercises.across, partial(across, swapped=True), "lam before the teacher"),
    "divided by the whole batch": (
        exercises.across, partial(across, ignore=False), "not in its average",
    ),
    "no ignore_index": (exercises.across, partial(across, plain=True), "y = -1 take"),
    "labelled images only": (exercises.across, partial(across, labelled=True), "over *all* images"),
    "KL turned round": (exercises.across, partial(across, reverse=True), "p the teacher's"),
    "mean over classes": (exercises.across, partial(across, mean=True), "summed over classes"),
    "no T²": (exercises.across, partial(across, power=0), "T**2"),
    "T": (exercises.across, partial(across, power=1), "T**2"),
    "domains turned round": (exercises.across, partial(across, turned=True), "domain == 0"),
    "one temperature for the batch": (exercises.across, partial(across, batch=True), "T[:, None]"),
    "T² after the average": (exercises.across, partial(across, outside=True), "before the average"),
    "nan without a label": (exercises.across, partial(across, empty=False), "clamp(min=1)"),
    "a score, no name": (exercises.choose, lambda a: max(map(score, a.values())), "the key"),
    "variety alone": (exercises.choose, partial(choose, score=variety), "*each* answer"),
    "sign": (exercises.choose, partial(choose, score=lambda z: -score(z)), "*each* answer"),
    "confidence alone": (exercises.choose, partial(choose, score=confidence), "*mean* answer"),
    "no class has all": (
        exercises.choose,
        partial(choose, score=lambda z: confidence(z) - 9 * (z.softmax(-1).mean(0).max() > 0.9)),
        "how many classes",
    ),
    "variety before all": (
        exercises.choose, partial(choose, score=lambda z: 99 * variety(z) + confidence(z)),
        "both parts",
    ),
    "logits for probabilities": (exercises.choose, partial(choose, score=of_the_logits), "softmax"),
    "0 log 0": (exercises.choose, partial(choose, score=naive_logarithm), "entr"),
    "classes, no logits": (
        exercises.mended_answers, lambda *given: answers(*given).argmax(-1), "(images, classes)",
    ),
    "as printed": (
        exercises.mended_answers,
        partial(answers, copied=False, training=True, leak=True),
        "deepcopy",
    ),
    "in place": (exercises.mended_answers, partial(answers, copied=False), "deepcopy"),
    "training mode": (exercises.mended_answers, partial(answers, training=True), "training mode"),
    "test images in the statistics": (
        exercises.mended_answers, partial(answers, leak=True), "those that adabn sees",
    ),
    "not adapted": (exercises.mended_answers, partial(answers, adapted=False), "a copy of"),
}  # fmt: skip


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


def bank(axes: dict[str, list[Any]], split: str, errors: np.ndarray) -> Bank:
    """Students that err on `errors` (*axes, seeds) percent of 500 images, to the nearest."""
    right = torch.arange(500) >= torch.from_numpy(5 * errors).round()[..., None]
    logits = F.one_hot((~right).long(), 10).float()
    seeds, weights = list(range(errors.shape[-1])), [None] * errors.size
    lam, T = map(Symbol, ("lam", "T"))
    objective = (1 - lam) * HardLabels() + lam * SoftTargets(mlp(784, 4, 10), T)
    return Bank(
        axes, seeds, {split: logits}, {split: torch.zeros(500, dtype=torch.long)},
        torch.zeros(*errors.shape, 1), weights, "fast", 0.0, mlp(784, 4, 10), objective=objective,
    )  # fmt: skip


def test_the_explorer_of_lam_T_and_width_is_drawn_in_every_state() -> None:
    chance = np.random.default_rng(0)
    axes = {"lam": [0.0, 0.3, 0.9, 1.0], "T": [1.0, 2.0, 8.0], "width": [4, 6, 12]}
    shown = BankExplorer(
        bank(axes, "target", 20 + 4 * chance.random((4, 3, 3, 3))),
        "target",
        second={"mean of the seeds": 30 + chance.random((4, 3, 3))},
        second_name="source error %",
        start={"lam": 0.9, "T": 2.0, "width": 6},
        situations={"no teacher": {"lam": 0.0}, "4 units, hot": {"T": 8.0, "width": 4}},
        notes={"lam": "λ, the weight of the teacher"},
        title="Target error (left), source error (right)",
    )
    assert shown.sweep() == 36
    assert "of 500 images" in shown.sentence({"lam": 0.9, "T": 2.0, "width": 6})
    formula = shown.formula({"lam": 0.9, "T": 2.0, "width": 6})
    assert formula.startswith("loss = (1 − lam) · CE + lam · T² · KL(p_T ‖ q_T) = ")
    assert ">0.9</b> · <b" in formula and ">2</b>²" in formula and "6" not in formula


# ---- the stored rows ----------------------------------------------------------------------------


def test_the_table_holds_every_way_and_control_with_its_seeds() -> None:
    ways = {name: way for name, way in stored.ways().items() if way.page == "09"}
    kinds = {name.partition(":")[0] for name in ways}
    assert kinds == set(table.STUDENTS) and len(ways) == 16
    assert {way.page for way in stored.ways().values()} == {"06", "07", "08", "09"}
    for way in [*ways.values(), *stored.controls().values()]:
        for fold, seeds in table.SEEDS.items():
            assert way.wrong[fold].shape == (len(seeds), 500)


def test_a_difference_has_no_minus_before_its_mean() -> None:
    cells = [cell for name in stored.ROLES for cell in stored.compared("cnn(4)", name, "oracle")]
    means = [float(cell.split()[1]) for cell in cells]
    assert min(means) >= 0 and any(cell.startswith("costs") for cell in cells)


def test_a_confident_and_diverse_network_has_the_higher_score() -> None:
    images = Examples(torch.eye(4)[:, None, None], torch.full((4,), -1))
    diverse, flat = (nn.Sequential(nn.Flatten(), nn.Linear(4, 4)) for _ in range(2))
    with torch.no_grad():
        for network, height in ((diverse, 20.0), (flat, 0.0)):
            network[1].weight.copy_(height * torch.eye(4))
            network[1].bias.zero_()
    assert scores.score(diverse, images) > 1.3 > 0.1 > abs(scores.score(flat, images))


@pytest.mark.slow
def test_a_sample_of_the_table_is_trained_again() -> None:
    torch.set_num_threads(1)
    masters = table.teachers("A", 10)
    here = table.images("A")
    fresh = {
        (key, f"mlp(6): {name}"): table.named(key, f"mlp(6): {name}", "A", 10, network, here)
        for key, name, network in table.students("mlp(6)", "A", 10, masters)
    }
    rows = [row for row in tables.read(table.__file__) if (row["fold"], row["seed"]) == ("A", 10)]
    kept = {(key, row[key]): row for row in rows for key in ("way", "control") if key in row}
    for place, row in fresh.items():
        apart = bin(int(row["wrong"], 16) ^ int(kept[place]["wrong"], 16)).count("1")
        assert apart <= 50, place  # of 500: other processors round otherwise
