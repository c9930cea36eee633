"""One environment for all tests: a thread per process, no network, no bars, a cache of its own."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

# Before torch starts its threads: two of them collapse when another process is busy.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("KDLIB_OFFLINE", "1")
os.environ["KDLIB_QUIET"] = "1"
os.environ["KDLIB_STRICT"] = "1"

# xdist's workers inherit the folder from the process that starts them, so a bank that one
# worker trained serves all.
OWNER = "PYTEST_XDIST_WORKER" not in os.environ
if OWNER:
    os.environ["KDLIB_CACHE"] = tempfile.mkdtemp(prefix="kdlib-tests-")
CACHE = Path(os.environ["KDLIB_CACHE"])

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

ROOT = Path(__file__).parent
SLOW = ("browser", "headless", "notebooks")  # folders of tests, each by its nature


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ROOT / "tests"):
            folder = item.path.relative_to(ROOT / "tests").parts[0]
            if folder in SLOW:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    gc.freeze()  # imported modules and tests are no garbage: 10 s of looking at them again


def pytest_unconfigure() -> None:
    gc.freeze()  # nor is anything looked for at the end
    if OWNER:
        shutil.rmtree(CACHE, ignore_errors=True)
