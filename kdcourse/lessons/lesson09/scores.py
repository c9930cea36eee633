"""What a network's answers to unlabelled images say of it."""

from torch import nn

from kdlib import metrics
from kdlib.data import Examples
from kdlib.models import predict


def score(network: nn.Module, images: Examples) -> float:
    """Nats, the higher the more confident and diverse: what SHOT-IM trains for."""
    return metrics.information_maximization_score(predict(network, images))
