"""What a network costs: weights, and multiply-adds for one image."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdlib.models.observing import evaluating


def parameter_count(network: nn.Module) -> int:
    """The number of weights that training may change."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, x: Tensor) -> int:
    """Multiply-adds of products, convolutions and attention for the first image of x (N, C, H, W).

    PyTorch's counter of floating-point operations, two of which make one multiply-add. Attention
    goes by its formula meanwhile: the counter sees nothing of the fused kernels.
    """
    if not len(x):
        raise ValueError("no image to count the multiply-adds of; give at least one")
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        attention = sdpa_kernel(SDPBackend.MATH)
        with warnings.catch_warnings(action="ignore"):  # of precision flags: they stay
            plain = torch.backends.mkldnn.flags(enabled=False)  # its LSTM counts nothing
            with evaluating(network), attention, plain, FlopCounterMode(display=False) as counter:
                network(x[:1])
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() // 2
