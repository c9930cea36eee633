"""What is known of a bank's students while they are trained, and who is told of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdlib.bank.group import Answer, Group, Outcome, Trained, Weights
from kdlib.bank.result import missed
from kdlib.data import Examples
from kdlib.data.numeric import is_binary
from kdlib.training import progress_bar

Watch = Callable[[float, dict[str, Tensor]], Any]


class Register:
    """The answers, losses and weights of all students so far; engines report to it.

    shape: (*axes, seeds) · evaluate: split -> examples that the students are asked about · watch:
    see `train_bank`; False from it ends the training, `stopped`. Within `with register:` a bar
    shows how far it is, unless somebody watches.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        groups: Sequence[Group],
        evaluate: Mapping[str, Examples],
        watch: Watch | None,
    ) -> None:
        self._shape, self._evaluate, self._watch = shape, evaluate, watch
        students = math.prod(shape)
        epochs = max(group.settings.epochs for group in groups)
        self._logits: dict[str, Tensor] = {}
        self._losses = torch.full((students, epochs), torch.nan)
        self._weights: list[Weights | None] = [None] * students
        self._done, self._total = 0, sum(_passes(group) for group in groups)
        self.stopped = False
        # who watches has a bar of their own
        self._bar = progress_bar(total=self._total, silent=watch is not None)

    def __enter__(self) -> "Register":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def tell(self, group: Group, answer: Answer, epochs: int) -> bool:
        """An engine's report (`group.Report`): the bar moves on, and who watches is told."""
        self._done += epochs  # a bar that is not shown does not count
        self._bar.update(epochs)
        if self._watch is not None:
            self._ask(group, answer)
            errors = {split: self._errors(split) for split in self._logits}
            self.stopped = self._watch(self._done / self._total, errors) is False or self.stopped
        return not self.stopped

    def enter(self, group: Group, trained: Trained) -> None:
        """What an engine has made of a group."""
        self._ask(group, trained.answer)
        for i, place in enumerate(group.places.tolist()):
            self._weights[place] = trained.weights[i]
            self._losses[place, : trained.losses.shape[1]] = trained.losses[i]

    def outcome(self, seconds: float) -> Outcome:
        return Outcome(self._logits, self._losses, self._weights, seconds, self.stopped)

    def _ask(self, group: Group, answer: Answer) -> None:
        for split, examples in self._evaluate.items():
            logits = answer(examples).cpu()
            if split not in self._logits:
                none = logits.new_full((len(self._weights), *logits.shape[1:]), torch.nan)
                self._logits[split] = none
            self._logits[split][group.places] = logits

    def _errors(self, split: str) -> Tensor:
        """Error % (*axes, seeds), nan for students that have not answered, and without labels."""
        y = self._evaluate[split].y.cpu()  # as the answers
        numbers = y.is_floating_point() and not is_binary(y)  # no errors to be counted
        if numbers or bool((y < 0).any()):
            return torch.full(self._shape, torch.nan, dtype=torch.float64)
        return (100 * missed(self._logits[split], y).mean(-1)).view(self._shape)


def _passes(group: Group) -> int:
    """How many epochs its engine reports: one by one, each student's count."""
    return group.settings.epochs * (len(group.seeds) if group.engine == "sequential" else 1)
