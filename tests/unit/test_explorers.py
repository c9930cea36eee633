"""Explorers: every state is drawn, differs, and is what a whole redraw shows."""

import gc
import io
import weakref
from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kdcourse.explorers import BankExplorer, ErrorTable, Explorer, SoftenedLogits
from kdcourse.explorers.canvas import quick_png
from kdcourse.explorers.stamps import Stamps
from kdcourse.figures import GHOST
from kdlib.bank import Bank, train_bank
from kdlib.data import Examples
from kdlib.models import mlp
from kdlib.objectives import HardLabels, ReverseKL, SoftTargets, progress

VIEW = "application/vnd.jupyter.widget-view+json"


class Lines(Explorer):
    """The smallest explorer: a line whose height is T, in two panels."""

    animated = True
    broken_at: float | None = None

    def __init__(self, **options: Any) -> None:
        given = {"controls": {"T": [1.0, 2.0, 4.0], "alpha": [0.1, 0.9]}, "title": "Lines"}
        super().__init__(**{**given, "height": 200, **options})

    def setup(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for axis in (left, right):
            axis.set(xlim=(0, 1), ylim=(0, 5))
        looks = {ghost: self.look("taught", ghost=ghost) for ghost in (True, False)}
        if not self.animated:
            looks[False]["animated"] = False
        self.lines = {g: left.plot([0, 1], [0, 0], **look)[0] for g, look in looks.items()}
        self.words = right.text(0.5, 2, "", animated=True)

    def move(self, state: dict[str, Any], ghost: bool) -> None:
        if state["T"] == self.broken_at:
            raise ZeroDivisionError("no student <here>")
        self.lines[ghost].set_ydata([state["T"]] * 2)
        self.words.set_text(f"alpha {state['alpha']}")

    def sentence(self, state: dict[str, Any]) -> str:
        return f"The line is at {state['T']:g} & stays."

    def formula(self, state: dict[str, Any]) -> str:
        return f"T = {self.symbol(str(state['T']), 'taught')}"


def softened(**options: Any) -> SoftenedLogits:
    logits = 3 * torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return SoftenedLogits(logits, logits.argmax(1), images, **options)


AXES = {"T": [1.0, 4.0, 20.0], "alpha": [0.5, 1.0], "width": [8, 16]}


def table(**options: Any) -> ErrorTable:
    rng = np.random.default_rng(0)
    given = {"n": 1000, "alone": 9 + rng.normal(size=(2, 5))}
    second = {"with T²": rng.random((3, 1, 1)), "without T²": rng.random((3, 2, 2))}
    given |= {"second": second, "second_name": "gradient norm"}
    return ErrorTable(AXES, 7 + rng.normal(size=(3, 2, 2, 5)), **{**given, **options})


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def shows_ghost(png: bytes) -> bool:
    """Whether a whole line is in the ghost's grey (letters' edges have it in single pixels)."""
    wanted = [int(GHOST[k : k + 2], 16) for k in (1, 3, 5)]
    return int((pixels(png) == wanted).all(-1).sum()) > 150


def redrawn(explorer: Explorer, state: dict[str, Any], previous: dict[str, Any]) -> np.ndarray:
    """The same picture by matplotlib's own savefig: everything from scratch, nothing blitted."""
    explorer.draw(state, previous)
    buffer = io.BytesIO()
    heading = explorer._canvas.figure.texts[-1]
    heading.set_animated(False)  # savefig draws animated artists of axes, but not of the figure
    explorer._canvas.figure.savefig(buffer, dpi=100)
    heading.set_animated(True)
    return pixels(buffer.getvalue())


def moving_parts_last(explorer: Explorer) -> None:
    """Blitting draws what moves over what stands; savefig does so only if z orders say it."""
    for axis in explorer._canvas.figure.axes:
        for still in (*axis.spines.values(), axis.xaxis, axis.yaxis):
            still.set_zorder(0.1)
    explorer._canvas.refresh()


MADE = [Lines, softened, table]


@pytest.mark.parametrize("make", MADE)
def test_sweep_visits_every_state(make: Any) -> None:
    explorer = make()
    seen: list[tuple] = []
    draw = explorer.draw
    explorer.draw = lambda state, previous=None: (
        seen.append(tuple(state.values())),
        draw(state, previous),
    )[1]
    count = explorer.sweep()
    sizes = [len(slider.options) for slider in explorer._sliders.values()]
    assert count == len(set(seen)) == len(seen) == np.prod(sizes)


@pytest.mark.parametrize("make", MADE)
def test_each_state_has_bytes_of_its_own(make: Any) -> None:
    explorer = make()
    pictures = [explorer.draw(state) for state in explorer.states()]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize("make", MADE)
def test_a_state_looks_the_same_however_it_is_reached(make: Any) -> None:
    explorer = make()
    first, *_, last = list(explorer.states())
    fresh = explorer.draw(first)
    explorer.draw(last, first)
    assert explorer.draw(first) == fresh


@pytest.mark.parametrize("make", MADE)
def test_blitting_equals_a_whole_redraw_pixel_by_pixel(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stamps, "press", lambda _, text, renderer: text.draw(renderer))
    explorer = make()
    moving_parts_last(explorer)
    first, second, *_, last = list(explorer.states())
    for now, before in ((last, first), (second, last)):
        quick = pixels(explorer.draw(now, before))
        assert (quick == redrawn(explorer, now, before)).all()


WORDS = [
    {"ha": "left", "va": "baseline", "color": "#00754F"},
    {"ha": "right", "va": "center", "alpha": 0.5, "fontsize": 14},
    {"ha": "center", "va": "top", "rotation": 90, "fontweight": "bold"},
]


@pytest.mark.parametrize("style", WORDS)
def test_a_stamp_is_what_matplotlib_draws_at_a_whole_pixel(style: dict[str, Any]) -> None:
    figure = Figure(figsize=(2, 1.5), dpi=100, facecolor="#FFE0A0")
    agg = FigureCanvasAgg(figure)
    text = figure.text(0.5, 0.48, "T = 4,\ngj = 0.9", animated=True, **style)
    agg.draw()
    background, renderer = agg.copy_from_bbox(figure.bbox), agg.get_renderer()
    text.draw(renderer)
    wanted = np.asarray(agg.buffer_rgba()).astype(int)
    stamps = Stamps(renderer)
    for _ in range(2):  # cut out, then copied
        agg.restore_region(background)
        blank = np.asarray(agg.buffer_rgba()).copy()
        stamps.press(text, renderer)
        drawn = np.asarray(agg.buffer_rgba()).astype(int)
        assert abs(drawn - wanted).max() <= 2 and (drawn != blank).any()
    assert text.get_position() == (0.5, 0.48)


def test_a_text_is_drawn_once_moved_at_will_and_drawn_anew_when_it_changes() -> None:
    figure = Figure(figsize=(2, 1), dpi=100)
    agg = FigureCanvasAgg(figure)
    text = figure.text(0.3, 0.5, "one", animated=True)
    agg.draw()
    background, renderer = agg.copy_from_bbox(figure.bbox), agg.get_renderer()
    stamps, drawn, draw = Stamps(renderer), [], text.draw
    text.draw = lambda page: (drawn.append(page is renderer), draw(page))

    def inked() -> np.ndarray:
        agg.restore_region(background)
        stamps.press(text, renderer)
        return np.argwhere(np.asarray(agg.buffer_rgba())[..., 0] < 128)

    first = inked()
    text.set_position((0.35, 0.6))
    assert (inked() == first + np.array([-10, 10])).all() and drawn == [False]
    text.set_text("two")
    assert len(inked()) and drawn == [False, False]
    text.set_position((0.95, 0.5))  # it would not fit
    assert len(inked()) and drawn == [False, False, True]
    text.set_position((float("nan"), 0.5))
    assert not len(inked())
    text.set_text("")
    assert not len(inked())


def test_the_fast_png_holds_the_pixels() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(quick_png(rgba)))) == rgba).all()


