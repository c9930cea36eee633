"""What a network writes: sequences drawn from its own distributions, token by token."""

from typing import Any

import torch
from torch import Tensor, nn

from kdlib.arguments import check_temperature, whole
from kdlib.models.observing import evaluating

_AT_ONCE = 5_000  # sequences


@torch.no_grad()
def write(
    network: nn.Module,
    x: Tensor,
    draws: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    prompt: int = 0,
    end: int | None = None,
) -> Tensor:
    """Tokens (B, L) int64 that the network writes; uniform draws (B, L) in [0, 1) are the chance.

    The first `prompt` tokens are those of x (B, ≥ prompt); each later one has the probabilities
    softmax(z / temperature). After the token `end` all are -1. Modes are the caller's matter; it
    works under torch.func.vmap, and checks nothing. A network with `vocabulary`, `begin` and `step`
    as kdlib.models.GRU has them writes at the cost of one forward pass, another reads all that it
    has written before each token.
    """
    count, length = draws.shape
    steps: Any = network if hasattr(network, "begin") and hasattr(network, "step") else None
    state = steps.begin(count) if steps else None
    done = torch.zeros_like(draws[:, 0], dtype=torch.bool)
    read: list[Tensor] = []  # what the network reads: tokens (B,), and 0 in place of -1
    written: list[Tensor] = []
    for t in range(length):
        z = draws.new_empty(0)
        if steps:
            last = read[-1] if t else torch.full_like(done, steps.vocabulary, dtype=torch.int64)
            z, state = steps.step(last, state)
        elif t >= prompt:  # the answer at t does not see the token at t
            z = network(torch.stack([*read, torch.zeros_like(done, dtype=torch.int64)], 1))[:, t]
        token = x[:, t] if t < prompt else _drawn(z, draws[:, t], temperature)
        token = torch.where(done, -1, token)
        if end is not None:
            done = done | (token == end)
        written.append(token)
        read.append(token.clamp(min=0))
    return torch.stack(written, 1)


def _drawn(z: Tensor, chance: Tensor, temperature: float | Tensor) -> Tensor:
    """The token (B,) at which the summed probabilities first exceed the uniform number (B,)."""
    z = z.float()
    shares = ((z - z.amax(-1, keepdim=True)) / temperature).softmax(-1).cumsum(-1)
    return (shares / shares[:, -1:] <= chance[:, None]).sum(-1)  # so one of probability 0 never


def sample(
    network: nn.Module,
    count: int,
    length: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    end: int | None = None,
    prompt: Tensor | None = None,
) -> Tensor:
    """`count` sequences that the network writes: int64 (count, length), -1 after a token `end`.

    Each begins with its row of `prompt` (count, k) where there is one. Eval mode, without gradient,
    by a generator of its own: the seed alone decides, whatever was drawn before, and the network is
    left as it was. Raises ValueError for other counts, lengths, temperatures and prompts.
    """
    check_temperature(temperature)
    if not (whole(count, 1) and whole(length, 1)):
        raise ValueError(
            f"count={count!r}, length={length!r}: expected whole numbers of sequences and of "
            "tokens, 1 or more"
        )
    if prompt is None:
        prompt = torch.empty(count, 0, dtype=torch.int64)
    if not isinstance(prompt, Tensor):
        raise ValueError(f"prompt is a {type(prompt).__name__}; expected a tensor (count, k)")
    if prompt.dtype != torch.int64 or prompt.shape != (count, min(prompt.shape[-1], length)):
        raise ValueError(
            f"prompt is {prompt.dtype} of shape {tuple(prompt.shape)}; expected torch.int64 of "
            f"shape ({count}, k) with k ≤ {length}: a beginning for each sequence"
        )
    if bool((prompt < 0).any()):
        raise ValueError("a prompt holds -1, which is no token; give all of them one length")
    draws = torch.rand(count, length, generator=torch.Generator().manual_seed(seed))
    there = next((weight.device for weight in network.parameters()), None)
    with evaluating(network):
        chunks = [
            write(network, x, chance, temperature=temperature, prompt=prompt.shape[1], end=end)
            for x, chance in zip(
                prompt.to(there).split(_AT_ONCE), draws.to(there).split(_AT_ONCE), strict=True
            )
        ]
    return torch.cat(chunks)
