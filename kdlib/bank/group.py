"""The words of a bank's training: a group of students, what an engine made of them, the outcome."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdlib.data import Examples
from kdlib.models import built, predict
from kdlib.objectives import Objective, TeacherTable
from kdlib.training.optimisers import Maker
from kdlib.training.settings import Settings

Weights = dict[str, Tensor]
Answer = Callable[[Examples], Tensor]
"""Examples -> logits (S, N, classes) of the S students of a group."""


@dataclass
class Group:
    """Students of one structure: S of them, each with a seed and a value for each symbol.

    state: axis -> the value that made this structure · places: (S,), where each student stands
    among all of the bank · bindings: symbol -> (S,) · engine: the name of the one that trains them
    · start: seed -> the network whose weights it begins from, None: drawn · tables: what teachers
    answered in tables so far, shared by the groups of a bank · optimizer: another than AdamW ·
    classes: how many a student answers for.
    """

    objective: Objective
    build: Callable[[], nn.Module]
    examples: Examples
    seeds: list[int]
    bindings: dict[str, Tensor]
    settings: Settings
    state: dict[str, Any] = field(default_factory=dict)
    places: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    engine: str = ""
    start: Callable[[int], nn.Module] | None = None
    tables: dict[nn.Module, TeacherTable] = field(default_factory=dict)
    optimizer: Maker | None = None
    classes: int = 0

    def fresh(self) -> list[nn.Module]:
        """Each student before training, where the examples are; those of one seed are one."""
        begun = {
            seed: self.begun(seed).to(self.examples.device) for seed in dict.fromkeys(self.seeds)
        }
        return [begun[seed] for seed in self.seeds]

    def begun(self, seed: int) -> nn.Module:
        """The student of this seed before training: with drawn weights, or those of `start`."""
        if self.start is None:
            return built(self.build, seed)
        network = self.build()
        network.load_state_dict(self.start(seed).state_dict())
        return network

    def to(self, device: torch.device) -> "Group":
        """The same students on another device."""
        bindings = {name: values.to(device) for name, values in self.bindings.items()}
        return replace(self, examples=self.examples.to(device), bindings=bindings)

    def answer(self, weights: Sequence[Weights | None]) -> Answer:
        """What students of these weights say, asked once each; nan of those without weights.

        `weights` is read at each call: it may fill up between them.
        """
        answered: dict[tuple[Examples, int], Tensor] = {}

        def answer(examples: Examples) -> Tensor:
            device = self.examples.device
            network, there = self.build().to(device), examples.to(device)
            for i, state in enumerate(weights):
                if state is not None and (examples, i) not in answered:
                    network.load_state_dict(state)
                    answered[examples, i] = predict(network, there)
            logits = [answered.get((examples, i)) for i in range(len(weights))]
            none = torch.full_like(next(z for z in logits if z is not None), torch.nan)
            return torch.stack([none if z is None else z for z in logits])

        return answer


@dataclass
class Trained:
    """weights: a state dict for each student · losses (S, epochs done) · answer: (S, N, C).

    None, and nan, for students that were not begun when training was stopped.
    """

    weights: Sequence[Weights | None]
    losses: Tensor
    answer: Answer


class Report(Protocol):
    """Whom an engine tells how far it is."""

    def tell(self, group: Group, answer: Answer, epochs: int) -> bool:
        """After so many epochs more (0: before the first); False: training is to end here."""
        ...


Engine = Callable[[Group, Report], Trained]


@dataclass
class Outcome:
    """All students of a bank after training, in one row.

    logits: split -> (students, N, classes) · losses: (students, epochs) · seconds: what it took ·
    stopped: whether `watch` ended it early.
    """

    logits: dict[str, Tensor]
    losses: Tensor
    weights: list[Weights | None]
    seconds: float
    stopped: bool = False
