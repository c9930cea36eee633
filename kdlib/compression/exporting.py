"""A network for other programs: written whole or not at all, and asked again."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.compression.permanent import made_permanent
from kdlib.models import predict
from kdlib.replacing import replacing


def export(network: nn.Module, x: Tensor, path: str | Path) -> float:
    """Writes the network for batches of any size; returns the largest difference of its logits.

    The ending decides: ".pt2" (torch.export) or ".onnx" (torch.onnx, dynamo). x: images
    (N, C, H, W); two of them, copied, are the example, as a view of many would be stored with all
    of them. The file is read again, by torch or onnxruntime, and asked about all of x.
    Raises ValueError for another ending, a network that cannot be exported, and answers that
    differ (another class, or logits by more than a thousandth of the largest); OSError where `path`
    cannot be written; ImportError, in one sentence, for a package that is missing. What stood at
    `path` is then untouched.
    """
    path = Path(path)
    if path.suffix not in (".pt2", ".onnx"):
        raise ValueError(f"{path.name} ends in {path.suffix!r}; expected '.pt2' or '.onnx'")
    if not len(x):
        raise ValueError("no image to export the network with; give at least one")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if path.suffix == ".onnx":
        _check_installed("onnx", "onnxscript", "onnxruntime")
    plain = made_permanent(network).cpu().eval()
    images = x.detach().cpu()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, path.suffix) as file:
        with _quiet():
            _write(plain, images[torch.arange(2) % len(images)].clone(), file.name)
            answers = _ask(file.name, images)
        return _difference(predict(plain, images), answers, type(network).__name__)


def _check_installed(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"export to .onnx needs the package {package}, which is not installed; "
                "pip install kdlib[export] brings it"
            )


def _write(network: nn.Module, example: Tensor, file: str) -> None:
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    try:
        if file.endswith(".pt2"):
            with torch.no_grad():
                program = torch.export.export(network, (example,), dynamic_shapes=sizes)
            torch.export.save(program, file)
        else:
            done: Any = torch.onnx.export(
                network, (example,), dynamo=True, dynamic_shapes=sizes, verbose=False
            )
            done.save(file, external_data=False)
    except Exception as error:  # exporters refuse networks in many ways
        why = next(iter((str(error) or type(error).__name__).splitlines()))
        raise ValueError(
            f"{type(network).__name__} cannot be exported ({why}); write its forward without "
            "branches on values, and with tensors alone"
        ) from error


def _ask(file: str, x: Tensor) -> Tensor:
    """What the program in the file answers."""
    if file.endswith(".pt2"):
        with torch.no_grad():
            answer = torch.export.load(file).module()(x)
        return torch.as_tensor(answer)
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return torch.as_tensor(session.run(None, {given.name: x.numpy()})[0])


def _difference(ours: Tensor, theirs: Tensor, name: str) -> float:
    """The largest difference of logits; ValueError where it matters."""
    difference = float((ours - theirs).abs().max())
    other = int((ours.argmax(-1) != theirs.argmax(-1)).sum())
    if other or not difference <= 1e-3 * max(1.0, float(ours.abs().max())):
        raise ValueError(
            f"the exported {name} answers {other} of {len(ours)} images with another class, and "
            f"its logits differ by up to {difference:.2g}; no file was written"
        )
    return difference


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' progress, warnings and graphs of what failed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(before)
