"""What a teacher said: live, remembered for a batch, or kept in a table for a whole data set."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.models import Observation, as_taps, evaluating, fingerprint, observe, predict


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
        known = self.look(ids)
        return None if known is None else known.logits

    def look(self, ids: Tensor | None, taps: Iterable[str] = ()) -> Observation | None:
        """What was said of these images; None if one of them, or a layer, is not in the table."""
        rows = self.rows(ids, taps)
        return None if rows is None else self.at(rows, taps)

    def rows(self, ids: Tensor | None, taps: Iterable[str] = ()) -> Tensor | None:
        """Where these images are in the table; None if one of them, or a layer, is not."""
        if ids is None or any(tap not in self.features for tap in taps):
            return None
        known, order = self._sorted
        place = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
        return order[place] if bool((known[place] == ids).all()) else None

    def at(self, rows: Tensor, taps: Iterable[str] = ()) -> Observation:
        """What was said of the images in these rows."""
        return Observation(self.logits[rows], {tap: self.features[tap][rows] for tap in taps})

    def answering(self, logits: Tensor, name: str) -> "TeacherTable":
        """The same images with other answers, such as permuted ones; no network stands behind."""
        if len(logits) != len(self.ids):
            raise ValueError(f"{len(logits)} answers for {len(self.ids)} images; give one each")
        return TeacherTable(self.ids, logits, None, name)

    def to(self, device: torch.device) -> "TeacherTable":
        features = {tap: f.to(device) for tap, f in self.features.items()}
        ids, logits = self.ids.to(device), self.logits.to(device)
        return TeacherTable(ids, logits, self.network, self.name, features)

    def key(self) -> str:
        digest = hashlib.sha256(self.ids.cpu().numpy().tobytes())
        for said in (self.logits, *(self.features[tap] for tap in sorted(self.features))):
            digest.update(said.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()


Teacher = nn.Module | TeacherTable


def tabulate(
    teacher: nn.Module, examples: Examples, *, taps: str | Iterable[str] = (), size: int = 500
) -> TeacherTable:
    """Asks the teacher once about every example: eval mode, no gradient, float32.

    taps: layers whose features are kept as well. Pass the table to the terms on these layers.
    """
    taps = as_taps(taps)
    if not taps:
        return TeacherTable(examples.ids, predict(teacher, examples, size=size).float(), teacher)
    with evaluating(teacher):
        seen = [observe(teacher, batch.x, taps) for batch in examples.batches(size)]
    logits = torch.cat([one.logits for one in seen]).float()
    features = {tap: torch.cat([one.features[tap] for one in seen]).float() for tap in taps}
    return TeacherTable(examples.ids, logits, teacher, features=features)


def teacher_key(teacher: Teacher) -> str:
    """A hash of what the teacher says (its weights, or its table)."""
    return teacher.key() if isinstance(teacher, TeacherTable) else fingerprint(teacher)


def ask(
    teacher: Teacher, batch: Batch, taps: Iterable[str], tables: dict[nn.Module, TeacherTable]
) -> Observation:
    """The teacher's observation of this batch, remembered there.

    From its table where that knows the images and the layers, else live: in eval mode, without
    gradient, in float32, and left as it was.
    """
    taps = tuple(taps)
    if (teacher, taps) not in batch.memory:
        batch.memory[teacher, taps] = _answer(teacher, batch, taps, tables)
    return batch.memory[teacher, taps]


def reader(
    asked: Mapping[Teacher, Iterable[str]],
    examples: Examples,
    tables: dict[nn.Module, TeacherTable],
) -> Callable[[Tensor], Batch]:
    """`examples.batch(index)`, with what tables say of it there already.

    Each table is searched once for all examples, not in every step. asked: teacher -> layers.
    """
    known = {}
    for teacher, layers in asked.items():
        taps = tuple(layers)
        table = teacher if isinstance(teacher, TeacherTable) else tables.get(teacher)
        rows = None if table is None else table.rows(examples.ids, taps)
        if table is not None and rows is not None:
            known[teacher, taps] = table, rows

    def read(index: Tensor) -> Batch:
        batch = examples.batch(index)
        for (teacher, taps), (table, rows) in known.items():
            batch.memory[teacher, taps] = table.at(rows[index], taps)
        return batch

    return read


def _answer(
    teacher: Teacher, batch: Batch, taps: tuple[str, ...], tables: dict[nn.Module, TeacherTable]
) -> Observation:
    table = teacher if isinstance(teacher, TeacherTable) else tables.get(teacher)
    known = None if table is None else table.look(batch.ids, taps)
    if known is not None:
        return known
    network = teacher.network if isinstance(teacher, TeacherTable) else teacher
    if network is None:
        raise ValueError(
            f"the table {teacher.name!r} does not know these images (augmented, or of another "
            f"data set) or layers {list(taps)}, and has no network to ask; "
            "tabulate them, or train without augment"
        )
    with evaluating(network), torch.autocast(batch.x.device.type, enabled=False):
        return observe(network, batch.x, taps)
