"""One step of training, recorded and replayed: on CUDA, where small steps wait for Python.

A recording holds the operators of one call with their tensors and plain numbers as they were, so
whatever changes from step to step is an input or lives in a tensor that the step changes in place.
"""

import contextlib
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kdlib.data import Examples
from kdlib.objectives import Objective

Outputs = dict[str, Tensor]
WARM_UP = 3  # steps of each shape: optimisers make their state in them, libraries their work space


class _Streams(threading.local):
    """A stream for each device and thread: a new one for each training would keep its memory."""

    def __init__(self) -> None:
        self.of: dict[torch.device, torch.cuda.Stream] = {}


_streams = _Streams()
_broken: list[torch.cuda.CUDAGraph] = []  # the allocator goes on asking a graph that failed


def recorder(
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
    found: list[str] = []
    if device.type != "cuda":
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode(before)
    for one in told:
        if "synchronizing CUDA operation" in str(one.message):
            found.append(f"it waits for the GPU at {one.filename}:{one.lineno}")
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def recordable(objective: Objective, examples: Examples) -> bool:
    """Whether no step of this training decides by what a tensor holds."""
    return not objective.one_by_one and len(examples.domains) == 1


class Recorded:
    """`step(*inputs) -> {name: tensor}`, inputs tensors or numbers, recorded for each shape.

    The first calls of each shape are taken as they are, the last of them watched for what cannot
    be recorded; one is recorded, the others are replayed.
    Where the device records nothing, or `allowed` is False, every call is taken as it is. A step
    that cannot be recorded is taken as it is too, after one warning; no step is lost or done twice.
    """

    def __init__(
        self, step: Callable[..., Outputs], device: torch.device, *, allowed: bool = True
    ) -> None:
        self._step, self._device = step, device
        self._record = recorder(device) if allowed else None
        self._seen: Counter[tuple[torch.Size, ...]] = Counter()
        self._kept: dict[tuple[torch.Size, ...], Callable[[list[Tensor]], Outputs]] = {}

    def __call__(self, *inputs: Tensor | float) -> Outputs:
        if self._record is None:
            return self._step(*inputs)
        given = [
            one if isinstance(one, Tensor) else torch.full((), one, device=self._device)
            for one in inputs
        ]
        shapes = tuple(one.shape for one in given)
        self._seen[shapes] += 1
        if self._seen[shapes] < WARM_UP:
            return self._step(*given)
        if self._seen[shapes] == WARM_UP:
            with waits(self._device) as found:
                outputs = self._step(*given)
            if found:
                self._give_up(found[0])
            return outputs
        if shapes not in self._kept:
            try:
                self._kept[shapes] = self._recording(given)
            except RuntimeError as error:  # CUDA tells what went wrong first as the context
                self._give_up(str(error.__context__ or error).splitlines()[0])
                return self._step(*given)
        return self._kept[shapes](given)

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

    def _recording(self, given: list[Tensor]) -> Callable[[list[Tensor]], Outputs]:
        assert self._record is not None
        own = [one.clone() for one in given]
        replay, outputs = self._record(lambda: self._step(*own))

        def call(inputs: list[Tensor]) -> Outputs:
            for mine, new in zip(own, inputs, strict=True):
                mine.copy_(new)
            replay()
            return {name: tensor.clone() for name, tensor in outputs.items()}

        return call
