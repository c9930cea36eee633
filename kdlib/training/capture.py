"""One step of training, recorded and replayed: on CUDA, where small steps wait for Python.

A recording holds the operators of one call with their tensors and plain numbers as they were, so
whatever changes from step to step is an input or lives in a tensor that the step changes in place.
"""

import contextlib
import random
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdlib.data import Batch, Examples
from kdlib.objectives import Objective

Input = Tensor | Batch | float
Outputs = dict[str, Tensor]
WARM_UP = 3  # steps of each shape: optimisers make their state in them, libraries their work space


class _Streams(threading.local):
    """A stream for each device and thread: a new one for each training would keep its memory."""

    def __init__(self) -> None:
        self.of: dict[torch.device, torch.cuda.Stream] = {}


_streams = _Streams()
_broken: list[torch.cuda.CUDAGraph] = []  # the allocator goes on asking a graph that failed


def graph_maker(
    device: torch.device,
) -> Callable[[Callable[[], Outputs]], tuple[Callable[[], None], Outputs]] | None:
    """What records calls on this device: call -> (replay, outputs); None where nothing does."""
    return _cuda_graph if device.type == "cuda" else None


def _cuda_graph(call: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = call()  # nothing is computed here, only recorded
    except RuntimeError:
        _broken.append(graph)
        raise
    return graph.replay, outputs


@contextlib.contextmanager
def waits(device: torch.device) -> Iterator[list[str]]:
    """Where the host waits for the device in what is inside; nothing that waits can be recorded.

    A recording that fails half-way leaves CUDA's allocator in doubt, so a step is watched first.
    """
    places: list[str] = []
    if device.type != "cuda":
        yield places
        return
    before, always = torch.cuda.get_sync_debug_mode(), torch.is_warn_always_enabled()
    torch.cuda.set_sync_debug_mode("warn")
    torch.set_warn_always(True)  # of an older graph PyTorch warns once in a process
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield places
    finally:
        torch.cuda.set_sync_debug_mode(before)
        torch.set_warn_always(always)
    for warning in warned:
        if "synchronizing CUDA operation" in str(warning.message):
            places.append(f"it waits for the GPU at {warning.filename}:{warning.lineno}")
        elif "AccumulateGrad node's stream" in str(warning.message):
            places.append("an earlier answer or loss of the student is kept; `del` it before")
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@contextlib.contextmanager
def draws_on_host(device: torch.device) -> Iterator[list[str]]:
    """Which of the host's generators of random numbers move in what is inside.

    A recording would repeat one draw of theirs for ever. PyTorch's on the CPU counts where steps
    are recorded elsewhere; generators that a network made for itself are not seen.
    """
    moved: list[str] = []
    before = _generators(device)
    yield moved
    after = _generators(device)
    moved += [f"it draws numbers from {name}" for name in after if after[name] != before[name]]


def _generators(device: torch.device) -> dict[str, Any]:
    _, keys, *place = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "Python's random": random.getstate(),
        "NumPy's random": (keys.tobytes(), *place),  # type: ignore[union-attr]
    }
    if device.type != "cpu":
        states["PyTorch's generator on the CPU"] = torch.get_rng_state().numpy().tobytes()
    return states


def repeats(objective: Objective, examples: Examples) -> bool:
    """Whether every step of this training runs the same operators, whatever tensors hold."""
    return not objective.one_by_one and len(examples.domains) == 1


def record(
    step: Callable[..., Outputs], device: torch.device, *, allowed: bool = True
) -> Callable[..., Outputs]:
    """The step, a `RecordedStep` where the device records; elsewhere itself."""
    return RecordedStep(step, device) if allowed and graph_maker(device) is not None else step


def stream_of(step: Callable[..., Outputs]) -> contextlib.AbstractContextManager[None]:
    """Where a recorded step is called: the CUDA stream that it needs; elsewhere nothing."""
    return step.stream() if isinstance(step, RecordedStep) else contextlib.nullcontext()


class RecordedStep:
    """`step(*inputs) -> {name: tensor}`, recorded for each shape of its inputs.

    Inputs are tensors, batches and numbers. The first calls of each shape are taken as they are,
    the last of them watched for what cannot be recorded; one is recorded, the others are replayed.
    Where the device records nothing every call is taken as it is. A step that cannot be recorded is
    taken as it is too, after one warning; no step is lost or done twice.
    """

    def __init__(self, step: Callable[..., Outputs], device: torch.device) -> None:
        self._step, self._device = step, device
        self._record = graph_maker(device)
        self._seen: Counter[tuple[torch.Size, ...]] = Counter()
        self._kept: dict[tuple[torch.Size, ...], Callable[[tuple[Input, ...]], Outputs]] = {}

    def __call__(self, *inputs: Input) -> Outputs:
        if self._record is None:
            return self._step(*inputs)
        inputs = tuple(
            torch.full((), value, device=self._device) if isinstance(value, int | float) else value
            for value in inputs
        )
        shapes = tuple(tensor.shape for tensor in _tensors(inputs))
        self._seen[shapes] += 1
        if self._seen[shapes] < WARM_UP:
            return self._step(*inputs)
        if self._seen[shapes] == WARM_UP:
            with waits(self._device) as places, draws_on_host(self._device) as moved:
                outputs = self._step(*inputs)
            if places + moved:
                self._give_up((places + moved)[0])
            return outputs
        if shapes not in self._kept:
            try:
                self._kept[shapes] = self._recording(inputs)
            except RuntimeError as error:  # CUDA tells what went wrong first as the context
                self._give_up(str(error.__context__ or error).splitlines()[0])
                return self._step(*inputs)
        return self._kept[shapes](inputs)

    def _give_up(self, why: str) -> None:
        self._record = None
        warnings.warn(
            f"this step cannot be recorded ({why}); training goes on with steps as they are, "
            "which takes longer",
            stacklevel=3,
        )

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """The CUDA stream that recording needs, for the loop that calls; elsewhere nothing."""
        if self._record is None or self._device.type != "cuda":
            yield
            return
        outer = torch.cuda.current_stream(self._device)
        if self._device not in _streams.of:
            _streams.of[self._device] = torch.cuda.Stream(self._device)
        inner = _streams.of[self._device]
        inner.wait_stream(outer)
        try:
            with torch.cuda.stream(inner):
                yield
        finally:
            outer.wait_stream(inner)

    def _recording(self, inputs: tuple[Input, ...]) -> Callable[[tuple[Input, ...]], Outputs]:
        assert self._record is not None
        kept = tuple(_clone(value) for value in inputs)
        replay, outputs = self._record(lambda: self._step(*kept))

        def call(values: tuple[Input, ...]) -> Outputs:
            for slot, value in zip(_tensors(kept), _tensors(values), strict=True):
                slot.copy_(value)
            replay()
            return {name: tensor.clone() for name, tensor in outputs.items()}

        return call


def _clone(value: Input) -> Input:
    if isinstance(value, Batch):
        return replace(value, **{name: tensor.clone() for name, tensor in _parts(value).items()})
    return value.clone() if isinstance(value, Tensor) else value


def _tensors(inputs: tuple[Input, ...]) -> list[Tensor]:
    """Every tensor among them, those of a batch too."""
    nested = [_parts(v).values() if isinstance(v, Batch) else [v] for v in inputs]
    return [tensor for tensors in nested for tensor in tensors if isinstance(tensor, Tensor)]


def _parts(batch: Batch) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in vars(batch).items() if tensor is not None}
