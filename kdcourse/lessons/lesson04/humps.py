"""The two pictures of notebook 04: the loss over T, and what T costs a student of each width."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdcourse.figures import COLOURS, DASHES, INKS, figure, show
from kdcourse.lessons.lesson04.stored_rows import saved


def hump_and_paths(
    temperatures: Sequence[float],
    losses: Sequence[float],
    limit: float,
    paths: Mapping[float, Sequence[Sequence[float]]],
) -> None:
    """Left: T² · KL of one student over T, with its hot limit. Right: the learned T over epochs.

    paths: start → for each seed, T after each epoch.
    """
    drawn, (left, right) = figure(2.8, panels=2)
    left.semilogx(temperatures, losses, color=COLOURS["taught"])
    left.axhline(limit, color=COLOURS["teacher"], linestyle=":")
    place = {"ha": "right", "va": "top", "color": INKS["teacher"]}
    left.text(max(temperatures), 0.96 * limit, "logit matching", **place)
    highest = max(losses)
    for start, seeds in paths.items():
        left.axvline(start, 0, 0.88, color=COLOURS["extra"], linewidth=1, linestyle="--")
        left.text(start, 1.13 * highest, f"{start:g}", ha="center", color=INKS["extra"])
        for path in seeds:
            right.plot(range(len(path) + 1), [start, *path], color=COLOURS["extra"], alpha=0.7)
        right.text(len(path), 1.12 * path[-1], f"from T = {start:g}", ha="right", fontsize=8.5)
    left.set(xlabel="T", ylabel="T² · KL, untrained student", ylim=(0, 1.25 * highest))
    right.set_yscale("log")
    right.set_yticks([1, 2, 4, 10, 20], ["1", "2", "4", "10", "20"])
    right.set_yticks([], minor=True)
    right.set(xlabel="epoch", ylabel="T", ylim=(1, 35))
    show(
        drawn,
        "The loss has a hump, and descent on T runs down the side on which it starts",
        "Left: T² · KL of one untrained student over T; dashed lines are the two starts. "
        "Right: T while descent learns it; two students from each start, nearly on one line.",
    )


def width_panels(widths: Sequence[int], temperatures: Sequence[float]) -> None:
    """Points saved on the stored 10,000 images over T, a panel for each width."""
    drawn, panels = figure(2.7, panels=3, sharey=True)
    for axis, width in zip(panels, widths, strict=True):
        cells = [saved(width, T) for T in temperatures]
        lengths: Any = [[c.mean - c.low for c in cells], [c.high - c.mean for c in cells]]
        means, look = [c.mean for c in cells], {"color": COLOURS["taught"], "marker": "o"}
        axis.errorbar(temperatures, means, lengths, capsize=2, **look)
        axis.axhline(0, color=COLOURS["alone"], linestyle=DASHES["alone"], linewidth=1.2)
        axis.set_xscale("log")
        axis.set_xticks(temperatures, [f"{T:g}" for T in temperatures])
        axis.set_xticks([], minor=True)
        axis.set(xlabel="T", title=f"{width} hidden units")
    panels[0].set_ylabel("points saved")
    panels[0].text(20, 0.12, "label-only", ha="right", color=INKS["alone"], fontsize=8.5)
    show(
        drawn,
        "T = 20 costs 8 units; at 32 no effect is resolved; at 100 it saves",
        "Points of error saved against the label-only student of the same width (dashed); below "
        "the dashed line the student makes more errors. alpha = 0.9, ten seeds, MNIST's 10,000 "
        "test images, 95 % intervals.",
    )
