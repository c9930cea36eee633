"""The fast path: MLP students under hard labels and soft targets, with the gradient in closed form.

All students see the same batch, so their first layers are one product
[S·h, inputs] × [inputs, B]; later layers are batched products. The gradient of the logits is
weight · T · (q_T - p_T) / batch, p_T is kept for each distinct T, and one fused AdamW moves one
flat vector that holds every student. With bf16 the images are kept in bf16 and the first layer's
products run in it, on float32 master weights.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import check_same_classes
from kdlib.bank.group import Group, Report, Trained
from kdlib.bank.together import train_together
from kdlib.data import Batch, Examples, Stream
from kdlib.models import MLP
from kdlib.objectives import HardLabels, LearnedTemperature, Objective, SoftTargets, Symbol
from kdlib.objectives.symbols import leaves, value
from kdlib.objectives.teachers import Answers, ask, tabled_answers
from kdlib.training.checking import domain_rules
from kdlib.training.epochs import Epochs
from kdlib.training.optimisers import adamw, schedule_of


def matches(objective: Objective, network: Any, examples: Examples) -> bool:
    """Whether these students can take the fast path."""
    plain_terms = all(
        type(term) in (HardLabels, SoftTargets)
        and not (isinstance(term, HardLabels) and term.weights and term.smoothing != 0)
        and not any(Symbol("progress") in leaves(number) for _, number in term.hyperparameters())
        for _, term in objective.terms
    )
    learned = any(isinstance(symbol, LearnedTemperature) for symbol in objective.symbols())
    kept = not isinstance(examples, Stream)  # it keeps all images as the first layer sees them
    return kept and plain_terms and not learned and type(network) is MLP and _as_built(network)


def _as_built(network: MLP) -> bool:
    """Whether nothing in it was exchanged, hooked or frozen, and nothing drops out."""
    with torch.device("meta"):  # drawing nothing
        twin = MLP(*network.sizes)
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    moves = all(weight.requires_grad for weight in network.parameters())
    return str(network) == str(twin) and not hooked and moves


class Stack:
    """S networks of one shape in one flat vector; weights (S, out, in) and biases (S, out, 1)."""

    def __init__(self, networks: list[MLP]) -> None:
        self.count = len(networks)
        self.normalise = networks[0].normalise
        states = [network.state_dict() for network in networks]
        self.names = [name for name, _ in networks[0].named_parameters()]
        self.buffers = {k: v for k, v in states[0].items() if k not in self.names}
        self.shapes = [torch.Size([self.count, *states[0][name].shape]) for name in self.names]
        size = sum(shape.numel() for shape in self.shapes)
        self.flat = torch.nn.Parameter(states[0][self.names[0]].new_empty(size))
        self.flat.grad = torch.zeros_like(self.flat)
        self.values, self.grads = self._views(self.flat.data), self._views(self.flat.grad)
        for name, values in zip(self.names, self.values, strict=True):
            torch.stack([state[name] for state in states], out=values)
        self.layers = list(zip(self.values[::2], self.values[1::2], strict=True))
        self.slopes = list(zip(self.grads[::2], self.grads[1::2], strict=True))

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (B, inputs) -> each layer's activations, feature-major (S, out, B); last: logits."""
        activations: list[Tensor] = []
        for i, (weight, bias) in enumerate(self.layers):
            if i == 0:  # one product for all students: [S·out, in] × [in, B]
                rows = weight.view(-1, weight.shape[-1]).to(x.dtype) @ x.T
                out = rows.to(weight.dtype).add_(bias.view(-1, 1)).view(self.count, -1, len(x))
            else:
                out = torch.baddbmm(bias[..., None], weight, activations[-1])
            activations.append(out.relu_() if i < len(self.layers) - 1 else out)
        return activations

    def backward(self, x: Tensor, activations: list[Tensor], slope: Tensor) -> None:
        """Fills the gradient from that of the logits, slope (S, classes, B)."""
        for i in range(len(self.layers) - 1, -1, -1):
            weight_grad, bias_grad = self.slopes[i]
            torch.sum(slope, 2, out=bias_grad)
            if i == 0:
                rows = slope.reshape(-1, slope.shape[-1]).to(x.dtype)
                weight_grad.view(-1, x.shape[1]).copy_(rows @ x)
                return
            below = activations[i - 1]
            torch.bmm(slope, below.transpose(1, 2), out=weight_grad)
            slope = torch.bmm(self.layers[i][0].transpose(1, 2), slope)
            torch.ops.aten.threshold_backward(slope, below, 0, grad_input=slope)  # ReLU's

    def weights(self, student: int) -> dict[str, Tensor]:
        weights = dict(zip(self.names, (values[student] for values in self.values), strict=True))
        return {name: tensor.cpu().clone() for name, tensor in (weights | self.buffers).items()}


@dataclass
class _Target:
    """One term: its weight, T (S,), and targets: tables (distinct, classes, N), row per student.

    `mask` (N,): how much it concerns each example, None: all alike. Entropies (distinct, N) make
    the loss a KL instead of a CE.
    """

    weight: Any
    T: Tensor
    tables: Tensor
    row: Tensor
    mask: Tensor | None
    entropy: Tensor


