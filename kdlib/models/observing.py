"""How to look inside any network, and how to ask it."""

import contextlib
import difflib
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples


@dataclass
class Observation:
    """What a network did with a batch: logits (B, classes), features by tap (B, …)."""

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, index: Tensor) -> "Observation":
        """What it did with the examples at these places (B,)."""
        features = {tap: f[index] for tap, f in self.features.items()} if self.features else {}
        return Observation(self.logits[index], features)


def as_taps(taps: str | Iterable[str]) -> tuple[str, ...]:
    """Each tap once, in order; a single name is one tap."""
    return (taps,) if isinstance(taps, str) else tuple(dict.fromkeys(taps))


def observe(network: nn.Module, x: Tensor, taps: str | Iterable[str] = ()) -> Observation:
    """Runs the network on x and keeps what the tapped modules returned.

    A tap is a module's dotted name ("stage2", "layer4.0.conv1"); forward hooks see it, so any
    nn.Module can be tapped as it is. Taps are cloned: an in-place ReLU behind one would overwrite
    it. With taps a compiled network runs uncompiled. Other floats than float32
    are cast to what the network's weights are. Raises ValueError for an unknown tap (naming the
    nearest), a module that runs twice, never, or returns no tensor, and for a network whose answer
    holds no logits that `main_tensor` can tell, or that changes x in place.
    """
    features: dict[str, Tensor] = {}
    taps = as_taps(taps)
    if not isinstance(x, Tensor):
        raise ValueError(
            f"x is a {type(x).__name__}; expected a tensor (N, C, H, W), such as examples.batch().x"
        )
    if not taps:
        return Observation(_answer(network, x))
    with contextlib.ExitStack() as hooks:
        if "torch._dynamo" in sys.modules:  # compiled code does not look for new hooks
            hooks.enter_context(torch.compiler.set_stance("force_eager"))
        for tap in taps:
            hooks.callback(_listen(network, tap, features).remove)
        logits = _answer(network, x)
    silent = [tap for tap in taps if tap not in features]
    if silent:
        raise ValueError(
            f"tap {silent[0]!r} never ran in this forward pass; tap a module that does"
        )
    return Observation(logits, features)


def seen_by(network: nn.Module, x: Tensor) -> Tensor:
    """Floats in the precision of the network's weights; other tensors as they are."""
    if not x.is_floating_point():
        return x
    kinds = (weight.dtype for weight in network.parameters() if weight.is_floating_point())
    return x.to(next(kinds, x.dtype))


def _answer(network: nn.Module, x: Tensor) -> Tensor:
    """What the network says of x; images that are not float32 it sees in its weights' precision."""
    if x.dtype != torch.float32:  # pixels are; to look takes time
        x = seen_by(network, x)
    before = _version(x)
    try:
        answer: Any = network(x)
    except RuntimeError as error:
        there = next((weight.device for weight in network.parameters()), x.device)
        if there != x.device:
            raise ValueError(
                f"{type(network).__name__} is on {there} and the images are on {x.device}; move "
                f"these there, x.to('{there}'), or the network to them"
            ) from error
        raise
    if _version(x) != before:
        raise ValueError(
            f"{type(network).__name__} changes the images it is shown in place, so that others, "
            "such as a teacher, would see other ones; let it make new ones: x.sub(…) in place of "
            "x.sub_(…), inplace=False"
        )
    if isinstance(answer, Tensor):
        return answer
    logits = main_tensor(answer)
    if logits is None:
        raise ValueError(
            f"{type(network).__name__} answers with {type(answer).__name__}, not one tensor of "
            "logits; build it without auxiliary outputs, or have it return {'logits': logits}"
        )
    return logits


def main_tensor(answer: Any) -> Tensor | None:
    """The one that counts in a dict, tuple or object of answers; None where that is in doubt.

    What is called "logits", or "out"; or the only tensor; or the first of a tuple, where no other
    of its kind is as narrow (auxiliary answers are, and logits behind their features).
    """
    if isinstance(answer, tuple | list):
        parts: dict[Any, Any] = dict(enumerate(answer))
    else:
        parts = dict(answer if isinstance(answer, Mapping) else getattr(answer, "__dict__", {}))
    tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
    for name in ("logits", "out"):
        if name in tensors:
            return tensors[name]
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    first = tensors.pop(0, None)
    if first is None:
        return None
    rivals = [t for t in tensors.values() if t.shape[:-1] == first.shape[:-1]]
    return None if any(t.shape[-1] <= first.shape[-1] for t in rivals) else first


def _version(x: Tensor) -> int:
    """How often x was changed in place; 0 where nothing counts: compiled, or in inference mode."""
    return 0 if torch.compiler.is_compiling() or x.is_inference() else x._version


def _listen(network: nn.Module, tap: str, features: dict[str, Tensor]) -> Any:
    modules = dict(network.named_modules())
    if not tap or tap not in modules:
        near = difflib.get_close_matches(tap, [name for name in modules if name], 1, 0.3)
        raise ValueError(
            f"tap {tap!r} is no module of {type(network).__name__}; the nearest name is {near[0]!r}"
            if near
            else f"tap {tap!r} is no module of {type(network).__name__}; "
            f"it has {', '.join(name for name in modules if name) or 'none'}"
        )

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kind = type(output).__name__
        output = output if isinstance(output, Tensor) else main_tensor(output)
        if output is None:
            raise ValueError(
                f"tap {tap!r} returns {kind}, not one tensor; "
                "tap a module inside it that returns a tensor"
            )
        if tap in features:
            raise ValueError(
                f"tap {tap!r} runs twice in one forward pass; tap the module around it, "
                "or give each use a module of its own"
            )
        features[tap] = output.clone()

    return modules[tap].register_forward_hook(keep)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode and without gradient; afterwards every module's mode as it was."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            yield network
    finally:
        for module, mode in modes:
            module.training = mode


def check_examples(what: str, examples: Any) -> None:
    """Raises ValueError for anything but Examples."""
    if not isinstance(examples, Examples):
        raise ValueError(
            f"{what} of Examples, and this is a {type(examples).__name__}; give Examples(x, y), "
            "such as x, y = zip(*dataset); Examples(torch.stack(x), torch.tensor(y))"
        )


def predict(network: nn.Module, examples: Examples | Batch | Tensor, *, size: int = 500) -> Tensor:
    """Logits (N, classes) in eval mode, without gradient; the network is left as it was.

    Computed where the network is, given back where the images are; other floats than float32 are
    cast, and logits taken out of a dict, tuple or object, as in `observe`. Raises ValueError for
    what is no examples, or none of them, and for a network that changes images in place, or whose
    answer holds no logits that can be told.
    """
    weights = itertools.chain(network.parameters(), network.buffers())
    there = next((weight.device for weight in weights), None)

    def answers(x: Tensor) -> Tensor:
        return _answer(network, x.to(there)).to(x.device)

    with evaluating(network):
        if isinstance(examples, Tensor):
            return answers(examples)
        if isinstance(examples, Batch):
            return answers(examples.x)
        check_examples("predictions are made", examples)
        if not len(examples):
            raise ValueError(f"{examples!r} holds no examples to predict; give at least one")
        chunks = math.ceil(len(examples) / size)
        index = torch.arange(len(examples), device=examples.device)
        return torch.cat([answers(examples.batch(i).x) for i in index.tensor_split(chunks)])
