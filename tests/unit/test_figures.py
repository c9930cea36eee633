"""Figures: fixed roles, small pictures with alt text, seeds as dots, labels that do not collide."""

import io
import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from kdcourse import figures
from kdlib import metrics


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def drawn(**options: object) -> figures.Picture:
    made, axis = figures.figure(height=2.5)
    axis.plot([0, 1], [0, 1], color=figures.COLOURS["taught"])
    picture = figures.show(made, "A line rises", "The green line goes up.", **options)
    assert picture is not None
    return picture


def test_roles_are_apart_and_their_inks_readable() -> None:
    okabe_ito = {"#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00"}
    assert set(figures.COLOURS.values()) == okabe_ito
    assert figures.COLOURS.keys() == figures.INKS.keys() == figures.DASHES.keys()
    assert len({str(dash) for dash in figures.DASHES.values()}) == len(figures.DASHES)
    assert len(set(figures.MARKERS.values())) == len(figures.MARKERS)
    for ink in figures.INKS.values():
        assert 1.05 / (luminance(ink) + 0.05) >= 4.5


def test_an_unknown_role_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'teacher'"):
        figures.role_named("techer")


def test_nothing_global_is_touched() -> None:
    before = dict(matplotlib.rcParams)
    drawn()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_nothing_of_ours_brings_pyplot() -> None:
    code = (
        "import sys, kdcourse.figures, kdcourse.explorers;"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_picture_is_small_has_the_page_width_and_its_colours() -> None:
    picture = drawn()
    assert pixels(picture.png).shape[:2] == (275, 770)
    assert len(picture.png) < 40_000
    green = np.array([0, 158, 115])
    assert (abs(pixels(picture.png).astype(int) - green).max(-1) <= 8).any()


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert drawn().png == drawn().png


def test_the_bundle_has_alt_text_and_a_text_without_numbers() -> None:
    picture = drawn()
    data, metadata = picture._repr_mimebundle_()
    assert data == {"text/plain": "Figure: A line rises", "image/png": picture.png}
    assert metadata == {"image/png": {"alt": "The green line goes up."}}


def test_in_a_notebook_the_picture_and_then_the_sentence_are_displayed() -> None:
    shell = InteractiveShell.instance()
    try:
        made, _ = figures.figure()
        with capture_output(stdout=False, stderr=False) as captured:
            returned = figures.show(made, "A finding", "What to see.")
    finally:
        InteractiveShell.clear_instance()
        del shell
    assert returned is None
    picture, sentence = captured.outputs
    assert picture.metadata["image/png"]["alt"] == "What to see."
    assert picture.data["text/plain"] == "Figure: A finding"
    assert sentence.data["text/markdown"] == "*What to see.*"


def test_a_long_title_is_wrapped_inside_the_picture() -> None:
    made, _ = figures.figure()
    figures.show(made, "Forty words that do not fit into one line " * 3, "See.")
    title = made._suptitle
    assert "\n" in title.get_text()
    box = title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= made.bbox.width


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"panels": 4}, "1 to 3 panels, not 4"),
        ({"panels": 0}, "1 to 3 panels"),
        ({"width": 9.0}, "at most 7 inches"),
        ({"height": -1.0}, "not -1"),
    ],
)
def test_sizes_that_do_not_fit_the_page(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        figures.figure(**options)


def test_a_figure_needs_its_finding_and_its_sentence() -> None:
    made, _ = figures.figure()
    with pytest.raises(ValueError, match="needs a title"):
        figures.show(made, "Finding", " ")


def test_seed_dots_draw_every_seed_the_mean_and_the_interval() -> None:
    _, axis = figures.figure()
    seeds = torch.tensor([4.0, 5.0, 6.0])
    figures.seed_dots(axis, 2.0, seeds, "alone", label="the student alone")
    dots, spread, mean = axis.lines
    assert dots.get_ydata().tolist() == [4, 5, 6]
    assert np.allclose(spread.get_ydata(), metrics.mean_intervals(seeds)[1:])
    assert set(mean.get_ydata()) == {5.0}
    assert dots.get_color() == figures.COLOURS["alone"]
    assert axis.texts[0].get_text() == "the student alone"
    with pytest.raises(ValueError, match=r"\(seeds,\)"):
        figures.seed_dots(axis, 0, torch.zeros(2, 2, 2), "alone")


def test_one_seed_is_drawn_without_an_interval() -> None:
    _, axis = figures.figure()
    figures.seed_dots(axis, 0, [4.0], "alone")
    assert len(axis.lines) == 2


def test_lines_take_positions_by_seeds() -> None:
    _, axis = figures.figure()
    values = torch.tensor([[1.0, 3.0], [2.0, 4.0], [5.0, 5.0]])
    figures.lines_with_dots(axis, [1, 4, 20], values, "taught", "taught", log=True)
    dots, line = axis.lines
    assert dots.get_xdata().tolist() == [1, 1, 4, 4, 20, 20]
    assert line.get_ydata().tolist() == [2, 3, 5]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1", "4", "20"]
    assert axis.texts[0].xy == (20, 5)
    with pytest.raises(ValueError, match=r"\(3, seeds\)"):
        figures.lines_with_dots(axis, [1, 4, 20], values.T, "taught")


def test_labels_of_lines_that_end_together_do_not_overlap() -> None:
    made, axis = figures.figure()
    for role, end in (("teacher", 5.0), ("alone", 5.01), ("taught", 4.99)):
        figures.lines_with_dots(axis, [0, 1], [[3.0, 3.1], [end, end]], role, role)
    figures.show(made, "Three lines meet", "They meet on the right.")
    boxes = sorted((text.get_window_extent() for text in axis.texts), key=lambda box: box.y0)
    assert len(boxes) == 3
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert all(box.x1 <= made.bbox.width for box in boxes)


def test_digits_take_every_shape_of_images() -> None:
    grey = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    strip = figures.digits(grey, titles=["a", "b", "c"], columns=2, roles=["taught"] * 3)
    assert len(strip.axes) == 4 and [len(axis.images) for axis in strip.axes] == [1, 1, 1, 0]
    assert strip.axes[0].title.get_color() == figures.INKS["taught"]
    assert strip.axes[0].images[0].get_clim() == (0, 255)
    assert figures.digits(torch.rand(2, 8, 8)).axes[0].images[0].get_clim() == (0, 1)
    assert figures.digits(torch.rand(1, 3, 8, 8)).axes[0].images[0].get_array().shape == (8, 8, 3)
    for wrong in (torch.zeros(8, 8), torch.zeros(2, 2, 8, 8), torch.zeros(0, 8, 8)):
        with pytest.raises(ValueError, match="images must have shape"):
            figures.digits(wrong)
    with pytest.raises(ValueError, match="3 images need 3 titles, not 2"):
        figures.digits(grey, titles=["a", "b"])


def test_matrix_writes_what_it_shows() -> None:
    _, axis = figures.figure()
    values = torch.tensor([[90.0, 10.0], [0.2, 99.8]])
    figures.matrix(axis, values, ["cat", "dog"], across="said", down="true", blank_diagonal=True)
    assert [text.get_text() for text in axis.texts] == ["10"]
    assert axis.images[0].get_clim() == (0, 10)
    assert values[0, 0] == 90  # the caller's table is untouched
    with pytest.raises(ValueError, match="two dimensions"):
        figures.matrix(axis, torch.zeros(3))
    with pytest.raises(ValueError, match="2 classes need as many labels"):
        figures.matrix(axis, values, ["cat"])


def test_bars_group_roles_and_mark_the_true_class() -> None:
    _, axis = figures.figure()
    both = {"teacher": torch.tensor([0.7, 0.3]), "taught": torch.tensor([0.6, 0.4])}
    figures.bars(axis, both, truth=1, labels={"taught": "the student taught"})
    heights = [patch.get_height() for patch in axis.patches]
    assert np.allclose(heights, [0.7, 0.3, 0.6, 0.4])
    assert axis.get_xticklabels()[1].get_fontweight() == "bold"
    assert [text.get_text() for text in axis.texts] == ["teacher", "the student taught"]
    with pytest.raises(ValueError, match="1 to 3 roles"):
        figures.bars(axis, {})
    with pytest.raises(ValueError, match="truth must be a class from 0 to 1"):
        figures.bars(axis, both, truth=2)
    with pytest.raises(ValueError, match="one probability per class"):
        figures.bars(axis, {"teacher": torch.ones(2), "taught": torch.ones(3)})


def test_reliability_sorts_bins_and_shows_the_null_band() -> None:
    _, axis = figures.figure()
    figures.reliability_diagram(
        axis, [0.9, 0.5], [0.8, 0.6], [0.85, 0.4], [0.95, 0.6], label="teacher"
    )
    assert axis.lines[1].get_xdata().tolist() == [0.5, 0.9]
    assert len(axis.collections) == 1
    with pytest.raises(ValueError, match="both low and high"):
        figures.reliability_diagram(axis, [0.9], [0.8], low=[0.7])
    with pytest.raises(ValueError, match="one value per bin"):
        figures.reliability_diagram(axis, [0.9], [0.8, 0.7])


def test_an_error_axis_says_what_a_point_is_in_images() -> None:
    _, axis = figures.figure()
    figures.error_axis(axis, 1000)
    assert axis.get_ylabel() == "error %  (1 point = 10 of 1,000 images)"
    figures.error_axis(axis, 250, which="x")
    assert axis.get_xlabel() == "error %  (1 point = 2.5 of 250 images)"
    with pytest.raises(ValueError, match="at least 1"):
        figures.error_axis(axis, 0)
    with pytest.raises(ValueError, match="'x' or 'y'"):
        figures.error_axis(axis, 10, which="z")


def test_over_seeds_and_images_the_interval_is_the_one_that_tables_print() -> None:
    wrong = torch.rand(4, 50, generator=torch.Generator().manual_seed(0)) < 0.3
    errors = 100 * wrong.double()
    _, axis = figures.figure(2)
    figures.seed_dots(axis, 1, errors, "taught")
    line = axis.lines[1].get_ydata()
    found = metrics.interval(errors)
    assert np.allclose(line, [found.low, found.high])
    assert np.allclose(axis.lines[0].get_ydata(), errors.mean(1))
    _, axis = figures.figure(2)
    figures.lines_with_dots(axis, [1, 2], torch.stack([errors, errors]), "taught")
    assert np.allclose(axis.lines[-1].get_ydata(), found.mean)
    band = axis.collections[0].get_datalim(axis.transData)
    assert np.allclose([band.y0, band.y1], [found.low, found.high])
