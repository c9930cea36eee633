"""What is asked of networks that speak of the next token, before anything is trained or changed."""

import contextlib
import copy

import torch
from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.models import evaluating, predict, write
from kdlib.objectives import Objective


def check_vocabulary(who: str, examples: Examples, logits: Tensor) -> None:
    """Raises ValueError for a token that the network does not know, learned or only read."""
    if int(examples.x.max()) >= logits.shape[-1]:
        raise ValueError(
            f"{who} knows {logits.shape[-1]} tokens and one is {int(examples.x.max())}; build it "
            f"with a vocabulary of {int(examples.x.max()) + 1}, or give sequences of its tokens"
        )


def check_blind(who: str, network: nn.Module, length: int, vocabulary: int) -> None:
    """Raises ValueError for a network that sees the token of which it speaks, or a later one.

    It is asked with its weights shaken a little, as a head may begin with zeros.
    """
    generator = torch.Generator().manual_seed(0)
    with contextlib.suppress(Exception):  # what cannot be copied is asked as it is
        network = copy.deepcopy(network)
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator).to(weight))
    tokens = torch.randint(vocabulary, (1, length), generator=generator).expand(length + 1, length)
    places = torch.arange(length)
    tokens = tokens.clone()  # row t differs from the last at place t alone
    tokens[places, places] = (tokens[places, places] + 1) % vocabulary
    logits = predict(network, tokens)
    seen = (logits[:-1] - logits[-1:]).abs().amax(-1) > 1e-4 * logits.abs().amax().clamp(min=1)
    if bool(seen.tril().any()):
        raise ValueError(
            f"{who} answers differently where only a later token differs, or the very one of which "
            "the answer speaks; the answer at place t may depend on the tokens before t alone: "
            "shift its input by one"
        )


def check_writers(objective: Objective, student: nn.Module, few: Tensor, count: int) -> None:
    """Raises ValueError unless all who write prefixes can, in the student's tokens."""
    for writing in dict.fromkeys(w for _, term in objective.terms for w in term.writings()):
        own = isinstance(writing.by, str)
        network = student if isinstance(writing.by, str) else writing.by
        who = f"the {'student' if own else 'writer'} {type(network).__name__}"
        if not own:
            logits = predict(network, few)
            if logits.shape != (*few.shape, count):
                raise ValueError(
                    f"{who} answers {tuple(few.shape)} tokens with shape {tuple(logits.shape)}; "
                    f"expected {(*few.shape, count)}, the student's {count} tokens at each place"
                )
            check_blind(who, network, few.shape[1], count)
        if writing.end is not None and writing.end >= count:
            raise ValueError(f"end={writing.end}: expected one of the tokens 0 to {count - 1}")
        try:
            with evaluating(network):
                there = next((w.device for w in network.parameters()), few.device)
                write(network, few.to(there), torch.full(few.shape, 0.5, device=there))
        except Exception as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"{who} cannot write token by token ({why}); prefixes need a network that answers "
                "sequences of any length up to theirs"
            ) from error
