"""Exercises of notebook 01."""

from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.checks.exercises import Exercise, Property


def _near(value: Any, right: float, share: float = 0.01) -> bool:
    return abs(float(value) - right) <= share * right + 1


images_needed = Exercise(
    "01.1",
    "how many images a difference takes",
    [
        Property(
            "the differences are in points, not shares",
            lambda f: not _near(f(0.04, 0.5), 0.04 * (1.96 / 0.5) ** 2),
            "0.5 points are a share of 0.005: in points the interval reaches 196 · √(d / n).",
        ),
        Property(
            "half the difference takes four times the images",
            lambda f: _near(f(0.04, 0.25), 4 * float(f(0.04, 0.5))),
            "points = 196 · √(d / n): square both sides before you solve for n.",
        ),
        Property(
            "twice the share of disagreement takes twice the images",
            lambda f: _near(f(0.08, 0.5), 2 * float(f(0.04, 0.5))),
            "d stands under the root, so after squaring n is proportional to d.",
        ),
        Property(
            "0.5 points at d = 0.04 take some 6,100 images",
            lambda f: _near(f(0.04, 0.5), 0.04 * (196 / 0.5) ** 2),
            "n = d · (196 / points)²: is the 1.96 there, and the 100 of the percent?",
        ),
    ],
    lambda f: f(0.04, 0.5),
)


def _tables() -> tuple[Tensor, Tensor]:
    """400 images: both wrong on 40, a alone on 20, b alone on 8. b saves 3 points."""
    a, b = torch.zeros(400, dtype=torch.bool), torch.zeros(400, dtype=torch.bool)
    a[:60], b[:40], b[60:68] = True, True, True
    return a, b


_DIFFERENCES = 100 * (_tables()[0].double() - _tables()[1].double())
_ERROR = float(_DIFFERENCES.std()) / 20  # the standard error of their mean, in points
_UNPAIRED = 100 * float((0.15 * 0.85 / 400 + 0.12 * 0.88 / 400) ** 0.5)


def _ends(f: Any) -> tuple[float, float, float]:
    """Mean, low and high, from a tuple, list, tensor or Interval."""
    found = f(*_tables())
    if hasattr(found, "low"):
        found = (found.mean, found.low, found.high)
    mean, low, high = (float(end) for end in found)
    return mean, low, high


def _half(f: Any) -> float:
    return (_ends(f)[2] - _ends(f)[1]) / 2


def _is(value: float, right: float) -> bool:
    return abs(value - right) <= 0.012 * abs(right)


paired = Exercise(
    "01.2",
    "a paired interval",
    [
        Property(
            "it returns three numbers: mean, low, high",
            lambda f: _ends(f) and True,
            "Return (mean, low, high).",
        ),
        Property(
            "what b saves is positive where a is wrong more often",
            lambda f: _ends(f)[0] > 0,
            "Error of a minus error of b.",
        ),
        Property(
            "the mean is in points",
            lambda f: _is(_ends(f)[0], 3.0),
            "Points are percent: times 100. Here a is wrong on 60 of 400 images, b on 48.",
        ),
        Property(
            "low lies below the mean and high above it, equally far",
            lambda f: (
                _half(f) > 0 and abs(_ends(f)[1] + _ends(f)[2] - 2 * _ends(f)[0]) < 0.02 * _half(f)
            ),
            "low = mean − half, high = mean + half.",
        ),
        Property(
            "images on which both are wrong cancel",
            lambda f: not _is(_half(f), 1.96 * _UNPAIRED),
            "That is the unpaired interval: subtract image by image, and take the spread of these "
            "differences.",
        ),
        Property(
            "it is the interval of a mean, not the spread of images",
            lambda f: _half(f) < 10,
            "The standard error of a mean is the standard deviation divided by √n.",
        ),
        Property(
            "it reaches 1.96 standard errors to each side",
            lambda f: _is(_half(f), 1.96 * _ERROR),
            "half = 1.96 · standard deviation of the differences / √n, in points.",
        ),
    ],
    lambda f: f(*_tables()),
)


class _Batch:
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)


def _batches(*sizes: int) -> list[_Batch]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for size in sizes:
        x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
        made.append(_Batch(x, (x.sum(1) > 0).long()))
    return made


def _network() -> nn.Sequential:
    linear = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.5, -0.2, 0.1], [-0.3, 0.4, 0.2]]))
    network = nn.Sequential(nn.BatchNorm1d(3), linear).double()
    return network.eval()  # as the last evaluation left it


def _trained(f: Any, *sizes: int) -> tuple[nn.Sequential, Any]:
    network = _network()
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    return network, f(network, _batches(*sizes), optimizer)


def _right(network: nn.Module, batches: list[_Batch], optimizer: torch.optim.Optimizer) -> float:
    network.train()
    total = 0.0
    for batch in batches:
        loss = nn.functional.cross_entropy(network(batch.x), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += len(batch) * float(loss.detach())
    return total / sum(map(len, batches))


def _same_weights(f: Any, *sizes: int) -> bool:
    pairs = zip(
        _trained(f, *sizes)[0].parameters(), _trained(_right, *sizes)[0].parameters(), strict=True
    )
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)


def _in_train_mode(f: Any) -> bool:
    network, _ = _trained(f, 16)
    return not torch.equal(network[0].running_mean, torch.zeros(3).double())  # type: ignore[arg-type]


def _mean_loss(f: Any) -> bool:
    loss = torch.as_tensor(_trained(f, 16, 2)[1]).detach()
    return abs(float(loss) - _trained(_right, 16, 2)[1]) < 1e-4


one_epoch = Exercise(
    "01.3",
    "one epoch of training",
    [
        Property(
            "the network trains in train mode",
            _in_train_mode,
            "An evaluation may have left it in eval mode: BatchNorm and dropout are for "
            "network.train().",
        ),
        Property(
            "one batch moves the weights one step down the cross-entropy of the logits",
            lambda f: _same_weights(f, 16),
            "cross_entropy takes the softmax itself: give it logits, and the mean over the batch.",
        ),
        Property(
            "the second batch starts from a gradient of zero",
            lambda f: _same_weights(f, 16, 16),
            "backward() adds to the gradients: optimizer.zero_grad() before each of them.",
        ),
        Property(
            "every image counts the same in the mean loss, also in a short last batch",
            _mean_loss,
            "Add up len(batch.y) · loss, and divide by all images at the end.",
        ),
        Property(
            "it returns a plain number",
            lambda f: not getattr(_trained(f, 16, 2)[1], "requires_grad", False),
            "A loss holds its graph: add up float(loss.detach()).",
        ),
    ],
    lambda f: _trained(f, 16)[1],
)
