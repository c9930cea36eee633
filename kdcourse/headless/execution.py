"""One notebook through papermill, in a kernel of this very interpreter."""

import hashlib
import json
import logging
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from kdcourse.headless.finding import read_notebook
from kdcourse.headless.marking import marked_folder
from kdcourse.parameters import Value
from kdlib.source import library_hash

_HERE = crc32(platform.node().encode())  # short, for a socket's path may have 104 characters
_SOCKETS = f"kdlib-{_HERE:08x}-"


def _short_folder() -> Path:
    """Where sockets may lie: the temporary folder, or the system's where its name is too long."""
    folder, system = Path(tempfile.gettempdir()), Path("/tmp")
    return system if len(str(folder)) > 60 and os.access(system, os.W_OK) else folder


class NotebookFailed(RuntimeError):
    """A notebook stopped before its end; the message says in which cell and why."""


def execute(
    notebook: nbformat.NotebookNode,
    target: Path,
    *,
    name: str,
    folder: Path,
    parameters: Mapping[str, Value] | None = None,
    timeout: float | None = 600,
    env: Mapping[str, str] | None = None,
) -> nbformat.NotebookNode:
    """Run all cells in `folder` and write what came of it to `target` (as far as it went).

    `timeout` is seconds a cell may take; `env` is added to the kernel's environment.
    Raises NotebookFailed, one sentence that names the cell.
    """
    import papermill  # 0.3 s that `--help` does not need
    from papermill.engines import papermill_engines

    papermill_engines.register("saved once", _saved_once())

    for library in ("papermill", "asyncio"):  # what they would print is raised, too
        logging.getLogger(library).addHandler(logging.NullHandler())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    try:
        with marked_folder(_short_folder(), _SOCKETS) as sockets:
            return papermill.execute_notebook(
                notebook,
                str(target.absolute()),
                parameters=dict(parameters or {}),
                kernel_name="python3",
                language="python",
                engine_name="saved once",
                progress_bar=False,
                store_widget_state=False,  # with it, exporters leave the explorers' pictures out
                execution_timeout=None if timeout is None else math.ceil(timeout),  # whole seconds
                kernel_manager_class=_kernel_of_this_interpreter(env or {}, sockets),
                resources={"metadata": {"path": str(folder.absolute())}},
            )
    except papermill.PapermillExecutionError as error:
        where = f"In [{error.exec_count}] ({_first_line(error.source)})"
        reason = f"{error.ename}: {_first_line(error.evalue)}".removesuffix(": ")
        raise NotebookFailed(f"{name} stopped in cell {where}: {reason}") from None
    except CellTimeoutError:
        where = _last_started(target)
        raise NotebookFailed(f"{name} stopped in {where}: it took over {timeout:g} s") from None
    except DeadKernelError:
        where = _last_started(target)
        reason = "its kernel died, most often for want of memory"
        raise NotebookFailed(f"{name} stopped in {where}: {reason}") from None
    except RuntimeError as error:
        if "Kernel died" not in str(error):
            raise
        reason = "its kernel died before it answered, most often for want of memory"
        raise NotebookFailed(f"{name} did not begin: {reason}") from None


def harvest(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The claims of an executed notebook: id, text, holds, measured, published."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [dict(output.get("metadata", {}).get("kdlib", {})) for output in outputs]
    return [claim for claim in found if "id" in claim and "holds" in claim]


def source_hash(notebook: nbformat.NotebookNode) -> str:
    """What the numbers of a notebook depend on: its cells, the library, tables that it reads."""
    cells = json.dumps([[cell.cell_type, cell.source] for cell in notebook.cells])
    digest = hashlib.sha256((cells + library_hash()).encode())
    for folder in sorted(set(re.findall(r"kdcourse\.lessons\.(lesson\d\d)", cells))):
        table = Path(__file__).parents[1] / "lessons" / folder / "table.json"
        if table.exists():
            digest.update(table.read_bytes())
    return digest.hexdigest()


def _kernel_of_this_interpreter(env: Mapping[str, str], sockets: Path) -> type[AsyncKernelManager]:
    """Kernels that are this interpreter's ipykernel, whatever kernels the user has installed.

    Their sockets, and the file that names them, are in the folder `sockets`.
    """
    kdlib_home = str(Path(__file__).parents[2])
    added = {
        "PYTHONPATH": os.pathsep.join(filter(None, [kdlib_home, os.environ.get("PYTHONPATH")])),
        "KDLIB_QUIET": "1",
        **env,
    }

    class Specs(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            spec: dict[str, Any] = {**get_kernel_dict(), "env": added}
            spec["argv"] = [sys.executable, *spec["argv"][1:]]
            return KernelSpec(resource_dir="", **spec)

    class Manager(AsyncKernelManager):
        def __init__(self, **how: Any) -> None:
            super().__init__(**how)
            if os.name == "posix":
                # Sockets by name: a port found free here may be another's when the kernel, seconds
                # later, takes it, and then nobody would ever answer.
                self.transport, self.ip = "ipc", str(sockets / "k")
                self.connection_file = str(sockets / "kernel.json")

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return Specs()

        async def _async_launch_kernel(self, kernel_cmd: list[str], **how: Any) -> None:
            # What the process itself logs; what the cells write is in the notebook.
            how |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            await super()._async_launch_kernel(kernel_cmd, **how)

    return Manager


def _saved_once() -> type:
    """papermill's engine without its two saves a cell, which take seconds: one, when all is done.

    Also when it is not, and a kernel died.
    """
    from papermill.engines import NBClientEngine

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, *args: Any, **how: Any) -> Any:
            target, nb_man.output_path = nb_man.output_path, None
            try:
                return super().execute_managed_notebook(nb_man, *args, **how)
            finally:
                nb_man.output_path = target
                nb_man.save()

    return Engine


def _first_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else ""


def _last_started(target: Path) -> str:
    if not target.exists():
        return "its first cell"
    node = read_notebook(target)
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    begun = [
        (number, cell)
        for number, cell in enumerate(code, start=1)
        if cell.metadata.get("papermill", {}).get("start_time")
    ]
    if not begun:
        return "its first cell"
    number, cell = begun[-1]
    return f"code cell {number} of {len(code)} ({_first_line(cell.source)})"
