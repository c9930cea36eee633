"""All students in one vmap: any objective, any network without data-dependent control flow."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from kdlib.bank.group import Group, Report, Trained, Weights
from kdlib.bank.together import train_together
from kdlib.data import Batch, Examples
from kdlib.objectives import Learner
from kdlib.objectives.symbols import value
from kdlib.objectives.teachers import ask, tabled_answers
from kdlib.objectives.texts import Text
from kdlib.training.capture import repeats
from kdlib.training.checking import domain_rules
from kdlib.training.epochs import Epochs, draws_of
from kdlib.training.optimisers import adamw, named_groups, schedule_of


def reference(group: Group, report: Report) -> Trained:
    """Trains the group as `fit` trains each of its students, to rounding (but for dropout)."""
    settings, examples, objective = group.settings, group.examples, group.objective
    first = examples.batch(slice(0, 2))
    per_domain, balanced = domain_rules(group.build(), examples, None, None)
    owned_seeds = {seed: seed if group.start is None else 0 for seed in group.seeds}  # as in `fit`
    learners = {
        seed: Learner.of(network, objective, first, seed=owned_seeds[seed], per_domain=per_domain)
        for seed, network in zip(group.seeds, group.fresh(), strict=True)
    }
    stacked = [learners[seed] for seed in group.seeds]
    base = stacked[0].train()
    params, buffers = stack_module_state(stacked)
    frozen = [name for name, weight in base.named_parameters() if not weight.requires_grad]
    buffers |= {name: params.pop(name).detach() for name in frozen}
    taps = objective.teacher_taps()
    tabled = tabled_answers(taps, examples, group.tables)
    passes = Epochs(examples, settings, balanced=balanced)
    draw = draws_of(base, examples, passes)
    places = torch.tensor([list(owned_seeds).index(seed) for seed in group.seeds])
    groups, shares = rates(params, settings.lr, group.bindings)
    optimizer = adamw(groups, settings.weight_decay)
    scheduler = schedule_of(optimizer, passes.total_steps, settings.schedule)

    def loss(p: Any, b: Any, symbols: Any, texts: Any, *seen: Any) -> Tensor:
        batch, done, answers = seen
        return functional_call(base, (p, b), (batch, done, symbols, answers, None, texts))[0]

    def texts_of(batch: Batch, done: float, index: Tensor) -> list[Text]:
        """What each student writes now, with what teachers say of it: (S, B, L), asked at once."""
        if draw is None:
            return []
        drawn = [draw(seed, index, done) for seed in owned_seeds.values()]

        def written(p: Any, b: Any, symbols: Any, draws: Tensor) -> Any:
            held = {f"learner.{name}": tensor for name, tensor in {**p, **b}.items()}
            return functional_call(Writer(base), held, (batch, done, symbols, draws))

        each = torch.stack(drawn)[places]
        return base.said_of(vmap(written)(params, buffers, group.bindings, each))

    def answer(unseen: Examples) -> Tensor:  # as the students are now
        return group.answer(_students(group, params, buffers))(unseen)

    def step(index: Tensor, done: float) -> dict[str, Tensor]:
        batch = examples.batch(index)
        answers = {teacher: seen[index] for teacher, seen in tabled.items()}
        for teacher, layers in taps.items():  # here, as no transform may trace their forward
            if teacher not in answers:
                answers[teacher] = ask(teacher, batch, layers)
        texts = texts_of(batch, done, index)
        slopes = grad_and_value(lambda p, b, s, t: loss(p, b, s, t, batch, done, answers))
        gradients, values = vmap(slopes, randomness="different")(
            params, buffers, group.bindings, texts
        )
        for name, parameter in params.items():
            parameter.grad = _laid_out(gradients[name], parameter)
        if settings.clip is not None:
            _clip(list(params.values()), settings.clip)
        before = {name: params[name].detach().clone() for name in shares}
        optimizer.step()
        with torch.no_grad():  # AdamW's step is linear in the rate
            for name, share in shares.items():
                params[name].copy_(torch.lerp(before[name], params[name], share))
        return {"loss": values.detach()}

    allowed = repeats(objective, examples)
    losses = train_together(group, passes, step, scheduler, answer, report, allowed=allowed)
    weights = _students(group, params, buffers)
    return Trained(weights, losses.cpu(), group.answer(weights))


class Writer(nn.Module):
    """A learner whose forward is `write`, as a functional call takes forwards alone."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, *args: Any) -> list[Tensor]:
        return self.learner.write(*args)


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the order in which memory holds the weights.

    AdamW's fused pass reads both in one order, whatever their strides. Detached, or what led to it
    would stay in memory from call to call.
    """
    gradient = gradient.detach()
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def _clip(params: list[Tensor], largest: float) -> None:
    """Scales down each student's gradient whose norm, over all its weights, is above this."""
    slopes = [p.grad for p in params if p.grad is not None]
    norms = torch.stack([slope.reshape(len(slope), -1).norm(dim=1) for slope in slopes]).norm(dim=0)
    share = (largest / (norms + 1e-6)).clamp(max=1)  # as clip_grad_norm_ has it
    for slope in slopes:
        slope.mul_(share.view(-1, *[1] * (slope.dim() - 1)))


def rates(
    params: Weights, lr: Any, bindings: dict[str, Tensor]
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """AdamW's groups at their students' largest rates, and the share of it that each student takes.

    params: stacked, (S, …) · lr: a number or expression, or beginning of a name -> those ·
    bindings: symbol -> (S,). Shares (S, 1, …) for the names whose rates differ between students.
    """
    named = lr if isinstance(lr, Mapping) else {"": lr}
    groups, shares = [], {}
    for start, names in named_groups(params, named).items():
        rate = value(named[start], bindings)
        highest = float(rate.max()) if isinstance(rate, Tensor) else rate
        groups.append({"params": [params[name] for name in names], "lr": highest})
        if isinstance(rate, Tensor):
            for name in names:
                share = (rate / highest).to(params[name])
                shares[name] = share.view(-1, *[1] * (params[name].dim() - 1))
    return groups, shares


def _students(group: Group, params: Weights, buffers: Weights) -> list[Weights]:
    """One state dict per student, out of the stacked tensors of the learners, on the CPU."""
    network = group.build().cpu()
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    stacked = {name: {**params, **buffers}[f"student.{name}"].detach().cpu() for name in held}
    states = []
    for i in range(len(group.seeds)):
        for name, tensor in held.items():  # tied weights once, buffers that are not saved, too
            tensor.data = stacked[name][i].clone()
        states.append(network.state_dict())
    return states
