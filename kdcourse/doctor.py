"""What this machine has for the course, a line each, with the mend of what is missing."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

_MEGABYTE = 1 << 20
_REPORT = "the other lines stand; tell this one to whoever looks after this machine"
_REINSTALL = "delete .venv and run `python3 course.py lab` again"


@dataclass(frozen=True)
class Line:
    """✓ well, ○ worth knowing, ✗ broken; `mend` says what to do about the last two."""

    mark: str
    what: str
    mend: str = ""

    @property
    def broken(self) -> bool:
        return self.mark == "✗"

    def __str__(self) -> str:
        return f"{self.mark} {self.what}" + (f" → {self.mend}" if self.mend else "")


def report() -> Iterator[Line]:
    """All checks, in order; one that fails is a line, and the others go on."""
    checks: list[Callable[[], Iterator[Line]]] = [
        _python,
        _packages,
        _pairs,
        _operators,
        _processor,
        _card,
        _data,
        _memory,
        _disk,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # whatever is broken here is what the reader came to learn
            name = check.__name__.strip("_")
            mend = _REINSTALL if isinstance(error, ImportError) else _REPORT
            yield Line("✗", f"{name}: {type(error).__name__}: {error}", mend)


def _python() -> Iterator[Line]:
    yield Line("✓", f"Python {platform.python_version()} on {platform.system()}, {sys.executable}")


def _packages() -> Iterator[Line]:
    packages = ["torch", "torchvision", "numpy", "matplotlib", "jupyterlab", "ipywidgets"]
    packages += ["ipykernel", "papermill"]
    for package in packages:
        try:
            yield Line("✓", f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            yield Line("✗", f"{package} is not installed", _REINSTALL)


def _pairs() -> Iterator[Line]:
    """Packages that only work together: each says itself which version of the other it wants."""
    for package, others in {
        "torchvision": ["torch"],
        "ipywidgets": ["jupyterlab_widgets", "widgetsnbextension"],
    }.items():
        for other in others:
            yield agreement(package, other)


def agreement(package: str, other: str) -> Line:
    """Whether the installed `other` is one that the installed `package` asks for."""
    wanted = [Requirement(text) for text in importlib.metadata.requires(package) or []]
    wanted = [requirement for requirement in wanted if _same(requirement.name, other)]
    try:
        version = importlib.metadata.version(other)
    except importlib.metadata.PackageNotFoundError:
        return Line("✗", f"{other} is not installed, and {package} needs it", _REINSTALL)
    what = f"{package} with {other} {version}"
    for requirement in wanted:
        if not requirement.specifier.contains(version, prereleases=True):
            return Line("✗", f"{what}, but it wants {requirement.specifier}", _REINSTALL)
    return Line("✓", what)


def _same(name: str, other: str) -> bool:
    return name.lower().replace("_", "-") == other.lower().replace("_", "-")


def _operators() -> Iterator[Line]:
    from kdlib import vision

    if vision.mended:
        mend = "nothing to do: kdlib declares the operator it lacks, and uses none of them"
        yield Line("○", "torchvision's compiled operators do not fit this torch", mend)
    else:
        yield Line("✓", "torchvision's compiled operators")


def _processor() -> Iterator[Line]:
    import torch

    from kdlib import device

    picked = device.pick()
    usable = device.threads()
    bf16 = "with bf16" if device.has_bf16(picked) else "without bf16 hardware"
    yield Line("✓", f"device {picked}, {bf16}")
    if torch.get_num_threads() > usable:
        what = f"torch takes {torch.get_num_threads()} threads where {usable} may run"
        yield Line("○", what, f"set OMP_NUM_THREADS={usable}")
    else:
        yield Line("✓", f"{usable} processor{'s' if usable > 1 else ''} to use")


def _card() -> Iterator[Line]:
    """Why an NVIDIA card that is in this machine is not used; nothing where there is none."""
    import torch

    from kdlib import device

    if (card := nvidia()) is None:
        return
    name, driver = card
    built = torch.version.cuda
    other = f"run {_with_cuda()}, which asks for less of driver and card"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        why, mend = "CUDA_VISIBLE_DEVICES hides it", "unset CUDA_VISIBLE_DEVICES to use the card"
    elif built is None:
        why, mend = "this torch is built for the CPU alone", f"run {_with_cuda()}"
    elif not torch.cuda.is_available():
        why = f"its driver {driver} is too old for this torch, built for CUDA {built}"
        mend = "update NVIDIA's driver" + (f", or {other}" if built != "12.6" else "")
    elif (reason := device.why_not("cuda")) is not None:
        old = "no kernel image" in reason
        why = f"this torch has no kernels for it ({reason})" if old else reason
        mend = other if old and built != "12.6" else "device='cpu' works; restart, or ask its owner"
    else:
        what = f"{name} is used where device='cuda' is given; banks of convolutions on the CPU "
        mend = "set CUDA_VISIBLE_DEVICES=-1 for work on the CPU alone"
        yield Line("○", what + "have one process while it is seen", mend)
        return
    yield Line("○", f"{name} is not used: {why}", mend)


def nvidia() -> tuple[str, str] | None:
    """Name and driver of the first NVIDIA card, as its own tool tells; None where none is told."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    name, comma, driver = told.partition("\n")[0].rpartition(", ")
    return (name, driver) if comma else None


