"""Whether somebody watches: progress bars are drawn for them alone."""

import os
import sys


def quiet() -> bool:
    """No progress bars in builds and tests (KDLIB_QUIET=1), nor where nobody watches."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    in_a_notebook = "IPKernelApp" in getattr(shell, "config", {})
    watched = in_a_notebook or sys.stderr.isatty()
    return os.environ.get("KDLIB_QUIET") == "1" or not watched
