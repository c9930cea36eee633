"""What an optimiser sees: the student, and what the objective owns beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.device import seeded
from kdlib.models import Observation, Together, evaluating, frozen_with_buffers, observe, resting
from kdlib.objectives.seeds import salted
from kdlib.objectives.step import Formula, Part, Step
from kdlib.objectives.symbols import LearnedTemperature, Number, Scalar, value
from kdlib.objectives.teachers import Answers
from kdlib.objectives.texts import Text, said_of


class Owned(nn.Module):
    """What an objective owns, trained with the student.

    by_term: for each term its module, or None · temperatures: for each learned temperature (of
    `symbols`, in that order) the module that gives it.
    """

    def __init__(
        self, by_term: Iterable[nn.Module | None], symbols: Iterable[LearnedTemperature] = ()
    ) -> None:
        super().__init__()
        self.by_term = nn.ModuleList(by_term)  # type: ignore[arg-type]  # None is kept as None
        self.symbols = tuple(symbols)
        self.temperatures = nn.ModuleList(symbol.module() for symbol in self.symbols)


def owned_by(objective: Formula, student: nn.Module, batch: Batch, *, seed: int = 0) -> Owned:
    """What the objective owns beside this student: projectors, learned temperatures and the like.

    Drawn from a generator of their own, and the batch that shows them the shapes (two of its
    images) is seen in eval mode: neither shared randomness nor BatchNorm statistics move. Raises
    ValueError for layers that are not there, or that a term cannot pair.
    """
    ids = None if batch.ids is None else batch.ids[:2]
    where = None if batch.where is None else batch.where[:2]
    few = Batch(batch.x[:2], batch.y[:2], batch.domain[:2], ids, where=where)
    learned = [symbol for symbol in objective.symbols() if isinstance(symbol, LearnedTemperature)]
    with seeded(salted(1, seed), batch.x.device), evaluating(student), torch.enable_grad():
        with torch.no_grad():
            seen = observe(student, few.x, objective.student_taps())
            step = Step(student, seen, few, taps=objective.teacher_taps())
        modules = [term.own(step) for _, term in objective.terms]
    return Owned(modules, learned).to(batch.x.device)


class Learner(nn.Module):
    """What an optimiser sees: the student, and what the objective owns. Teachers are held outside.

    Calling it with a batch gives the loss and its named terms. per_domain: the student sees each
    domain's images in a forward of their own, so that BatchNorm never mixes their statistics.
    `Learner.of` makes what the objective owns. A loop of one's own:

        learner = Learner.of(student, objective, examples.batch())
        optimizer = torch.optim.Adam(learner.parameters())
        for batch in examples.batches(128, torch.Generator().manual_seed(0)):
            loss, terms = learner(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            learner.after_step()
    """

    def __init__(
        self,
        student: nn.Module,
        objective: Formula,
        owned: Owned | None = None,
        *,
        per_domain: bool = False,
    ) -> None:
        super().__init__()
        terms = list(objective.terms)
        self.student = student
        self.owned = Owned([None] * len(terms)) if owned is None else owned
        self.per_domain = per_domain
        self._resting = [
            part for network in self._members() or [student] for part in resting(network)
        ]
        self._student_taps, self._teacher_taps = objective.student_taps(), objective.teacher_taps()
        self._learned = list(zip(self.owned.symbols, self.owned.temperatures, strict=True))
        self._parts: list[tuple[str, Number, Part, nn.Module | None]] = []
        names: set[str] = set()
        modules = self.owned.by_term
        for i, ((weight, term), module) in enumerate(zip(terms, modules, strict=True), 1):
            name = term.name if term.name not in names else f"{term.name} {i}"
            names.add(name)
            self._parts.append((name, weight, term, module))
        readers = [(w, term.teachers()) for _, term in terms for w in term.writings()]
        self.writings = list(dict.fromkeys(writing for writing, _ in readers))
        self._readers = [[t for w, ts in readers if w == own for t in ts] for own in self.writings]
        self._on_data = any(not term.writings() for _, _, term, _ in self._parts)
        self._followers = [(term, module) for _, _, term, module in self._parts if term.follows]

    @classmethod
    def of(
        cls,
        student: nn.Module,
        objective: Formula,
        batch: Batch | Examples,
        *,
        seed: int = 0,
        per_domain: bool = False,
    ) -> Self:
        """The student with what the objective owns; two images of the batch show the shapes.

        seed: draws what is owned (projectors), and nothing else.
        """
        few = batch[:2] if isinstance(batch, Examples) else batch
        owned = owned_by(objective, student, as_batch(few), seed=seed)
        return cls(student, objective, owned, per_domain=per_domain)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module's; but what is frozen, or was at rest before, stays in eval mode.

        Frozen: modules with buffers, such as normalisations, in parts whose weights all are; their
        statistics would go on moving. At rest: parts that were in eval mode, in a student that was
        in train mode, when this learner was made. (A student that was in eval mode itself, as
        `fit` leaves it, is trained whole.) Each member of a `Together` is looked at by itself, and
        rests whole where all its weights are frozen.
        """
        super().train(mode)
        for module in self._resting:
            module.training = False
        for module in frozen_with_buffers(self.student):
            module.training = False
        for network in self._members():
            if not any(weight.requires_grad for weight in network.parameters()):
                network.eval()
        return self

    def _members(self) -> list[nn.Module]:
        return list(self.student.children()) if isinstance(self.student, Together) else []

    def forward(
        self,
        batch: Batch | Examples,
        progress: float = 0.0,
        symbols: Mapping[Any, Any] | None = None,
        answers: Answers | None = None,
        draws: Tensor | None = None,
        texts: Sequence[Text] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to descend, and its named, unweighted terms.

        progress: the share of training that is done · symbols: name -> value, as those of a bank's
        axes · answers: what is known already of what teachers say of this batch; those who are
        asked now are added · draws, texts: what `write` takes, and what `said_of` makes of it.
        """
        batch = batch if isinstance(batch, Batch) else as_batch(batch)
        bindings: dict[Any, Any] = {**(symbols or {}), "progress": progress}
        for symbol, module in self._learned:
            bindings[symbol] = module()
        answers = {} if answers is None else answers
        seen = self._look(batch) if self._on_data else Observation(batch.x.new_empty(0))
        step = Step(self.student, seen, batch, bindings, self._teacher_taps, answers)
        if self.writings:
            if texts is None:
                texts = self.said_of(self.write(batch, progress, symbols, draws))
            for writing, (tokens, said) in zip(self.writings, texts, strict=True):
                own, answers = batch.rewritten(tokens), {t: Observation(z) for t, z in said.items()}
                step.texts[writing] = Step(
                    self.student, self._look(own), own, bindings, {}, answers
                )
        total: Any = None
        named: dict[str, Tensor] = {}
        try:
            for name, weight, term, owned in self._parts:
                loss = named[name] = term.loss(step, owned)
                weight = step.value(weight) if isinstance(weight, Scalar) else weight
                part = loss if isinstance(weight, int | float) and weight == 1 else weight * loss
                total = part if total is None else total + part
        except KeyError as missing:
            raise ValueError(
                f"the symbol {missing} has no value; give one: learner(batch, progress, "
                f"{{{missing}: 0.5}})"
            ) from missing
        for symbol, _ in self._learned:
            named[str(symbol)] = bindings[symbol]
        return total, named

    def write(
        self,
        batch: Batch,
        progress: float = 0.0,
        symbols: Mapping[Any, Any] | None = None,
        draws: Tensor | None = None,
    ) -> list[Tensor]:
        """Tokens (B, L) for each of `writings`, written by the networks as they are now.

        draws: uniform numbers, `drawn(batch)` of them; PyTorch's generator gives them otherwise.
        """
        draws = torch.rand(self.drawn(batch), device=batch.x.device) if draws is None else draws
        bindings = {**(symbols or {}), "progress": progress}
        return [
            writing.rewrite(self.student, batch, own, lambda number: value(number, bindings))
            for writing, own in zip(self.writings, draws, strict=True)
        ]

    def said_of(self, written: Iterable[Tensor]) -> list[Text]:
        """What `write` made, with what the teachers of terms on it say: tokens (…, B, L) each."""
        return [said_of(ts, tokens) for ts, tokens in zip(self._readers, written, strict=True)]

    def drawn(self, batch: Batch) -> tuple[int, ...]:
        """The shape of a step's draws, (writings, B, L + 1); empty where nothing is written."""
        return (len(self.writings), len(batch), batch.x.shape[1] + 1) if self.writings else ()

    def _look(self, batch: Batch) -> Observation:
        if self.per_domain:
            return _observe_domains(self.student, batch, self._student_taps)
        return observe(self.student, batch.x, self._student_taps)

    def after_step(self) -> None:
        """What terms do once the optimiser has moved the weights (an averaged teacher follows)."""
        for term, module in self._followers:
            term.after_step(self.student, module)


def as_batch(batch: Batch | Examples) -> Batch:
    """Examples as one batch; raises ValueError for anything else, and for no examples."""
    if not isinstance(batch, Batch | Examples):
        raise ValueError(
            f"the batch is of type {type(batch).__name__}; expected Examples, or a Batch of them: "
            "examples.batch()"
        )
    if not len(batch):
        raise ValueError("the batch holds no examples; give at least one")
    return batch if isinstance(batch, Batch) else batch.batch()


def _observe_domains(student: nn.Module, batch: Batch, taps: Iterable[str]) -> Observation:
    domains = batch.domain.unique().tolist()
    if len(domains) == 1:
        return observe(student, batch.x, taps)
    parts = [observe(student, batch.x[batch.domain == domain], taps) for domain in domains]
    back = batch.domain.argsort(stable=True).argsort()  # from domain after domain to the batch's
    features = {
        tap: torch.cat([part.features[tap] for part in parts])[back] for tap in parts[0].features
    }
    return Observation(torch.cat([part.logits for part in parts])[back], features)
