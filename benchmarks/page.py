"""The page of results: what was measured, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

# (work, contender, goal): our last row in seconds at most, or that many times faster than a peer.
# They were set for two cores with AMX, and for one H100.
GOALS = [
    ("MNIST 60k × 5", None, 2.5),
    ("MNIST 60k × 5", "PyTorch tutorial", 500),
    ("MNIST 60k × 5", "sequential", 25),
    ("MNIST 60k × 5", "torch.func vmap", 7),
    ("MNIST-5k", None, 0.6),
    ("teacher 784", None, 8),
    ("quick convolutions", None, 2),
    ("convolutional student", "default loop", 15),
    ("the tutorial's five", "the tutorial's loops", 8),
    ("the whole course", None, 360),
    ("on CUDA: MNIST 60k × 5", None, 0.06),
    ("on CUDA: MNIST 60k × 5", "sequential", 300),
    ("on CUDA: teacher 784", None, 0.15),
]

# (row of the page, what of it, milliseconds at most)
WAITS = [
    ("there and back", "ms", 12),
    ("there and back", "p95 ms", 16.7),
    ("first curves", "ms", 100),
    ("× 5 epochs, all", "ms", 1000),
]


@dataclass
class Cell:
    """One contender at one work. seconds, cpu: for the whole work; steps: timed in each round."""

    work: str
    contender: str
    seconds: float
    cpu: float
    spread: float
    steps: int
    times: float = 1.0  # as long by the clock as the last contender of the work
    times_cpu: float = 1.0


def table(cells: list[Cell]) -> str:
    lines = ["| work | contender | seconds | × | CPU seconds | × |", "|---|---|---|---|---|---|"]
    for cell in cells:
        clock, cpu = (f"{x:.1f}" if x != 1 else "" for x in (cell.times, cell.times_cpu))
        numbers = f"{cell.seconds:.1f} | {clock} | {cell.cpu:.1f} | {cpu}"
        lines.append(f"| {cell.work} | {cell.contender} | {numbers} |")
    return "\n".join(lines)


def reached(cells: list[Cell]) -> list[str]:
    """A row for each goal: what was wanted, what came out, by how much it misses."""
    rows = []
    for work, contender, goal in GOALS:
        own = [cell for cell in cells if cell.work.startswith(work)]
        if not any(cell.contender.startswith(contender or "") for cell in own):
            continue
        name = own[0].work.split(": test error")[0]
        if contender is None:
            value, good = own[-1].seconds, own[-1].seconds <= goal
            said = f"≤ {goal:g} s | {value:.3g} s"
        else:
            value = next(cell.times for cell in own if cell.contender.startswith(contender))
            good, name = value >= goal, f"{name}, against: {contender}"
            said = f"≥ {goal:g} × | {value:.3g} ×"
        factor = value / goal if contender is None else goal / value
        rows.append(f"| {name} | {said} | {'reached' if good else f'{factor:.1f} × short'} |")
    return rows


def waited(sliders: dict[str, dict[str, float]]) -> list[str]:
    """The same for what a reader waits for."""
    rows = []
    for work, what, goal in WAITS:
        for name in (name for name in sliders if name.endswith(work)):
            value, label = sliders[name][what], {"ms": "", "p95 ms": ", 95 % within"}[what]
            verdict = "reached" if value <= goal else f"{value / goal:.1f} × short"
            rows.append(f"| {name}{label} | ≤ {goal:g} ms | {value:.3g} ms | {verdict} |")
    return rows


def page_of(
    here: dict[str, str | int | bool],
    cells: list[Cell],
    sliders: dict[str, dict[str, float]],
    where: dict[str, dict[str, float]],
    roofs: dict[str, float],
    beside: list[tuple[int, float]],
    convolutional: list[tuple[str, float]],
) -> str:
    words = ", ".join(f"{key} {value}" for key, value in here.items())
    lines = ["# Measured", "", f"On: {words}.", "", table(cells), ""]
    lines += ["×: as many times as the last row of the same work. Rows are scaled from the steps"]
    lines += ["timed in each round (see benchmarks.json); sliders and the course are timed whole."]
    gpu = any(cell.work.startswith("on CUDA") for cell in cells)
    lines += [
        "MPS: not measured." if gpu else "CUDA and MPS: not measured.",
        "",
        "| on the page | ms | 95 % within | CPU ms |",
        "|---|---|---|---|",
    ]
    for name, one in sliders.items():
        cpu = f"{one['cpu ms']:.1f}" if "cpu ms" in one else ""
        lines.append(f"| {name} | {one['ms']:.1f} | {one['p95 ms']:.1f} | {cpu} |")
    lines += ["", "| goal, by the clock, for two cores with AMX | wanted | here | |"]
    lines += ["|---|---|---|---|", *reached(cells), *waited(sliders)]
    lines += ["", "| where our time goes | share of the operators' own time |", "|---|---|"]
    for name, kinds in where.items():
        said = ", ".join(f"{kind} {share:.0f} %" for kind, share in kinds.items())
        lines.append(f"| {name} | {said} |")
    lines += ["", "| the processor's limit, one thread | |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in roofs.items()]
    lines += ["", "| processes of 64 students side by side | ms a step and student |", "|---|---|"]
    lines += [f"| {count} | {cost:.3f} |" for count, cost in beside]
    lines += ["", "| 8 students of cnn(8), fp32 | ms a step and student |", "|---|---|"]
    lines += [f"| {how} | {cost:.1f} |" for how, cost in convolutional]
    return "\n".join(lines) + "\n"
