"""One bias under a slider: what it does to a class that the student never saw, and to the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State, written
from kdcourse.figures import DASHES, MARKERS
from kdcourse.figures.style import TEXT
from kdlib.metrics import mean_intervals

LINES = ("missing", "total", "others")
ROLES = {"missing": "label", "total": "taught", "others": "extra"}
SHAPES = [("v", "▽"), ("D", "◇"), ("s", "□"), ("^", "△")]  # a rule's mark, and the same as text
HIGHEST = 40.0  # of the right panel, %


class ClassBias(Explorer):
    """Slide the bias of one class; every student's answers are scored anew, so all is exact.

    logits: student's name → (seeds, N, C), trained students' answers to the same N test images.
    labels: (N,). missing: the class whose logit the bias is added to. biases: of the slider.
    rules: name of a rule → student's name → the bias that the rule chose (a mean over seeds);
    drawn as marks, a shape for each rule.
    """

    def __init__(
        self,
        logits: Mapping[str, Any],
        labels: Any,
        *,
        missing: int,
        biases: Sequence[float],
        rules: Mapping[str, Mapping[str, float]] | None = None,
        title: str = "The bias of a class the student never saw",
    ) -> None:
        answers = {name: np.asarray(table) for name, table in logits.items()}
        y = np.asarray(labels)
        shapes = {table.shape for table in answers.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3 or next(iter(shapes))[1] != len(y):
            raise ValueError(
                f"logits have shapes {sorted(map(str, shapes))} for {len(y)} labels; "
                "expected (seeds, N, C), the same for every student"
            )
        if not 0 <= missing < next(iter(shapes))[2] or not (y == missing).any():
            raise ValueError(
                f"no image of class {missing} among {len(y)} labels; "
                "choose a class that the test images show"
            )
        self.biases = [float(bias) for bias in biases]
        self._is_missing = y == missing
        self._missing = missing
        self._wrong = {name: self._scored(z, y) for name, z in answers.items()}
        self._rules = {rule: dict(chosen) for rule, chosen in (rules or {}).items()}
        for rule, chosen in self._rules.items():
            if unknown := set(chosen) ^ set(answers):
                raise ValueError(f"rule {rule!r} and the logits disagree about {sorted(unknown)}")
        first = next(iter(answers))
        situations: dict[str, dict[str, Any]] = {"as trained": {"bias": self._nearest(0.0)}}
        for rule, chosen in self._rules.items():
            aim = {"bias": self._nearest(chosen[first])}
            situations[rule] = aim if len(answers) == 1 else {**aim, "student": first}
        super().__init__(
            controls={
                "bias": self.biases,
                **({"student": list(answers)} if len(answers) > 1 else {}),
            },
            start=situations[next(iter(self._rules), "as trained")],
            situations=situations,
            notes={"bias": f"added to the logit of class {missing}"},
            title=title,
        )

    def _nearest(self, bias: float) -> float:
        return min(self.biases, key=lambda known: abs(known - bias))

    def _scored(self, z: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """Wrong answers per group of images, (biases, seeds) counts each."""
        counts: dict[str, list[np.ndarray]] = {name: [] for name in LINES}
        for bias in self.biases:
            shifted = z.copy()
            shifted[..., self._missing] += bias
            wrong = shifted.argmax(-1) != y
            counts["missing"].append(wrong[:, self._is_missing].sum(1))
            counts["others"].append(wrong[:, ~self._is_missing].sum(1))
            counts["total"].append(wrong.sum(1))
        return {name: np.stack(rows).astype(float) for name, rows in counts.items()}

    def wrong(self, state: State) -> dict[str, np.ndarray]:
        """ "missing", "others", "total" → wrong answers of each seed at this state, (seeds,)."""
        student = self._student(state)
        here = self.biases.index(state["bias"])
        return {name: table[here] for name, table in self._wrong[student].items()}

    def _student(self, state: State) -> str:
        return str(state.get("student", next(iter(self._wrong))))

    # ---- the picture -------------------------------------------------------------------------

    def setup(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        n, many = len(self._is_missing), int(self._is_missing.sum())
        for axis in (left, right):
            room = 0.03 * (self.biases[-1] - self.biases[0])
            axis.set_xlim(self.biases[0] - room, self.biases[-1] + room)
            axis.set_xlabel(f"bias of class {self._missing}")
        left.set_ylim(-3, 103)
        left.set_ylabel(f"wrong, % of {many:,} images of class {self._missing}", fontsize=8.5)
        # Far to the right everything is called the missing class: the scale may stop before that.
        high = max(float(table["total"].mean(1).max()) for table in self._wrong.values())
        right.set_ylim(0, min(HIGHEST, 1.08 * 100 * high / n))
        right.set_ylabel(f"wrong, % of all {n:,} images", fontsize=8.5)
        self._place = {"missing": left, "total": right, "others": right}
        self._lines: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for name, axis in self._place.items():
            role = ROLES[name]
            for ghost in (True, False):
                look = self.look(role, ghost=ghost)
                self._lines[ghost][name] = axis.plot([], [], linestyle=DASHES[role], **look)[0]
        self._dots = {name: self._dot(axis, ROLES[name]) for name, axis in self._place.items()}
        self._now = [
            axis.axvline(0, color="#C8C8C8", linewidth=1, zorder=1, animated=True)
            for axis in (left, right)
        ]
        for k, (name, said) in enumerate(
            (("total", "all images"), ("others", "images of other classes"))
        ):
            style = {"color": self.look(ROLES[name], text=True)["color"], "fontsize": 8.5}
            right.text(0.5 * k, 1.02, said, transform=right.transAxes, va="bottom", **style)
        self._marks = [self._mark(left, right, k, rule) for k, rule in enumerate(self._rules)]

    def _dot(self, axis: Axes, role: str) -> Any:
        return axis.plot([], [], MARKERS[role], markersize=4.5, alpha=0.7, **self.look(role))[0]

    def _mark(self, left: Axes, right: Axes, k: int, rule: str) -> tuple[str, Any, Any, Any]:
        """A mark of its own on both lines where the rule puts the bias, explained in a list."""
        shape, _ = SHAPES[k % len(SHAPES)]
        look = {**self.look("label"), "color": TEXT, "markersize": 6, "fillstyle": "none"}
        mark = left.plot([], [], shape, **look)[0]
        line = right.plot([], [], shape, **look)[0]
        style = {**self.look("label"), "color": TEXT, "fontsize": 8.5, "va": "top", "ha": "right"}
        text = left.text(0.98, 0.97 - 0.08 * k, "", transform=left.transAxes, **style)
        return rule, mark, text, line

    def move(self, state: State, ghost: bool) -> None:
        table = self._wrong[self._student(state)]
        for name, counts in table.items():
            share = 100 * counts / self._of(name)
            self._lines[ghost][name].set_data(self.biases, share.mean(1))
            if not ghost:
                seeds = share[self.biases.index(state["bias"])]
                self._dots[name].set_data([state["bias"]] * len(seeds), seeds)
        if ghost:
            return
        for line in self._now:
            line.set_xdata([state["bias"]] * 2)
        heights = {
            name: 100 * table[name].mean(1) / self._of(name) for name in ("missing", "total")
        }
        for k, (rule, mark, text, point) in enumerate(self._marks):
            bias = self._rules[rule][self._student(state)]
            inside = min(max(bias, self.biases[0]), self.biases[-1])
            text.set_text(f"{SHAPES[k % len(SHAPES)][1]} {rule}: {bias:.1f}")
            mark.set_data(
                [inside], [np.interp(inside, self.biases, heights["missing"]) + 3 + 7 * k]
            )
            point.set_data(
                [inside], [np.interp(inside, self.biases, heights["total"]) + 0.6 + 1.3 * k]
            )

    def _of(self, name: str) -> int:
        """How many images a line is a share of: the missing class, or all."""
        return int(self._is_missing.sum()) if name == "missing" else len(self._is_missing)

    def sentence(self, state: State) -> str:
        wrong = self.wrong(state)
        many, n = int(self._is_missing.sum()), len(self._is_missing)
        right = many - wrong["missing"]
        mean, low, high = (float(value) for value in mean_intervals(right))
        over = f" ({max(low, 0):.0f} to {min(high, many):.0f} over {len(right)} seeds)"
        who = f" ({self._student(state)})" if len(self._wrong) > 1 else ""
        return (
            f"With bias {written(state['bias'])} the student{who} gets {mean:.0f} of {many} "
            f"images of class {self._missing} right{over if len(right) > 1 else ''}; of the "
            f"{n - many:,} other images it gets {wrong['others'].mean():.0f} wrong, so "
            f"{wrong['total'].mean():.0f} of {n:,} in all."
        )

    def formula(self, state: State) -> str:
        bias = self.symbol(written(state["bias"]), "taught")
        added = f"bias · (1 if c = {self._missing}, else 0)"
        return f"answer = argmax over classes c of z_s(c) + {added}, bias = {bias}"
