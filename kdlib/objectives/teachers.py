"""What a teacher said: live, remembered for a batch, or kept in a table for a whole data set."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.models import Observation, evaluating, fingerprint, observe, predict


@dataclass(eq=False)
class TeacherTable:
    """A teacher's logits (N, classes) for known images, found again by their ids (N,).

    With a `network`, unknown or augmented images get a live forward; without one they are an error.
    """

    ids: Tensor
    logits: Tensor
    network: nn.Module | None = None
    name: str = "teacher"
    _sorted: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids, order = self.ids.sort()
        self._sorted = (ids, order)

    def find(self, ids: Tensor | None) -> Tensor | None:
        """The logits of these images, or None if one of them is not in the table."""
        if ids is None:
            return None
        known, order = self._sorted
        place = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
        if not bool((known[place] == ids).all()):
            return None
        return self.logits[order[place]]

    def answering(self, logits: Tensor, name: str) -> "TeacherTable":
        """The same images with other answers, such as permuted ones; no network stands behind."""
        if len(logits) != len(self.ids):
            raise ValueError(f"{len(logits)} answers for {len(self.ids)} images; give one each")
        return TeacherTable(self.ids, logits, None, name)

    def to(self, device: torch.device) -> "TeacherTable":
        return TeacherTable(self.ids.to(device), self.logits.to(device), self.network, self.name)

    def key(self) -> str:
        digest = hashlib.sha256(self.ids.cpu().numpy().tobytes())
        digest.update(self.logits.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()


Teacher = nn.Module | TeacherTable


def tabulate(teacher: nn.Module, examples: Examples) -> TeacherTable:
    """Asks the teacher once about every example: eval mode, no gradient, float32."""
    return TeacherTable(examples.ids, predict(teacher, examples).float(), teacher)


def teacher_key(teacher: Teacher) -> str:
    """A hash of what the teacher says (its weights, or its table)."""
    return teacher.key() if isinstance(teacher, TeacherTable) else fingerprint(teacher)


def ask(
    teacher: Teacher, batch: Batch, taps: Iterable[str], tables: dict[nn.Module, TeacherTable]
) -> Observation:
    """The teacher's observation of this batch, remembered there.

    From its table where the images are known and no features are asked for, else live: in eval
    mode, without gradient, in float32, and left as it was.
    """
    taps = tuple(taps)
    if (teacher, taps) not in batch.memory:
        batch.memory[teacher, taps] = _answer(teacher, batch, taps, tables)
    return batch.memory[teacher, taps]


def _answer(
    teacher: Teacher, batch: Batch, taps: tuple[str, ...], tables: dict[nn.Module, TeacherTable]
) -> Observation:
    table = teacher if isinstance(teacher, TeacherTable) else tables.get(teacher)
    if table is not None and not taps:
        known = table.find(batch.ids)
        if known is not None:
            return Observation(known)
    network = teacher.network if isinstance(teacher, TeacherTable) else teacher
    if network is None:
        raise ValueError(
            f"the table {teacher.name!r} does not know these images (augmented, or of another "
            "data set) and has no network to ask; tabulate them, or train without augment"
        )
    with evaluating(network), torch.autocast(batch.x.device.type, enabled=False):
        return observe(network, batch.x, taps)
