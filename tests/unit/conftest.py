"""Small data that can be learned in milliseconds, and a teacher for it."""

import pytest
import torch

from kdlib.data import Examples
from kdlib.models import MLP, mlp
from kdlib.training import fit


def blobs(count: int = 320, *, seed: int = 0, noise: float = 60.0) -> Examples:
    """uint8 images (count, 1, 4, 4) of four classes: a pattern each, and noise."""
    generator = torch.Generator().manual_seed(99)
    patterns = 60 + 130 * torch.rand(4, 1, 4, 4, generator=generator)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    x = patterns[y] + noise * torch.randn(count, 1, 4, 4, generator=generator)
    return Examples(x.clamp(0, 255).to(torch.uint8), y, name="blobs")


@pytest.fixture(scope="session")
def train() -> Examples:
    return blobs(320, seed=0)


@pytest.fixture(scope="session")
def test() -> Examples:
    return blobs(400, seed=1)


@pytest.fixture(scope="session")
def _taught(train: Examples) -> MLP:
    network = mlp(16, 32, 4)
    fit(network, train, epochs=5, batch=32, seed=7)
    return network


@pytest.fixture
def teacher(_taught: MLP) -> MLP:
    """A trained teacher, a copy for each test."""
    network = mlp(16, 32, 4)
    network.load_state_dict(_taught.state_dict())
    return network.eval()
