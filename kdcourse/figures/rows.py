"""Tables of text, as Markdown for the page and as lines for everything else."""

from collections.abc import Sequence

from IPython.display import display


def show_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Shows rows under their head; every entry is written as str() writes it.

    Raises ValueError for a row that is longer or shorter than the head.
    """
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"the row {list(row)} has {len(row)} entries under {len(head)} heads")
    texts = [[str(entry).replace("|", "\\|") for entry in row] for row in (head, *rows)]
    lines = [" | ".join(row) for row in (texts[0], ["---"] * len(head), *texts[1:])]
    markdown = "\n".join(f"| {line} |" for line in lines)
    plain = "\n".join("  ".join(row).replace("**", "").rstrip() for row in texts)
    display({"text/markdown": markdown, "text/plain": plain}, raw=True)
