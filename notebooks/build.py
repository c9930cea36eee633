"""source/NN_title.py → student copy → papermill → freeze → NN_title.ipynb, and RESULTS.md.

What a page shows but has no minute to train is made by data/NN_title.py into data/NN_title.json,
with the script's hash under "script"; it runs when the stored table is not of this very script.

python notebooks/build.py            # all notebooks
python notebooks/build.py 02 04      # some
python notebooks/build.py --check    # source and notebook in step? (nothing is run)
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from kdlib.headless import NotebookFailed, execute, harvest, write_atomically

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# One thread: floating-point sums keep their order, so a rebuild changes no number.
STRICT = {"KDLIB_STRICT": "1", "KDLIB_QUIET": "1", "OMP_NUM_THREADS": "1"}
_README_TABLE = re.compile(r"(<!-- results:[^>]*-->)\n.*?(<!-- /results -->)", re.DOTALL)
STUB = "...  # your code here"
_SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)# SOLUTION[ \t]*\n(?P<body>.*?)^(?P=indent)# END[ \t]*(?=\n|\Z)",
    re.MULTILINE | re.DOTALL,
)


def main(argv: list[str] | None = None, here: Path = HERE) -> int:
    """The exit status: 0 well, 1 a notebook failed or is out of step, 2 bad input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NN", help="which notebooks; all by default")
    parser.add_argument("--check", action="store_true", help="only compare; run nothing")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a cell may take")
    arguments = parser.parse_args(argv)
    try:
        chosen = sources(here, arguments.names)
        if arguments.check:
            faults = list(out_of_step(here, chosen))
            print("\n".join(faults) or f"{len(chosen)} notebooks are in step with their sources")
            return 1 if faults else 0
        for source in chosen:
            print(f"▶ {source.stem}", flush=True)
            claims = build(source, here, timeout=arguments.timeout)
            print(f"✓ {source.stem} · {len(claims)} claims hold", flush=True)
        for name, text in generated(here).items():
            write_atomically(here.parent / name, text)
    except NotebookFailed as failure:
        print(f"✗ {failure}; the old notebook is kept", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def sources(here: Path, names: Iterable[str] = ()) -> list[Path]:
    """The sources in order, or those named "02" or "02_soft_targets"."""
    known = sorted((here / "source").glob("[0-9][0-9]_*.py"))
    unknown = [name for name in names if not any(_is(path, name) for path in known)]
    if unknown:
        stems = ", ".join(path.stem for path in known) or "none"
        raise ValueError(f"no source {unknown[0]!r}: expected one of {stems}")
    return [path for path in known if not names or any(_is(path, name) for name in names)]


def build(source: Path, here: Path, *, timeout: float = 600) -> list[dict[str, Any]]:
    """Build one notebook and return its claims; when it fails, the old one stays as it was."""
    table = here / "data" / source.name
    if table.exists() and not is_of_its_script(table):
        print(f"  training {table.with_suffix('.json').name}", flush=True)
        how = {**os.environ, **STRICT}
        subprocess.run([sys.executable, table], check=True, env=how, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{source.stem}.ipynb"
        executed = execute(
            student(source), target, name=source.stem, folder=here, timeout=timeout, env=STRICT
        )
    for number, text in _stderr(executed):
        print(f"  In [{number}] writes to stderr, and nbval will object: {text}", file=sys.stderr)
    frozen = freeze(executed)
    write_atomically(here / f"{source.stem}.ipynb", nbformat.writes(frozen) + "\n")
    return harvest(frozen)


def is_of_its_script(table: Path) -> bool:
    """Whether data/NN_title.json was made by data/NN_title.py as it is now."""
    stored = table.with_suffix(".json")
    made_by = hashlib.sha256(table.read_bytes()).hexdigest()[:16]
    return stored.exists() and json.loads(stored.read_text(encoding="utf-8"))["script"] == made_by


def student(source: Path) -> NotebookNode:
    """The notebook a reader gets: each solution is a stub, and stands folded under its exercise."""
    notebook = _read(source)
    cells = []
    for cell in notebook.cells:
        exercise = _is_exercise(cell, source)
        solution = _solved(cell.source)
        if exercise:
            cell.source = _SOLUTION.sub(lambda match: match["indent"] + STUB, cell.source)
        cells.append(cell)
        if exercise:
            folded = f"```python\n{solution}\n```\n\n</details>"
            cells.append(new_markdown_cell(f"<details><summary>Solution</summary>\n\n{folded}"))
    return _with_metadata(notebook, cells)


def solved(source: Path) -> NotebookNode:
    """The notebook with every exercise solved: what the tests run."""
    notebook = _read(source)
    for cell in notebook.cells:
        if _is_exercise(cell, source):
            cell.source = _solved(cell.source)
    return _with_metadata(notebook, notebook.cells)


def freeze(executed: NotebookNode) -> NotebookNode:
    """What stays true on every machine: sources, pictures with alt text, plain text, claims.

    Widget views and their state, papermill's cells and metadata, timings and stderr go.
    """
    cells = []
    for cell in executed.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith("papermill")]
        if "injected-parameters" in tags or tags != cell.metadata.get("tags", []):
            continue  # papermill's own: injected parameters, error banners
        if cell.cell_type == "code":
            cell.outputs = list(_frozen_outputs(cell.outputs))
        cells.append(cell)
    return _with_metadata(executed, cells)


def in_step(source: Path, notebook: Path) -> bool:
    """Whether the notebook's cells are the student copy of the source."""
    frozen = nbformat.read(notebook, as_version=4)
    return _outline(student(source)) == _outline(frozen)


def out_of_step(here: Path, chosen: Iterable[Path]) -> Iterator[str]:
    """A sentence for each notebook without source, source without notebook, and difference."""
    rebuild = "run `python3 course.py build`"
    for source in chosen:
        notebook = here / f"{source.stem}.ipynb"
        if not notebook.exists():
            yield f"{source.name} has no notebook; {rebuild}"
        elif not in_step(source, notebook):
            yield f"{notebook.name} is not what {source.name} says; {rebuild}"
    for table in sorted((here / "data").glob("[0-9][0-9]_*.py")):
        if not is_of_its_script(table):
            yield f"{table.with_suffix('.json').name} was not made by {table.name}; {rebuild}"
    stems = {source.stem for source in sources(here)}
    for notebook in sorted(here.glob("*.ipynb")):
        if notebook.stem not in stems:
            yield f"{notebook.name} has no source; write one, or delete it"
    for name, text in generated(here).items():
        page = here.parent / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            yield f"{name} is not what the notebooks measured; {rebuild}"


def generated(here: Path) -> dict[str, str]:
    """The pages that claims are written into: RESULTS.md, and the README's short table."""
    pages = {"RESULTS.md": results(here)}
    readme = here.parent / "README.md"
    if readme.exists():
        pages["README.md"] = _README_TABLE.sub(
            lambda match: f"{match[1]}\n{_short_table(here)}{match[2]}",
            readme.read_text(encoding="utf-8"),
        )
    return pages


def _short_table(here: Path) -> str:
    """The first two claims of each notebook that stand beside a published value."""
    claims = []
    for path in sorted(here.glob("[0-9][0-9]_*.ipynb")):
        found = harvest(nbformat.read(path, as_version=4))
        claims += [claim for claim in found if claim.get("published")][:2]
    return "| | claim | measured | published |\n|---|---|---|---|\n" + "".join(map(_row, claims))


def _row(claim: dict[str, Any]) -> str:
    return (
        f"| {claim['id']} | {_cell(claim['text'])} | {_measured(claim.get('measured'))} "
        f"| {_cell(claim.get('published') or '')} |\n"
    )


def results(here: Path) -> str:
    """RESULTS.md: every claim of the frozen notebooks, measured and published."""
    parts = [
        "# Results\n\n"
        "Generated from the claims in the executed notebooks by `python3 course.py build`; do not\n"
        "edit. A claim that does not hold stops the build. Brackets hold 95 % intervals;\n"
        "*published* is what the cited source reports, on its own data and networks.\n"
    ]
    for path in sorted(here.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        rows = [_row(claim) for claim in harvest(notebook)]
        if rows:
            head = f"## [{_title(notebook, path)}](notebooks/{path.name})\n\n"
            columns = "| | claim | measured | published |\n|---|---|---|---|\n"
            parts.append(head + columns + "".join(rows))
    return "\n".join(parts)


def _read(source: Path) -> NotebookNode:
    return jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")


def _is(path: Path, name: str) -> bool:
    return Path(name).name in (path.stem, path.name, path.stem[:2])


def _is_exercise(cell: NotebookNode, source: Path) -> bool:
    """Whether the cell holds a solution; ValueError where the tag and the marks disagree."""
    tagged = "exercise" in cell.metadata.get("tags", [])
    marks = len(re.findall(r"^\s*# (?:SOLUTION|END)\s*$", cell.source, re.MULTILINE))
    if cell.cell_type != "code":
        return False
    if marks != 2 * len(_SOLUTION.findall(cell.source)) or tagged != bool(marks):
        first = cell.source.strip().splitlines()[:1]
        raise ValueError(
            f"{source.name}: the cell {first} has a broken exercise: expected the tag `exercise`, "
            "and `# SOLUTION` … `# END` at the same indentation; mend the marks or the tag"
        )
    return tagged


def _solved(code: str) -> str:
    return _SOLUTION.sub(lambda match: match["body"].rstrip("\n"), code)


def _with_metadata(notebook: NotebookNode, cells: list[NotebookNode]) -> NotebookNode:
    """Cells with ids from their content, counts 1..n, tags and nothing else that changes."""
    seen: Counter[str] = Counter()
    count = 0
    for cell in cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1  # the same text twice: two ids
        cell.id = hashlib.sha256(f"{seen[text]}\n{text}".encode()).hexdigest()[:8]
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            ran = cell.execution_count is not None
            count += ran
            cell.execution_count = count if ran else None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    notebook.cells = cells
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    about = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(about)
    return notebook


def _frozen_outputs(outputs: Iterable[NotebookNode]) -> Iterator[NotebookNode]:
    previous = None
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if previous is not None:  # one print after another arrives in pieces, by chance
                previous.text += output.text
                continue
            previous = output
        elif "data" in output:
            previous = None
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
            kept = {"kdlib", *output.data}
            metadata = {key: value for key, value in output.metadata.items() if key in kept}
            output.metadata = NotebookNode(metadata)
            if not output.data:
                continue
        yield output


def _stderr(executed: NotebookNode) -> Iterator[tuple[int, str]]:
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                yield cell.execution_count, output.text.strip().splitlines()[-1]


def _outline(notebook: NotebookNode) -> list[tuple[str, str, list[str]]]:
    return [
        (cell.cell_type, cell.source, list(cell.metadata.get("tags", [])))
        for cell in notebook.cells
    ]


def _title(notebook: NotebookNode, path: Path) -> str:
    """The first heading, with the notebook's number."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# +(.+)$", text, re.MULTILINE)
    if heading is None:
        return path.stem
    number, title = path.stem[:2], heading[1].strip()
    return title if title.startswith(number) else f"{number} {title}"


def _measured(value: Any) -> str:
    """`accuracy 0.912 [0.905, 0.919], n 5`: a list of three is an estimate and its interval."""
    if isinstance(value, dict):
        if set(value) == {"value"}:  # a sentence, not a table of measurements
            return _measured(value["value"])
        return ", ".join(f"{_cell(str(name))} {_measured(part)}" for name, part in value.items())
    if isinstance(value, list) and len(value) == 3:
        return "{} [{}, {}]".format(*map(_measured, value))
    if isinstance(value, list):
        return ", ".join(map(_measured, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else _cell(str(value))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
