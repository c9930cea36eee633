"""What a teacher says: live of a batch, or kept in a table of a whole data set."""

import copy
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples, Stream
from kdlib.models import (
    Observation,
    as_taps,
    check_examples,
    evaluating,
    fingerprint,
    observe,
    seen_by,
)


@dataclass(eq=False)
class TeacherTable:
    """A teacher's logits (N, classes) for known images, found again by their ids (N,).

    features: what its layers said, tap -> (N, …), so that terms on layers ask no network either.
    With a `network`, unknown or augmented images get a live forward; without one they are an error.
    """

    ids: Tensor
    logits: Tensor
    network: nn.Module | None = None
    name: str = "teacher"
    features: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _sorted: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids, order = self.ids.sort()
        self._sorted = (ids, order)

    def find(self, ids: Tensor | None) -> Tensor | None:
        """The logits of these images, or None if one of them is not in the table."""
        rows = self.rows(ids)
        return None if rows is None else self.logits[rows]

    def rows(self, ids: Tensor | None, taps: Iterable[str] = ()) -> Tensor | None:
        """Where these images are in the table; None if one of them, or a layer, is not."""
        if ids is None or any(tap not in self.features for tap in taps):
            return None
        ids_sorted, order = self._sorted
        ids = ids.to(ids_sorted.device)
        place = torch.searchsorted(ids_sorted, ids).clamp(max=len(ids_sorted) - 1)
        return order[place] if bool((ids_sorted[place] == ids).all()) else None

    def observation(self, ids: Tensor | None, taps: Iterable[str] = ()) -> Observation | None:
        """What was said of these images, in their order; None as for `rows`."""
        rows = self.rows(ids, taps)
        if rows is None:
            return None
        whole = Observation(self.logits, {tap: self.features[tap] for tap in taps})
        return whole if ids is self.ids else whole[rows]  # all of them: no copy

    def answering(self, logits: Tensor, name: str) -> "TeacherTable":
        """The same images with other answers, such as permuted ones; no network stands behind."""
        if len(logits) != len(self.ids):
            raise ValueError(f"{len(logits)} answers for {len(self.ids)} images; give one each")
        return TeacherTable(self.ids, logits, None, name)

    def to(self, device: str | torch.device) -> "TeacherTable":
        """On another device, with a copy of the network where that is elsewhere."""
        features = {tap: f.to(device) for tap, f in self.features.items()}
        ids, logits, network = self.ids.to(device), self.logits.to(device), self.network
        held = () if network is None else (*network.parameters(), *network.buffers())
        if network is not None and any(tensor.device != logits.device for tensor in held):
            network = copy.deepcopy(network).to(device)  # the teacher itself stays where it is
        return TeacherTable(ids, logits, network, self.name, features)

    def key(self) -> str:
        digest = hashlib.sha256(self.ids.cpu().numpy().tobytes())
        for answers in (self.logits, *(self.features[tap] for tap in sorted(self.features))):
            digest.update(answers.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()


Teacher = nn.Module | TeacherTable
Answers = dict[Teacher, Observation]
"""What each teacher says of one batch (or, in its order, of a whole data set)."""


def tabulate(
    teacher: nn.Module, examples: Examples, *, taps: str | Iterable[str] = (), size: int = 500
) -> TeacherTable:
    """Asks the teacher once about every example: eval mode, no gradient, float32.

    taps: layers whose features are kept as well. Pass the table to the terms on these layers.
    Raises ValueError for what is no Examples.
    """
    taps = as_taps(taps)
    check_examples("a table is made", examples)
    there = next((weight.device for weight in teacher.parameters()), examples.device)
    with evaluating(teacher):
        seen = [
            observe(teacher, seen_by(teacher, batch.x.to(there)), taps)
            for batch in examples.batches(size)
        ]
    logits = torch.cat([part.logits for part in seen]).float().to(examples.device)
    features = {
        tap: torch.cat([part.features[tap] for part in seen]).float().to(examples.device)
        for tap in taps
    }
    return TeacherTable(examples.ids, logits, teacher, features=features)


def teacher_key(teacher: Teacher) -> str:
    """A hash of what the teacher says (its weights, or its table)."""
    return teacher.key() if isinstance(teacher, TeacherTable) else fingerprint(teacher)


def tabled_answers(
    taps: Mapping[Teacher, tuple[str, ...]],
    examples: Examples,
    tables: dict[nn.Module, TeacherTable] | None = None,
    *,
    size: int = 500,
) -> Answers:
    """What can be known of all these examples before training: N rows for each teacher.

    A table is searched once. A network that is asked for its logits alone answers now, in a table
    that is kept in `tables`; of one that is asked for layers nothing is known: it is asked live.
    taps: for each teacher the layers that it is asked for · size: how many are asked at a time.
    Of a `Stream` nothing is known. Raises ValueError for answers of nan, or of +inf.
    """
    if isinstance(examples, Stream):
        return {}
    tables = {} if tables is None else tables
    tabled: Answers = {}
    for teacher, layers in taps.items():
        if isinstance(teacher, TeacherTable):
            seen = teacher.observation(examples.ids, layers)
        elif layers:
            seen = None
        else:
            table = tables.get(teacher)
            seen = None if table is None else table.observation(examples.ids)
            if seen is None:
                tables[teacher] = tabulate(teacher, examples, size=size)
                seen = Observation(tables[teacher].logits)
        if seen is not None:
            _check_finite(teacher, seen.logits)
            tabled[teacher] = seen
    return tabled


def _check_finite(teacher: Teacher, logits: Tensor) -> None:
    """Raises ValueError for an answer that holds nan or +inf, or nothing but -inf."""
    best = logits.amax(-1)
    wrong = int((~best.isfinite()).sum())
    if wrong:
        what = repr(teacher.name) if isinstance(teacher, TeacherTable) else type(teacher).__name__
        raise ValueError(
            f"the teacher {what} answers {wrong} of {best.numel()} times with nan or inf, which "
            "nobody can learn; train it again with a smaller lr, or leave these examples out"
        )


def ask(teacher: Teacher, batch: Batch, taps: Iterable[str] = ()) -> Observation:
    """The teacher's observation of this batch.

    From a table where it knows the images and the layers, else live: in eval mode, without
    gradient, in float32, and left as it was. Raises ValueError for a table that knows them not and
    has no network.
    """
    taps = as_taps(taps)
    if isinstance(teacher, TeacherTable):
        seen = teacher.observation(batch.ids, taps)
        if seen is not None:
            return seen
        if teacher.network is None:
            raise ValueError(
                f"the table {teacher.name!r} does not know these images (augmented, or of another "
                f"data set) or layers {list(taps)}, and has no network to ask; "
                "tabulate them, or train without augment"
            )
    network = teacher.network if isinstance(teacher, TeacherTable) else teacher
    assert network is not None
    with evaluating(network), torch.autocast(batch.x.device.type, enabled=False):
        x = seen_by(network, batch.x)
        seen = observe(network, x, taps)
    if x.dtype == batch.x.dtype:
        return seen
    features = {tap: feature.to(batch.x.dtype) for tap, feature in seen.features.items()}
    return Observation(seen.logits.to(batch.x.dtype), features)
