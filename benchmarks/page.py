"""The page of results: what was measured, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass


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


def page_of(
    here: dict[str, str | int | bool],
    cells: list[Cell],
    sliders: dict[str, dict[str, float]],
    where: dict[str, dict[str, float]],
    roofs: dict[str, float],
) -> str:
    words = ", ".join(f"{key} {value}" for key, value in here.items())
    lines = ["# Measured", "", f"On: {words}.", "", table(cells), ""]
    lines += ["×: as many times as the last row of the same work. Rows are scaled from the steps"]
    lines += ["timed in each round (see benchmarks.json); sliders and the course are timed whole."]
    lines += [
        "CUDA and MPS: not measured.",
        "",
        "| a slider's redraw | ms | 95 % within | CPU ms |",
        "|---|---|---|---|",
    ]
    for name, one in sliders.items():
        lines.append(f"| {name} | {one['ms']:.1f} | {one['p95 ms']:.1f} | {one['cpu ms']:.1f} |")
    lines += ["", "| where our time goes | share of the operators' own time |", "|---|---|"]
    for name, kinds in where.items():
        said = ", ".join(f"{kind} {share:.0f} %" for kind, share in kinds.items())
        lines.append(f"| {name} | {said} |")
    lines += ["", "| the processor's limit, one thread | |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in roofs.items()]
    return "\n".join(lines) + "\n"