def test_sweep_names_the_state_that_fails() -> None:
    explorer = Lines()
    explorer.broken_at = 2.0
    with pytest.raises(RuntimeError, match=r"Lines fails at T = 2, alpha = 0\.1: ZeroDivision"):
        explorer.sweep()


def test_sweep_catches_an_artist_that_moves_without_being_animated() -> None:
    class Forgotten(Lines):
        animated = False

    with pytest.raises(RuntimeError, match="an artist moved that is not animated"):
        Forgotten().sweep()


def test_sweep_asks_for_a_sentence() -> None:
    class Silent(Lines):
        def sentence(self, state: dict[str, Any]) -> str:
            return " "

    with pytest.raises(RuntimeError, match="no sentence at T = 1"):
        Silent().sweep()


def test_set_moves_sliders_picture_formula_and_readout_with_one_redraw() -> None:
    explorer = Lines(start={"T": 2})
    assert explorer.state == {"T": 2.0, "alpha": 0.1}
    before = explorer.picture.value
    draws: list[dict] = []
    draw = explorer.draw
    explorer.draw = lambda *states: (draws.append(states), draw(*states))[1]
    explorer.set(T=4, alpha=0.9)
    assert explorer.state == {"T": 4.0, "alpha": 0.9}
    assert [slider.value for slider in explorer._sliders.values()] == [4.0, 0.9]
    assert len(draws) == 1 and explorer.picture.value != before
    assert "The line is at 4 &amp; stays." in explorer.readout.value
    assert ">4.0</b>" in explorer._formula.value


