"""Scores of outputs that are numbers."""

from torch import Tensor

from kdlib.data import Examples, Targets
from kdlib.data.errors import error_percent
from kdlib.data.numeric import check_outputs


def root_mean_square(outputs: Tensor, y: Tensor) -> Tensor:
    """Root of the mean squared error of outputs (…, N, K), in the unit of the targets (N, K): (…).

    Targets of nan do not count. Raises ValueError for other shapes, and outputs that are no
    numbers.
    """
    check_outputs(outputs, y)
    if not bool(outputs.isfinite().all()):
        raise ValueError(
            "outputs are nan or inf: did the training diverge? Train again with a smaller lr"
        )
    if bool(y.isinf().any()):
        raise ValueError("a target is inf; expected finite numbers, and nan for no target")
    outputs, y = outputs.cpu(), y.cpu()
    there = ~y.isnan()
    squares = (outputs.double() - y.nan_to_num(0).double()).square() * there
    return (squares.sum((-2, -1)) / there.sum().clamp(min=1)).sqrt()


def score(outputs: Tensor, examples: Examples, *, regression: bool = False) -> tuple[str, Tensor]:
    """What a network is measured by on these, and how it did, (…), less being better.

    "error %" (of 0/1 labels the share of wrong ones), or "root mean square error" of `Targets` that
    are other numbers, or of which the outputs are estimates (regression).
    """
    if not isinstance(examples, Examples):
        raise ValueError(f"examples are a {type(examples).__name__}; expected Examples or Targets")
    if isinstance(examples, Targets) and (regression or not examples.binary):
        return "root mean square error", root_mean_square(outputs, examples.y)
    return "error %", error_percent(outputs, examples.y)
