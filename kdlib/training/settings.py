"""What a run may be asked for: the one list of settings, each checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from kdlib.arguments import finite, whole
from kdlib.objectives import Scalar, symbols
from kdlib.objectives.fields import moments

SCHEDULES = ("one-cycle", "cosine", "constant")
LARGEST_SEED = 2**40  # times a million, it still fits into a generator's seed


@dataclass(frozen=True)
class Settings:
    """How students are trained: `fit`'s arguments of these names.

    NumPy's numbers become Python's, as PyTorch and files take no others.
    """

    epochs: int
    lr: Any  # a number, or beginning of a weight's name -> number; in a bank: expressions, too
    batch: int
    order_seed: int
    weight_decay: float
    schedule: Any  # its name; in `fit` also a function of progress
    precision: str
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, as_python(value))

    def check(self) -> None:
        """Raises ValueError for settings that nothing can be trained with."""
        lr, epochs, batch = self.lr, self.epochs, self.batch
        sound = [self._sound(rate) for rate in rates_of(lr)]
        if not (whole(epochs, 1) and whole(batch, 1) and sound and all(sound)):
            raise ValueError(
                f"epochs={epochs!r}, batch={batch!r}, lr={in_words(lr)}: expected whole numbers of "
                "at least 1 and finite learning rates above 0 (to keep weights as they are, freeze "
                "them)"
            )
        if not (finite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(
                f"weight_decay={self.weight_decay!r}: expected a finite number of at least 0"
            )
        if self.clip is not None and not (finite(self.clip) and self.clip > 0):
            raise ValueError(
                f"clip={self.clip!r}: expected the largest norm of a gradient, above 0, or None"
            )
        check_seed("order_seed", self.order_seed)
        if callable(self.schedule):
            _check_factors(self.schedule)
        elif self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule={self.schedule!r}: expected {', '.join(map(repr, SCHEDULES))}, or a "
                "function of progress from 0 to 1: lambda progress: 0.1 ** (progress >= 0.5)"
            )

    def _sound(self, rate: Any) -> bool:
        """Whether it is above 0; one that changes with progress may be 0 at either end.

        Raises ValueError for one that cannot change, or is no number at some moment.
        """
        if not isinstance(rate, Scalar):
            return finite(rate) and rate > 0
        if any(leaf != symbols.progress for leaf in symbols.leaves(rate)):
            return False
        if self.schedule != "constant":
            raise ValueError(
                f"the rate {rate} changes with progress by itself; use schedule='constant' with it"
            )
        for moment in moments(rate):
            try:
                now = symbols.value(rate, {"progress": moment})
            except ArithmeticError:
                now = float("nan")
            if not (finite(now) and (now > 0 or (now == 0 and moment in (0.0, 1.0)))):
                raise ValueError(
                    f"the rate {rate} is {now:g} at progress {moment:g}; expected finite numbers "
                    "above 0 (or 0 at an end of training)"
                )
        return True


def _check_factors(schedule: Callable[[float], Any]) -> None:
    """Raises ValueError unless it gives finite factors of at least 0, above 0 at the beginning."""
    for moment in (0.0, 0.25, 0.5, 0.75, 1.0):
        factor = as_python(schedule(moment))
        if not (finite(factor) and factor >= 0 and (factor > 0 or moment)):
            raise ValueError(
                f"schedule gives {factor!r} at progress {moment:g}; expected a factor on the "
                "rates, a finite number of at least 0 (above 0 at the beginning)"
            )


def rates_of(lr: Any) -> list[Any]:
    """All rates, of a mapping or alone."""
    return list(lr.values()) if isinstance(lr, Mapping) else [lr]


def in_words(lr: Any) -> str:
    """Rates as they are written."""
    if isinstance(lr, Mapping):
        return "{" + ", ".join(f"{start!r}: {in_words(rate)}" for start, rate in lr.items()) + "}"
    return str(lr) if isinstance(lr, Scalar) else repr(lr)


def rates_at(lr: Any, numbers: Mapping[str, float]) -> Any:
    """`lr` with numbers in the place of symbols; ValueError for a symbol without one."""
    try:
        if isinstance(lr, Mapping):
            return {start: float(symbols.value(rate, numbers)) for start, rate in lr.items()}
        return float(symbols.value(lr, numbers))
    except KeyError as missing:
        raise ValueError(
            f"the rate {missing} has no value; make it an axis of the bank's grid, and ask for it: "
            "lr=lambda scale: {'': 1e-2 * scale}"
        ) from None


def as_python(setting: Any) -> Any:
    """NumPy's numbers, those of a mapping too, as Python's: PyTorch and `save` take no others."""
    if isinstance(setting, Mapping):
        return {name: as_python(value) for name, value in setting.items()}
    if isinstance(setting, Integral):
        return int(setting)
    return float(setting) if isinstance(setting, Real) else setting


def most_at_once(batch: int) -> int:
    """How many examples are asked at a time, without gradients: 500, or what 8 batches hold.

    A network that is asked keeps nothing for a backward pass, so these need no more memory than
    a batch that is trained on, as a rule.
    """
    return min(500, 8 * batch)


def check_seed(name: str, seed: Any) -> None:
    if not whole(seed, -LARGEST_SEED) or seed > LARGEST_SEED:
        raise ValueError(f"{name}={seed!r}: expected a whole number up to 2**40")
