"""A picture that is redrawn in milliseconds: the still part once, the moving part by blit."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from kdcourse.explorers.stamps import Stamps
from kdcourse.figures import STYLE
from kdcourse.figures.picture import palette_png
from kdcourse.figures.style import TEXT

DPI = 100
GHOST_MARK = "ghost"  # the gid of artists that show the previous state


class Canvas:
    """One matplotlib Figure, laid out once; its animated artists are drawn over a saved background.

    width, height: pixels. title: still text at the top left; the state stands at the top right.
    setup: makes axes and artists. first: puts the moving artists where the layout may see them.
    """

    def __init__(
        self,
        setup: Callable[[Figure], None],
        first: Callable[[], None],
        *,
        title: str,
        width: int,
        height: int,
    ) -> None:
        with rc_context(STYLE):
            head = 30 / height
            layout = ConstrainedLayoutEngine(rect=(0.005, 0.01, 0.99, 0.99 - head))
            size = (width / DPI, height / DPI)
            self.figure = Figure(figsize=size, dpi=DPI, layout=layout)
            self._agg = FigureCanvasAgg(self.figure)
            setup(self.figure)
            text: dict[str, Any] = {"va": "top", "fontsize": 10, "color": TEXT}
            up = 1 - 8 / height
            self.figure.text(8 / width, up, title, fontweight="bold", **text)
            self._heading = self.figure.text(1 - 8 / width, up, "", ha="right", **text)
            self._heading.set_animated(True)
            first()
            self._agg.draw()
            self.figure.set_layout_engine("none")  # fixed axes: nothing shifts under the reader
        self._stamps = Stamps(self._agg.get_renderer())
        moving = [artist for artist in self.figure.findobj() if artist.get_animated()]
        self._moving: list[Artist] = sorted(moving, key=lambda artist: artist.get_zorder())
        self.refresh()

    def refresh(self) -> None:
        """Draw the still part again and keep it."""
        self._agg.draw()
        self._background = self._agg.copy_from_bbox(self.figure.bbox)

    def paint(self, heading: str, *, ghost: bool) -> None:
        """Draw the moving artists where they stand now, in their z order, ghosts only if asked."""
        self._agg.restore_region(self._background)
        self._heading.set_text(heading)
        renderer = self._agg.get_renderer()
        for artist in self._moving:
            if not ghost and artist.get_gid() == GHOST_MARK:
                continue
            if isinstance(artist, Text):
                self._stamps.press(artist, renderer)
            else:
                artist.draw(renderer)

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8, a copy."""
        return np.asarray(self._agg.buffer_rgba())[..., :3].copy()

    def quick_png(self) -> bytes:
        """As a PNG for the slider: fast to write, not small."""
        return quick_png(np.asarray(self._agg.buffer_rgba()))

    def small_png(self) -> bytes:
        """As a PNG for the page: small, not fast to write."""
        return palette_png(self.pixels())


def quick_png(rgba: np.ndarray) -> bytes:
    """Write pixels (H, W, 4) uint8 as a PNG, three times as fast as Pillow does.

    Pillow tries five filters on each row. A chart's rows mostly repeat the row above, so the
    filter "up" (each byte minus the one above it; PNG specification, section 9) is always good.
    """
    height, width, _ = rgba.shape
    flat = rgba.reshape(height, 4 * width)
    rows = np.empty((height, 1 + 4 * width), np.uint8)
    rows[:, 0] = 2  # the filter's number stands before each row
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
