"""Trains what the page shows but has no minute for, and stores it beside: table.json.

On the common ground: teacher cnn(16), students mlp(784, 100, 10), 560 steps of 128 images, scored
on MNIST's 10,000 test images. Each seed has its own draw of images, its own helpers and teachers.
"gap": the student has 200 images, its helpers have more, or the same. "small": narrow students that
have all images. "hospitals": teachers of 200 labels each. "specialists": teachers of some digits.
"peers": mutual learning and born-again. "joint": helper and student in one step. "cut": helpers
from the teacher's own weights. "tilted": hospitals whose images are rotated.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.pages import tables
from kdlib import metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, load
from kdlib.data.shifts import rotate
from kdlib.models import Ensemble, Together, cnn, inherit, initialise, mlp, predict
from kdlib.objectives import (
    HardLabels,
    Objective,
    SoftTargets,
    TeacherTable,
    member,
    merge,
    progress,
    tabulate,
)
from kdlib.training import fit

T, SEEDS = mnist.T, range(5)
HELPERS = {"linear": (), "mlp(32)": (32,), "mlp(100)": (100,)}
COUNTS, TEMPERATURES, WAYS = (1, 2, 5, 10), (1.0, 4.0), ("logits", "probabilities", "confidence")
KNOWN = [list(range(7)), [7, 8, 9]]
ANGLES = (-60.0, -30.0, 0.0, 30.0, 60.0)


@cache
def images() -> dict[str, Examples]:
    """3,500 training images, and MNIST's 10,000 for tests."""
    return {"train": load("mnist5k").train, "test": load("mnist").test}


@cache
def teacher() -> nn.Module:
    return mnist.teacher(images()["train"])


def student() -> nn.Module:
    return mlp(784, mnist.WIDTH, 10)


def few(seed: int) -> Examples:
    """20 images of each digit: the draw of this seed."""
    return images()["train"].per_class(20, seed=seed)


def trained(
    objective: Objective, network: nn.Module, examples: Examples, seed: int, **how: Any
) -> nn.Module:
    """A network of this seed after 560 steps."""
    how = {"epochs": mnist.epochs(examples, how.pop("steps", mnist.STEPS)), **how}
    tests = {"none": images()["test"][:2].unlabelled()}
    bank = train_bank(
        objective,
        student=network,
        examples=examples,
        seeds=[seed],
        evaluate=tests,
        batch=mnist.BATCH,
        cache=False,
        **how,
    )
    return bank.network(seed=seed)


def answers(network: nn.Module, unseen: Examples | None = None) -> Tensor:
    """Logits on MNIST's test images."""
    return predict(network, images()["test"] if unseen is None else unseen)


def missed(logits: Tensor, unseen: Examples | None = None) -> Tensor:
    """Which answers are wrong, (images,)."""
    labels = (images()["test"] if unseen is None else unseen).y
    return logits.argmax(-1) != labels


def percent(values: list[Tensor]) -> list[float]:
    return [round(100 * float(value.double().mean()), 2) for value in values]


@dataclass
class Rows:
    """What each way missed, seed by seed, in the order in which ways first came."""

    setting: str
    wrong: dict[str, list[Tensor]] = field(default_factory=dict)
    more: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, way: str, wrong: Tensor, **more: float) -> None:
        self.wrong.setdefault(way, []).append(wrong)
        for name, value in more.items():
            kept = self.more.setdefault(way, {}).setdefault(name.replace("_", " "), [])
            kept.append(round(value, 2))

    def stored(self, against: Callable[[str], list[str]]) -> Iterator[dict[str, Any]]:
        """Errors and their interval, and what each saves against the ways named for it."""
        for way, wrong in self.wrong.items():
            error = metrics.interval(100 * torch.stack(wrong).double())
            row = {"setting": self.setting, "way": way, "errors": percent(wrong)}
            row |= {"error": ends(error)} | self.more.get(way, {})
            for rival in against(way):
                if rival != way:
                    gain = metrics.difference(torch.stack(self.wrong[rival]), torch.stack(wrong))
                    row[f"saves against {rival}"] = ends(gain)
            yield row


