"""Trains what the page shows but has no minute for, and stores it beside: table.json.

Two settings, both on the common ground: teacher cnn(16), student mlp(784, 100, 10), 560 steps of
128 images. "one student": 100 labels per class, the teacher knows all ten digits. "other classes":
the teacher learned 0 to 4, the student has five labels of each of 5 to 9. The weights of terms are
chosen on validation images with a draw of labels that is used for nothing else. Scored on MNIST's
10,000 test images, with the difference from label-only students and from students with the answers.
Relational compares distances alone here (RKD-D): angles take batch³, and a minute for a student.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdcourse.ground import mnist
from kdcourse.pages import tables
from kdlib import losses, metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, load
from kdlib.models import cnn, initialise, mlp
from kdlib.objectives import (
    Contrastive,
    Cosine,
    HardLabels,
    Hint,
    Objective,
    Relational,
    Similarity,
    SoftTargets,
    TeacherTable,
    Term,
    tabulate,
)
from kdlib.objectives.layers import OnLayers
from kdlib.objectives.step import Step

LAYERS = {"stage1": "embedding"}
EIGHT, FIVE, TWO, SPARE = range(8), range(5), range(2), 100
LABELS = HardLabels()
WEIGHTS = {
    "hint": (0.3, 1.0, 10.0),
    "cosine": (0.3, 1.0, 10.0),
    "similarity": (30.0, 100.0, 1000.0),
    "relational": (1.0, 10.0, 100.0),
    "contrastive": (0.3, 1.0, 10.0),
}
STRANGER_WEIGHTS = {
    "answers, own outputs": (3.0, 10.0, 30.0, 100.0),
    "hint": (3.0, 10.0, 30.0),
    "contrastive": (10.0, 100.0, 300.0),
}


@dataclass(frozen=True, repr=False)
class OwnOutputs(Term):
    """The teacher's answers to 0–4 on outputs 0–4, in a softmax of their own."""

    teacher: TeacherTable
    T: float = mnist.T

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        z_s, z_t = step.observation.logits, step.teacher(self.teacher).logits
        return losses.soft_targets(z_s[..., :5], z_t[..., :5], self.T)


@dataclass(frozen=True, repr=False)
class NewLabels(Term):
    """Cross-entropy among the outputs from `first` on."""

    first: int = 5

    def loss(self, step: Step, owned: nn.Module | None) -> Tensor:
        labels = (step.batch.y - self.first).clamp(min=-1)
        return losses.hard_labels(step.observation.logits[..., self.first :], labels)


@dataclass
class Setting:
    """examples: draw → what a student of that draw trains on · unseen: split → scored on."""

    name: str
    examples: Callable[[int], Examples]
    unseen: dict[str, Examples]
    first: int  # the first class that may be answered

    def wrong(self, objective: Objective, draw: int, split: str) -> Tensor:
        """Which images of a split one trained student gets wrong: (1, images)."""
        examples = self.examples(draw)
        bank = train_bank(
            objective,
            student=mlp(784, mnist.WIDTH, 10),
            examples=examples,
            seeds=[draw],
            evaluate={split: self.unseen[split]},
            epochs=mnist.epochs(examples),
            batch=mnist.BATCH,
            engine="auto" if self.quick(objective) else "sequential",
            cache=False,
        )
        answers = bank.logits[split][..., self.first :].argmax(-1) + self.first
        return (answers != self.unseen[split].y).reshape(1, -1)

    def quick(self, objective: Objective) -> bool:
        """Whether the bank's fast path knows the objective: only labels and answers in it."""
        slow = (OnLayers, OwnOutputs, NewLabels)
        return not any(isinstance(term, slow) for _, term in objective.terms)

    def many(self, objective: Objective, draws: Any) -> Tensor:
        return torch.cat([self.wrong(objective, draw, "test") for draw in draws])

    def chosen(self, base: Objective, term: Term, weights: Any) -> tuple[float, dict[str, float]]:
        """The weight with the lowest validation error, and the errors of all."""
        errors = {
            w: 100 * float(self.wrong(base + w * term, SPARE, "validation").double().mean())
            for w in weights
        }
        return min(errors, key=lambda w: errors[w]), {f"{w:g}": e for w, e in errors.items()}


def ends(interval: metrics.Interval) -> list[float]:
    """Mean, low, high and p-value, rounded."""
    return [
        round(interval.mean, 3),
        round(interval.low, 3),
        round(interval.high, 3),
        float(f"{interval.p_value:.3g}"),
    ]


