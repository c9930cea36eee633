"""`fit`: teachers, students, and later adaptation, all in the same loop."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib import metrics
from kdlib.data import Examples
from kdlib.data.transforms import changed
from kdlib.device import autocast, pick, resolve_precision, seeded, within_quota
from kdlib.models import evaluating, fingerprint, initialise, predict
from kdlib.objectives import HardLabels, Objective, TeacherTable, tabulate
from kdlib.training.capture import Recorded, recordable
from kdlib.training.checkpoints import keep, resume
from kdlib.training.optimisers import adamw, one_cycle, parameter_groups
from kdlib.training.settings import (
    check_answers,
    check_apart,
    check_parts,
    check_settings,
    check_teachers,
    check_validation,
    domain_rules,
    plain,
)

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
        """Wrong answers in percent; ValueError for examples without labels, answers of nan."""
        return float(metrics.error_percent(self.logits(examples), examples.y))


@within_quota()
def fit(
    student: nn.Module,
    examples: Examples,
    objective: Objective | None = None,
    *,
    epochs: int = 10,
    lr: float | Mapping[str, float] = 1e-2,
    batch: int = 128,
    seed: int | None = None,
    order_seed: int = 0,
    validate: Examples | None = None,
    augment: Augment | None = None,
    schedule: str = "one-cycle",
    until: float | None = None,
    weight_decay: float = 0.0,
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
    {"head": 1e-2, "": 1e-3} ("" = all others). until: stops once an epoch's loss differs from the
    one before by less than this share of it; needs the constant schedule.
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
    objective = HardLabels() if objective is None else objective
    check_settings(
        epochs=epochs, lr=lr, batch=batch, schedule=schedule, weight_decay=weight_decay,
        order_seed=order_seed, seed=seed, until=until,
    )  # fmt: skip
    epochs, batch, order_seed, seed = map(plain, (epochs, batch, order_seed, seed))
    lr, weight_decay, until = map(plain, (lr, weight_decay, until))
    check_parts(student, examples, objective)
    objective.check(examples)
    check_answers(student, examples)
    if validate is not None:
        check_validation(validate, examples)
    if augment is not None and not callable(augment):
        raise ValueError(f"augment={augment!r}; expected a function (x, generator) -> x")
    target = next(student.parameters()).device if device is None else pick(device)
    per_domain, balanced = domain_rules(student, examples, forward, balanced)
    check_teachers(objective, target)
    check_apart(student, objective, redrawn=seed is not None, augmented=augment is not None)
    precision = resolve_precision(precision, student, target)
    if seed is not None:
        initialise(student, seed)
    student.to(target)
    examples = examples.to(target)
    if any(isinstance(module, nn.Conv2d) for module in student.modules()):
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    sample = examples.batch(slice(0, 2))
    learner = objective.build(student, sample, seed=seed or 0, per_domain=per_domain)
    tables = {} if augment else _tables(objective, examples)
    read = objective.reader(examples, tables)
    steps = len(examples.order(batch, balanced=balanced))
    optimizer = adamw(parameter_groups(learner, lr), weight_decay)
    scheduler = one_cycle(optimizer, epochs * steps, schedule)
    run = Run(student, precision=precision)
    settings = {} if checkpoint is None else {
        "objective": objective.key(), "examples": examples.fingerprint, "epochs": epochs,
        "lr": lr, "per domain": per_domain, "balanced": balanced, "batch": batch,
        "order_seed": order_seed, "schedule": schedule, "precision": precision,
        "weight_decay": weight_decay, "augmented": augment is not None,
        "start": fingerprint(student),
    }  # fmt: skip
    state = {"learner": learner, "optimizer": optimizer, "scheduler": scheduler}
    if checkpoint is not None:
        with contextlib.suppress(FileNotFoundError):  # none yet
            run.history = resume(checkpoint, state, settings)

    def step(index: Tensor, done: float, x: Tensor | None = None) -> dict[str, Tensor]:
        one = read(index) if x is None else read(index).changed(x)
        with autocast(precision, target):
            loss, terms = learner(one, {"progress": done}, tables)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.after_step()
        return {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}

    take = Recorded(step, target, allowed=recordable(objective, examples))
    started = time.perf_counter()
    bar = tqdm(range(len(run.history), epochs), delay=1, leave=False, disable=quiet())
    learner.train()
    try:
        for epoch in bar:
            if until is not None and _settled(run.history, until):
                break
            rows: list[dict[str, Tensor]] = []
            generator = torch.Generator().manual_seed(epoch_seed(order_seed, epoch))
            with seeded(epoch_seed(order_seed, epoch), target), take.stream():
                order = examples.order(batch, generator, balanced=balanced)
                for i, index in enumerate(order):
                    given: list[Any] = [index, (epoch * steps + i) / (epochs * steps)]
                    if augment is not None:
                        x = examples.batch(index).x
                        given.append(changed("augment", augment, x, generator))
                    rows.append(take(*given))
                    scheduler.step()
            run.history.append(_row(epoch + 1, rows, student, validate))
            bar.set_postfix(loss=f"{run.history[-1]['loss']:.3f}")
            if checkpoint is not None:
                keep(checkpoint, state, settings, run.history)
    except KeyboardInterrupt:
        run.interrupted = True
    run.seconds = time.perf_counter() - started
    student.eval()
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


def _settled(history: list[dict[str, float]], until: float) -> bool:
    if len(history) < 2:
        return False
    before, now = (row["loss"] for row in history[-2:])
    return abs(now - before) <= until * abs(before)


def epoch_seed(order_seed: int, epoch: int) -> int:
    """Each epoch draws from a seed of its own, so that resuming needs no generator's state."""
    return order_seed * 1_000_003 + epoch


def quiet() -> bool:
    """No progress bars in builds and tests (KDLIB_QUIET=1), nor where nobody watches."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    in_a_notebook = "IPKernelApp" in getattr(shell, "config", {})
    watched = in_a_notebook or sys.stderr.isatty()
    return os.environ.get("KDLIB_QUIET") == "1" or not watched


def _tables(objective: Objective, examples: Examples) -> dict[nn.Module, TeacherTable]:
    taps = objective.teacher_taps()
    return {
        teacher: tabulate(teacher, examples)
        for teacher in objective.teachers()
        if isinstance(teacher, nn.Module) and not taps.get(teacher)
    }
