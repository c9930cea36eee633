"""Several teachers, or specialists, as one table."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.losses.ensembles import shares_of_teachers
from kdlib.models import Ensemble
from kdlib.objectives.teachers import TeacherTable


def merge(
    tables: Iterable[TeacherTable],
    how: str = "logits",
    *,
    weights: Any = None,
    classes: Sequence[Iterable[int]] | None = None,
    rest: bool = False,
) -> TeacherTable:
    """Tables of several teachers for the same images as one, in the first one's order of images.

    how, weights: as in `losses.merge_logits`; weights are one for each teacher, or (teachers, N) in
    the first table's order.
    classes: merges specialists: for each table the classes that it knows. It answers for all
    classes, of which those it does not know are left out, or for its own ones, in this order.
    Where several know a class their scores are averaged; how: "logits", or "probabilities" (log
    p). rest: each specialist has one output more, its last, for "none of mine"; then its score of
    a class is log p(class) - log p(rest), the difference of two logits, and how is "logits".
    An augmented image is asked of the networks behind the tables, where weights are one for each
    teacher, and no specialists are merged. Features of layers are not merged. Raises ValueError for
    tables of other images or classes.
    """
    tables = [tables] if isinstance(tables, TeacherTable) else list(tables)
    if not tables or not all(isinstance(table, TeacherTable) for table in tables):
        raise ValueError(
            "merge needs tables of what teachers said: merge([tabulate(net, examples) for net in "
            "networks])"
        )
    logits = [_logits(table, tables[0], number) for number, table in enumerate(tables)]
    shares = None if weights is None else shares_of_teachers(weights, len(tables))
    network: nn.Module | None = None
    if classes is None:
        if rest:
            raise ValueError("rest=True speaks of specialists; name the classes of each: classes=…")
        counts = [z.shape[-1] for z in logits]
        if len(set(counts)) > 1:
            raise ValueError(
                f"the teachers answer for {', '.join(map(str, counts))} classes; merge teachers of "
                "the same classes, or specialists with classes=…"
            )
        merged = losses.merge_logits(torch.stack(logits), how, weights=shares)
        networks = [table.network for table in tables if table.network is not None]
        if len(networks) == len(tables) and (shares is None or shares.dim() == 1):
            network = Ensemble(*networks, how=how, weights=weights)
    else:
        if shares is not None:
            raise ValueError("specialists are merged without weights; leave weights= out")
        merged = _specialists(logits, _lists(classes), how, rest)
    return TeacherTable(tables[0].ids, merged, network, f"{len(tables)} teachers")


def _lists(classes: Any) -> list[list[int]]:
    try:
        lists = [[int(number) for number in known] for known in classes]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"classes={classes!r}: expected the classes of each table, [[0, 1, 2], [3, 4]]"
        ) from error
    if any(number < 0 for known in lists for number in known):
        raise ValueError(f"classes={classes!r}: expected class indices 0, 1, …")
    return lists


def _logits(table: TeacherTable, first: TeacherTable, number: int) -> Tensor:
    """What a table says of the first one's images, in their order."""
    if table.logits.device != first.logits.device:
        raise ValueError(
            f"table {number} is on {table.logits.device} and table 0 on {first.logits.device}; "
            "move them with table.to(device)"
        )
    found = table.find(first.ids)
    if found is None:
        raise ValueError(
            f"table {number} does not know all images of table 0; tabulate all teachers on the "
            "same examples"
        )
    return found


def _specialists(logits: list[Tensor], classes: list[list[int]], how: str, rest: bool) -> Tensor:
    if len(classes) != len(logits) or not all(classes):
        raise ValueError(
            f"classes names {len(classes)} specialists for {len(logits)} tables; give each table "
            "the classes that it knows"
        )
    if how not in (("logits",) if rest else ("logits", "probabilities")):
        wanted = "'logits', as they know a rest" if rest else "'logits' or 'probabilities'"
        raise ValueError(f"how={how!r}: these specialists are merged by {wanted}")
    count = max(max(known) for known in classes) + 1
    unknown = sorted(set(range(count)) - {c for known in classes for c in known})
    if unknown:
        raise ValueError(f"no specialist knows class {unknown[0]}; add one that does")
    total, knowing = logits[0].new_zeros(len(logits[0]), count), torch.zeros(count)
    for number, (z, known) in enumerate(zip(logits, classes, strict=True)):
        scores = _scores(z, known, count, how, rest, number)
        total[:, known] += scores
        knowing[known] += 1
    return total / knowing.to(total)


def _scores(z: Tensor, known: list[int], count: int, how: str, rest: bool, number: int) -> Tensor:
    """A specialist's scores of the classes that it knows, (N, known)."""
    outputs = z.shape[-1] - rest
    if len(set(known)) < len(known) or outputs not in (len(known), count):
        raise ValueError(
            f"specialist {number} has {z.shape[-1]} outputs and classes {known}; expected "
            f"{len(known) + rest} or {count + rest} outputs{' (the last is the rest)' * rest}, and "
            "each class once"
        )
    own = z[:, :outputs] if outputs == len(known) else z[:, known]
    if rest:
        return own - z[:, -1:]
    return own.log_softmax(-1) if how == "probabilities" else own
