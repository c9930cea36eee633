"""What kind of network it is, where training must know."""

from torch import nn


def convolves(network: nn.Module) -> bool:
    """Whether a layer of it is a 2-D convolution."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def fused(network: nn.Module) -> bool:
    """Whether a layer of it is one of PyTorch's recurrent ones, whose kernels vmap cannot batch."""
    return any(isinstance(module, nn.RNNBase) for module in network.modules())


def normalises(network: nn.Module) -> bool:
    """Whether a layer of it is a BatchNorm: answers then depend on the other images of a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
