"""Teachers that know few labels, transfer sets of many kinds, and signs of what they are worth."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdcourse.ground import mnist
from kdlib.data import Examples, jitter, load, transfer_set
from kdlib.models import cnn, initialise
from kdlib.objectives import HardLabels, Objective, TeacherTable, Term, member
from kdlib.objectives.step import Step
from kdlib.training import fit

COUNT = 3500  # images of a transfer set, as many as the course's training images
STEPS = 440  # of the course's teacher: 8 epochs of 55 batches of 64
COPIES = 4  # of each image, moved
OF_LABELS = (
    "moved, of the labels", "mixup, of the labels", "halves, of the labels",
    "patches, of the labels", "shuffled, of the labels", "noise",
)  # fmt: skip


def epochs(examples: Examples) -> int:
    """How many passes in batches of 64 make the steps of the course's teacher."""
    return max(1, round(STEPS / -(-len(examples) // 64)))


def teacher(labelled: Examples, *, seed: int, moved: bool = True, steps: int = STEPS) -> nn.Module:
    """cnn(16), trained on these labels alone as the course's teacher is, in as many steps.

    moved: on images moved by up to two pixels.
    """
    count = max(1, round(epochs(labelled) * steps / STEPS))
    if moved:
        return mnist.teacher(labelled, epochs=count, seed=seed)
    network = initialise(cnn(16), seed)
    fit(network, labelled, epochs=count, batch=64, seed=seed, precision="fp32")
    return network.eval()


def images(name: str, own: Examples, labelled: Examples, *, seed: int) -> Examples:
    """A transfer set by its name, unlabelled: made from all training images, or from the labels."""
    if name == "own":
        return own.unlabelled()
    if name == "own, moved":
        return moved(own, COPIES * len(own), seed=seed)
    if name == "other digits":
        return padded()
    kind = name.split(",")[0]
    if kind == "moved":
        return moved(labelled, COUNT, seed=seed)
    return transfer_set(labelled, kind, count=COUNT, seed=seed)


def moved(examples: Examples, count: int, *, seed: int) -> Examples:
    """`count` copies, in turn of each image, each moved by up to two pixels."""
    turn = torch.arange(count) % len(examples)
    return examples[turn].transformed(jitter(2), seed=seed).unlabelled()


def padded() -> Examples:
    """scikit-learn's 1,797 digits as MNIST's are framed: 20 pixels, and 4 of black around."""
    parts = load("digits", size=20)
    x = torch.cat([part.x for part in parts])
    return Examples(F.pad(x, (4,) * 4), torch.full((len(x),), -1), name="other digits")


def signs(z: Tensor) -> dict[str, float]:
    """What a teacher's logits (N, classes) on a transfer set tell without a label.

    classes: how many classes its first answers use, exp of the entropy of their shares (10 where
    all are used alike, 1 where only one is) · confidence: mean probability of the first answer.
    """
    shares = z.argmax(-1).bincount(minlength=z.shape[-1]) / len(z)
    used = torch.special.entr(shares).sum().exp()
    return {"classes": float(used), "confidence": float(z.softmax(-1).amax(-1).mean())}


# ---- two tasks ----------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Distance(Term):
    """Mean squared distance to the numbers in a table (`LogitMSE` centres each image first)."""

    targets: TeacherTable

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        return (step.observation.logits - step.teacher(self.targets).logits).square().mean()


class TwoHeads(nn.Module):
    """One body, two heads: "head" (10 classes) and "angle" (cosine, sine); answers are classes."""

    def __init__(self, width: int = mnist.WIDTH) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU())
        self.head = nn.Linear(width, 10)
        self.angle = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        body = self.embedding((x - 0.1307) / 0.3081)
        self.angle(body)  # so that the loss can read it
        return self.head(body)


def turned(examples: Examples, most: float, *, seed: int) -> tuple[Examples, Tensor]:
    """Each image turned by an angle drawn up to `most` degrees; and (cosine, sine) of each."""
    chance = torch.rand(len(examples), generator=torch.Generator().manual_seed(seed))
    angle = (2 * chance - 1) * math.radians(most)
    c, s, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([torch.stack([c, -s, none], 1), torch.stack([s, c, none], 1)], 1)
    x = examples.x.float() / 255
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False)
    pixels = (255 * x).round().clamp(0, 255).to(torch.uint8)
    return Examples(pixels, examples.y, name=f"{examples.name}, turned"), torch.stack([c, s], 1)


def two_tasks(examples: Examples, angles: Tensor, weight: float) -> Objective:
    """Labels on "head"; cosine and sine of each image, (N, 2), on "angle"."""
    table = TeacherTable(examples.ids, angles, None, "angles")
    return member("head", HardLabels()) + weight * member("angle", Distance(table))
