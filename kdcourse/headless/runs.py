"""`run`: one notebook, other parameters, a finished result on disk or none."""

import errno
import importlib.metadata
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdcourse.headless.execution import NotebookFailed, execute, harvest, source_hash
from kdcourse.headless.finding import find, read_notebook, validate
from kdcourse.headless.marking import marked_folder, remove_left
from kdcourse.parameters import Value
from kdlib.replacing import replacing, tidy_folder

_RUNNING = f".running-{platform.node() or 'here'}-"  # then the process


@dataclass(frozen=True)
class Result:
    """What came of one run; the same fields stand in the JSON beside the notebook."""

    notebook: str
    parameters: dict[str, Value]
    file: str
    source: str
    status: str  # "ok" or "failed"
    seconds: float
    claims: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    skipped: bool = False  # it was finished before; nothing was run

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def __str__(self) -> str:
        if not self.ok:
            return f"✗ {self.error}"
        held = sum(bool(claim["holds"]) for claim in self.claims)
        took = "finished before" if self.skipped else f"{self.seconds:.1f} s"
        return f"✓ {Path(self.file).stem} · {took} · {held} of {len(self.claims)} claims hold"


def run(
    notebook: str | Path,
    parameters: Mapping[str, object],
    out: str | Path,
    *,
    timeout: float | None = 600,
    threads: int | None = None,
    again: bool = False,
    folder: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Result:
    """Execute a notebook ("04", its name, or a path) with `parameters` into the folder `out`.

    `timeout` is seconds a cell may take; `threads` limits the kernel's BLAS threads; a run that is
    finished (same parameters, same notebook, same kdlib) is not run again unless `again`.
    A notebook that fails is kept as `…-failed.ipynb` and gives a Result whose `ok` is False.
    Raises ValueError for an unknown notebook or parameter, a wrong type, a value out of range, or
    a folder `out` that cannot be written to.
    """
    path = find(notebook, folder)
    values = validate(path, parameters)
    node = read_notebook(path)
    source = source_hash(node)
    out = results_folder(out)
    stem = run_name(path.stem, {name: values[name] for name in values if name in parameters})
    final, record = out / f"{stem}.ipynb", out / f"{stem}.json"
    if not again and (done := _finished(record, final, values, source)):
        _say(report, str(done))
        return done

    _say(report, f"▶ {stem}")
    kept, failed_record = out / f"{stem}-failed.ipynb", out / f"{stem}-failed.json"
    begun = time.perf_counter()
    env = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    claims: list[dict[str, Any]] = []
    error = None
    with marked_folder(out, _RUNNING) as running:
        target = running / f"{stem}.ipynb"
        try:
            done_node = execute(
                node,
                target,
                name=path.stem,
                folder=path.parent,
                parameters={name: values[name] for name in values if name in parameters},
                timeout=timeout,
                env=env,
            )
            claims = harvest(done_node)
        except NotebookFailed as failure:
            error = str(failure)
        except OSError as failure:
            _name(failure, out)
            raise
        if target.exists():
            os.replace(target, kept if error else final)
    result = Result(
        notebook=path.stem,
        parameters=values,
        file=str(kept if error else final),
        source=source,
        status="failed" if error else "ok",
        seconds=round(time.perf_counter() - begun, 2),
        claims=claims,
        error=error,
        versions=versions(),
    )
    fields = asdict(result)
    fields.pop("skipped")
    fields |= {"file": Path(result.file).name}
    if not error:
        fields["checksum"] = checksum(fields, final)
    text = json.dumps(fields, indent=1, ensure_ascii=False)
    write_atomically(failed_record if error else record, text + "\n")
    if not error:
        kept.unlink(missing_ok=True)
        failed_record.unlink(missing_ok=True)
    _say(report, str(result))
    return result


def results_folder(out: str | Path) -> Path:
    """The folder `out`, made where there is none; ValueError unless files can be written to it."""
    if not str(out).strip():
        raise ValueError("'' names no folder; name a folder for the results with --out")
    path = Path(out)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        wrong = f"cannot be written to ({error.strerror})"
        wrong = "is a file" if os.path.isfile(path) else wrong
        raise ValueError(f"{path} {wrong}; name a folder for the results with --out") from error
    return path


def tidy(out: Path) -> None:
    """Removes what runs of this machine that were killed left behind, and none that goes on."""
    remove_left(out, _RUNNING)
    tidy_folder(out)


def run_name(stem: str, given: Mapping[str, Value]) -> str:
    """A file name that says the parameters: `04_temperature__T=8__dataset=mnist`."""
    plain = "__".join([stem, *(f"{name}={_short(value)}" for name, value in given.items())])
    safe = re.sub(r"[^\w.=+-]", "-", plain, flags=re.ASCII)
    if safe == plain and len(plain) <= 120:
        return plain
    return f"{safe[:120]}__{sha256(plain.encode()).hexdigest()[:8]}"  # two names never collide


def _short(value: Value) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def write_atomically(path: Path, text: str) -> None:
    """Write to another name in the same folder, then replace: whole, or not at all."""
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        _name(error, path)
        raise


def _name(error: OSError, path: Path) -> None:
    """A full disk's error says nothing but that: which one is full?"""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
        error.filename = str(path)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, read without importing any of it."""
    found = {"python": platform.python_version()}
    for package in ("kdlib", "torch", "torchvision", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def checksum(fields: Mapping[str, Any], notebook: Path) -> str:
    """Of a record and its notebook: one that was damaged since is no result."""
    text = json.dumps({**fields, "checksum": None}, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode() + notebook.read_bytes()).hexdigest()


def _finished(record: Path, final: Path, values: Mapping[str, Value], source: str) -> Result | None:
    try:
        saved = json.loads(record.read_text(encoding="utf-8"))
        same = saved["parameters"] == values and saved["source"] == source
        if not (same and saved["status"] == "ok"):
            return None
        if saved.pop("checksum") != checksum(saved, final):
            return None
        return Result(**{**saved, "file": str(final), "skipped": True})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no record, or one that cannot be trusted: run it


def _say(report: Callable[[str], None] | None, line: str) -> None:
    if report is not None:
        report(line)
