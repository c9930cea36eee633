"""Many runs on any `concurrent.futures.Executor`: several notebooks, or one over a grid."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdcourse.headless import interrupts, pools
from kdcourse.headless.finding import declared, find, validate
from kdcourse.headless.runs import (
    Result,
    results_folder,
    run,
    run_name,
    tidy,
    versions,
    write_atomically,
)
from kdcourse.measured import columns
from kdcourse.parameters import Parameter, Value


def grid_values(parameter: Parameter, given: str | Iterable[object]) -> list[Value]:
    """The values that `1,4,20` or (for an int) `0:5` = 0, 1, 2, 3, 4 stands for, each checked.

    Values themselves may be given, too, e.g. [1, 4, 20].
    """
    values = _listed(parameter, given) if isinstance(given, str) else given
    if not isinstance(values, Iterable):
        raise ValueError(
            f"{parameter.name}={given!r} is one value: expected several, "
            f"for instance {parameter.name}=[{given!r}]"
        )
    found = list(dict.fromkeys(parameter.parse(value) for value in values))
    if not found:
        raise ValueError(
            f"{parameter.name}={given!r} names no value: expected a list like "
            f"{parameter.name}={parameter.default}, or a range a:b of ints with a < b"
        )
    return found


def _listed(parameter: Parameter, text: str) -> Iterable[object]:
    first, colon, last = text.partition(":")
    if not colon or parameter.type is not int:
        return [part for part in text.split(",") if part.strip()]
    try:
        return range(int(first), int(last))
    except ValueError:
        return [text]


def sweep(
    notebook: str | Path,
    grid: Mapping[str, str | Iterable[object]],
    out: str | Path,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    timeout: float | None = 600,
    again: bool = False,
    folder: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Result]:
    """Run a notebook for every combination of the grid's values; write sweep.json and sweep.csv.

    By default on `workers` processes of this machine (as many as it has processors), one thread
    each; `executor` takes any other, e.g. dask.distributed's `client.get_executor()`. In a script,
    call it under `if __name__ == "__main__":`, because the processes start by spawn.
    A run that fails is a row with status "failed"; the others go on.
    Raises ValueError for bad names and values before anything starts.
    """
    path = find(notebook, folder).absolute()
    axes = _axes(path, grid)
    out = results_folder(out).absolute()
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    finished: dict[int, Result] = {}
    how = {"timeout": timeout, "again": again}
    try:
        _submit([(path, p) for p in points], out, finished, executor, workers, report, **how)
    finally:
        if finished:
            _write_table([finished[number] for number in sorted(finished)], out)
    return [finished[number] for number in range(len(points))]


def run_many(
    notebooks: Iterable[str | Path],
    parameters: Mapping[str, object] | None = None,
    out: str | Path = "runs",
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    timeout: float | None = 600,
    again: bool = False,
    folder: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Result]:
    """Run several notebooks with the same parameters, as many at a time as there are `workers`.

    One that is named twice is run once. See `sweep` for workers and executor, `run` for the rest.
    """
    paths = list(dict.fromkeys(find(notebook, folder).absolute() for notebook in notebooks))
    for path in paths:  # all of them before the first starts
        validate(path, parameters or {})
    how = {"timeout": timeout, "again": again}
    if len(paths) == 1 and executor is None:
        return [run(paths[0], parameters or {}, out, report=report, **how)]  # type: ignore[arg-type]
    finished: dict[int, Result] = {}
    jobs = [(path, dict(parameters or {})) for path in paths]
    _submit(jobs, results_folder(out).absolute(), finished, executor, workers, report, **how)
    return [finished[number] for number in range(len(paths))]


def _submit(
    jobs: Sequence[tuple[Path, Mapping[str, Any]]],
    out: Path,
    finished: dict[int, Result],
    executor: Executor | None,
    workers: int | None,
    report: Callable[[str], None] | None,
    **how: Any,
) -> None:
    """Run all jobs; `finished` fills as they come, and keeps what there was at an interrupt."""
    say = report or (lambda line: None)

    def submit(executor: Executor, number: int) -> Future[Result]:
        return executor.submit(_run, *jobs[number], out, threads=1, **how)

    def done(number: int, future: Future[Result]) -> None:
        finished[number] = _result_or_failure(future, *jobs[number], out)
        say(f"[{len(finished)}/{len(jobs)}] {finished[number]}")

    if workers is None and executor is None:
        from kdlib.device import threads  # brings torch, which `--help` does not need

        workers = threads()
    with interrupts.answered_once():
        try:
            if executor is not None:
                pools.on_executor(executor, range(len(jobs)), submit, done)
            elif workers is not None:
                pools.on_processes(workers, range(len(jobs)), submit, done, say)
        finally:
            tidy(out)  # a worker that is asked to end while it makes its folder leaves it behind


def _axes(path: Path, grid: Mapping[str, str | Iterable[object]]) -> dict[str, list[Value]]:
    known = declared(path)
    for name in grid:
        if name not in known:
            validate(path, {name: ""})  # raises, and names the closest
    return {name: grid_values(known[name], values) for name, values in grid.items()}


def _run(*what: Any, **how: Any) -> Result:
    with interrupts.stoppable():
        return run(*what, **how)


def _result_or_failure(
    future: Future[Result], path: Path, point: Mapping[str, Value], out: Path
) -> Result:
    try:
        return future.result()
    except Exception as error:  # a worker that died, a full disk: one row of the table, no more
        name = run_name(path.stem, point)
        return Result(
            notebook=path.stem,
            parameters=validate(path, point),
            file=str(out / f"{name}.ipynb"),
            source="",
            status="failed",
            seconds=0.0,
            error=f"{name} could not be run: {type(error).__name__}: {error}",
            versions=versions(),
        )


def _write_table(results: list[Result], out: Path) -> None:
    """One row a run: parameters, status, seconds, then each claim, and each number it measured."""
    out.mkdir(parents=True, exist_ok=True)
    records = [{**asdict(result), "file": Path(result.file).name} for result in results]
    text = json.dumps(records, indent=1, ensure_ascii=False)
    write_atomically(out / "sweep.json", text + "\n")
    rows = [_row(result) for result in results]
    heads = list(dict.fromkeys(column for row in rows for column in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out / "sweep.csv", table.getvalue())


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"notebook": result.notebook, **result.parameters}
    row |= {"status": result.status, "seconds": result.seconds, "error": result.error or ""}
    for claim in result.claims:
        row[claim["id"]] = claim["holds"]
        row |= columns(claim)
    return row
