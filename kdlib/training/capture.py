"""One step of training, recorded and replayed: on CUDA, where small steps wait for Python.

A recording holds the operators of one call with their tensors and plain numbers as they were, so
whatever changes from step to step is an input or lives in a tensor that the step changes in place.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kdlib.data import Examples
from kdlib.objectives import Objective

Outputs = dict[str, Tensor]
WARM_UP = 3  # steps of each shape: optimisers make their state in them, libraries their work space


def recorder(
    device: torch.device,
) -> Callable[[Callable[[], Outputs]], tuple[Callable[[], None], Outputs]] | None:
    """What records calls on this device: call -> (replay, outputs); None where nothing does."""
    return _cuda_graph if device.type == "cuda" else None


def _cuda_graph(call: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        outputs = call()  # nothing is computed here, only recorded
    return graph.replay, outputs


def recordable(objective: Objective, examples: Examples) -> bool:
    """Whether no step of this training decides by what a tensor holds."""
    return not objective.one_by_one and len(examples.domains) == 1


class Recorded:
    """`step(*inputs) -> {name: tensor}`, inputs tensors or numbers, recorded for each shape.

    The first calls of each shape are taken as they are, one is recorded, the others are replayed.
    Where the device records nothing, or `allowed` is False, every call is taken as it is. A step
    that cannot be recorded is taken as it is too, after one warning; no step is lost or done twice.
    """

    def __init__(
        self, step: Callable[..., Outputs], device: torch.device, *, allowed: bool = True
    ) -> None:
        self._step, self._device = step, device
        self._record = recorder(device) if allowed else None
        cuda = self._record is not None and device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None
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
        if self._seen[shapes] <= WARM_UP:
            return self._step(*given)
        if shapes not in self._kept:
            try:
                self._kept[shapes] = self._recording(given)
            except RuntimeError as error:
                self._record = None
                warnings.warn(
                    f"this step cannot be recorded ({str(error).splitlines()[0]}); "
                    "training goes on with steps as they are, which takes longer",
                    stacklevel=2,
                )
                return self._step(*given)
        return self._kept[shapes](given)

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """The CUDA stream that recording needs, for the loop that calls; elsewhere nothing."""
        if self._stream is None:
            yield
            return
        outer = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outer.wait_stream(self._stream)

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
