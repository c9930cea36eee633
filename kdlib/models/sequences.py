"""Networks that speak of the next token: a recurrent one, and one that attends.

`network(x)` of tokens x (B, L), int64 from 0 to V - 1, gives logits (B, L, V): those at position t
are of token t and depend on x[:, :t] alone. The network shifts its input itself, and begins with a
token V of its own. Taps: "embedding" (what the head sees, (B, L, width)), "head".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlib.arguments import whole


class _Lookup(nn.Embedding):
    """Rows of weights, one for each token; drawn from N(0, scale²)."""

    def __init__(self, count: int, width: int, scale: float) -> None:
        self.scale = scale
        super().__init__(count, width)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.scale)

    def forward(self, tokens: Tensor) -> Tensor:
        try:
            return super().forward(tokens)
        except IndexError as error:  # asked of the values beforehand, vmap and GPUs would wait
            raise ValueError(
                f"a token is none of 0 to {self.num_embeddings - 2}; build the network with the "
                "vocabulary of its tokens, and put 0 where there is none (-1)"
            ) from error


class _Gates(_Lookup):
    """What each token says to the three gates; drawn as the weights of a recurrent layer are."""

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -self.scale, self.scale)


class _Linear(nn.Linear):
    """A layer drawn from N(0, 1 / inputs), its bias 0."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014): token → three gates → state → embedding → head.

    The reset gate works on the product, as in PyTorch's own nn.GRU. `begin` and `step` go through
    a sequence token by token, at the cost of one forward pass.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        if not (whole(vocabulary, 2) and whole(width, 1)):
            raise ValueError(
                f"vocabulary={vocabulary!r}, width={width!r}: expected whole numbers, at least 2 "
                "tokens and a width of at least 1"
            )
        super().__init__()
        self.vocabulary, self.width = vocabulary, width
        self.gates = _Gates(vocabulary + 1, 3 * width, width**-0.5)
        self.memory = nn.Linear(width, 3 * width)
        self.embedding = nn.Identity()
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        state = self.begin(len(x))
        states = []
        for said in self.gates(_shifted(x, self.vocabulary)).unbind(1):
            state = self._next(said, state)
            states.append(state)
        return self.head(self.embedding(torch.stack(states, 1)))

    def begin(self, count: int) -> Tensor:
        """The state (count, width) before the first token."""
        return self.memory.weight.new_zeros(count, self.width)

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The token last written, (B,), V at the start → logits (B, V) of the next; and state."""
        state = self._next(self.gates(tokens), state)
        return self.head(self.embedding(state)), state

    def _next(self, said: Tensor, state: Tensor) -> Tensor:
        """said (B, 3 · width), state (B, width) → the state after it."""
        from_reset, from_update, from_new = said.chunk(3, -1)
        to_reset, to_update, to_new = self.memory(state).chunk(3, -1)
        reset, update = (from_reset + to_reset).sigmoid(), (from_update + to_update).sigmoid()
        new = (from_new + reset * to_new).tanh()
        return new + update * (state - new)


class _Block(nn.Module):
    """Attention to the tokens before, then a layer of its own for each token; both are added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.RMSNorm(width, eps=1e-6)
        self.attends = _Linear(width, 3 * width, bias=False)
        self.attended = _Linear(width, width, bias=False)
        self.before_layer = nn.RMSNorm(width, eps=1e-6)
        self.wide = _Linear(width, 4 * width)
        self.narrow = _Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, width) → (B, L, width)."""
        count, length, width = h.shape
        asked = self.attends(self.before_attention(h))
        asked = asked.reshape(count, length, 3, self.heads, width // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(
            0
        )  # each (B, heads, L, width/heads)
        alike = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        later = torch.ones(length, length, dtype=torch.bool, device=h.device).triu(1)
        mixed = alike.masked_fill(later, -torch.inf).softmax(-1) @ value
        h = h + self.attended(mixed.transpose(1, 2).reshape(count, length, width))
        return h + self.narrow(F.gelu(self.wide(self.before_layer(h))))


class Transformer(nn.Module):
    """token + position → (attention → layer) × layers → norm → embedding → head.

    A decoder (Vaswani et al. 2017) with its norms before (Xiong et al. 2020), as root mean squares
    (Zhang & Sennrich 2019), and layers four times as wide inside, with GELU. Taps, besides:
    "blocks.0", "blocks.1", …
    """

    def __init__(
        self, vocabulary: int, width: int, layers: int = 1, heads: int = 2, *, length: int = 10
    ) -> None:
        sizes = (vocabulary - 1 if whole(vocabulary, 1) else vocabulary, width, layers, heads)
        if not all(whole(size, 1) for size in (*sizes, length)):
            raise ValueError(
                f"vocabulary={vocabulary!r}, width={width!r}, layers={layers!r}, heads={heads!r}, "
                f"length={length!r}: expected whole numbers ≥ 1, and at least 2 tokens"
            )
        if width % heads:
            raise ValueError(
                f"width={width} for {heads} heads; expected a multiple: each head has its own part"
            )
        super().__init__()
        self.vocabulary, self.width, self.length = vocabulary, width, length
        self.tokens = _Lookup(vocabulary + 1, width, 0.5)
        self.places = _Lookup(length, width, 0.5)
        self.blocks = nn.Sequential(*[_Block(width, heads) for _ in range(layers)])
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.embedding = nn.Identity()
        self.head = _Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if length > self.length:
            raise ValueError(
                f"sequences of {length} tokens for a transformer with length={self.length}; build "
                f"it with length={length}, or give shorter ones"
            )
        h = self.tokens(_shifted(x, self.vocabulary)) + self.places.weight[:length]
        return self.head(self.embedding(self.norm(self.blocks(h))))


def _shifted(x: Tensor, start: int) -> Tensor:
    """What was written before each position: the start, then all tokens but the last."""
    return torch.cat([torch.full_like(x[:, :1], start), x[:, :-1]], 1)


def gru(vocabulary: int, width: int) -> GRU:
    """A recurrent network, e.g. `gru(12, 16)` with 1,644 weights; draw them with `initialise`."""
    return GRU(vocabulary, width)


def transformer(
    vocabulary: int, width: int, layers: int = 1, heads: int = 2, *, length: int = 10
) -> Transformer:
    """An attending network for up to `length` tokens, e.g. `transformer(12, 12)`: 2,256 weights."""
    return Transformer(vocabulary, width, layers, heads, length=length)
