"""Objectives as formulas: the terms' notation, brackets where they matter, values put in."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from kdlib import objectives
from kdlib.bank import train_bank
from kdlib.data import Examples
from kdlib.models import mlp
from kdlib.objectives import (
    Contrastive,
    Decoupled,
    HardLabels,
    Hint,
    JensenShannon,
    LearnedTemperature,
    ProbabilityMSE,
    Regularizer,
    ReverseKL,
    SoftTargets,
    Symbol,
    Term,
    formula,
    formula_parts,
    progress,
)

TEACHER = mlp(16, 8, 4)
T, alpha = Symbol("T"), Symbol("alpha")
PAIR = {"features": "features"}


@dataclass(frozen=True, repr=False)
class Mine(Term):
    """A term of somebody's own, without a notation."""

    strength: Any = 1.0


@pytest.mark.parametrize(
    ("objective", "symbolic", "numeric"),
    [
        (
            (1 - alpha) * HardLabels() + alpha * SoftTargets(TEACHER, T),
            "(1 − alpha) · CE + alpha · T² · KL(p_T ‖ q_T)",
            "0.1 · CE + 0.9 · 4² · KL(p_T ‖ q_T)",
        ),
        (ReverseKL(TEACHER, 2.5), "2.5² · KL(q_T ‖ p_T)", "2.5² · KL(q_T ‖ p_T)"),
        (ProbabilityMSE(TEACHER, T), "‖p_T − q_T‖²", "‖p_4 − q_4‖²"),
        (JensenShannon(TEACHER, T, alpha), "T² · JS_alpha(p_T ‖ q_T)", "4² · JS_0.9(p_T ‖ q_T)"),
        (
            Decoupled(TEACHER, T, nckd_weight=alpha),
            "T² · (1 · TCKD + alpha · NCKD)",
            "4² · (1 · TCKD + 0.9 · NCKD)",
        ),
        (HardLabels(smoothing=alpha), "CE(smoothing alpha)", "CE(smoothing 0.9)"),
        (Hint(TEACHER, PAIR), "Hint", "Hint"),
        (
            2 * Contrastive(TEACHER, PAIR, temperature=alpha),
            "2 · Contrastive(temperature = alpha)",
            "2 · Contrastive(temperature = 0.9)",
        ),
        (alpha * Regularizer(), "alpha · Regularizer()", "0.9 · Regularizer()"),
        (Mine(strength=T * 2), "Mine(strength=T * 2)", "Mine(strength=8)"),
        (
            SoftTargets(TEACHER, 8 - 7 * progress),
            "(8 − 7 · progress)² · KL(p_T ‖ q_T)",
            "(8 − 7 · progress)² · KL(p_T ‖ q_T)",
        ),
        (
            SoftTargets(TEACHER, T - (T - 1) * progress),
            "(T − (T − 1) · progress)² · KL(p_T ‖ q_T)",
            "(4 − 3 · progress)² · KL(p_T ‖ q_T)",
        ),
        (SoftTargets(TEACHER, torch.tensor(4.0)), "4² · KL(p_T ‖ q_T)", "4² · KL(p_T ‖ q_T)"),
        (
            SoftTargets(TEACHER, LearnedTemperature(1, 9)),
            "T_adversarial[1, 9]² · KL(p_T ‖ q_T)",
            "T_adversarial[1, 9]² · KL(p_T ‖ q_T)",
        ),
        (1 / T * HardLabels(), "1 / T · CE", "0.25 · CE"),
        (T**2 / 2 * HardLabels(), "T² / 2 · CE", "8 · CE"),
        ((T - (1 - alpha)) ** 0.5 * HardLabels(), "(T − (1 − alpha))^0.5 · CE", "1.97484 · CE"),
    ],
)  # fmt: skip
def test_a_formula_with_symbols_and_with_values(
    objective: objectives.Objective, symbolic: str, numeric: str
) -> None:
    assert formula(objective) == symbolic
    assert formula(objective, {"T": 4.0, "alpha": 0.9, "width": 32}) == numeric


def test_values_put_in_are_told_from_numbers_that_stood_there() -> None:
    objective = (1 - alpha) * HardLabels() + 0.9 * SoftTargets(TEACHER, T)
    parts = formula_parts(objective, {"alpha": 0.9})
    assert parts == [("0.1", True), (" · CE + 0.9 · T² · KL(p_T ‖ q_T)", False)]


@pytest.mark.parametrize(
    "name",
    ["HardLabels", "SoftTargets", "ReverseKL", "JensenShannon", "TeacherLabels", "LogitMSE",
     "ProbabilityMSE", "Decoupled", "Dist", "Standardized"],
)  # fmt: skip
def test_terms_on_answers_have_mathematics_with_every_number_that_they_take(name: str) -> None:
    kind = getattr(objectives, name)
    fields = kind.__dataclass_fields__.values()
    numbers = {
        f.name: Symbol(f"<{f.name}>") for f in fields if f.type not in (bool, tuple[float, ...])
    }
    shown = formula(kind(**(numbers | ({"teacher": TEACHER} if "teacher" in numbers else {}))))
    assert name not in shown and "{" not in shown
    assert all(symbol.name in shown for field, symbol in numbers.items() if field != "teacher")


def test_a_bank_keeps_its_objective(train: Examples) -> None:
    def banked(objective: Any, grid: dict[str, list[Any]]) -> Any:
        return train_bank(
            objective, student=lambda width: mlp(16, width, 4), examples=train, seeds=1,
            grid={**grid, "width": [4, 8]}, evaluate={}, epochs=1, cache=False,
        )  # fmt: skip

    bank = banked(lambda alpha, T: alpha * SoftTargets(TEACHER, T), {"alpha": [1.0], "T": [2, 4]})
    assert bank.objective == alpha * SoftTargets(TEACHER, T)
    assert bank.select(T=4, width=8).objective == alpha * SoftTargets(TEACHER, 4)
    assert banked(None, {}).objective == HardLabels()
    varied = banked(lambda width: width * HardLabels(), {})  # its formula changes with the student
    assert varied.objective is None and varied.select(width=4).objective is None
