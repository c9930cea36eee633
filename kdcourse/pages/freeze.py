"""An executed notebook → what stays true on every machine."""

from collections.abc import Iterable, Iterator

from nbformat import NotebookNode

from kdcourse.pages.student import with_metadata


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
    return with_metadata(executed, cells)


def refreshed(student: NotebookNode, stored: NotebookNode) -> NotebookNode | None:
    """The new copy with the stored outputs; None where a code cell differs and must run again."""
    new, old = ([c for c in n.cells if c.cell_type == "code"] for n in (student, stored))
    if [(c.source, c.metadata.get("tags")) for c in new] != [
        (c.source, c.metadata.get("tags")) for c in old
    ]:
        return None
    for cell, before in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return with_metadata(student, student.cells)


def stderr(executed: NotebookNode) -> Iterator[tuple[int, str]]:
    """The cells that wrote there, with their last line."""
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                yield cell.execution_count, output.text.strip().splitlines()[-1]


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
