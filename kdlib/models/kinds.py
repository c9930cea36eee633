"""What kind of network it is, where training must know."""

from torch import nn
from torch.nn.parameter import UninitializedParameter


def convolves(network: nn.Module) -> bool:
    """Whether a layer of it is a 2-D convolution."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def fused(network: nn.Module) -> bool:
    """Whether a layer of it is one of PyTorch's recurrent ones, whose kernels vmap cannot batch."""
    return any(isinstance(module, nn.RNNBase) for module in network.modules())


def normalises(network: nn.Module) -> bool:
    """Whether a layer of it is a BatchNorm: answers then depend on the other images of a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def lazy(network: nn.Module) -> bool:
    """Whether a layer of it waits for its first examples to know its width."""
    return any(isinstance(weight, UninitializedParameter) for weight in network.parameters())


def resting(network: nn.Module) -> list[nn.Module]:
    """The parts of a network in train mode that somebody put into eval mode; else none."""
    return [part for part in network.modules() if not part.training] if network.training else []


def held_still(network: nn.Module) -> list[str]:
    """Names of the weights that are frozen, and of the parts that rest in eval mode."""
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    parts = {id(part) for part in resting(network)}
    return frozen + [name for name, part in network.named_modules() if id(part) in parts]


def frozen_with_buffers(network: nn.Module) -> list[nn.Module]:
    """Modules with buffers of their own in parts whose weights are all frozen.

    Such as normalisations, whatever their kind, whose statistics would move in train mode. One
    without weights belongs to the nearest module around it that has some.
    """
    found = []
    for part in network.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            found += [module for module in part.modules() if module._buffers]
    return found


ALONG = (
    nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
)  # fmt: skip
OF_TOKENS = (
    nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.TransformerEncoderLayer,
    nn.RNNBase,
)  # fmt: skip


def of_tokens(network: nn.Module, tap: str) -> bool | None:
    """Whether a tap's answer of three axes is tokens (B, N, D), and no 1-D map (B, C, L).

    As the tapped module says, if only one kind of layer is in it: those that run along the last
    axis, as 1-D convolutions do, or those that work on it, as Linear does. Else as the network
    says: maps where a layer runs along and none is made for tokens, tokens where none runs along;
    None where both are.
    """
    tapped = network.get_submodule(tap)
    along, last = _holds(tapped, ALONG), _holds(tapped, (*OF_TOKENS, nn.Linear))
    if along != last:
        return last
    if not _holds(network, ALONG):
        return True
    return None if _holds(network, OF_TOKENS) else False


def of_patches(network: nn.Module, tap: str) -> bool:
    """Whether a tap's answer of four axes or more has its channels last, as Swin's blocks have.

    So it is where Linear works in the tapped module, and no convolution.
    """
    tapped = network.get_submodule(tap)
    return _holds(tapped, (nn.Linear,)) and not _holds(tapped, (nn.modules.conv._ConvNd,))


def _holds(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    return any(isinstance(module, kinds) for module in network.modules())