def ends(interval: metrics.Interval) -> list[float]:
    return [round(end, 3) for end in (interval.mean, interval.low, interval.high)]


# ---- one helper ---------------------------------------------------------------------------------


def gap() -> Iterator[dict[str, Any]]:
    """The student has 200 images without labels; who teaches it?"""
    rows, train = Rows("gap"), images()["train"]
    for seed in SEEDS:
        own = few(seed)
        bare = own.unlabelled()
        rows.add("label-only", missed(answers(trained(HardLabels(), student(), own, seed))))
        for name, steps, t in (("direct", 560, T), ("direct, 1,120 steps", 1120, T)):
            network = trained(SoftTargets(teacher(), t), student(), bare, seed, steps=steps)
            add_student(rows, name, network, teacher())
        cold = trained(SoftTargets(teacher(), 1.0), student(), bare, seed)
        add_student(rows, "direct, T = 1", cold, teacher())
        every = trained(SoftTargets(teacher(), T), student(), train.unlabelled(), seed)
        add_student(rows, "direct, all images", every, teacher())
        soft = SoftTargets(teacher(), T)
        ways: list[tuple[str, Objective, Examples]] = [
            ("taught, 3,500 images", soft, train.unlabelled()),
            ("taught, the same 200", soft, bare),
            ("labels only, 3,500", HardLabels(), train),
        ]
        for name, hidden in HELPERS.items():
            for way, objective, examples in ways:
                start = 100 + seed
                helper = trained(objective, mlp(784, *hidden, 10), examples, start)
                network = trained(SoftTargets(helper, T), student(), bare, seed)
                add_student(rows, f"{name}: {way}", network, helper)
                if way.startswith("labels") and name == "linear":
                    network = trained(SoftTargets(helper, 1.0), student(), bare, seed)
                    add_student(rows, f"{name}: {way}, T = 1", network, helper)
    yield from rows.stored(lambda way: rivals_of(way))


def rivals_of(way: str) -> list[str]:
    """What a row of the gap is compared with."""
    name, _, how = way.partition(": ")
    direct = ["direct", "direct, 1,120 steps", "direct, all images"]
    return [*direct, f"{name}: taught, 3,500 images"] if how.startswith("labels") else direct


def add_student(rows: Rows, way: str, network: nn.Module, guide: nn.Module) -> None:
    """With the guide's own error, and how often the student answers otherwise than its guide."""
    mine, theirs = answers(network), answers(guide)
    otherwise = 100 * float((mine.argmax(-1) != theirs.argmax(-1)).double().mean())
    error = percent([missed(theirs)])[0]
    rows.add(way, missed(mine), helper_errors=error, disagreement=otherwise)


# ---- several teachers ---------------------------------------------------------------------------


def hospitals() -> Iterator[dict[str, Any]]:
    """Teachers of 200 labels each, none shared; the student has 3,500 images without labels."""
    rows, train = Rows("hospitals"), images()["train"]
    bare = train.unlabelled()
    for seed in SEEDS:
        houses = train.split(*[200] * 10, seed=seed)
        doctors = [
            trained(HardLabels(), student(), house, 1000 + 10 * seed + number)
            for number, house in enumerate(houses)
        ]
        told = [tabulate(doctor, bare) for doctor in doctors]
        for count in COUNTS:
            pool = sum(houses[1:count], houses[0])
            rows.add(
                f"pooled, {count}", missed(answers(trained(HardLabels(), student(), pool, seed)))
            )
            for way in WAYS:
                together = answers(Ensemble(*doctors[:count], how=way))
                rows.add(f"ensemble, {way}, {count}", missed(together))
            for t in TEMPERATURES:
                for ways, objective in merged(told[:count], t):
                    wrong = missed(answers(trained(objective, student(), bare, seed)))
                    for way in ways:
                        rows.add(f"{way}, T = {t:g}, {count}", wrong)
        votes = SoftTargets(merge(told[:5], "votes"), T)
        rows.add("votes, T = 4, 5", missed(answers(trained(votes, student(), bare, seed))))
        longer = trained(HardLabels(), student(), sum(houses[1:5], houses[0]), seed, steps=6 * 560)
        rows.add("pooled, 3,360 steps, 5", missed(answers(longer)))
        again = [
            trained(HardLabels(), student(), houses[0], 2000 + 10 * seed + k) for k in range(5)
        ]
        alike = SoftTargets(merge([tabulate(doctor, bare) for doctor in again]), 1.0)
        rows.add("same 200 labels, 5", missed(answers(trained(alike, student(), bare, seed))))
    yield from rows.stored(hospital_rivals)


