"""One readable training loop for the whole course."""

from kdlib.training.loop import fit
from kdlib.training.optimisers import decay_groups
from kdlib.training.progress import progress_bar
from kdlib.training.run import Diverged, Run

__all__ = ["Diverged", "Run", "decay_groups", "fit", "progress_bar"]
