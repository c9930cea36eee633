"""One readable training loop for the whole course."""

from kdlib.training.loop import Run, fit
from kdlib.training.progress import progress_bar

__all__ = ["Run", "fit", "progress_bar"]
