"""Explorers: a few sliders over results that exist, one picture, one sentence.

`Explorer` is the frame; the others show any bank, any logits. What serves one lesson alone lies in
its folder.
"""

from kdcourse.explorers.bank import BankExplorer
from kdcourse.explorers.base import Explorer
from kdcourse.explorers.error_table import ErrorTable
from kdcourse.explorers.live import LiveBank
from kdcourse.explorers.softened_logits import SoftenedLogits

__all__ = ["BankExplorer", "ErrorTable", "Explorer", "LiveBank", "SoftenedLogits"]
