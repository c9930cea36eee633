"""Progress bars: drawn where somebody watches, after a second, and gone when they are done."""

import os
import sys
import time
from typing import Any

from tqdm import notebook
from tqdm.auto import tqdm


def quiet() -> bool:
    """No progress bars in builds and tests (KDLIB_QUIET=1), nor where nobody watches."""
    watched = _in_a_notebook() or sys.stderr.isatty()
    return os.environ.get("KDLIB_QUIET") == "1" or not watched


def progress_bar(*iterable: Any, silent: bool = False, **options: Any) -> Any:
    """tqdm's bar over an iterable, or of a total; unless silent, or `quiet()`."""
    kind = _Passing if _in_a_notebook() else tqdm
    return kind(*iterable, delay=1, leave=False, disable=silent or quiet(), **options)


def _in_a_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return "IPKernelApp" in getattr(shell, "config", {})


class _Passing(notebook.tqdm):
    """tqdm's own stays in the saved file for ever, as a text that says 0 %."""

    _place: Any = None  # what it is displayed in

    def display(self, *args: Any, close: bool = False, **how: Any) -> None:
        late = time.time() > getattr(self, "start_t", time.time()) + self.delay
        if late and not close and self._place is None:
            self._place = notebook.display(self.container, display_id=True)
        super().display(*args, **{**how, "close": close, "check_delay": False})

    def close(self) -> None:
        super().close()
        if self._place is not None:
            self._place.update({"text/plain": ""}, raw=True)
