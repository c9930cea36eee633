"""Which layer is compared with which, and the projector between them."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from kdlib.models import evaluating, main_tensor, of_patches, of_tokens
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


CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
POOLS = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}


def channels_first(f: Tensor, teacher: Teacher, tap: str) -> Tensor:
    """Tokens (B, N, D) as a map (B, D, N), patches (B, H, W, D) as (B, D, H, W); others stay.

    Raises ValueError where nothing tells tokens from a map (B, C, L), see `models.of_tokens`.
    """
    if f.dim() < 3:
        return f
    network = teacher.network if isinstance(teacher, TeacherTable) else teacher
    if f.dim() > 3:
        return f.movedim(-1, 1) if network is not None and of_patches(network, tap) else f
    tokens = None if network is None else of_tokens(network, tap)
    if tokens is None:
        raise ValueError(
            f"layer {tap!r} gives {tuple(f.shape[1:])} per image, and nothing tells whether these "
            "are (tokens, width) or (channels, length); choose a layer that is a Linear, a norm or "
            "a block of them for tokens, a 1-D convolution or a block of them for maps"
        )
    return f.transpose(1, 2) if tokens else f


def projector(f_s: Tensor, f_t: Tensor) -> nn.Module:
    """A linear map from the student's shape to the teacher's, batch axis aside.

    Vectors: Linear. Maps of as many axes: average pooling to the teacher's height and width (or
    length), then a convolution of one position. Between a vector and a map: Linear to or from the
    map, pooled to one position.
    """
    inputs, outputs = f_s.shape[1], f_t.shape[1:]
    if f_s.dim() == f_t.dim() and f_s.dim() > 2:
        convolution = CONVOLUTIONS[f_s.dim()](inputs, outputs[0], 1)
        if f_s.shape[2:] == outputs[1:]:
            return convolution
        return nn.Sequential(POOLS[f_s.dim()](tuple(outputs[1:])), convolution)
    if f_t.dim() > 2:
        return nn.Sequential(nn.Linear(inputs, outputs.numel()), nn.Unflatten(1, tuple(outputs)))
    linear = nn.Linear(inputs, outputs[0])
    if f_s.dim() > 2:
        return nn.Sequential(POOLS[f_s.dim()](1), nn.Flatten(), linear)
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
        f"{shapes[1]}; expected vectors or maps, two maps of as many axes. The student has "
        f"{student_layers}; "
        f"the teacher has {teacher_layers}"
    )


def _pairable(network: nn.Module, x: Tensor) -> str:
    """The layers that return one vector or map per image, with their shapes."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            f = output if isinstance(output, Tensor) else main_tensor(output)
            shape = tuple(f.shape[1:]) if f is not None and f.dim() in (2, *POOLS) else ()
            shapes.setdefault(name, []).append(shape)

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
