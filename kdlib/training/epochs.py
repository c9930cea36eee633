"""Which images, when, and how far: one order of batches for `fit` and for every bank engine."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from kdlib.data import Examples
from kdlib.data.batches import batch_count
from kdlib.device import seeded
from kdlib.objectives import Learner
from kdlib.objectives.seeds import salted
from kdlib.objectives.texts import uniform
from kdlib.training.settings import Settings


def epoch_seed(order_seed: int, epoch: int) -> int:
    """Each epoch draws from a seed of its own, so that resuming needs no generator's state."""
    return salted(order_seed, epoch)


class Epochs:
    """A training's passes over the examples, in batches, as its settings say.

    count: how many passes · steps: batches in one of them · balanced: as many examples of each
    domain in every batch. Raises ValueError for a batch that cannot hold one of each domain.
    """

    def __init__(self, examples: Examples, settings: Settings, *, balanced: bool) -> None:
        self.examples, self.settings, self.balanced = examples, settings, balanced
        self.count = settings.epochs
        self.steps = batch_count(examples.domain, settings.batch, balanced=balanced)

    @property
    def total_steps(self) -> int:
        return self.count * self.steps

    def __getitem__(self, epoch: int) -> "Epoch":
        return Epoch(self, epoch)


def draws_of(
    learner: Learner, examples: Examples, passes: Epochs
) -> Callable[[int, Tensor, float], Tensor] | None:
    """(seed, places of a batch, progress) -> the uniform numbers with which this student writes.

    (writings, B, L + 1); None where nobody writes. What a seed draws does not depend on the
    students beside it, and a run that goes on from a checkpoint has it again.
    """
    if not learner.writings:
        return None

    def draw(seed: int, index: Tensor, done: float) -> Tensor:
        step = round(done * passes.total_steps)
        shape = (len(learner.writings), len(index), examples.x.shape[1] + 1)
        return uniform(passes.settings.order_seed, seed, step, shape).to(examples.device)

    return draw


class Epoch:
    """One pass over the examples.

    generator: draws the order of the batches, and after it the changes of augmented images.
    """

    def __init__(self, epochs: Epochs, number: int) -> None:
        self._epochs, self._number = epochs, number
        self._seed = epoch_seed(epochs.settings.order_seed, number)
        self.generator = torch.Generator().manual_seed(self._seed)

    def seeded(self) -> contextlib.AbstractContextManager[None]:
        """Where its batches are trained on: dropout draws from this epoch's seed."""
        return seeded(self._seed, self._epochs.examples.device)

    def batches(self) -> list[tuple[Tensor, float]]:
        """Each batch's places among the examples, and the share of training done before it.

        Drawn anew at each call.
        """
        epochs, first = self._epochs, self._number * self._epochs.steps
        size, balanced = epochs.settings.batch, epochs.balanced
        order = epochs.examples.order(size, self.generator, balanced=balanced)
        return [(index, (first + i) / epochs.total_steps) for i, index in enumerate(order)]
