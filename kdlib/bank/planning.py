"""Which students are trained together, by which engine, and in which precision."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import nn

from kdlib.bank.axes import arguments
from kdlib.bank.fast import matches
from kdlib.bank.group import Group
from kdlib.device import check_precision, has_bf16
from kdlib.models import built, convolves, fused
from kdlib.objectives import Objective, Scalar, Symbol, progress
from kdlib.objectives.symbols import leaves
from kdlib.training.answering import check_answers
from kdlib.training.checking import check_parts
from kdlib.training.optimisers import named_groups
from kdlib.training.settings import Settings, in_words, rates_at
from kdlib.training.students import copied, materialised


def make_group(
    objective: Any, student: Any, examples: Any, axes: dict[str, list[Any]], symbolic: list[str],
    seeds: list[int], state: dict[str, Any], settings: Settings,
    start: Callable[[int], nn.Module] | None = None,
) -> Group:  # fmt: skip
    """The students that share a structure: all cells of the symbolic axes, times seeds."""
    formula = objective
    if callable(objective) and not isinstance(objective, Objective | nn.Module):
        formula = objective(**{n: state.get(n, Symbol(n)) for n in arguments(objective)})
    if callable(examples):
        examples = examples(**{name: state[name] for name in arguments(examples)})
    settings = replace(settings, **{n: v for n, v in state.items() if n in vars(settings)})
    settings = replace(settings, lr=_rates(settings.lr, state))

    def build() -> nn.Module:
        network = student
        if not isinstance(student, nn.Module) and callable(student):
            network = student(**{name: state[name] for name in arguments(student)})
        return copied(materialised(network, examples))  # it may be one network each time

    network = build()
    check_parts(network, examples, formula)
    if start is not None:
        _check_start(start, seeds, network)
    if isinstance(settings.lr, Mapping):
        named_groups((f"student.{name}" for name, _ in network.named_parameters()), settings.lr)
    cells = list(itertools.product(*(axes[name] for name in symbolic)))
    for cell in cells:
        numbers = dict(zip(symbolic, cell, strict=True))
        formula.check(examples, numbers)
        replace(settings, lr=rates_at(settings.lr, numbers)).check()
    classes = check_answers(network, examples, formula)
    if start is None:
        built(build, seeds[0])  # raises where no seed can draw it
    dtype = next(network.parameters()).dtype
    bindings = {
        name: torch.tensor(
            [c[i] for c in cells for _ in seeds], dtype=dtype, device=examples.device
        )
        for i, name in enumerate(symbolic)
    }
    all_seeds = [seed for _ in cells for seed in seeds]
    return Group(
        formula, build, examples, all_seeds, bindings, settings, state, start=start, classes=classes
    )


def networks_to_begin_from(start: Any, seeds: list[int]) -> Callable[[int], nn.Module] | None:
    """`start`, asked once for each seed; raises ValueError where it gives no networks."""
    if start is None:
        return None
    if not callable(start) or isinstance(start, nn.Module):
        raise ValueError(
            f"start is a {type(start).__name__}; expected a function of a seed: lambda seed: net"
        )
    networks = {seed: start(seed) for seed in seeds}
    for seed, network in networks.items():
        if not isinstance(network, nn.Module):
            raise ValueError(f"start({seed}) is a {type(network).__name__}; expected a network")
    return networks.__getitem__


def _check_start(start: Callable[[int], nn.Module], seeds: list[int], student: nn.Module) -> None:
    """Raises ValueError unless weights and buffers have the student's names and shapes."""
    wanted = {name: tuple(t.shape) for name, t in student.state_dict().items()}
    for seed in seeds:
        given = {name: tuple(t.shape) for name, t in start(seed).state_dict().items()}
        if given != wanted:
            name = next(n for n in (*wanted, *given) if wanted.get(n) != given.get(n))
            raise ValueError(
                f"start({seed}) has other weights than the student ({name}: {given.get(name)}, "
                f"not {wanted.get(name)}); give networks of the student's build"
            )


def _rates(lr: Any, state: dict[str, Any]) -> Any:
    """What `lr` stands for: a number, an expression of symbols, or beginning of a name -> those."""
    if callable(lr):
        try:
            lr = lr(**{name: state.get(name, Symbol(name)) for name in arguments(lr)})
        except TypeError as error:
            raise ValueError(
                f"lr={getattr(lr, '__name__', lr)} fails on symbols ({error}); axes of numbers "
                "come as symbols, which know + - * / ** alone"
            ) from error
    rates = lr if isinstance(lr, Mapping) else {"": lr}
    for name, rate in rates.items():
        number = isinstance(rate, Real | Scalar) and not isinstance(rate, bool)
        if not (isinstance(name, str) and number):
            raise ValueError(
                f"lr={lr!r}: expected a number, an expression of axes, or beginnings of weights' "
                "names with those"
            )
        if progress in leaves(rate):
            raise ValueError(
                f"lr={in_words(lr)}: a bank's rates follow schedule= alone; leave progress out, or "
                "train one by one with fit(…), whose rates may change with it"
            )
    return lr


def choose_engine(group: Group) -> str:
    """The engine for "auto": the fast one where it can, fits one by one where vmap cannot."""
    network = group.build()
    if group.optimizer is not None:
        return "sequential"
    if _fast_enough(group, network):
        return "fast"
    on_cpu = group.examples.device.type == "cpu"
    alone = (convolves(network) and on_cpu) or group.objective.one_by_one or fused(network)
    return "sequential" if alone else "reference"


def check_engine(group: Group) -> None:
    """Raises ValueError where the group's engine cannot train it."""
    if group.optimizer is not None and group.engine != "sequential":
        raise ValueError(
            f"the {group.engine} engine trains with AdamW; for another optimizer= use "
            "engine='auto' or 'sequential'"
        )
    if group.engine == "fast" and not _fast_enough(group, group.build()):
        raise ValueError(
            f"the fast engine trains mlp(…) students without dropout under HardLabels and "
            f"SoftTargets at one rate, not {type(group.build()).__name__} under {group.objective} "
            f"with lr={group.settings.lr}, clip={group.settings.clip}; use engine='auto'"
        )
    if group.engine == "reference" and fused(group.build()):
        raise ValueError(
            "the reference engine cannot train PyTorch's own recurrent layers together; use "
            "engine='auto' or 'sequential', or models.gru(…)"
        )
    if group.engine == "reference" and group.objective.one_by_one:
        raise ValueError(
            f"the reference engine trains students together, which {group.objective} does not "
            "allow; use engine='auto' or 'sequential'"
        )


def _fast_enough(group: Group, network: nn.Module) -> bool:
    one_rate = isinstance(group.settings.lr, int | float) and group.settings.clip is None
    return one_rate and matches(group.objective, network, group.examples)


def exact_precision(precision: str, engine: str, device: torch.device) -> str:
    """ "fp32" or "bf16" for what was asked; raises ValueError where the engine cannot."""
    check_precision(precision)
    if precision == "bf16" and engine == "reference":
        raise ValueError("the reference engine runs in fp32; use precision='auto' or 'fp32'")
    if precision == "auto":
        return "bf16" if engine == "fast" and has_bf16(device) else "fp32"
    return precision