def test_a_slider_alone_does_the_same() -> None:
    explorer = Lines()
    explorer._sliders["T"].value = 4.0
    assert explorer.state == {"T": 4.0, "alpha": 0.1}
    assert "at 4" in explorer.readout.value
    twin = Lines()
    twin.set(T=4)
    assert explorer.picture.value == twin.picture.value


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"tau": 4}, "no control 'tau': this explorer has 'T', 'alpha'"),
        ({"T": 3}, "no result at T = 3: T can be 1, 2, 4"),
        ({"T": "4"}, "no result at T = 4"),
        ({"T": True}, "no result at T = True"),
        ({"T": float("nan")}, "no result at T = nan"),
    ],
)
def test_set_refuses_what_does_not_exist(state: dict[str, Any], said: str) -> None:
    explorer = Lines()
    with pytest.raises(ValueError, match=said):
        explorer.set(**state)
    assert explorer.state == {"T": 1.0, "alpha": 0.1}


def test_draw_wants_a_whole_state() -> None:
    with pytest.raises(ValueError, match="lacks alpha"):
        Lines().draw({"T": 1})


def test_the_ghost_shows_the_previous_state_and_nothing_before_the_first_move() -> None:
    explorer = Lines()
    assert not shows_ghost(explorer.picture.value)
    explorer.set(T=4)
    assert shows_ghost(explorer.picture.value)
    assert explorer.lines[True].get_ydata() == [1.0, 1.0]
    explorer.set(T=4)  # no move: the ghost stays where it was
    assert explorer.lines[True].get_ydata() == [1.0, 1.0]
    explorer.set(T=2)
    assert explorer.lines[True].get_ydata() == [4.0, 4.0]


def test_situations_are_buttons_that_set_what_they_name() -> None:
    explorer = Lines(situations={"T = 4": {"T": 4}})
    explorer.set(alpha=0.9)
    button = explorer.children[0].children[0]
    assert button.description == "T = 4"
    button.click()
    assert explorer.state == {"T": 4.0, "alpha": 0.9}


def test_an_error_is_told_to_the_reader_and_raised() -> None:
    explorer = Lines()
    explorer.broken_at = 2.0
    shown = explorer.picture.value
    with pytest.raises(ZeroDivisionError):
        explorer._sliders["T"].value = 2.0
    assert 'role="alert"' in explorer.readout.value
    assert "ZeroDivisionError: no student &lt;here&gt;" in explorer.readout.value
    assert explorer.picture.value == shown
    explorer.set(T=4)
    assert 'role="status"' in explorer.readout.value


@pytest.mark.parametrize("make", MADE)
def test_the_page_keeps_a_picture_a_sentence_and_a_stable_text(make: Any) -> None:
    explorer = make()
    first, *_, last = list(explorer.states())
    explorer.set(**last)
    data, metadata = explorer._repr_mimebundle_()
    assert data[VIEW]["model_id"] == explorer.model_id
    shown, live = pixels(data["image/png"]), pixels(explorer.picture.value)
    assert shown.shape == live.shape
    assert abs(shown.astype(int) - live).mean() < 1  # the page's palette, the same picture
    assert len(data["image/png"]) < 40_000
    assert metadata["image/png"]["alt"] == explorer.sentence(last)
    text = data["text/plain"]
    assert explorer.title in text and all(name in text for name in first)
    explorer.set(**first)
    assert explorer._repr_mimebundle_()[0]["text/plain"] == text


