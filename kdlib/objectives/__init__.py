"""The algebra of losses: terms that add and scale like the formula on the page."""

from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.learner import Learner
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import LearnedTemperature, Number, Scalar, Symbol, progress
from kdlib.objectives.teachers import TeacherTable, tabulate
from kdlib.objectives.terms import (
    Decoupled,
    Dist,
    HardLabels,
    JensenShannon,
    KernelSimilarity,
    LogitMSE,
    ProbabilityMSE,
    Regularizer,
    ReverseKL,
    SoftTargets,
    Standardized,
    TeacherLabels,
    Variational,
)

__all__ = [
    "Decoupled",
    "Dist",
    "HardLabels",
    "JensenShannon",
    "KernelSimilarity",
    "LearnedTemperature",
    "Learner",
    "LogitMSE",
    "Number",
    "Objective",
    "ProbabilityMSE",
    "Regularizer",
    "ReverseKL",
    "Scalar",
    "SoftTargets",
    "Standardized",
    "Step",
    "Symbol",
    "TeacherLabels",
    "TeacherTable",
    "Term",
    "Variational",
    "progress",
    "tabulate",
]
