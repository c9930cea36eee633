"""Networks that several pages use: trained once, kept under all that decides them."""

import hashlib
import warnings
from collections.abc import Callable

import torch
from torch import nn

from kdlib import files
from kdlib.data import cache_root
from kdlib.models import fingerprint
from kdlib.source import library_hash


def kept(
    network: nn.Module, train: Callable[[nn.Module], object], *decided_by: object
) -> nn.Module:
    """The network, trained by `train(network)` in place, or read where it was kept before.

    decided_by: everything else that decides the weights (the examples' fingerprint, numbers of the
    recipe), printed alike in every process. The library's own code counts by itself. What cannot be
    read is trained anew; what cannot be written costs a warning.
    """
    words = [library_hash(), fingerprint(network), *map(repr, decided_by)]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
    try:
        path = cache_root() / "networks" / f"{key}.pt"
        network.load_state_dict(files.restore(path))
    except OSError:
        train(network)
        # As what is read will be: the order in memory moves the last digit of a convolution.
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        try:
            files.save(cache_root() / "networks" / f"{key}.pt", network.state_dict())
        except OSError as error:
            warnings.warn(f"{error}; the network is used without being kept", stacklevel=2)
    return network.eval()
