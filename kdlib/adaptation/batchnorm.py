"""BatchNorm's statistics of other images (AdaBN)."""

import copy
import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdlib.data import Examples
from kdlib.models import check_examples, evaluating, observe


def adabn(network: nn.Module, examples: Examples, *, size: int = 500) -> nn.Module:
    """BatchNorm's running statistics become those of these images (AdaBN, Li et al. 2017).

    In place; returns the network. No weight moves, no label is read, dropout is off, and every
    module's mode is as before. The images pass in their order, `size` or fewer at a time, and
    each layer keeps the mean over these batches of their means and (unbiased) variances: the
    statistics that were there before leave no trace, and up to `size` images give exactly the
    statistics of all of them.
    Raises ValueError for a network without BatchNorm statistics, no Examples, fewer than 2 images.
    """
    check_examples("statistics are taken", examples)
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no BatchNorm with running statistics, all that adabn "
            "changes; choose a network that has, such as cnn(), or another way to adapt"
        )
    if len(examples) < 2 or size < 2:
        raise ValueError(
            f"{len(examples)} images, {size} at a time, have no statistics; "
            "expected at least 2 of both"
        )
    device = next((parameter.device for parameter in network.parameters()), examples.device)
    batches = min(math.ceil(len(examples) / size), len(examples) // 2)  # 2 images in each, or more
    before = [(layer, layer.momentum, copy.deepcopy(layer.state_dict())) for layer in layers]
    with evaluating(network):
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.train()
                layer.momentum = None  # the plain mean over batches, no forgetting
            for index in torch.arange(len(examples), device=examples.device).tensor_split(batches):
                observe(network, examples.batch(index).x.to(device))
        except BaseException as error:
            for layer, _, state in before:  # half-made statistics are worse than the old ones
                layer.load_state_dict(state)
            if isinstance(error, ValueError) or not isinstance(error, Exception):
                raise
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"{type(network).__name__} cannot take {examples!r} ({why}); give images of the "
                "size and kind that it was built for"
            ) from error
        finally:
            for layer, momentum, _ in before:
                layer.momentum = momentum
    return network
