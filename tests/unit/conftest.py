"""Small data that can be learned in milliseconds, and a teacher for it."""

import signal
from collections.abc import Iterator

import pytest
from blobs import blobs

from kdcourse.headless.interrupts import ENDINGS
from kdlib.data import Examples
from kdlib.models import MLP, mlp
from kdlib.training import fit


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


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals act as in a terminal: where tests run in the background they may be ignored."""
    usual = {one: signal.SIG_DFL for one in ENDINGS} | {signal.SIGINT: signal.default_int_handler}
    before = {one: signal.signal(one, how) for one, how in usual.items()}
    yield
    for one, how in before.items():
        signal.signal(one, how)
