"""The browser and the JupyterLab that all browser tests of a process share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from labpage import chromium
from labserver import LabServer, find_chromium
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser_path() -> str:
    path = find_chromium()
    if path is None:
        words = "no Chromium or Chrome on PATH: install one to test the notebooks in a browser"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return path


@pytest.fixture(scope="session")
def web(browser_path: str) -> Iterator[Browser]:
    with chromium(browser_path) as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(browser_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    with LabServer(tmp_path_factory.mktemp("jupyterlab")) as server:
        yield server


@pytest.fixture(scope="session")
def shots() -> Path | None:
    """Where screenshots go: the folder KDLIB_SHOTS, if it is set."""
    folder = os.environ.get("KDLIB_SHOTS")
    return Path(folder).absolute() if folder else None
