"""A batch in parts, for gradients that add up: memory for one part, the step of all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from kdlib.arguments import whole

WHOLE = [(slice(None), 1.0)]
"""A batch in one part, as `parts_of` has them."""


def check_parts_of_batch(accumulate: Any, batch: int) -> None:
    """Raises ValueError unless a batch can be cut into so many parts."""
    if not whole(accumulate, 1) or accumulate > batch:
        raise ValueError(
            f"accumulate={accumulate!r} with batch={batch}: expected into how many parts each "
            f"batch is cut, a whole number from 1 to {batch}"
        )


def parts_of(count: int, parts: int) -> list[tuple[slice, float]]:
    """The places of each part among `count` examples, and its share of them.

    Every so-many-th example, so that each part of a balanced batch holds all domains.
    """
    step = min(parts, count)
    return [(slice(i, None, step), len(range(i, count, step)) / count) for i in range(step)]


def together(rows: Sequence[Mapping[str, Tensor]], shares: Iterable[float]) -> dict[str, Tensor]:
    """The mean of parts' losses and terms, by their shares."""
    weighed = list(zip(rows, shares, strict=True))
    return {name: sum(share * row[name] for row, share in weighed) for name in rows[0]}  # type: ignore[misc]
