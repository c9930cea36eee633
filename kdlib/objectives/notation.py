"""An objective as the formula that a page prints, with the values that are known put in."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdlib.objectives import symbols
from kdlib.objectives.algebra import Objective, Term
from kdlib.objectives.symbols import After, Number, Operation, Scalar
from kdlib.objectives.wrapping import Wrapped

_RANKS = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 3}
_SIGNS = {"+": " + ", "-": " − ", "*": " · ", "/": " / ", "**": "^"}
_POWERS: dict[Any, str] = {2: "²", 3: "³"}
_BEGIN, _END = "\ue000", "\ue001"  # around values put in; characters that no formula has


def formula(objective: Objective, values: Mapping[str, Any] | None = None) -> str:
    """`(1 − alpha) · CE + alpha · T² · KL(p_T ‖ q_T)`, or with T=4 `… + alpha · 4² · …`."""
    return "".join(text for text, _ in formula_parts(objective, values))


def formula_parts(
    objective: Objective, values: Mapping[str, Any] | None = None
) -> list[tuple[str, bool]]:
    """The formula in pieces, each with whether it is a value put in (a page may print it bold).

    Each term has its `notation`, in which {field} becomes the field's value and a sum stands in
    brackets; one without it prints as it is written in code. values: symbol → number; those of
    other names are not asked for.
    """
    known = values or {}
    text = " + ".join(_weighted(_shown(w, known), term, known) for w, term in objective.terms)
    pieces = re.split(f"{_BEGIN}(.*?){_END}", text)
    return [(piece, k % 2 == 1) for k, piece in enumerate(pieces) if piece]


@dataclass(frozen=True)
class _Value(Scalar):
    """A number that was put in, marked where it is printed."""

    number: Any

    def __str__(self) -> str:
        return f"{_BEGIN}{symbols.show(self.number)}{_END}"


def _shown(number: Number, values: Mapping[str, Any]) -> Number:
    """With the known values in it, so that these can be told from numbers of the formula."""
    if not symbols.leaves(number):
        return number
    known = symbols.substitute(number, values)
    if not symbols.leaves(known):
        return _Value(known)
    if isinstance(number, After):
        return After(_shown(number.start, values))
    if isinstance(number, Operation):
        return Operation(number.sign, _shown(number.left, values), _shown(number.right, values))
    return number


def _weighted(weight: Number, term: Term, values: Mapping[str, Any]) -> str:
    alone = not isinstance(weight, Scalar) and weight == 1
    return f"{'' if alone else f'{_text(weight, 2)} · '}{_term(term, values)}"


def _term(term: Term, values: Mapping[str, Any]) -> str:
    if isinstance(term, Wrapped):
        return f"[{term.label}: {_term(term.term, values)}]"
    numbers = {name: _shown(number, values) for name, number in term.hyperparameters()}
    if not term.notation:
        return str(_replaced(term, numbers))
    fields = {f.name: symbols.as_number(getattr(term, f.name)) for f in dataclasses.fields(term)}  # type: ignore[arg-type]
    return term.notation.format(**{name: _text(v, 3) for name, v in (fields | numbers).items()})


def _replaced(term: Term, numbers: Mapping[str, Any]) -> Term:
    changed = {name: v for name, v in numbers.items() if v is not getattr(term, name)}
    return term.replaced(changed)


def _text(number: Any, rank: int) -> str:
    """As a page writes it: a true minus, a dot, powers raised; in brackets below this rank."""
    if not isinstance(number, Operation):
        numeric = isinstance(number, int | float | Scalar) and not isinstance(number, bool)
        return symbols.show(number) if numeric else str(number)
    own = _RANKS[number.sign]
    left = _text(number.left, own + (number.sign == "**"))
    if number.sign == "**" and number.right in _POWERS:
        text = f"{left}{_POWERS[number.right]}"
    else:
        text = f"{left}{_SIGNS[number.sign]}{_text(number.right, own + (number.sign in '-/'))}"
    return f"({text})" if own < rank else text