def test_controls_are_labelled() -> None:
    explorer = Lines(notes={"alpha": "λ in many texts"})
    for name, slider in explorer._sliders.items():
        assert slider.description == name and name in slider.tooltip
        assert slider.continuous_update
    labels = [child.value for row in explorer.children[:2] for child in row.children[1:]]
    assert labels == ["", "λ in many texts"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"controls": {}}, "1 to 3 controls, not 0"),
        ({"controls": {name: [1] for name in "abcd"}}, "1 to 3 controls, not 4"),
        ({"controls": {"T": []}}, "values that differ"),
        ({"controls": {"T": [4, 4.0]}}, "values that differ"),
        ({"start": {"T": 3}}, "no result at T = 3"),
        ({"situations": {"hot": {"tau": 1}}}, "no control 'tau'"),
        ({"notes": {"tau": "?"}}, "a note for 'tau'"),
        ({"title": ""}, "1 to 60 characters"),
        ({"title": "x" * 61}, "1 to 60 characters"),
    ],
)
def test_an_explorer_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lines(**options)


def test_a_missing_hook_is_named() -> None:
    with pytest.raises(NotImplementedError, match="Explorer needs setup"):
        Explorer(controls={"T": [1]}, title="Nothing")


# SoftenedLogits ---------------------------------------------------------------------------


def test_softened_probabilities_are_the_softmax_of_the_scaled_logits() -> None:
    logits = torch.tensor([[2.0, 0.0, -1000.0]], dtype=torch.float64)
    explorer = SoftenedLogits(logits, torch.tensor([1]), torch.rand(1, 1, 8, 8), T=[0.5, 1, 4])
    for T in (0.5, 1.0, 4.0):
        expected = torch.softmax(logits[0] / T, 0).numpy()
        assert np.allclose(explorer.probabilities({"T": T, "image": 0}), expected)
    heights = [bar.get_height() for bar in explorer._bars[False]]
    assert np.allclose(heights, torch.softmax(logits[0], 0))
    said = explorer.sentence(explorer.state)
    assert "At T = 1 the teacher gives 88.1 % to 0 (the label is 1), 11.9 % to 1" in said
    assert "0.37 of at most 1.10 nats" in said


def test_softened_without_labels_claims_none() -> None:
    images = torch.rand(1, 8, 8)
    explorer = SoftenedLogits(torch.zeros(1, 3), torch.tensor([-1]), images, names=["a", "b", "c"])
    assert "label" not in explorer.sentence(explorer.state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logits": torch.zeros(4)}, r"shape \(N, C\)"),
        ({"labels": torch.zeros(3)}, "the same N, not 4, 3 and 4"),
        ({"T": [0.0, 1.0]}, "finite number > 0"),
        ({"T": [float("nan")]}, "finite number > 0"),
        ({"names": ["a"]}, "3 classes need as many names"),
    ],
)
def test_softened_refuses(change: dict[str, Any], said: str) -> None:
    given = {"logits": torch.zeros(4, 3), "labels": torch.zeros(4), "images": torch.rand(4, 8, 8)}
    with pytest.raises(ValueError, match=said):
        SoftenedLogits(**{**given, **change})


# ErrorTable and BankExplorer ---------------------------------------------------------------


def test_a_table_says_what_it_holds() -> None:
    errors = np.full((3, 2, 2, 4), 8.0)
    errors[1, 0, 1] = [5.0, 5.2, 4.8, 5.0]
    alone = np.array([[9.0] * 4, [7.0, 7.2, 6.8, 7.0]])
    explorer = ErrorTable(AXES, errors, n=1000, alone=alone)
    said = explorer.sentence({"T": 4.0, "alpha": 0.5, "width": 16})
    assert said.startswith("At T = 4, alpha = 0.5, width = 16 the distilled student misses 50 of")
    assert "the label-only student 70 of 1,000 images (7.0 %" in said
    assert said.endswith("20 fewer (-20 to -20).")
    assert explorer.formula(explorer.state) == ""  # a table has no objective
    errors[0] = np.nan
    said = ErrorTable(AXES, errors, n=1000).sentence({"T": 1.0, "alpha": 0.5, "width": 8})
    assert said == "There is no student at T = 1, alpha = 0.5, width = 8."


