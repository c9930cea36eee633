"""`fit`: teachers, students, and later adaptation, all in the same loop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.data.transforms import Transform, augmented
from kdlib.device import autocast, keep_freed_memory, within_quota
from kdlib.models import evaluating, initialise
from kdlib.objectives import HardLabels, Learner, Number, Objective
from kdlib.objectives.teachers import Answers, tabled_answers
from kdlib.source import described
from kdlib.training.accumulating import WHOLE, parts_of, together
from kdlib.training.best import Best, settled
from kdlib.training.capture import record, repeats, stream_of
from kdlib.training.checking import Place, check_run
from kdlib.training.checkpoints import deciding_of, read_checkpoint, write_checkpoint
from kdlib.training.epochs import Epochs, draws_of
from kdlib.training.matching import estimates
from kdlib.training.optimisers import (
    Maker,
    Schedule,
    made,
    parameter_groups,
    plain_groups,
    schedule_of,
    settings_of,
)
from kdlib.training.progress import progress_bar
from kdlib.training.run import Run, row_of, validated
from kdlib.training.settings import Settings, as_python, most_at_once
from kdlib.training.students import built_student

Augment = Transform
AfterEpoch = Callable[[Run], bool | None]
Terms = dict[str, Tensor]
Part = tuple[float, Batch, Answers, Tensor | None]  # share of the batch, what is in it and known


@within_quota()
def fit(
    student: nn.Module | Callable[[], nn.Module],
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
    schedule: Schedule = "one-cycle",
    until: float | None = None,
    patience: int | None = None,
    keep: str = "last",
    weight_decay: float = 0.0,
    clip: float | None = None,
    accumulate: int = 1,
    optimizer: Maker | None = None,
    forward: str | None = None,
    balanced: bool | None = None,
    precision: str = "auto",
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Run:
    """Trains the student on the examples and returns the run; the student is trained in place.

    student: a network, or a function that builds one, `fit(lambda: vit_b_16(num_classes=10), …,
    seed=0)`, for those with weights that only their build can draw (`models.built`).
    seed: draws fresh initial weights; None goes on from those the network has. order_seed: the
    order of batches, dropout and augmentation; shared between students that are compared.
    Parts in eval mode inside a student in train mode (BatchNorm whose statistics are to stay) rest
    so, as frozen normalisations do; a student in eval mode itself is trained whole.
    objective: HardLabels() unless given. lr: AdamW's, the top of the schedule; or one for each
    group, by how names of weights begin: {"head": 1e-2, "": 1e-3} ("" = all others). With the
    constant schedule a rate may be an expression of progress:
    {"helper": 1e-2 * 0.1**progress, "": 1e-2}.
    schedule: "one-cycle", "cosine", "constant", or a function of progress that gives a factor, such
    as steps: `lambda progress: 0.1 ** sum(progress >= at for at in (0.6, 0.8))`.
    until: stops once an epoch's loss differs from the one before by less than this share of it;
    needs the constant schedule. patience: stops after so many epochs without a smaller validation
    error. keep: the weights of the "last" epoch, or of the "best" by validation error (`run.kept`).
    clip: the largest norm of the gradient of all weights together; a longer one is scaled down.
    accumulate: each batch passes in so many parts, whose gradients add up to its own: memory for a
    part alone. (BatchNorm sees parts; pairs of examples, class weights and missing labels count
    within one.)
    optimizer: groups of weights with their rates -> another optimiser than AdamW, such as
    `lambda groups: torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)`; `decay_groups` leaves
    biases and normalisation out of the decay.
    after_epoch(run): called after each with the run so far, for a metric, a log, a picture; what it
    adds to `run.history[-1]` is kept, False ends the training.
    forward: with several domains in a batch, "per_domain" (default where the student has
    BatchNorm: each domain in a forward of its own) or "joint". balanced: as many examples of each
    domain in every batch; by default wherever there are several.
    augment(x, generator): new images, floats (B, C, H, W), for each batch. (What draws once a call
    changes all alike, `data.each_image(transform)` each by itself; `data.mixup` and `data.cutmix`
    mix labels, too.) validate: labelled examples whose error % each row of the history has.
    precision: "fp32", "bf16", or "auto" (bf16 for convolutions where the hardware has it).
    device: None stays where the student is; on CUDA a step is recorded and replayed
    (`training.capture`), unless a term looks at values (`Term.looks_at_values`) or a forward draws
    from the host's generators; what a forward counts in Python stands still in replays, so let it
    count in a buffer. A student that was compiled, `student.compile()`, is trained so; that takes a
    compiler, and seconds at first.
    checkpoint: a file written after each epoch; if it exists, training resumes from it and ends
    bit-equal to an uninterrupted run.
    Interrupting (Ctrl-C, or the stop button) keeps what was reached: `run.interrupted`.
    Raises ValueError for a student, examples or settings that cannot be trained on or with, before
    training; during it `Diverged`, a ValueError, once the loss is no finite number.
    """
    keep_freed_memory()
    objective = HardLabels() if objective is None else objective
    settings = Settings(epochs, lr, batch, order_seed, weight_decay, schedule, precision, clip)
    seed, until = as_python(seed), as_python(until)
    network, start = built_student(student, examples, seed)
    place = check_run(
        network, examples, objective, settings, seed=seed, until=until, validate=validate,
        augment=augment, forward=forward, balanced=balanced, device=device, optimizer=optimizer,
        patience=patience, keep=keep, accumulate=accumulate, after_epoch=after_epoch,
    )  # fmt: skip
    settings = replace(settings, precision=place.precision)

    examples, most = examples.to(place.device), most_at_once(batch)
    validate = None if validate is None else validate.to(place.device)
    regression = estimates(objective)
    tabled = {} if augment else tabled_answers(objective.teacher_taps(), examples, size=most)
    _prepare(network, start, place)
    first = examples.batch(slice(0, 2))
    learner = Learner.of(network, objective, first, seed=seed or 0, per_domain=place.per_domain)
    passes = Epochs(examples, settings, balanced=place.balanced)
    draw = draws_of(learner, examples, passes)
    groups = parameter_groups(learner, settings.lr)
    weights = [weight for group in groups for weight in group["params"]]
    steps = made(optimizer, plain_groups(groups), settings.weight_decay)
    rates = [group["lr"] for group in groups]
    asked = settings_of(steps)
    scheduler = schedule_of(steps, passes.total_steps, settings.schedule, rates)
    exact = autocast(settings.precision, place.device)
    run, best = Run(network, precision=settings.precision), Best()
    state = {"learner": learner, "optimizer": steps, "scheduler": scheduler, "best": best}
    if checkpoint is not None:
        deciding = deciding_of(network, examples, objective, settings, place)
        deciding |= {"optimizer": type(steps).__name__, "its settings": asked}
        deciding |= {"accumulate": accumulate, "keep": keep}
        if keep == "best" or patience is not None:
            deciding |= {"validate": validate and validate.fingerprint}
        deciding |= {"augment": augment and described(augment)}
        run.history = read_checkpoint(checkpoint, state, deciding)

    def descend(parts: list[Part], done: float) -> Terms:
        steps.zero_grad()
        rows: list[Terms] = []
        for share, batch, answers, draws in parts:
            with exact:
                loss, terms = learner(batch, done, answers=answers, draws=draws)
            (loss if share == 1 else share * loss).backward()
            terms = {name: term.detach() for name, term in terms.items()}
            rows.append({"loss": loss.detach()} | terms)
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(weights, settings.clip)
        steps.step()
        learner.after_step()
        return rows[0] if len(rows) == 1 else together(rows, [part[0] for part in parts])

    def step(index: Tensor, done: float, draws: Tensor | None = None) -> Terms:
        parts: list[Part] = []
        for where, share in WHOLE if accumulate == 1 else parts_of(len(index), accumulate):
            places = index[where]
            answers = {teacher: seen[places] for teacher, seen in tabled.items()}
            drawn = draws if draws is None else draws[:, where]
            parts.append((share, examples.batch(places), answers, drawn))
        return descend(parts, done)

    def changed(x: Tensor, original: Batch, done: float) -> Terms:
        batch = original.changed(x)
        parts = WHOLE if accumulate == 1 else parts_of(len(batch), accumulate)
        return descend([(share, batch.part(where), {}, None) for where, share in parts], done)

    allowed = optimizer is None and repeats(objective, examples)
    take = record(changed if augment else step, place.device, allowed=allowed)
    started = time.perf_counter()
    bar = progress_bar(range(len(run.history), passes.count))
    learner.train()
    try:
        for number in bar:
            if until is not None and settled(run.history, until):
                break
            if patience is not None and best.epoch and number - best.epoch >= patience:
                break
            epoch, rows = passes[number], list[Terms]()
            with epoch.seeded(), stream_of(take):
                for index, done in epoch.batches():
                    if augment is None:
                        draws = () if draw is None else (draw(seed or 0, index, done),)
                        rows.append(take(index, done, *draws))
                    else:
                        mixed, x = augmented(augment, examples.batch(index), epoch.generator)
                        rows.append(take(x, mixed, done))
                    scheduler.step()
            run.history.append(row_of(run, rows, validate, most, regression))
            bar.set_postfix(loss=f"{run.history[-1]['loss']:.3f}")
            if validate is not None:
                best.look(number + 1, validated(run.history[-1]), network, keep == "best")
            going = after_epoch is None or _asked(after_epoch, run)
            if checkpoint is not None:
                write_checkpoint(checkpoint, state, deciding, run.history)
            if not going:
                break
    except KeyboardInterrupt:
        run.interrupted = True
    finally:
        run.seconds = time.perf_counter() - started
        if best.weights:
            network.load_state_dict(best.weights)
            run.kept = best.epoch
        network.eval()
        if place.channels_last:
            network.to(memory_format=torch.contiguous_format)
    return run


def _asked(after_epoch: AfterEpoch, run: Run) -> bool:
    """Whether training is to go on, as `after_epoch` says of the run so far."""
    with evaluating(run.network):
        said = after_epoch(run)
    run.history[-1] = as_python(run.history[-1])
    return said is None or bool(said)


def _prepare(student: nn.Module, seed: int | None, place: Place) -> None:
    """The student, drawn anew where there is a seed, on its device and as convolutions like it."""
    if seed is not None:
        initialise(student, seed)
    student.to(place.device)
    if place.channels_last:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
