"""Several networks as one: those that are trained in one step, those that teach as one."""

import torch
from torch import Tensor, nn

from kdlib import losses
from kdlib.losses.ensembles import shares_of_teachers
from kdlib.models.observing import observe


class Together(nn.Module):
    """Several networks that see the same images and are trained in one step.

    `Together(teacher=mlp(784, 300, 10), student=mlp(784, 32, 10))`: its logits are those of the
    last one; each is a module of its own, `both.student`. `objectives.member` says what each of
    them learns, and `fit(lr={"teacher": …, "student": …})` gives each its rate. A network whose
    weights are all frozen stays as it is, and answers in eval mode. Raises ValueError for fewer
    than two networks, one that is given twice, a name that a module has already.
    """

    def __init__(self, *unnamed: nn.Module, **networks: nn.Module) -> None:
        super().__init__()
        if unnamed or len(networks) < 2:
            raise ValueError(
                f"{len(unnamed) + len(networks)} networks to train together, {len(networks)} of "
                "them with a name; give at least two, with names: Together(teacher=…, student=…)"
            )
        for name, network in networks.items():
            if not name.isidentifier():
                raise ValueError(
                    f"{name!r} is no name for a network; use letters, such as 'student'"
                )
            if not isinstance(network, nn.Module):
                raise ValueError(f"{name} is a {type(network).__name__}; expected a network")
            if hasattr(self, name):
                raise ValueError(f"no network can be called {name!r} here; choose another name")
            if any(network is other for other in self.children()):
                raise ValueError(
                    f"{name} is a network that has another name already; give a copy: "
                    "copy.deepcopy(net)"
                )
            self.add_module(name, network)

    def forward(self, x: Tensor) -> Tensor:
        answers = [observe(network, x).logits for network in self.children()]
        return answers[-1]


class Ensemble(nn.Module):
    """Several networks that answer as one, merged as `losses.merge_logits` does it.

    how: "logits", "probabilities", "confidence" or "votes" · weights: one for each network. Raises
    ValueError for no network, an unknown `how`, and weights that do not fit.
    """

    def __init__(
        self, *networks: nn.Module, how: str = "logits", weights: list[float] | None = None
    ) -> None:
        super().__init__()
        if not networks or not all(isinstance(network, nn.Module) for network in networks):
            raise ValueError(
                "an ensemble needs networks, one after the other: Ensemble(a, b, c, how='logits')"
            )
        self.networks = nn.ModuleList(networks)
        self.how = how
        shares = None if weights is None else shares_of_teachers(weights, len(networks))
        self.register_buffer("weights", shares)
        losses.merge_logits(torch.zeros(len(networks), 1, 2), how, weights=shares)  # to check them

    def forward(self, x: Tensor) -> Tensor:
        logits = [observe(network, x).logits for network in self.networks]
        shapes = {tuple(z.shape) for z in logits}
        if len(shapes) > 1:
            raise ValueError(
                f"the networks of the ensemble answer with shapes {sorted(shapes)}; "
                "give networks of the same classes"
            )
        weights = self.get_buffer("weights") if self.weights is not None else None
        return losses.merge_logits(torch.stack(logits), self.how, weights=weights)
