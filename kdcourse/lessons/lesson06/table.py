"""Trains the first two rows of the growing table of pages 06 to 09, and six sources more.

way: a row of the growing table, both folds · source: another source for the same target, made of
the same images of MNIST, fold A, five seeds.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from kdcourse.ground import domains
from kdcourse.pages import tables
from kdlib.data import Examples, load, shifts

WAYS = {"source only, uncropped": 28, "source only": 20}  # MNIST's inner pixels
SEEDS = {"A": range(10, 20), "B": range(10, 15)}
SOURCES: dict[str, Callable[..., Any]] = {  # what is done to the cropped images
    "blurred": shifts.blur(1),
    "noisy": shifts.noise(0.3),
    "turned": shifts.rotate(30),
    "mirrored": shifts.mirror(),
    "moved": shifts.shift(3),
}


def made(source: Examples, name: str) -> Examples:
    """A source made of the cropped one; "inner 24" of the images before they were cropped."""
    if name == "inner 24":
        return load("mnist5k").train.transformed(shifts.crop(24, domains.PIXELS))
    return source.transformed(SOURCES[name])


def rows() -> Iterator[dict[str, Any]]:
    for way, inner in WAYS.items():
        for fold, seeds in SEEDS.items():
            here = domains.domains(fold, inner=inner)
            for seed in seeds:
                network = domains.source_network(here.source, seed=seed)
                yield domains.row(way, fold, seed, network, here)
    here = domains.domains("A")
    for name in ("inner 24", *SOURCES):
        for seed in SEEDS["A"][:5]:
            network = domains.source_network(made(here.source, name), seed=seed)
            row = domains.row(name, "A", seed, network, here)
            yield {"source": row.pop("way"), **row}


def main() -> None:
    torch.set_num_threads(1)
    tables.write(__file__, rows())


if __name__ == "__main__":
    main()
