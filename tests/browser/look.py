"""Screenshots of a notebook as JupyterLab shows it, one for each height of the window.

    python tests/browser/look.py notebooks/04_temperature.ipynb --out shots

It runs all cells first (--stored: shows what is stored instead) and moves each slider once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from labpage import LabPage, chromium
from labserver import LabServer, find_chromium


def look(notebook: Path, out: Path, *, run: bool) -> int:
    """Write the screenshots; return how many cells failed."""
    path = find_chromium()
    if path is None:
        sys.exit("no Chromium or Chrome on PATH: install one")
    with (
        tempfile.TemporaryDirectory(prefix="kdlib-look-") as folder,
        LabServer(Path(folder) / "lab") as lab,
        chromium(path) as browser,
    ):
        page = LabPage(browser, lab.add(notebook, stored=not run))
        failed: list[str] = []
        if run:
            print(f"all cells in {page.run_all():.1f} s")
            failed = page.failed_cells()
            for explorer in page.explorers():
                for number in range(explorer.locator(".kdlib-control").count()):
                    move = page.move(explorer, number)
                    print(
                        f"{move.slider}: {move.before} → {move.after}, {move.milliseconds:.0f} ms"
                    )
        for shot in page.screenshots(out, notebook.stem):
            print(shot)
        for text in (*failed, *page.trouble.errors, *page.trouble.requests):
            print(text, file=sys.stderr)
        page.close()
    return len(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--out", type=Path, default=Path("shots"), help="folder (default: shots)")
    parser.add_argument("--stored", action="store_true", help="do not run the cells")
    words = parser.parse_args()
    if not words.notebook.is_file():
        parser.error(f"no notebook at {words.notebook}")
    sys.exit(look(words.notebook, words.out, run=not words.stored) > 0)
