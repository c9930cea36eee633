"""The ward: a patient's curves beside the right program's; and a diagnosis, before the name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from kdcourse.explorers.base import Explorer
from kdcourse.explorers.controls import State
from kdcourse.figures import DASHES
from kdcourse.lessons.lesson15.mistakes import MISTAKES

Curves = Mapping[str, Sequence[float]]
# panel → its fixed limits, and the scale of its axis
PANELS: dict[str, tuple[tuple[float, float], str]] = {
    "loss": ((-40, 2000), "symlog"),
    "training error %": ((-3, 100), "linear"),
    "test error %": ((0, 100), "linear"),
    "agreement %": ((0, 103), "linear"),
    "confidence": ((0, 1.03), "linear"),
    "NLL": ((0.2, 20), "log"),
}

AXES = {"loss": ", own formula (log)", "NLL": " (log)"}
FIRST = "T on the student only"


class Ward(Explorer):
    """Slide through the patients: six curves each, the right program's dashed beside them.

    patients: mistake → curve → one number an epoch. right: the right programs' curves, by the
    switch that a mistake is compared beside ("", "dropout", "jitter"). seed: draws the order.
    """

    def __init__(
        self, patients: Mapping[str, Curves], right: Mapping[str, Curves], *, seed: int = 0,
        title: str = "Pick a patient, read its curves",
    ) -> None:  # fmt: skip
        unknown = set(patients) - set(MISTAKES)
        if unknown or not patients:
            raise ValueError(f"no such mistakes: {sorted(unknown)}; see mistakes.MISTAKES")
        lacking = {MISTAKES[name].beside for name in patients} - set(right)
        if lacking:
            raise ValueError(f"the right program is missing beside {sorted(lacking)}")
        order = np.random.default_rng(seed).permutation(sorted(patients))
        self.order = [str(name) for name in order]
        self._patients, self._right = patients, right
        # error as it should be, confidence and NLL not: what the page is about
        shown = FIRST if FIRST in patients else self.order[0]
        super().__init__(
            controls={"patient": list(range(1, len(self.order) + 1)), "name": ["hidden", "shown"]},
            start={"patient": self.order.index(shown) + 1},
            notes={"patient": f"of {len(self.order)}", "name": "look only when you have decided"},
            title=title,
            height=430,
        )

    def mistake(self, patient: int) -> str:
        """What is wrong with a patient."""
        return self.order[patient - 1]

    # ---- the picture -------------------------------------------------------------------------

    def setup(self, figure: Figure) -> None:
        axes = figure.subplots(2, 3).ravel()
        self._lines: dict[str, Any] = {}
        longest = max(len(curves["loss"]) for curves in self._patients.values())
        for axis, (name, (limits, scale)) in zip(axes, PANELS.items(), strict=True):
            if scale == "symlog":
                axis.set_yscale("symlog", linthresh=0.1, linscale=0.5)
                axis.set_yticks([-10, 0, 1, 10, 100, 1000], ["−10", "0", "1", "10", "100", "1,000"])
            elif scale == "log":
                axis.set_yscale("log")
                axis.set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
            axis.minorticks_off()
            axis.set(xlim=(0.5, longest + 0.5), ylim=limits)
            axis.set_title(name + AXES.get(name, ""), fontsize=9)
            look: Any = {"linestyle": DASHES["alone"], "linewidth": 1.6}
            right = axis.plot([], [], **look, **self.look("taught"))[0]
            ill: Any = axis.plot([], [], linewidth=2, **self.look("extra"))[0]
            twin = axis.plot([], [], linewidth=2, **self.look("extra", ghost=True))[0]
            ill.set_zorder(4)
            self._lines[name] = (ill, twin, right)
        for axis in axes[3:]:
            axis.set_xlabel("epoch")
        panel = axes[0]
        style: dict[str, Any] = {"fontsize": 9.5, "va": "top"}
        ink = self.look("extra", text=True)
        self._name = figure.text(0.53, 1 - 8 / 430, "", ha="center", **style, **ink)
        said = {"color": self.look("taught", text=True)["color"], "ha": "right"}
        panel.text(
            0.97,
            0.97,
            "dashed: right program",
            transform=panel.transAxes,
            fontsize=8,
            va="top",
            **said,
        )
        self._none = panel.text(
            0.5, 0.5, "", transform=panel.transAxes, fontsize=9, va="center", ha="center",
            **self.look("extra", text=True),
        )  # fmt: skip

    def move(self, state: State, ghost: bool) -> None:
        name = self.mistake(state["patient"])
        curves, right = self._patients[name], self._right[MISTAKES[name].beside]
        for panel, (limits, _) in PANELS.items():
            ill, twin, sound = self._lines[panel]
            shown = _within(curves[panel], limits)
            (twin if ghost else ill).set_data(np.arange(1, len(shown) + 1), shown)
            if not ghost:
                healthy = _within(right[panel], limits)
                sound.set_data(np.arange(1, len(healthy) + 1), healthy)
        if not ghost:
            said = name if state["name"] == "shown" else f"patient {state['patient']}"
            self._name.set_text(said)
            lost = not np.isfinite(np.asarray(curves["loss"], dtype=float)).any()
            self._none.set_text("no number: nan" if lost else "")

    def sentence(self, state: State) -> str:
        name = self.mistake(state["patient"])
        curves, right = self._patients[name], self._right[MISTAKES[name].beside]
        kind = MISTAKES[name].beside
        said = [
            f"{panel} {_number(curves[panel][-1])} ({_number(right[panel][-1])})"
            for panel in PANELS
            if panel != "loss"
        ]
        text = (
            f"Patient {state['patient']}, in brackets the right program"
            f"{f' with {kind}' if kind else ''}: first loss {_number(curves['loss'][0])} "
            f"({_number(right['loss'][0])}), last {_number(curves['loss'][-1])} "
            f"({_number(right['loss'][-1])}); at the end {', '.join(said)}."
        )
        if state["name"] == "shown":
            text += f" It is “{name}”: {MISTAKES[name].sign}."
        return text


class Diagnosis(ipywidgets.VBox):
    """Choose what is wrong with the patient that the ward shows; only then the name is told."""

    def __init__(self, ward: Ward) -> None:
        self._ward = ward
        self.first: dict[int, str] = {}  # patient → the first diagnosis, which counts
        names = [("choose …", None), *((name, name) for name in sorted(ward.order))]
        self._choice = ipywidgets.Dropdown(
            options=names, value=None, description="", layout={"width": "auto"}
        )
        self._commit = ipywidgets.Button(description="This is my diagnosis")
        self._commit.on_click(lambda _: self.decide(self._choice.value))
        self._verdict = ipywidgets.HTML(_told("○ No diagnosis yet."))
        label = ipywidgets.HTML("<b>Your diagnosis</b> of the patient above:")
        super().__init__([label, ipywidgets.HBox([self._choice, self._commit]), self._verdict])

    def decide(self, name: str | None) -> str:
        """Commits to a diagnosis, as the button does; returns the line that is shown."""
        patient = self._ward.state["patient"]
        real = self._ward.mistake(patient)
        if name is None:
            return self._say("○ Choose a mistake first.")
        if name not in self._ward.order:
            raise ValueError(f"{name!r} is no mistake of this ward; see `ward.order`")
        self.first.setdefault(patient, name)
        hits = sum(self._ward.mistake(p) == guess for p, guess in self.first.items())
        count = f"Right at the first try: {hits} of {len(self.first)}."
        if name == real:
            text = (
                f"✓ Patient {patient}: {real}. What gives it away: {MISTAKES[real].sign}. {count}"
            )
        else:
            text = (
                f"✗ Patient {patient} is not “{name}”. There, {MISTAKES[name].sign}. "
                f"It is “{real}”: {MISTAKES[real].sign}. {count}"
            )
        return self._say(text)

    def _say(self, text: str) -> str:
        self._verdict.value = _told(text)
        return text

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = f"Diagnosis: choose among {len(self._ward.order)} mistakes"
        told = "Run the page to commit to a diagnosis; <code>ward.order</code> is the key."
        data["text/html"] = f"<p>{told}</p>"
        return bundle


def _told(text: str) -> str:
    return f'<div role="status">{escape(text)}</div>'


def _within(values: Sequence[float], limits: tuple[float, float]) -> np.ndarray:
    """Cut to the panel's limits, so that what lies beyond runs along its edge."""
    return np.clip(np.asarray(values, dtype=float), *limits)


def _number(value: float) -> str:
    return "nan" if value != value else f"{value:,.2f}" if abs(value) < 10 else f"{value:,.0f}"
