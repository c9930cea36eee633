"""The common ground of pages 00 to 05: one teacher, one student, one temperature, 560 steps.

Students that are compared take equally many steps of 128 images, in float32, and the labels of a
draw are nested: `train.per_class(20, seed=draw)` lies inside `train.per_class(100, seed=draw)`.
"""

from torch import nn

from kdcourse.ground.keeping import kept
from kdlib.data import Examples, jitter
from kdlib.models import cnn, initialise
from kdlib.training import fit

T, ALPHA, WIDTH, STEPS, BATCH = 4.0, 0.9, 100, 560, 128  # the student is mlp(784, 100, 10)


def teacher(train: Examples, *, epochs: int = 8, seed: int = 0) -> nn.Module:
    """cnn(16), trained for 8 epochs of batches of 64 on images moved by up to two pixels."""
    network = initialise(cnn(16, max(10, train.classes)), seed)

    def training(network: nn.Module) -> None:
        how = {"epochs": epochs, "batch": 64, "precision": "fp32", "augment": jitter(2)}
        fit(network, train, seed=seed, **how)  # type: ignore[arg-type]

    return kept(network, training, train.fingerprint, epochs, seed)


def epochs(examples: Examples, steps: int = STEPS) -> int:
    """How many passes make so many steps of 128 images: 20 over 3,500, 70 over 1,000 images."""
    return max(1, round(steps / -(-len(examples) // BATCH)))
