"""Explorers: a few sliders over results that exist, one picture, one sentence.

`Explorer` is the frame; the others are lessons' explorers that more than one page can use.
"""

from kdlib.explorers.abstention import Abstention
from kdlib.explorers.bank import BankExplorer
from kdlib.explorers.base import Explorer
from kdlib.explorers.class_bias import ClassBias
from kdlib.explorers.clouds import Clouds
from kdlib.explorers.frozen_parts import FrozenParts
from kdlib.explorers.gradient_arrows import GradientArrows
from kdlib.explorers.live import LiveBank
from kdlib.explorers.mean_distances import MeanDistances
from kdlib.explorers.severity import Severity
from kdlib.explorers.softened import SoftenedLogits

__all__ = [
    "Abstention",
    "BankExplorer",
    "ClassBias",
    "Clouds",
    "Explorer",
    "FrozenParts",
    "GradientArrows",
    "LiveBank",
    "MeanDistances",
    "Severity",
    "SoftenedLogits",
]
