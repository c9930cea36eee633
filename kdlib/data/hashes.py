"""Images known again by what they hold."""

import hashlib

import torch
from torch import Tensor


def image_ids(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N,), int64: a hash of each image's content (equal pictures, equal id)."""
    x = x.float() if x.dtype == torch.bfloat16 else x  # NumPy has none
    rows = x.cpu().contiguous().flatten(1).numpy()
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    numbers = [int.from_bytes(digest, "big", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)


def content_hash(x: Tensor, *parts: Tensor) -> str:
    """A hash of how the images x are kept (precision and shape), and of the parts, (N, …) each."""
    digest = hashlib.sha256(f"{x.dtype} {tuple(x.shape)}".encode())
    for part in parts:
        digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
