"""From a figure to the page: a small PNG, its finding above, its sentence beneath."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass

import numpy as np
from IPython.core.getipython import get_ipython
from IPython.display import display
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kdcourse.figures.seeds import place_end_labels
from kdcourse.figures.style import STYLE


@dataclass(frozen=True)
class Picture:
    """A drawn figure: its finding, the sentence that says what to see, and its PNG bytes."""

    title: str
    sentence: str
    png: bytes

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, object], dict[str, object]]:
        # Text without numbers of the machine: nbval compares it, and ignores the picture.
        data: dict[str, object] = {"text/plain": f"Figure: {self.title}", "image/png": self.png}
        return data, {"image/png": {"alt": self.sentence}}


def palette_png(pixels: np.ndarray, *, colours: int = 256) -> bytes:
    """Write pixels (H, W, 3) uint8 as a small PNG with a palette."""
    whole = Image.fromarray(pixels)
    # Maximum coverage keeps a colour that few pixels have, so a role's ink does not drift to
    # grey; k-means then settles the others: at most 8 of 255 off in a channel, 0.1 on average.
    method, plain = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    small = whole.quantize(colours, method, kmeans=1, dither=plain)
    buffer = io.BytesIO()
    small.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def png(drawn: Figure) -> bytes:
    """Draw a figure and return it as a PNG: 10 to 20 kB at full width."""
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return palette_png(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def show(drawn: Figure, title: str, sentence: str) -> Picture | None:
    """Put a figure on the page.

    title: the finding, drawn above the panels. sentence: what to see; it stands beneath the
    picture in italics and is its alt text.
    In a notebook the picture is displayed and nothing returned; elsewhere a Picture is returned.
    """
    if not title.strip() or not sentence.strip():
        raise ValueError("a figure needs a title (its finding) and a sentence (what to see)")
    with rc_context(STYLE):
        lines = textwrap.fill(title, int(drawn.get_figwidth() * 11))
        drawn.suptitle(lines, x=0.008, ha="left", fontsize=10.5, fontweight="bold")
        for axis in drawn.axes:  # a panel's title was set outside our style: bring it home
            if axis.axison and (above := axis.get_title(loc="center")):
                axis.set_title("", loc="center")
                axis.set_title(above, loc="left")
        place_end_labels(drawn)
        picture = Picture(title, sentence, png(drawn))
    if get_ipython() is None:
        return picture
    display(picture)
    shown = {"text/markdown": f"*{sentence}*", "text/plain": sentence}
    display(shown, raw=True)
    return None
