"""The torchvision guard: on the mismatched pair, on a matched pair, and in a spawned worker."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def python(source: str, *paths: Path, file: Path | None = None) -> subprocess.CompletedProcess:
    """Runs the source in a fresh process, from a file where a spawned child must find it again."""
    command = [sys.executable, "-c", source]
    if file is not None:
        file.write_text(source)
        command = [sys.executable, str(file)]
    path = ":".join(map(str, [*paths, ROOT]))
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def torchvision_dies_alone() -> bool:
    return python("import torchvision").returncode != 0


def fake(folder: Path, *, init: str = "", datasets: str = "class VisionDataset: pass") -> Path:
    """A torchvision of our own making, to stand before the real one on the path."""
    package = folder / "torchvision"
    (package / "transforms").mkdir(parents=True)
    (package / "__init__.py").write_text(init)
    (package / "datasets.py").write_text(datasets)
    (package / "models.py").write_text("")
    (package / "transforms" / "__init__.py").write_text("")
    (package / "transforms" / "v2.py").write_text("")
    return folder


def test_datasets_transforms_and_models_work() -> None:
    from kdlib import vision

    image = vision.transforms.Resize(8)(torch.zeros(3, 16, 16))
    assert image.shape == (3, 8, 8)
    network = vision.models.resnet18(num_classes=3).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert len(vision.datasets.FakeData(size=2)) == 2


def test_the_guard_mends_this_pair_only_if_it_is_broken() -> None:
    done = python("from kdlib import vision; print(vision.mended, len(vision._declared))")
    assert done.returncode == 0, done.stderr
    mended, declared = done.stdout.split()
    assert (mended == "True") == torchvision_dies_alone()
    assert (int(declared) > 0) == (mended == "True")


def test_a_matched_pair_is_left_alone(tmp_path: Path) -> None:
    fake(tmp_path)
    done = python(
        "from kdlib import vision\n"
        "import torch\n"
        "assert vision.mended is False and vision._declared == []\n"
        "assert '__reduce_ex__' not in vars(vision.datasets.VisionDataset)\n"
        "assert not torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::nms', 'Meta')"
        " if 'torchvision::nms' in torch._C._dispatch_get_all_op_names() else True\n"
        "assert 'torchvision::nms' not in torch._C._dispatch_get_all_op_names()\n"
        "print(vision.torchvision.__file__)",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(tmp_path))


def test_each_missing_operator_is_declared_in_turn_and_no_other(tmp_path: Path) -> None:
    """A torchvision that wants two operators: exactly these two get declared."""
    init = (
        "import torch\n"
        "for name in ('nms', 'other'):\n"
        "    if f'torchvision::{name}' not in torch._C._dispatch_get_all_op_names():\n"
        "        raise RuntimeError(f'operator torchvision::{name} does not exist')\n"
    )
    fake(tmp_path, init=init)
    done = python(
        "from kdlib import vision\n"
        "import torch\n"
        "names = torch._C._dispatch_get_all_op_names()\n"
        "print(vision.mended, sorted(n for n in names if n.startswith('torchvision::')))",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True ['torchvision::nms', 'torchvision::other']"


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"),
        ("raise RuntimeError('something else')", "something else"),
        ("raise ImportError('no such library')", "no such library"),
    ],
)
def test_what_the_guard_cannot_mend_is_said_and_ends(tmp_path: Path, init: str, said: str) -> None:
    done = python("from kdlib import vision", fake(tmp_path, init=init))
    assert done.returncode == 1 and said in done.stderr


def test_a_spawned_dataloader_worker_works(tmp_path: Path) -> None:
    """The child unpickles the dataset and imports nothing of kdlib by itself."""
    source = """
if __name__ == "__main__":
    from torch.utils.data import DataLoader

    from kdlib import vision

    images = vision.datasets.FakeData(4, (1, 8, 8), 3, vision.transforms.PILToTensor())
    loader = DataLoader(images, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    print([tuple(x.shape) for x, y in loader])
    print(max(int((x != images[i][0]).sum()) for i, (x, _) in enumerate(DataLoader(images))))
"""
    done = python(source, file=tmp_path / "loads.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[(2, 1, 8, 8), (2, 1, 8, 8)]"


def test_a_pickled_dataset_keeps_its_content() -> None:
    import pickle

    from kdlib import vision

    images = vision.datasets.FakeData(3, (1, 8, 8), 5, random_offset=7)
    again = pickle.loads(pickle.dumps(images))
    assert vars(again)["random_offset"] == 7 and type(again) is type(images)
    assert [again[i][1] for i in range(3)] == [images[i][1] for i in range(3)]


def test_the_pair_under_test_is_the_pinned_one() -> None:
    """The tests above speak of these versions; kdlib must not have swapped torchvision's."""
    from kdlib import vision

    installed = importlib.metadata.version("torchvision").split("+")[0]
    assert vision.torchvision.__version__.split("+")[0] == installed