def row(
    setting: str, way: str, wrong: Tensor, against: dict[str, Tensor], **more: Any
) -> dict[str, Any]:
    """What is kept of one way: errors of each draw, and what it saves against others."""
    errors = [round(e, 2) for e in (100 * wrong.double().mean(-1)).tolist()]
    kept: dict[str, Any] = {"setting": setting, "taught by": way, **more, "errors": errors}
    for name, other in against.items():
        if name != way:
            kept[f"saves against {name}"] = ends(metrics.difference(other[: len(wrong)], wrong))
    return kept


def one_student(train: Examples, unseen: dict[str, Examples]) -> Iterator[dict[str, Any]]:
    """Five feature terms on labels, and beside the answers; 100 labels per class."""
    setting = Setting("one student", lambda draw: train.per_class(100, seed=draw), unseen, 0)
    table = tabulate(mnist.teacher(train), train, taps=["embedding"])
    blank = tabulate(initialise(cnn(16), 1).eval(), train, taps=["embedding"])
    soft = (1 - mnist.ALPHA) * LABELS + mnist.ALPHA * SoftTargets(table, mnist.T)
    terms: dict[str, Term] = {
        "hint": Hint(table, LAYERS),
        "cosine": Cosine(table, LAYERS),
        "similarity": Similarity(table, LAYERS),
        "relational": Relational(table, LAYERS, angle=0.0),
        "contrastive": Contrastive(table, LAYERS),
    }
    against = {"label-only": setting.many(LABELS, FIVE), "answers": setting.many(soft, FIVE)}
    for way, wrong in against.items():
        yield row(setting.name, way, wrong, against)
    for name, term in terms.items():
        w, tried = setting.chosen(LABELS, term, WEIGHTS[name])
        wrong = setting.many(LABELS + w * term, FIVE)
        yield row(setting.name, name, wrong, against, w=w, tried=tried)
        beside = {"hint": (w, 100.0), "contrastive": (w,)}.get(name, ())
        for weight in beside:
            wrong = setting.many(soft + weight * term, FIVE)
            yield row(setting.name, f"answers + {name}", wrong, against, w=weight)
    nothing = setting.many(LABELS + Contrastive(blank, LAYERS), FIVE)
    yield row(setting.name, "contrastive, random teacher", nothing, against, w=1.0)


def mostly_unlabelled(images: Examples, count: int, draw: int) -> Examples:
    """So many labelled images per class, repeated to about 400, and all others unlabelled."""
    labelled = images.per_class(count, seed=draw)
    mixed = images[~torch.isin(images.ids, labelled.ids)].unlabelled()
    for _ in range(80 // count):
        mixed = mixed + labelled
    return mixed


def other_classes(train: Examples, unseen: dict[str, Examples]) -> Iterator[dict[str, Any]]:
    """The teacher learned 0 to 4; students of 5 to 9 with five labels per class."""
    name = "other classes"
    old, new = train.only(range(5)), train.only(range(5, 10))
    unseen = {split: part.only(range(5, 10)) for split, part in unseen.items()}
    setting = Setting(name, lambda draw: mostly_unlabelled(new, 5, draw), unseen, 5)
    stranger = tabulate(mnist.teacher(old), new, taps=["embedding"])
    blank = tabulate(initialise(cnn(16), 1).eval(), new, taps=["embedding"])
    labels = NewLabels()
    terms: dict[str, Term] = {
        "answers, own outputs": OwnOutputs(stranger),
        "contrastive": Contrastive(stranger, LAYERS),
        "hint": Hint(stranger, LAYERS),
    }
    against = {"label-only": setting.many(labels, EIGHT)}
    yield row(name, "label-only", against["label-only"], against)
    best: dict[str, float] = {}
    for way, term in terms.items():
        best[way], tried = setting.chosen(labels, term, STRANGER_WEIGHTS[way])
        wrong = setting.many(labels + best[way] * term, FIVE if way == "hint" else EIGHT)
        yield row(name, way, wrong, against, w=best[way], tried=tried)
        against |= {way: wrong} if way.startswith("answers") else {}
    w = best["contrastive"]
    nothing = labels + w * Contrastive(blank, LAYERS)
    yield row(name, "contrastive, random teacher", setting.many(nothing, EIGHT), against, w=w)
    both = labels + w * terms["contrastive"]
    both = both + best["answers, own outputs"] * terms["answers, own outputs"]
    yield row(name, "contrastive + answers, own outputs", setting.many(both, FIVE), against)
    shared = Setting(name, setting.examples, unseen, 0)
    wrong = shared.many(LABELS + 3.0 * SoftTargets(stranger, mnist.T), TWO)
    yield row(name, "answers, one shared softmax", wrong, against, w=3.0)


def main() -> None:
    torch.set_num_threads(1)
    train, validation, _ = load("mnist5k")
    unseen = {"validation": validation, "test": load("mnist").test}
    rows = [*other_classes(train, unseen), *one_student(train, unseen)]
    tables.write(__file__, rows)


if __name__ == "__main__":
    main()