def _with_cuda() -> str:
    """The line that installs these versions, built for CUDA 12.6."""
    wanted = " ".join(
        f"{package}=={importlib.metadata.version(package).partition('+')[0]}+cu126"
        for package in ("torch", "torchvision")
    )
    index = "https://download.pytorch.org/whl/cu126"
    return f"`{sys.executable} -m pip install {wanted} --index-url {index}`"


def _data() -> Iterator[Line]:
    from kdlib import data

    for name in ("mnist5k", "digits", "mnist", "fashion"):
        status = data.verify(name)
        if status == "ok":
            yield Line("✓", f"data {name}")
        elif status.startswith("not here"):
            mend = "fetched at its first use; offline, name its folder with KDLIB_DATA"
            yield Line("○", f"data {name}: {status}", mend)
        else:
            what, _, mend = status.partition("; ")
            yield Line("✗", f"data {name}: {what}", mend)


def _memory() -> Iterator[Line]:
    import psutil

    free = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text().strip().isdigit():  # a container's own limit
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    yield _room("memory free", free, 1024, "close other notebooks' kernels (Kernel ▸ Shut Down)")


def _disk() -> Iterator[Line]:
    """Room where data and banks are kept, and whether anything can be written there, or at home."""
    from kdlib.data import cache_root

    try:
        folder = cache_root()
    except OSError as error:  # a user without a home
        what, _, mend = str(error).partition("; ")
        yield Line("○", f"cache: {what}", f"{mend}; meanwhile each run trains its banks anew")
        return
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(there, os.W_OK | os.X_OK):
        free = shutil.disk_usage(there).free
        mend = "make room, or name a folder elsewhere with KDLIB_CACHE: data and banks take 1 GB"
        yield _room(f"disk free in {there}", free, 1024, mend)
    else:
        mend = (
            "name a folder of your own with KDLIB_CACHE; meanwhile each run trains its banks anew"
        )
        yield Line("○", f"cache: nothing can be written to {folder}", mend)
    home = Path(os.environ.get("JUPYTER_DATA_DIR") or os.path.expanduser("~"))
    near = next(parent for parent in (home, *home.parents) if parent.exists())
    if not os.access(near, os.W_OK | os.X_OK):
        mend = "set HOME to a folder of your own: `run` works as it is, JupyterLab does not"
        yield Line("○", f"home: nothing can be written to {home}", mend)


def _room(name: str, free: int, wanted_megabytes: int, mend: str) -> Line:
    megabytes = free // _MEGABYTE
    if megabytes >= wanted_megabytes:
        return Line("✓", f"{name}: {megabytes:,} MB")
    return Line("○", f"{name}: only {megabytes:,} MB", mend)
