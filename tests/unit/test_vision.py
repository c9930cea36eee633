"""The torchvision guard: on the mismatched pair, on a matched pair, and in a spawned worker."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def python(source: str, *, file: Path | None = None) -> subprocess.CompletedProcess:
    """Runs the source in a fresh process, from a file where a spawned child must find it again."""
    command = [sys.executable, "-c", source]
    if file is not None:
        file.write_text(source)
        command = [sys.executable, str(file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def fake(folder: Path, name: str, init: str) -> Path:
    """A torchvision of our own making, to stand before the real one on the path."""
    package = folder / name / "torchvision"
    (package / "transforms").mkdir(parents=True)
    (package / "__init__.py").write_text(init)
    (package / "datasets.py").write_text("class VisionDataset: pass")
    for module in ("models.py", "transforms/__init__.py", "transforms/v2.py"):
        (package / module).write_text("")
    return folder / name


def test_datasets_transforms_and_models_work() -> None:
    from kdlib import vision

    image = vision.transforms.Resize(8)(torch.zeros(3, 16, 16))
    assert image.shape == (3, 8, 8)
    network = vision.models.resnet18(num_classes=3).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert len(vision.datasets.FakeData(size=2)) == 2


@pytest.mark.slow
def test_the_guard_mends_this_pair_only_if_it_is_broken() -> None:
    from kdlib import vision

    alone = python("import torchvision")
    assert vision.mended == ("torchvision::nms does not exist" in alone.stderr)
    assert bool(vision._declared) == vision.mended == (alone.returncode != 0)


FAKES = {
    "matched": "",
    # wants two operators, one after the other
    "torn": """
import torch
for name in ("nms", "torn"):
    if f"torchvision::{name}" not in torch._C._dispatch_get_all_op_names():
        raise RuntimeError(f"operator torchvision::{name} does not exist")
""",
    "stubborn": "raise RuntimeError('operator torchvision::stubborn does not exist')",
    "foreign": "raise RuntimeError('something else')",
    "absent": "raise ImportError('no such library')",
}
TRIES = """
import sys, torch
for folder in sys.argv[1:]:
    for name in [m for m in sys.modules if m.startswith(("torchvision", "kdlib.vision"))]:
        del sys.modules[name]
    sys.path.insert(0, folder)
    before = set(torch._C._dispatch_get_all_op_names())
    try:
        from kdlib import vision
        assert vision.torchvision.__file__.startswith(folder)
        said = f"mended {vision.mended}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(said, "|", *sorted(set(torch._C._dispatch_get_all_op_names()) - before))
    import kdlib
    vars(kdlib).pop("vision", None)
"""


@pytest.mark.slow
def test_the_guard_declares_exactly_what_the_message_names(tmp_path: Path) -> None:
    folders = [str(fake(tmp_path, name, init)) for name, init in FAKES.items()]
    source = TRIES.replace("sys.argv[1:]", repr(folders))
    done = python(source)
    assert done.returncode == 0, done.stderr
    assert dict(zip(FAKES, done.stdout.splitlines(), strict=True)) == {
        "matched": "mended False |",
        "torn": "mended True | torchvision::nms torchvision::torn",
        "stubborn": "RuntimeError: operator torchvision::stubborn does not exist"
        " | torchvision::stubborn",
        "foreign": "RuntimeError: something else |",
        "absent": "ImportError: no such library |",
    }


def test_the_pair_under_test_is_the_pinned_one() -> None:
    """The tests above speak of these versions; kdlib must not have swapped torchvision's."""
    from kdlib import vision

    installed = importlib.metadata.version("torchvision").split("+")[0]
    assert vision.torchvision.__version__.split("+")[0] == installed