def merged(told: list[TeacherTable], t: float) -> Iterator[tuple[list[str], Objective]]:
    """Each way to merge at this temperature, under all its names.

    The sum of losses softens before it averages: at T = 1 it is the mean of probabilities. One
    teacher is merged alike by all.
    """
    summed = "sum of losses"
    if len(told) == 1:
        yield [*WAYS, summed], SoftTargets(told[0], t)
        return
    for way in WAYS:
        same = [summed] if way == "probabilities" and t == 1 else []
        yield [way, *same], SoftTargets(merge(told, way), t)
    if t != 1:
        share = 1 / len(told)
        terms = [share * SoftTargets(table, t) for table in told]
        yield [summed], sum(terms[1:], terms[0])


def hospital_rivals(way: str) -> list[str]:
    count = way.rpartition(", ")[2]
    if way.startswith(("ensemble", "pooled, 1", "pooled, 2")):
        return []
    rivals = [f"pooled, {count}", f"logits, T = 1, {count}", "logits, T = 1, 1"]
    same = [f"{name}, T = {t:g}, {count}" for name in WAYS for t in TEMPERATURES]
    return list(dict.fromkeys([*rivals, *(same if count == "5" else [])]))


def specialists() -> Iterator[dict[str, Any]]:
    """One knows 0 to 6, the other 7 to 9; with and without an output for all other digits."""
    rows, train = Rows("specialists"), images()["train"]
    bare = train.unlabelled()
    for seed in SEEDS:
        sure = [specialist(train, known, 1000 + seed, rest=False) for known in KNOWN]
        aware = [specialist(train, known, 1000 + seed, rest=True) for known in KNOWN]
        general = trained(HardLabels(), student(), train, 1000 + seed)
        plain, wary = ([tabulate(net, bare) for net in nets] for nets in (sure, aware))
        tables_of = {
            "generalist": tabulate(general, bare),
            "logits side by side": merge(plain, classes=KNOWN),
            "log-probabilities side by side": merge(plain, "probabilities", classes=KNOWN),
            "with none of mine": merge(wary, classes=KNOWN, rest=True),
        }
        for way, table in tables_of.items():
            own = 100 * float((table.logits.argmax(-1) != train.y).double().mean())
            network = trained(SoftTargets(table, T), student(), bare, seed)
            rows.add(way, missed(answers(network)), on_training_images=own)
    yield from rows.stored(lambda way: ["generalist", "logits side by side"])


def specialist(train: Examples, known: list[int], seed: int, *, rest: bool) -> nn.Module:
    """An mlp of the known digits, and of the rest as one more class if asked for."""
    outputs = {digit: place for place, digit in enumerate(known)}
    places = torch.tensor([outputs.get(digit, len(known)) for digit in range(10)])[train.y]
    mine = train.labelled_as(places)
    mine = mine if rest else mine[places < len(known)]
    return trained(HardLabels(), mlp(784, mnist.WIDTH, len(known) + rest), mine, seed)


# ---- the lab notes' -----------------------------------------------------------------------------


