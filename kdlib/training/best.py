"""When a training ends, and the best of its epochs by validation error."""

from typing import Any

from torch import Tensor, nn

from kdlib.arguments import whole


class Best:
    """The weights of the epoch with the least validation error so far; kept by checkpoints, too.

    epoch: which one, 0: none yet.
    """

    def __init__(self) -> None:
        self.epoch, self.error = 0, float("inf")
        self.weights: dict[str, Tensor] = {}

    def look(self, epoch: int, error: float, student: nn.Module, keep: bool) -> None:
        """Notes an epoch that is better than all before; `keep`: with a copy of its weights."""
        if error < self.error:
            self.epoch, self.error = epoch, error
        if keep and self.epoch == epoch:
            self.weights = {k: v.detach().clone() for k, v in student.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def check_waiting(keep: Any, patience: Any, schedule: Any, *, validates: bool) -> None:
    """Raises ValueError unless there are errors to choose an epoch by, and rates that may end."""
    if keep not in ("last", "best"):
        raise ValueError(f"keep={keep!r}: expected 'last' or 'best'")
    if patience is not None and not whole(patience, 1):
        raise ValueError(f"patience={patience!r}: expected a whole number of epochs, at least 1")
    if patience is not None and schedule == "one-cycle":
        raise ValueError(
            f"patience={patience} with schedule='one-cycle': its rates come down in the last "
            "epochs alone, so a run that stops early never learns at small ones; use "
            "schedule='constant' or 'cosine', or keep='best' without patience"
        )
    if (keep == "best" or patience is not None) and not validates:
        asked = "keep='best'" if keep == "best" else f"patience={patience}"
        raise ValueError(
            f"{asked} chooses by the validation error; give validate=, labelled examples that are "
            "neither trained on nor tested with"
        )


def settled(history: list[dict[str, float]], until: float) -> bool:
    """Whether the last epoch's loss differs from the one before by less than this share of it."""
    if len(history) < 2:
        return False
    before, now = (row["loss"] for row in history[-2:])
    return abs(now - before) <= until * abs(before)
