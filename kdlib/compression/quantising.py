"""Real int8 on a CPU: weights of a byte each, and kernels that multiply bytes."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping, quantize_dynamic
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from kdlib.compression.choosing import multiplying
from kdlib.compression.permanent import made_permanent
from kdlib.data import Examples
from kdlib.models import predict


def quantise(network: nn.Module, calibration: Examples | None = None) -> nn.Module:
    """A copy for a CPU whose layers compute with int8 weights, in eval mode; it cannot be trained.

    With images for calibration: static, linear layers and convolutions run as quantized::linear and
    quantized::conv2d, and activations are int8 between them, at ranges seen on those images (their
    labels play no part; a few hundred will do). Without: dynamic, linear layers alone, activations
    are rounded in each call; convolutions stay float.
    By torch.ao.quantization (Jacob et al. 2018), which torch calls deprecated: its warnings are
    silenced here, as the successor's CPU kernels (torchao's) were measured slower than this.
    What is pruned or rounded is made permanent first. Raises ValueError for calibration without
    images, a network that cannot be traced, and one without a layer that becomes int8.
    """
    if calibration is not None and not (isinstance(calibration, Examples) and len(calibration)):
        raise ValueError(
            f"calibration is {_what(calibration)}; expected Examples, such as train[:500], or None "
            "for int8 of linear layers alone"
        )
    layers = multiplying(network)
    if not any(isinstance(m, nn.Linear) or calibration is not None for m in layers.values()):
        raise ValueError(
            f"{type(network).__name__} has no linear layer for dynamic int8; give calibration "
            "images, which turn convolutions into int8 too"
        )
    if any("torch.ao." in type(module).__module__ for module in network.modules()):
        raise ValueError("the network is int8 already; give the float network that it came from")
    plain = made_permanent(network).cpu().eval()
    with _quiet():
        result = _dynamic(plain) if calibration is None else _static(plain, calibration)
    return result.eval().requires_grad_(False)


def _what(calibration: Any) -> str:
    if isinstance(calibration, Examples):
        return "without images"
    return f"of type {type(calibration).__name__}"


def _dynamic(plain: nn.Module) -> nn.Module:
    result: nn.Module = quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    for module in result.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # its fused kernel would take the weights as floats
    return result


def _static(plain: nn.Module, calibration: Examples) -> nn.Module:
    engine = torch.backends.quantized.engine
    mapping = get_default_qconfig_mapping("x86" if engine in ("none", "fbgemm") else engine)
    example = calibration[:2].batch().x.cpu().clone()
    try:
        watched: Any = prepare_fx(plain, mapping, (example,))
        predict(watched, calibration)
        result: nn.Module = convert_fx(watched)
        predict(result, example)
    except Exception as error:  # torch.fx refuses networks in many ways
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{type(plain).__name__} cannot be traced for static int8 ({why}); leave calibration "
            "out for int8 of its linear layers, or write its forward without branches on values"
        ) from error
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of deprecation, and of observers that saw nothing."""
    with warnings.catch_warnings(action="ignore"):
        yield
