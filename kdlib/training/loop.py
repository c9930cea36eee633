"""`fit`: teachers, students, and later adaptation, all in the same loop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from kdlib import metrics
from kdlib.data import Batch, Examples
from kdlib.data.transforms import changed
from kdlib.device import autocast, keep_freed_memory, within_quota
from kdlib.models import evaluating, fingerprint, initialise, predict
from kdlib.objectives import HardLabels, Learner, Number, Objective
from kdlib.objectives.teachers import Answers, tabled_answers
from kdlib.training.capture import record, repeats, stream_of
from kdlib.training.checking import Place, check_run
from kdlib.training.checkpoints import read_checkpoint, write_checkpoint
from kdlib.training.epochs import Epochs, draws_of
from kdlib.training.optimisers import Maker, made, one_cycle, parameter_groups, plain_groups
from kdlib.training.progress import progress_bar
from kdlib.training.settings import Settings, as_python

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(repr=False)
class Run:
    """What training left behind: the network (in eval mode) and one row of history per epoch."""

    network: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    precision: str = "fp32"

    def __repr__(self) -> str:
        kind = type(self.network).__name__
        return f"Run({kind} after {len(self.history)} epochs{', interrupted' * self.interrupted})"

    def to_frame(self) -> pd.DataFrame:
        """The history: epoch, loss, each named term (unweighted), validation error %."""
        return pd.DataFrame(self.history)

    def logits(self, examples: Examples) -> Tensor:
        """(N, classes) in eval mode."""
        return predict(self.network, examples)

    def error(self, examples: Examples) -> float:
        """Wrong answers in percent; ValueError for examples without labels, answers of nan.

        Of sequences, the mean over them of each one's share of wrong tokens.
        """
        return float(metrics.error_percent(self.logits(examples), examples.y))


@within_quota()
def fit(
    student: nn.Module,
    examples: Examples,
    objective: Objective | None = None,
    *,
    epochs: int = 10,
    lr: Number | Mapping[str, Number] = 1e-2,
    batch: int = 128,
    seed: int | None = None,
    order_seed: int = 0,
    validate: Examples | None = None,
    augment: Augment | None = None,
    schedule: str = "one-cycle",
    until: float | None = None,
    weight_decay: float = 0.0,
    clip: float | None = None,
    optimizer: Maker | None = None,
    forward: str | None = None,
    balanced: bool | None = None,
    precision: str = "auto",
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
) -> Run:
    """Trains the student on the examples and returns the run; the student is trained in place.

    seed: draws fresh initial weights; None goes on from those the network has. order_seed: the
    order of batches, dropout and augmentation; shared between students that are compared.
    objective: HardLabels() unless given. lr: AdamW's, the top of the one-cycle schedule
    ("one-cycle" or "constant"); or one for each group, by how names of weights begin:
    {"head": 1e-2, "": 1e-3} ("" = all others). With the constant schedule a rate may be an
    expression of progress: {"helper": 1e-2 * 0.1**progress, "": 1e-2}.
    until: stops once an epoch's loss differs from the one before by less than this share of it;
    needs the constant schedule.
    clip: the largest norm of the gradient of all weights together; a longer one is scaled down.
    optimizer: groups of weights with their rates -> another optimiser than AdamW, such as
    `lambda groups: torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)`.
    forward: with several domains in a batch, "per_domain" (default where the student has
    BatchNorm: each domain in a forward of its own) or "joint". balanced: as many examples of each
    domain in every batch; by default wherever there are several.
    augment(x, generator): new images, floats (B, C, H, W), for each batch. validate: labelled
    examples whose error % each row of the history has.
    precision: "fp32", "bf16", or "auto" (bf16 for convolutions where the hardware has it).
    device: None stays where the student is; on CUDA a step is recorded and replayed
    (`training.capture`), unless a term looks at values (`Term.looks_at_values`). A student that was
    compiled, `student.compile()`, is trained so; that takes a compiler, and seconds at first.
    checkpoint: a file written after each epoch; if it exists, training resumes from it and ends
    bit-equal to an uninterrupted run.
    Interrupting (Ctrl-C, or the stop button) keeps what was reached: `run.interrupted`.
    Raises ValueError for a student, examples or settings that cannot be trained on or with, before
    training; during it, where the student's answers to `validate` are no numbers any more.
    """
    keep_freed_memory()
    objective = HardLabels() if objective is None else objective
    settings = Settings(epochs, lr, batch, order_seed, weight_decay, schedule, precision, clip)
    seed, until = as_python(seed), as_python(until)
    place = check_run(
        student, examples, objective, settings, seed=seed, until=until, validate=validate,
        augment=augment, forward=forward, balanced=balanced, device=device, optimizer=optimizer,
    )  # fmt: skip
    settings = replace(settings, precision=place.precision)

    _prepare(student, seed, place)
    examples = examples.to(place.device)
    first = examples.batch(slice(0, 2))
    learner = Learner.of(student, objective, first, seed=seed or 0, per_domain=place.per_domain)
    tabled = {} if augment else tabled_answers(objective.teacher_taps(), examples)
    passes = Epochs(examples, settings, balanced=place.balanced)
    draw = draws_of(learner, examples, passes)
    groups = parameter_groups(learner, settings.lr)
    weights = [weight for group in groups for weight in group["params"]]
    steps = made(optimizer, plain_groups(groups), settings.weight_decay)
    rates = [group["lr"] for group in groups]
    scheduler = one_cycle(steps, passes.total_steps, settings.schedule, rates)
    exact = autocast(settings.precision, place.device)
    run = Run(student, precision=settings.precision)
    state = {"learner": learner, "optimizer": steps, "scheduler": scheduler}
    if checkpoint is not None:
        deciding = _deciding(student, examples, objective, settings, place, augment)
        deciding |= {"optimizer": type(steps).__name__}
        run.history = read_checkpoint(checkpoint, state, deciding)

    def descend(
        batch: Batch, answers: Answers, done: float, draws: Tensor | None = None
    ) -> dict[str, Tensor]:
        with exact:
            loss, terms = learner(batch, done, answers=answers, draws=draws)
        steps.zero_grad()
        loss.backward()
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(weights, settings.clip)
        steps.step()
        learner.after_step()
        return {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}

    def step(index: Tensor, done: float, *draws: Tensor) -> dict[str, Tensor]:
        answers = {teacher: seen[index] for teacher, seen in tabled.items()}
        return descend(examples.batch(index), answers, done, *draws)

    def augmented(x: Tensor, original: Batch, done: float) -> dict[str, Tensor]:
        return descend(original.changed(x), {}, done)

    allowed = optimizer is None and repeats(objective, examples)
    take = record(augmented if augment else step, place.device, allowed=allowed)
    started = time.perf_counter()
    bar = progress_bar(range(len(run.history), passes.count))
    learner.train()
    try:
        for number in bar:
            if until is not None and _settled(run.history, until):
                break
            epoch, rows = passes[number], list[dict[str, Tensor]]()
            with epoch.seeded(), stream_of(take):
                for index, done in epoch.batches():
                    if augment is None:
                        draws = () if draw is None else (draw(seed or 0, index, done),)
                        rows.append(take(index, done, *draws))
                    else:
                        original = examples.batch(index)
                        x = changed("augment", augment, original.x, epoch.generator)
                        rows.append(take(x, original, done))
                    scheduler.step()
            run.history.append(_row(number + 1, rows, student, validate))
            bar.set_postfix(loss=f"{run.history[-1]['loss']:.3f}")
            if checkpoint is not None:
                write_checkpoint(checkpoint, state, deciding, run.history)
    except KeyboardInterrupt:
        run.interrupted = True
    run.seconds = time.perf_counter() - started
    student.eval()
    if place.channels_last:
        student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return run


def _row(
    epoch: int, rows: list[dict[str, Tensor]], student: nn.Module, validate: Examples | None
) -> dict[str, float]:
    """One row of history; the only place where numbers are read off the device."""
    row = {"epoch": epoch} | {
        name: float(torch.stack([row[name].float() for row in rows]).mean()) for name in rows[0]
    }
    if validate is not None:
        with evaluating(student):  # back in train() afterwards
            validate = validate.to(next(student.parameters()).device)
            errors = metrics.error_percent(predict(student, validate), validate.y)
        row["validation error %"] = float(errors)
    return row


def _prepare(student: nn.Module, seed: int | None, place: Place) -> None:
    """The student, drawn anew where there is a seed, on its device and as convolutions like it."""
    if seed is not None:
        initialise(student, seed)
    student.to(place.device)
    if place.channels_last:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _settled(history: list[dict[str, float]], until: float) -> bool:
    if len(history) < 2:
        return False
    before, now = (row["loss"] for row in history[-2:])
    return abs(now - before) <= until * abs(before)


def _deciding(
    student: nn.Module, examples: Examples, objective: Objective, settings: Settings, place: Place,
    augment: Augment | None,
) -> dict[str, Any]:  # fmt: skip
    """What a checkpoint must agree in with the run that goes on from it."""
    return {
        "objective": objective.key(), "examples": examples.fingerprint, **asdict(settings),
        "per domain": place.per_domain, "balanced": place.balanced,
        "augmented": augment is not None, "start": fingerprint(student),
    }  # fmt: skip
