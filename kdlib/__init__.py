"""kdlib: knowledge distillation and transfer, small enough to read.

Five words carry the library: `Examples` (data), `observe` (models), an `Objective` that adds and
scales like the formula on the page (objectives), `fit` (training) and `train_bank` (bank).
"""

__version__ = "0.1.0"
