"""The course without a browser: run a notebook with other parameters, or a grid of them."""

from kdcourse.headless.execution import NotebookFailed, execute, harvest, source_hash
from kdcourse.headless.finding import declared, find, notebooks, validate
from kdcourse.headless.runs import Result, results_folder, run, write_atomically
from kdcourse.headless.sweeps import grid_values, run_many, sweep
from kdcourse.parameters import Parameter

__all__ = [
    "NotebookFailed",
    "Parameter",
    "Result",
    "declared",
    "execute",
    "find",
    "grid_values",
    "harvest",
    "notebooks",
    "results_folder",
    "run",
    "run_many",
    "source_hash",
    "sweep",
    "validate",
    "write_atomically",
]