def test_a_table_says_when_seeds_do_not_resolve_a_difference() -> None:
    errors = np.full((3, 2, 2, 2), 8.0) + np.array([0.0, 1.0])
    explorer = ErrorTable(AXES, errors, n=1000, alone=np.array([[8.6, 8.2]] * 2))
    assert "do not resolve the difference" in explorer.sentence(explorer.state)


def test_a_table_draws_the_row_of_its_state() -> None:
    explorer = table()
    explorer.set(T=4, alpha=1.0, width=16)
    mean = explorer._errors[:, 1, 1].mean(-1)
    assert np.allclose(explorer._lines[False].get_ydata(), mean)
    assert explorer._marks[False].get_xydata().tolist() == [[4.0, mean[1]]]
    assert np.allclose(explorer._alone_line.get_ydata(), explorer._alone[0, 0, 1].mean())
    assert np.allclose(explorer._dots.get_ydata(), explorer._errors[:, 1, 1].ravel())


def test_a_table_takes_one_axis_one_seed_and_no_student_alone() -> None:
    explorer = ErrorTable({"T": [1, 2]}, [[5.0], [6.0]], n=500)
    assert explorer.sweep() == 2
    said = "At T = 1 the distilled student misses 25 of 500 images (5.0 %, one seed)."
    assert explorer.sentence({"T": 1}) == said


def test_axis_limits_do_not_move() -> None:
    explorer = table()
    before = [(axis.get_xlim(), axis.get_ylim()) for axis in explorer._canvas.figure.axes]
    explorer.sweep()
    after = [(axis.get_xlim(), axis.get_ylim()) for axis in explorer._canvas.figure.axes]
    assert before == after


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"errors": np.zeros((3, 2, 5))}, "errors must have shape"),
        ({"alone": np.zeros((3, 5))}, "alone of shape"),
        ({"along": "depth"}, "along must be an axis of numbers .T, alpha, width., not 'depth'"),
        ({"second": {"norm": np.zeros(4)}}, "norm of shape"),
    ],
)
def test_a_table_refuses(change: dict[str, Any], said: str) -> None:
    given = {"axes": AXES, "errors": np.zeros((3, 2, 2, 5)), "n": 1000}
    with pytest.raises(ValueError, match=said):
        ErrorTable(**{**given, **change})


def test_a_table_is_drawn_along_its_first_axis_of_numbers() -> None:
    axes = {"place": ["target", "feature"], "rate": [0.2, 0.5, 0.9]}
    explorer = ErrorTable(axes, 50 + np.random.default_rng(0).random((2, 3, 5)), n=500)
    assert explorer._x.tolist() == [0.2, 0.5, 0.9] and explorer.sweep() == 6
    with pytest.raises(ValueError, match="there is none"):
        ErrorTable({"place": ["target", "feature"]}, np.zeros((2, 5)), n=500)


TEACHER = mlp(16, 8, 4)


def bank_of(objective: Any, grid: dict[str, list[Any]], test: Examples) -> Bank:
    student: Any = (lambda width: mlp(16, width, 4)) if "width" in grid else mlp(16, 8, 4)
    return train_bank(
        objective, student=student, examples=test, grid=grid, seeds=2, epochs=1,
        evaluate={"test": test}, cache=False,
    )  # fmt: skip


def bold(*values: str) -> list[str]:
    return [f'<b style="">{value}</b>' for value in values]