@torch.no_grad()
def fast(group: Group, report: Report) -> Trained:
    """Trains the group; equal to the reference engine to rounding."""
    settings, examples = group.settings, group.examples
    networks = group.fresh()
    stack = Stack(networks)  # type: ignore[arg-type]
    whole = examples.batch()
    dtype = whole.x.dtype

    def prepared(x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C·H·W), normalised, in the precision of the large products."""
        flat = stack.normalise(x).flatten(1)
        return flat.bfloat16() if settings.precision == "bf16" else flat

    inputs = torch.cat([prepared(x) for x in whole.x.split(1000)])
    classes = stack.shapes[-1][-1]
    tabled = tabled_answers(group.objective.teacher_taps(), examples, group.tables)
    terms = group.objective.terms
    targets = [_target(group, w, term, whole, tabled, classes) for w, term in terms]
    _, balanced = domain_rules(networks[0], examples, None, None)
    passes = Epochs(examples, settings, balanced=balanced)
    optimizer = adamw([stack.flat], settings.weight_decay, settings.lr)
    scheduler = schedule_of(optimizer, passes.total_steps, settings.schedule)

    images_of: dict[Examples, list[Tensor]] = {}  # prepared once, answered after every epoch

    def answer(unseen: Examples) -> Tensor:
        if unseen not in images_of:
            images = unseen.to(examples.device).batch().x
            images_of[unseen] = [prepared(x) for x in images.split(1000)]
        logits = [stack.forward(x)[-1] for x in images_of[unseen]]
        return torch.cat(logits, -1).transpose(1, 2).contiguous()  # (S, C, N) -> (S, N, C)

    def step(index: Tensor, done: float) -> dict[str, Tensor]:
        x = inputs.index_select(0, index)
        activations = stack.forward(x)
        slope, loss = _logit_gradient(activations[-1], targets, index, group.bindings, done)
        stack.backward(x, activations, slope)
        optimizer.step()
        return {"loss": loss}

    losses = train_together(group, passes, step, scheduler, answer, report, dtype=dtype)
    weights = [stack.weights(i) for i in range(stack.count)]
    return Trained(weights, losses.float().cpu(), answer)


def _target(
    group: Group, weight: Any, term: Any, whole: Batch, tabled: Answers, classes: int
) -> _Target:
    dtype = whole.x.dtype
    hard = isinstance(term, HardLabels)
    if not leaves(weight):  # on the device once, not in every step
        weight = torch.tensor(weight, dtype=dtype, device=whole.x.device)
    number = value(term.smoothing if hard else term.T, group.bindings)
    numbers = torch.as_tensor(number, dtype=dtype, device=whole.x.device).expand(len(group.seeds))
    distinct, row = numbers.unique(return_inverse=True)
    if hard:
        one_hot = torch.nn.functional.one_hot(whole.y.clamp(min=0), classes).T.to(dtype)
        tables = torch.stack([(1 - share) * one_hot + share / classes for share in distinct])
        entropy = tables.new_zeros(len(distinct), len(whole))
        labelled = whole.y >= 0
        mask = None if bool(labelled.all()) else labelled.to(dtype)
        if term.weights:  # without smoothing: each example by its label's
            mask = labelled * torch.tensor(term.weights).to(tables)[whole.y.clamp(min=0)]
        return _Target(weight, torch.ones_like(numbers), tables, row, mask, entropy)
    teacher = term.teacher
    z_t = (tabled[teacher] if teacher in tabled else ask(teacher, whole)).logits.to(dtype)
    check_same_classes(z_t.new_empty(len(whole), classes), z_t)
    tables = torch.stack([(z_t.T / t).softmax(0) for t in distinct])
    entropy = -torch.special.xlogy(tables, tables).sum(1)
    return _Target(weight, numbers, tables, row, None, entropy)


def _logit_gradient(
    z: Tensor, targets: list[_Target], index: Tensor, bindings: dict[str, Tensor], done: float
) -> tuple[Tensor, Tensor]:
    """Gradient (S, classes, B) and value (S,) of the objective at logits z (S, classes, B)."""
    slope, loss = torch.zeros_like(z), z.new_zeros(len(z))
    for target in targets:
        weight = value(target.weight, {**bindings, "progress": done})
        weight = torch.as_tensor(weight, dtype=z.dtype, device=z.device).expand(len(z))
        if target.mask is None:
            share = z.new_full((1,), 1 / len(index))
        else:
            mask, least = target.mask[index], torch.finfo(z.dtype).tiny
            share = mask / mask.sum().clamp(min=least)
        p = target.tables.index_select(2, index)  # (distinct, classes, B)
        p = p[0] if len(p) == 1 else p.index_select(0, target.row)  # each student's
        u = z / target.T[:, None, None]
        u -= u.amax(1, keepdim=True)
        ce = -(p * u).sum(1) - target.entropy.index_select(1, index)[target.row]
        q = u.exp_()
        norm = q.sum(1, keepdim=True)
        ce += norm[:, 0].log()  # -Σ p log q, as Σ p = 1
        loss += weight * target.T**2 * (ce * share).sum(1)
        factor = (weight * target.T)[:, None, None] * share
        slope += q.div_(norm).sub_(p).mul_(factor)
    return slope, loss
