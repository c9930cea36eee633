"""Many students at once: grids over temperature, weight, width, seed and more."""

from kdlib.bank.ladders import ladder
from kdlib.bank.result import Bank
from kdlib.bank.train import train_bank

__all__ = ["Bank", "ladder", "train_bank"]
