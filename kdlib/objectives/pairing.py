"""Which layer is compared with which, and the projector between them."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from kdlib.models import evaluating
from kdlib.objectives.step import Step
from kdlib.objectives.teachers import Teacher, TeacherTable


class Layers(Mapping[str, str]):
    """Pairs {"student.layer": "teacher.layer"} that can be hashed and cannot be changed."""

    def __init__(self, pairs: Mapping[str, str], term: str = "the term") -> None:
        if not isinstance(pairs, Mapping) or not pairs:
            raise ValueError(
                f"layers of {term} are {pairs!r}; "
                'expected pairs {"student.layer": "teacher.layer"}, at least one'
            )
        self._pairs = dict(pairs)

    def __getitem__(self, layer: str) -> str:
        return self._pairs[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __hash__(self) -> int:
        return hash(frozenset(self._pairs.items()))

    def __repr__(self) -> str:
        return repr(self._pairs)


def projector(f_s: Tensor, f_t: Tensor) -> nn.Module:
    """A linear map from the student's shape to the teacher's, batch axis aside.

    Vectors: Linear. Maps: average pooling to the teacher's height and width, then a 1×1
    convolution. Between a vector and a map: Linear to or from the map, pooled to one position.
    """
    inputs, outputs = f_s.shape[1], f_t.shape[1:]
    if f_s.dim() == 4 and f_t.dim() == 4:
        convolution = nn.Conv2d(inputs, outputs[0], 1)
        if f_s.shape[2:] == outputs[1:]:
            return convolution
        return nn.Sequential(nn.AdaptiveAvgPool2d(tuple(outputs[1:])), convolution)
    if f_t.dim() == 4:
        return nn.Sequential(nn.Linear(inputs, outputs.numel()), nn.Unflatten(1, tuple(outputs)))
    linear = nn.Linear(inputs, outputs[0])
    if f_s.dim() == 4:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    return linear


def explain_pair(
    term: str, names: tuple[str, str], pair: tuple[Tensor, Tensor], step: Step, teacher: Teacher
) -> str:
    """Why this pair cannot be, and which layers can."""
    shapes = [tuple(f.shape[1:]) for f in pair]
    network = teacher.network if isinstance(teacher, TeacherTable) else teacher
    if network is not None:
        teacher_layers = _pairable(network, step.batch.x)
    else:
        assert isinstance(teacher, TeacherTable)
        teacher_layers = ", ".join(f"{n} {tuple(f.shape[1:])}" for n, f in teacher.features.items())
    student_layers = _pairable(step.student, step.batch.x)
    return (
        f"{term} cannot pair {names[0]!r}, of shape {shapes[0]} per image, with {names[1]!r}, "
        f"{shapes[1]}; expected vectors or maps. The student has {student_layers}; "
        f"the teacher has {teacher_layers}"
    )


def _pairable(network: nn.Module, x: Tensor) -> str:
    """The layers that return one vector or map per image, with their shapes."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            usable = isinstance(output, Tensor) and output.dim() in (2, 4)
            shapes.setdefault(name, []).append(tuple(output.shape[1:]) if usable else ())

        return hook

    hooks = [m.register_forward_hook(note(n)) for n, m in network.named_modules() if n]
    try:
        with evaluating(network):
            network(x[:2])
    finally:
        for hook in hooks:
            hook.remove()
    once = {name: calls[0] for name, calls in shapes.items() if len(calls) == 1 and calls[0]}
    return ", ".join(f"{name} {shape}" for name, shape in once.items()) or "none"