def small() -> Iterator[dict[str, Any]]:
    """Narrow students with all 3,500 images: is there a gap, and does a helper bridge it?"""
    rows, bare = Rows("small"), images()["train"].unlabelled()
    for seed in SEEDS:
        for width in (3,):
            narrow = mlp(784, width, 10)
            plain = trained(HardLabels(), narrow, images()["train"], seed)
            rows.add(f"{width}: label-only", missed(answers(plain)))
            for steps, name in ((560, "direct"), (1120, "direct, 1,120 steps")):
                network = trained(SoftTargets(teacher(), T), narrow, bare, seed, steps=steps)
                rows.add(f"{width}: {name}", missed(answers(network)))
            for hidden in ((), (100,)):
                for how in ("taught", "labels only"):
                    aim = SoftTargets(teacher(), T) if how == "taught" else HardLabels()
                    seen = bare if how == "taught" else images()["train"]
                    helper = trained(aim, mlp(784, *hidden, 10), seen, 100 + seed)
                    network = trained(SoftTargets(helper, T), narrow, bare, seed)
                    name = f"mlp({hidden[0]})" if hidden else "linear"
                    rows.add(f"{width}: via {name}, {how}", missed(answers(network)))
    yield from rows.stored(lambda way: [f"{way.split(':')[0]}: direct, 1,120 steps"])


def peers() -> Iterator[dict[str, Any]]:
    """Two students of 200 labels that teach each other; and one that teaches its successor."""
    rows = Rows("peers")
    for seed in SEEDS:
        own = few(seed)
        plain = trained(HardLabels(), student(), own, seed)
        twin = trained(HardLabels(), student(), own, 500 + seed)
        rows.add("label-only", missed(answers(plain)))
        rows.add("label-only, two merged", missed(answers(Ensemble(plain, twin))))
        smooth = trained(HardLabels(0.2), student(), own, seed)
        rows.add("label smoothing 0.2", missed(answers(smooth)))
        for t in (1.0, 4.0):
            both = Together(b=student(), a=student())
            aim = member("a", HardLabels() + SoftTargets("b", t))
            aim = aim + member("b", HardLabels() + SoftTargets("a", t))
            pair = trained(aim, both, own, seed)
            rows.add(f"mutual, T = {t:g}", missed(answers(pair)))
            merged_pair = Ensemble(pair.get_submodule("a"), pair.get_submodule("b"))
            rows.add(f"mutual, T = {t:g}, two merged", missed(answers(merged_pair)))
            again = 0.5 * HardLabels() + 0.5 * SoftTargets(twin, t)
            rows.add(
                f"born again, T = {t:g}", missed(answers(trained(again, student(), own, seed)))
            )
    yield from rows.stored(lambda way: ["label-only", "label smoothing 0.2"])


RATES: dict[str, Any] = {
    "fixed": 1e-2,
    "exponential": 1e-2 * 0.1**progress,
    "sigmoid": 1e-2 / (1 + 2.718 ** (5 - 10 * progress)),
}


def joint() -> Iterator[dict[str, Any]]:
    """Helper mlp(100) and student mlp(16) in one step, on the same 200 images."""
    rows = Rows("joint")
    for seed in SEEDS:
        bare, narrow = few(seed).unlabelled(), mlp(784, 16, 10)
        soft = SoftTargets(tabulate(teacher(), bare), T)
        for steps, name in ((560, "direct"), (1120, "direct, 1,120 steps")):
            rows.add(name, missed(answers(trained(soft, narrow, bare, seed, steps=steps))))
        helper = trained(soft, student(), bare, 100 + seed)
        chain = trained(SoftTargets(helper, T), narrow, bare, seed)
        rows.add("one after the other", missed(answers(chain)))
        aim = member("helper", soft) + member("student", SoftTargets("helper", T))
        how: dict[str, Any] = {"epochs": mnist.epochs(bare), "batch": mnist.BATCH}
        how |= {"order_seed": 0, "precision": "fp32", "schedule": "constant"}
        single = fit(initialise(mlp(784, 16, 10), seed), bare, soft, lr=1e-2, **how).network
        rows.add("direct, constant rate", missed(answers(single)))
        for name, rate in RATES.items():
            pair = initialise(Together(helper=student(), student=mlp(784, 16, 10)), seed)
            rates = {"helper": 1e-2, "student": rate, "": 1e-2}
            rows.add(
                f"joint, {name}", missed(answers(fit(pair, bare, aim, lr=rates, **how).network))
            )
    yield from rows.stored(lambda way: ["direct", "direct, 1,120 steps", "direct, constant rate"])


