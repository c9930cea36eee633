"""Whole channels taken out: a network that is really smaller."""

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import finite
from kdlib.compression.choosing import check_plain, chosen_layers, multiplying
from kdlib.models import MLP, evaluating, main_tensor


def smaller(
    network: nn.Module, amount: float, x: Tensor, *, keep: str | Iterable[str] = ()
) -> nn.Module:
    """A copy in which about this share of each layer's channels is gone (structured pruning).

    The library torch-pruning finds which layers' channels belong together (Fang et al. 2023) and
    takes out those of smallest L2 norm; at least one stays everywhere. x: a few images (B, C, H, W)
    to trace the network with. keep: names of layers whose outputs stay, beside the last linear
    layer or convolution registered, the head.
    Flags of gradients and modes are the network's, `MLP.sizes` the new ones; other attributes that
    repeat a width (of your own networks) stay as they were.
    Raises ValueError for an amount that is not above 0 and below 1, a network that cannot be traced
    or has no channel to spare, and one whose answers would change their shape or fail.
    """
    if not (finite(amount) and 0 < amount < 1):
        raise ValueError(f"amount={amount!r}: expected a share above 0 and below 1, such as 0.5")
    if not len(x):
        raise ValueError("no image to trace the network with; give at least one")
    layers = multiplying(network)
    if len(layers) < 2:
        chosen_layers(network)  # says why
    check_plain(network, "smaller")
    kept = chosen_layers(network, keep) if keep else {}
    result = copy.deepcopy(network)
    stay = [result.get_submodule(name) for name in (*kept, list(layers)[-1])]
    sample = x[:2].clone().to(next(network.parameters()).device)
    wanted = _answer_shape(network, sample)
    try:
        with warnings.catch_warnings(action="ignore"), torch.enable_grad():
            _thin(result.requires_grad_(True), float(amount), sample, stay)
        found = _answer_shape(result, sample)
    except ImportError:
        raise
    except Exception as error:  # tracing fails in as many ways as networks are written
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{type(network).__name__} cannot be made smaller ({why}); name the layers that must "
            "stay in keep=, or use prune or factorise"
        ) from error
    if found != wanted:
        raise ValueError(
            f"{type(network).__name__} would answer with shape {found}, not {wanted}; "
            "name the layer that answers in keep="
        )
    if _size(result) >= _size(network):
        raise ValueError(
            f"amount={amount:g} takes no channel out of {type(network).__name__}; "
            "choose a larger one, or keep fewer layers"
        )
    _as_before(result, network)
    return result


def _thin(network: nn.Module, amount: float, x: Tensor, stay: list[nn.Module]) -> None:
    """Takes the channels out, in place."""
    try:
        import torch_pruning
    except ImportError as error:
        raise ImportError(
            "smaller needs the package torch-pruning, which is not installed; "
            "pip install kdlib[compression] brings it"
        ) from error
    heads: dict[Any, int] = {
        m: m.num_heads for m in network.modules() if isinstance(m, nn.MultiheadAttention)
    }
    pruner = torch_pruning.pruner.MagnitudePruner(
        network,
        x,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=amount,
        ignored_layers=stay,
        num_heads=heads,
    )
    pruner.step()


def _answer_shape(network: nn.Module, x: Tensor) -> tuple[int, ...]:
    try:
        with evaluating(network):
            answer = network(x)
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{type(network).__name__} cannot be asked about x of {tuple(x.shape)} ({why}); "
            "give images of its size"
        ) from error
    logits = answer if isinstance(answer, Tensor) else main_tensor(answer)
    if logits is None:
        raise ValueError(
            f"{type(network).__name__} answers with {type(answer).__name__}, not one tensor; wrap "
            "it in a module that returns its logits"
        )
    return tuple(logits.shape)


def _size(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _as_before(result: nn.Module, network: nn.Module) -> None:
    """Flags and modes of the network, in place; plain parameters without a gradient."""
    flags = {name: weight.requires_grad for name, weight in network.named_parameters()}
    for name, weight in result.named_parameters():
        weight.requires_grad_(flags.get(name, True)).grad = None
    for module, before in zip(result.modules(), network.modules(), strict=True):
        module.training = before.training
        if isinstance(module, MLP):
            linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
            module.sizes = (linear[0].in_features, *(m.out_features for m in linear))
