"""Where files are kept and looked for."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """Where trained banks and downloads are kept: KDLIB_CACHE, or the user's cache folder.

    Raises FileNotFoundError for a user without a home.
    """
    return _named("KDLIB_CACHE", lambda: platformdirs.user_cache_dir("kdlib"))


def data_root() -> Path:
    """Where torchvision's files are looked for: KDLIB_DATA, or a folder in the cache."""
    return _named("KDLIB_DATA", lambda: cache_root() / "data")


def _named(variable: str, otherwise: Callable[[], str | Path]) -> Path:
    given = os.environ.get(variable)
    try:
        return Path(given or otherwise()).expanduser()
    except RuntimeError as error:  # from containers whose user is a mere number, and from ~nobody
        what = f"{variable}={given!r} leads" if given else f"{variable} is not set, which leads"
        raise FileNotFoundError(
            f"{what} to no home folder; set {variable} to a folder of your own"
        ) from error