def cut() -> Iterator[dict[str, Any]]:
    """Helpers cnn(4): with the teacher's weights, shrunk; drawn anew; and another kind, mlp(32)."""
    rows, train = Rows("cut"), images()["train"].unlabelled()
    soft = SoftTargets(tabulate(teacher(), train), T)
    for seed in SEEDS:
        bare = few(seed).unlabelled()
        direct = trained(SoftTargets(teacher(), T), student(), bare, seed)
        add_student(rows, "direct", direct, teacher())
        part, fresh, kind = (
            cnn(4),
            initialise(cnn(4), 100 + seed),
            initialise(mlp(784, 32, 10), seed),
        )
        inherit(initialise(part, 100 + seed), teacher(), shrink=True)
        start = {"cut from the teacher": part, "drawn anew": fresh, "another kind, mlp(32)": kind}
        for name, network in start.items():
            how: dict[str, Any] = {"epochs": mnist.epochs(train, 280), "order_seed": seed}
            helper = fit(network, train, soft, batch=mnist.BATCH, precision="fp32", **how).network
            helper.eval()
            network = trained(SoftTargets(helper, T), student(), bare, seed)
            add_student(rows, name, network, helper)
    yield from rows.stored(lambda way: ["direct"])


def tilted() -> Iterator[dict[str, Any]]:
    """Five hospitals, each with its own angle; the student has unlabelled images of all angles."""
    rows, train = Rows("tilted"), images()["train"]
    for seed in SEEDS:
        *houses, rest = train.split(*[200] * 5, 2500, seed=seed)
        doctors = [
            trained(HardLabels(), student(), turned(house, angle), 3000 + 10 * seed + number)
            for number, (house, angle) in enumerate(zip(houses, ANGLES, strict=True))
        ]
        bare = at_all_angles(rest.split(*[500] * 5, seed=seed)).unlabelled()
        unseen = at_all_angles(images()["test"].split(*[2000] * 5, seed=0))
        told = [tabulate(doctor, bare) for doctor in doctors]
        at_home = torch.nn.functional.one_hot(bare.domain, 5).T.float()
        ways = {way: merge(told, way) for way in WAYS}
        ways["each at home"] = merge(told, weights=at_home)
        for name, table in ways.items():
            network = trained(SoftTargets(table, 1.0), student(), bare, seed)
            rows.add(name, missed(answers(network, unseen), unseen))
        best = answers(doctors[2], unseen)
        rows.add("the upright hospital itself", missed(best, unseen))
        pool = [turned(house, angle) for house, angle in zip(houses, ANGLES, strict=True)]
        pooled = trained(HardLabels(), student(), sum(pool[1:], pool[0]), seed)
        rows.add("labels pooled", missed(answers(pooled, unseen), unseen))
    yield from rows.stored(lambda way: ["logits", "labels pooled"])


def at_all_angles(parts: tuple[Examples, ...]) -> Examples:
    """Each part turned by its angle, as a domain of its own."""
    views = [
        turned(part, angle).as_domain(place)
        for place, (part, angle) in enumerate(zip(parts, ANGLES, strict=True))
    ]
    return sum(views[1:], views[0])


def turned(examples: Examples, degrees: float) -> Examples:
    return examples.transformed(rotate(degrees)) if degrees else examples


SETTINGS = (gap, hospitals, specialists, small, peers, joint, cut, tilted)


def of_setting(number: int) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return list(SETTINGS[number]())


def main() -> None:
    teacher()  # trained and kept, before several processes ask for it
    with ProcessPoolExecutor(3) as pool:
        parts = list(pool.map(of_setting, range(len(SETTINGS))))
    tables.write(__file__, [row for part in parts for row in part])


if __name__ == "__main__":
    main()
