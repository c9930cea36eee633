"""Labels that training code cannot see, and whose every opening is counted."""

from collections.abc import Callable

from torch import Tensor

from kdlib.arguments import check_numbers
from kdlib.data.errors import error_percent


class SealedLabels:
    """The labels of a target domain in an envelope: `unlabelled, labels = target.seal()`.

    Recipes get the unlabelled examples only. Whoever opens the envelope says why; the reasons are
    kept in `opened`, in order, so that a page can show how often it looked.
    """

    def __init__(self, y: Tensor):
        if not (y >= 0).any():
            raise ValueError("no label to seal: seal once, and name what comes out anew")
        self.opened: list[str] = []
        self._count = len(y)
        kept = y.clone()
        # in a closure: nothing that prints or stores attributes shows a label
        self._inside: Callable[[], Tensor] = lambda: kept.clone()

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"SealedLabels({self._count:,} labels, opened {len(self.opened)}×)"

    def open(self, why: str) -> Tensor:
        """The labels (N,). Prints one line and counts it."""
        if not why.strip():
            raise ValueError("sealed labels are opened for a reason; say why in a few words")
        self.opened.append(why)
        print(f"Target labels opened ({len(self.opened)}×): {why}")
        return self._inside()

    def error(self, logits: Tensor, why: str) -> float:
        """Error in percent of logits (N, classes) on the labelled examples; opens the labels.

        Raises ValueError for logits of another shape, and answers of nan, before it opens them.
        """
        if logits.dim() != 2 or len(logits) != self._count:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)} for {self._count} sealed labels; "
                f"expected ({self._count}, classes)"
            )
        check_numbers(logits)
        y = self.open(why).to(logits.device)
        labelled = y >= 0
        return error_percent(logits[labelled], y[labelled]).item()
