"""The algebra of losses: terms that add and scale like the formula on the page."""

from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.answer_terms import (
    HardLabels,
    JensenShannon,
    LogitMSE,
    ProbabilityMSE,
    ReverseKL,
    SoftTargets,
    TeacherLabels,
)
from kdlib.objectives.feature_terms import (
    Attention,
    Contrastive,
    Cosine,
    Flow,
    Hint,
    KernelSimilarity,
    NeuronSelectivity,
    Relational,
    Similarity,
    Variational,
)
from kdlib.objectives.learner import Learner, Owned
from kdlib.objectives.members import member
from kdlib.objectives.merging import merge
from kdlib.objectives.notation import formula, formula_parts
from kdlib.objectives.parts import outputs
from kdlib.objectives.prefixes import prefixes
from kdlib.objectives.refined_terms import Decoupled, Dist, Standardized
from kdlib.objectives.step import Step
from kdlib.objectives.symbols import LearnedTemperature, Number, Scalar, Symbol, after, progress
from kdlib.objectives.target_terms import (
    BinaryLabels,
    MeanSquares,
    SigmoidTargets,
    TeacherMeanSquares,
)
from kdlib.objectives.teachers import TeacherTable, tabulate
from kdlib.objectives.weight_terms import ParameterKL, ParameterL2, Regularizer
