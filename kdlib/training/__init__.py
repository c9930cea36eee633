"""One readable training loop for the whole course, and files that survive accidents."""

from kdlib.training.files import load, save
from kdlib.training.loop import Run, fit
from kdlib.training.progress import quiet

__all__ = ["Run", "fit", "load", "quiet", "save"]
