"""Explorers: a few sliders over results that exist, one picture, one sentence.

`Explorer` is the frame; the others are lessons' explorers that more than one page can use.
"""

from kdlib.explorers.abstention import Abstention
from kdlib.explorers.bank import BankExplorer
from kdlib.explorers.base import Explorer
from kdlib.explorers.class_bias import ClassBias
from kdlib.explorers.gradient_arrows import GradientArrows
from kdlib.explorers.softened import SoftenedLogits

__all__ = [
    "Abstention",
    "BankExplorer",
    "ClassBias",
    "Explorer",
    "GradientArrows",
    "SoftenedLogits",
]
