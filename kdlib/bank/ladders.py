"""Chains of helpers: each student teaches the next, seed by seed."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from kdlib.bank.axes import arguments, axes_and_seeds
from kdlib.bank.result import Bank
from kdlib.bank.train import train_bank
from kdlib.data import Examples
from kdlib.device import pick
from kdlib.models import parameter_count
from kdlib.objectives import Objective, TeacherTable, tabulate
from kdlib.objectives.teachers import Teacher


def ladder(
    teacher: Teacher,
    rungs: Sequence[nn.Module],
    *,
    objective: Callable[[Teacher], Objective],
    examples: Any,
    evaluate: Mapping[str, Examples],
    seeds: int | Sequence[int] = 5,
    **settings: Any,
) -> list[Bank]:
    """Trains each rung under the one above, and the first under the teacher; a bank for each.

    rungs: students, the last at the bottom (teacher assistants, Mirzadeh et al. 2020): the student
    of a seed is taught by the helper of that seed. objective: teacher -> what a rung descends,
    `lambda teacher: SoftTargets(teacher, T=4)`. examples, and each of `settings` (those of
    `train_bank` but its grid), are the same for all rungs, or a list with one for each; examples
    may be a function of the seed. A rung with more weights than its teacher is trained, and warned
    of. Where `watch` ends a rung early, the banks end with it.
    Raises ValueError for no rung, for a list of another length, and what `train_bank` refuses.
    """
    _check(rungs, objective, settings)
    chosen = axes_and_seeds(None, seeds)[1]
    each = _each_rung({"examples": examples, **settings}, len(rungs))
    above: dict[int, Teacher] = dict.fromkeys(chosen, teacher)
    banks: list[Bank] = []
    for number, (rung, own) in enumerate(zip(rungs, each, strict=True)):
        _warn_of_a_wide_one(number, rung, above[chosen[0]])
        images = own.pop("examples")
        shown = {seed: images(seed) if callable(images) else images for seed in chosen}
        answers: dict[tuple[Teacher, Examples], Teacher] = {}
        for seed in chosen:  # whoever teaches several seeds is asked once
            asked = above[seed], shown[seed]
            if asked not in answers:
                answers[asked] = _asked(*asked, own.get("device"))
        taught = {seed: objective(answers[above[seed], shown[seed]]) for seed in chosen}
        ended: list[bool] = []
        bank = train_bank(
            _of_seed(taught),
            student=rung,
            examples=_of_seed(shown),
            seeds=chosen,
            evaluate=evaluate,
            **own | ({"watch": _told(own["watch"], ended)} if own.get("watch") else {}),
        )
        banks.append(bank)
        if any(ended):
            break
        if number < len(rungs) - 1:
            above = {s: bank.network(seed=s).to(shown[s].device) for s in chosen}
    return banks


def _check(rungs: Any, objective: Any, settings: Mapping[str, Any]) -> None:
    listed = isinstance(rungs, list | tuple) and len(rungs) > 0
    if not listed or not all(isinstance(rung, nn.Module) for rung in rungs):
        raise ValueError("rungs is no list of students; give at least one: [helper, student]")
    if isinstance(objective, type) or len(arguments(objective)) != 1:
        raise ValueError(
            "objective is no function of a teacher alone; give one: "
            "lambda teacher: SoftTargets(teacher, T=4)"
        )
    for name in {"grid", "student"} & settings.keys():
        raise ValueError(f"a ladder has one student for each rung and seed; leave {name}= out")


def _each_rung(settings: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The settings of each rung, those that are lists taken apart."""
    for name, value in settings.items():
        if isinstance(value, list) and len(value) != count:
            raise ValueError(
                f"{len(value)} values of {name} for {count} rungs; give one for all, or one each"
            )
    return [
        {name: v[number] if isinstance(v, list) else v for name, v in settings.items()}
        for number in range(count)
    ]


def _warn_of_a_wide_one(number: int, rung: nn.Module, teacher: Teacher) -> None:
    network = teacher.network if isinstance(teacher, TeacherTable) else teacher
    if network is not None and parameter_count(rung) > parameter_count(network):
        warnings.warn(
            f"rung {number} has {parameter_count(rung):,} weights and its teacher "
            f"{parameter_count(network):,}; it is trained all the same",
            stacklevel=3,
        )


def _asked(teacher: Teacher, images: Examples, device: Any) -> Teacher:
    table = tabulate(teacher, images) if isinstance(teacher, nn.Module) else teacher
    return table if device is None else table.to(pick(device))


def _of_seed(values: Mapping[int, Any]) -> Callable[[int], Any]:
    return lambda seed: values[seed]


def _told(watch: Callable[..., Any], ended: list[bool]) -> Callable[..., Any]:
    """The watch, which leaves in `ended` whether it ended the training."""

    def told(done: float, errors: Any) -> Any:
        goes_on = watch(done, errors)
        ended.append(goes_on is False)
        return goes_on

    return told
