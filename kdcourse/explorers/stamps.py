"""Texts are drawn once and then copied: FreeType takes a millisecond or two for a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform

KEPT = 500  # texts at most


class Stamps:
    """What texts look like: pixels (h, w, 4) uint8, and where they begin beside their position."""

    def __init__(self, renderer: RendererAgg) -> None:
        self._renderer = renderer
        self._kept: dict[Any, tuple[np.ndarray, int, int]] = {}

    def press(self, text: Text, renderer: RendererAgg) -> None:
        """Draw the text at the nearest whole pixel, or as matplotlib does where it is cut off."""
        if not (text.get_visible() and text.get_text()):
            return
        x, y = text.get_transform().transform(text.get_position())
        if not (np.isfinite([x, y]).all() and type(text) is Text and text.get_bbox_patch() is None):
            text.draw(renderer)
            return
        stamp, down, right = self._stamp(text)
        page = np.asarray(renderer.buffer_rgba())
        top, left = round(renderer.height - y) + down, round(x) + right
        bottom, end = top + stamp.shape[0], left + stamp.shape[1]
        if min(top, left) < 0 or bottom > page.shape[0] or end > page.shape[1]:
            text.draw(renderer)
            return
        under = page[top:bottom, left:end, :3]
        ink, cover = stamp[..., :3], stamp[..., 3:].astype(np.uint16)
        under[:] = (ink * cover + under * (255 - cover) + 127) // 255

    def _stamp(self, text: Text) -> tuple[np.ndarray, int, int]:
        key = (
            text.get_text(), text.get_color(), text.get_alpha(), text.get_rotation(),
            text.get_fontproperties(), text.get_horizontalalignment(), text.get_verticalalignment(),
        )  # fmt: skip
        if key not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._cut(text)
        return self._kept[key]

    def _cut(self, text: Text) -> tuple[np.ndarray, int, int]:
        """Draw it in the middle of an empty page that it fits on however it is aligned; cut it."""
        size = text.get_window_extent(self._renderer)
        width, height = (math.ceil(length) + 4 for length in (size.width, size.height))
        page = RendererAgg(2 * width, 2 * height, self._renderer.dpi)
        place, transform = text.get_position(), text.get_transform()
        try:
            text.set_position((width, height))
            text.set_transform(IdentityTransform())
            text.draw(page)
        finally:
            text.set_position(place)
            text.set_transform(transform)
        pixels = np.asarray(page.buffer_rgba())
        rows, columns = (np.flatnonzero(pixels[..., 3].any(axis)) for axis in (1, 0))
        if not len(rows):  # spaces
            return pixels[:0, :0].copy(), 0, 0
        top, left = int(rows[0]), int(columns[0])
        cut = pixels[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].copy()
        return cut, top - height, left - width
