"""A JupyterLab of its own: free port, random token, settings in a temporary folder, no news."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from papermill.utils import find_first_tagged_cell_index

ROOT = Path(__file__).parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START_TIMEOUT = 90  # seconds

# Settings as a user would set them. Without windowing every cell is in the page, seen or not.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


def find_chromium() -> str | None:
    """The path of the system's Chromium or Chrome."""
    return next((path for path in map(shutil.which, CHROMIUM) if path), None)


class LabServer:
    """JupyterLab on copies of notebooks. Use it as a context: it ends with its kernels.

    folder: an empty folder that takes everything the server writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> LabServer:
        for plugin, values in SETTINGS.items():
            path = self.folder / "settings" / f"{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        words = [sys.executable, "-m", "jupyterlab", "--no-browser"]
        words += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}"]
        words += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.notebooks}"]
        words += ["--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]
        words += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            words.append("--allow-root")
        self.log = self.folder / "jupyterlab.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                words, cwd=self.folder, env=self._environment(), stdout=log, stderr=log
            )
        try:
            self._wait_until_up()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.end_kernels()
        self._stop()

    def add(self, notebook: Path, *, stored: bool = False, small: bool = False) -> str:
        """Copy a notebook to where the server sees it; return the address that opens it.

        stored: with the outputs and numbers of its last run; without them what is seen is new.
        small: with the parameter `budget="small"`, where the notebook has parameters.
        """
        copy = load_notebook_node(str(notebook))
        if small and find_first_tagged_cell_index(copy, "parameters") >= 0:
            copy = parameterize_notebook(copy, {"budget": "small"})
        for cell in copy.cells:
            if cell.cell_type == "code" and not stored:
                cell.outputs, cell.execution_count = [], None
        nbformat.write(copy, self.notebooks / notebook.name)
        return f"{self.url}/lab/tree/{notebook.name}?reset&token={self.token}"

    def end_kernels(self) -> None:
        """End every notebook's kernel: their memory is not needed any more."""
        for session in self._ask("/api/sessions"):
            self._ask(f"/api/sessions/{session['id']}", method="DELETE")

    def _environment(self) -> dict[str, str]:
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # The kernel's thread count is the reader's business, but two tests share these cores.
        fixed = {"JUPYTER_TOKEN": self.token, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        quiet = {"KDLIB_QUIET": "1", "KDLIB_OFFLINE": "1"}
        # PYTEST_* would make a pytest that a notebook runs believe it is this one's worker.
        # Other parameters than the default may fail a claim, which a reader's page only shows.
        alien = ("PYTEST_", "KDLIB_STRICT")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(alien)}
        folders = {key: str(self.folder / value) for key, value in own.items()}
        return {**quiet, **kept, **fixed, **folders}

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                self._ask("/api/status")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"JupyterLab is not up after {START_TIMEOUT} s; its log ends:\n{tail}")

    def _ask(self, path: str, *, method: str = "GET") -> Any:
        asked = urllib.request.Request(f"{self.url}{path}", method=method)
        asked.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(asked, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