def test_a_bank_brings_its_axes_its_errors_and_its_formula(test: Examples) -> None:
    bank = bank_of(
        lambda T, alpha: (1 - alpha) * HardLabels() + alpha * SoftTargets(TEACHER, T),
        {"T": [1.0, 4.0], "alpha": [0.5, 0.9], "width": [4, 8]},
        test,
    )
    explorer = BankExplorer(bank, along="alpha", start={"T": 4, "alpha": 0.9, "width": 8})
    assert np.allclose(explorer._lines[False].get_ydata(), bank.errors()[1, :, 1].mean(-1))
    assert f"of {len(test):,} images" in explorer.sentence(explorer.state)
    hard, soft, T = bold("0.1", "0.9", "4")
    whole = "loss = (1 − alpha) · CE + alpha · T² · KL(p_T ‖ q_T)"
    values = f"{hard} · CE + {soft} · {T}² · KL(p_T ‖ q_T)"
    assert explorer.formula(explorer.state) == f"{whole} = {values}"
    assert f">{whole} = {values}<" in explorer._formula.value
    assert explorer.sweep() == 8


def test_the_formula_is_that_of_the_bank_whatever_its_axes_are_called(test: Examples) -> None:
    """A generic frame must not know a lesson's formula by the names T and alpha."""
    bank = bank_of(lambda T, alpha: alpha * ReverseKL(TEACHER, T), {"T": [2], "alpha": [1]}, test)
    alpha, T = bold("1", "2")
    shown = BankExplorer(bank).formula({"T": 2, "alpha": 1})
    assert shown == f"loss = alpha · T² · KL(q_T ‖ p_T) = {alpha} · {T}² · KL(q_T ‖ p_T)"


@pytest.mark.parametrize(
    ("objective", "grid", "shown"),
    [
        (SoftTargets(TEACHER, 4), {"lr": [0.01]}, "loss = 4² · KL(p_T ‖ q_T)"),
        (None, {"width": [4]}, "loss = CE"),
        (
            SoftTargets(TEACHER, 8 - 7 * progress),
            {"lr": [0.01]},
            "loss = (8 − 7 · progress)² · KL(p_T ‖ q_T)",
        ),
        (
            lambda end: SoftTargets(TEACHER, end + (8 - end) * (1 - progress)),
            {"end": [1.0]},
            "loss = (end + (8 − end) · (1 − progress))² · KL(p_T ‖ q_T) = "
            '(<b style="">1</b> + <b style="">7</b> · (1 − progress))² · KL(p_T ‖ q_T)',
        ),
    ],
)
def test_only_what_the_objective_asks_for_appears(
    test: Examples, objective: Any, grid: dict[str, list[Any]], shown: str
) -> None:
    explorer = BankExplorer(bank_of(objective, grid, test))
    assert explorer.formula(explorer.state) == shown


def test_where_an_axis_changes_the_formula_none_is_shown(test: Examples) -> None:
    terms = {"labels": HardLabels(), "teacher": SoftTargets(TEACHER, 2)}
    grid = {"alpha": [0.5, 1.0], "kind": ["labels", "teacher"]}
    bank = bank_of(lambda kind, alpha: alpha * terms[kind], grid, test)
    assert BankExplorer(bank).formula({"alpha": 0.5, "kind": "labels"}) == ""


@dataclass(frozen=True, repr=False)
class Odd(HardLabels):
    """A notation with what HTML would take for markup."""

    notation = "a < b & {smoothing}"


def test_a_formula_is_text_not_markup(test: Examples) -> None:
    bank = bank_of(lambda s: Odd(s), {"s": [0.1, 0.2]}, test)
    shown = BankExplorer(bank).formula({"s": 0.1})
    assert shown == 'loss = a &lt; b &amp; s = a &lt; b &amp; <b style="">0.1</b>'


def test_a_bank_explorer_wants_a_bank_and_a_split_that_it_has(test: Examples) -> None:
    with pytest.raises(ValueError, match=r"given a dict; give the bank itself.*ErrorTable\("):
        BankExplorer({"T": [1]})  # type: ignore[arg-type]
    bank = bank_of(None, {"lr": [0.01]}, test)
    with pytest.raises(ValueError, match="not evaluated on 'target'"):
        BankExplorer(bank, "target")


def test_a_closed_explorer_is_gone() -> None:
    """ipywidgets keeps every widget that is open: a cell run twenty times would keep twenty."""
    before = len(registry())
    for _ in range(3):
        explorer = Lines(situations={"high": {"T": 4.0}})
        seen = weakref.ref(explorer)
        explorer.close()
        explorer.close()  # harmless
        del explorer
        gc.collect()
        assert len(registry()) == before and seen() is None


def registry() -> dict[str, Any]:
    return ipywidgets.widgets.widget._instances
