"""Two ways to train any students together: torch.func's vmap, or one after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from kdlib.bank.processes import each, side_by_side
from kdlib.data import Batch, Examples
from kdlib.device import seeded
from kdlib.models import initialise, predict
from kdlib.objectives import Objective, TeacherTable
from kdlib.training import fit
from kdlib.training.capture import Recorded, recordable
from kdlib.training.loop import epoch_seed
from kdlib.training.optimisers import adamw, one_cycle
from kdlib.training.settings import domain_rules

Weights = dict[str, Tensor]
Answer = Callable[[Examples], Tensor]


@dataclass(frozen=True)
class Settings:
    """What all students of a group share."""

    epochs: int
    lr: float
    batch: int
    order_seed: int
    weight_decay: float
    schedule: str
    precision: str


@dataclass
class Group:
    """Students of one structure: S of them, each with a seed and a value for each symbol.

    bindings: symbol -> (S,) · tick: called before the first epoch and after each, with a function
    Examples -> (S, N, C) that asks the students as they are, and how many epochs were done since;
    where it says False after an epoch, training ends there.
    """

    objective: Objective
    build: Callable[[], nn.Module]
    examples: Examples
    seeds: list[int]
    bindings: dict[str, Tensor]
    settings: Settings
    tables: dict[nn.Module, TeacherTable]
    tick: Callable[[Answer | None, int], bool]

    def fresh(self) -> list[nn.Module]:
        """Each student before training, where the examples are; those of one seed are one."""
        drawn = {
            seed: initialise(self.build(), seed).to(self.examples.device)
            for seed in dict.fromkeys(self.seeds)
        }
        return [drawn[seed] for seed in self.seeds]

    def to(self, device: torch.device) -> "Group":
        """The same students on another device."""
        bindings = {name: values.to(device) for name, values in self.bindings.items()}
        return replace(self, examples=self.examples.to(device), bindings=bindings)


@dataclass
class Trained:
    """weights: a state dict for each student · losses (S, epochs done) · answer: (S, N, C).

    None, and nan, for students that were not begun when training was stopped.
    """

    weights: Sequence[Weights | None]
    losses: Tensor
    answer: Answer


def reference(group: Group) -> Trained:
    """All students in one vmap: any objective, any network without data-dependent control flow."""
    settings, examples = group.settings, group.examples
    sample = examples.batch(slice(0, 2))
    per_domain, balanced = domain_rules(group.build(), examples, None, None)
    networks = dict(zip(group.seeds, group.fresh(), strict=True))
    drawn = {
        seed: group.objective.build(network, sample, seed=seed, per_domain=per_domain)
        for seed, network in networks.items()
    }
    learners = [drawn[seed] for seed in group.seeds]
    base = learners[0].train()
    params, buffers = stack_module_state(learners)
    frozen = [name for name, weight in base.named_parameters() if not weight.requires_grad]
    buffers |= {name: params.pop(name).detach() for name in frozen}
    read = group.objective.reader(examples, group.tables)
    steps = len(examples.order(settings.batch, balanced=balanced))
    optimizer = adamw(list(params.values()), settings.weight_decay, settings.lr)
    scheduler = one_cycle(optimizer, settings.epochs * steps, settings.schedule)

    def loss(params: Any, buffers: Any, bindings: Any, batch: Batch, done: float) -> Tensor:
        arguments = (batch, {**bindings, "progress": done}, group.tables)
        return functional_call(base, (params, buffers), arguments)[0]

    def answer(unseen: Examples) -> Tensor:  # as the students are now
        return _answers(group, _students(group, params, buffers))(unseen)

    def step(index: Tensor, done: float) -> dict[str, Tensor]:
        batch = read(index)
        group.objective.prefetch(batch, group.tables)
        slopes = grad_and_value(lambda p, b, s: loss(p, b, s, batch, done))
        gradients, values = vmap(slopes, randomness="different")(params, buffers, group.bindings)
        for name, parameter in params.items():
            parameter.grad = gradients[name]
        optimizer.step()
        return {"loss": values.detach()}

    take = Recorded(step, examples.device, allowed=recordable(group.objective, examples))
    losses = []
    group.tick(answer, 0)
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(epoch_seed(settings.order_seed, epoch))
        total = torch.zeros(len(learners), device=examples.device)
        with seeded(epoch_seed(settings.order_seed, epoch), examples.device), take.stream():
            order = examples.order(settings.batch, generator, balanced=balanced)
            for i, index in enumerate(order):
                total += take(index, (epoch * steps + i) / (settings.epochs * steps))["loss"]
                scheduler.step()
        losses.append(total / steps)
        if not group.tick(answer, 1):
            break
    weights = _students(group, params, buffers)
    return Trained(weights, torch.stack(losses, 1).cpu(), _answers(group, weights))


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


def sequential(group: Group) -> Trained:
    """One `fit` for each student: for convolutions on a CPU, where vmap is slower.

    One after another; or side by side, as many as there are threads, where the network convolves.
    """
    settings, on_cpu = group.settings, group.examples.device.type == "cpu"
    modules = group.build().modules()
    convolutional = any(isinstance(module, nn.Conv2d) for module in modules)
    processes = side_by_side() if on_cpu and convolutional else 1

    @torch.random.fork_rng(devices=[])  # as if nothing had been drawn, in this process or another
    def train(i: int) -> tuple[Weights, Tensor]:
        network = group.build()
        values = {name: float(tensor[i]) for name, tensor in group.bindings.items()}
        run = fit(
            network,
            group.examples,
            substitute(group.objective, values),
            seed=group.seeds[i],
            device=group.examples.device,
            **vars(settings),
        )
        if run.interrupted:
            raise KeyboardInterrupt
        state = {name: t.cpu().clone() for name, t in network.state_dict().items()}
        return state, torch.tensor([row["loss"] for row in run.history])

    weights: list[Weights | None] = [None] * len(group.seeds)
    losses = torch.full((len(group.seeds), settings.epochs), torch.nan)
    answer = _answers(group, weights)
    for i, (state, loss) in each(train, len(group.seeds), processes):
        weights[i], losses[i] = state, loss
        if not group.tick(answer, settings.epochs):
            break
    return Trained(weights, losses, answer)


def substitute(objective: Objective, values: dict[str, float]) -> Objective:
    """The objective with numbers in place of symbols; `progress` stays."""
    from kdlib.objectives.symbols import Operation, Symbol

    def put(number: Any) -> Any:
        if isinstance(number, Symbol):
            return values.get(number.name, number)
        if isinstance(number, Operation):
            left, right = put(number.left), put(number.right)
            operation = Operation(number.sign, left, right)
            return operation if list(operation.leaves()) else operation.value({})
        return number

    terms = []
    for weight, term in objective.terms:
        changed = {name: put(number) for name, number in term.hyperparameters()}
        terms.append((put(weight), replace(term, **changed) if changed else term))  # type: ignore[type-var]
    return Objective(tuple(terms))


def _answers(group: Group, weights: Sequence[Weights | None]) -> Answer:
    """What the students say, asked once each; nan of those that are not trained yet."""
    said: dict[tuple[Examples, int], Tensor] = {}

    def answer(examples: Examples) -> Tensor:
        network, there = group.build().to(group.examples.device), examples.to(group.examples.device)
        for i, state in enumerate(weights):
            if state is not None and (examples, i) not in said:
                network.load_state_dict(state)
                said[examples, i] = predict(network, there)
        known = [said.get((examples, i)) for i in range(len(weights))]
        none = torch.full_like(next(one for one in known if one is not None), torch.nan)
        return torch.stack([none if one is None else one for one in known])

    return answer
