"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as their files hold them, and statistics of channels."""

import pickle
from pathlib import Path

import numpy as np
import torch

from kdlib.data.examples import Examples

# MD5 of the files we read, as torchvision has them, which names no SHA-256. They are pickled, which
# can run anything, so one is opened only when it is the published file.
CIFAR = {
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    "cifar100": {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
}
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def read_cifar(folder: Path, files: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32), uint8, and labels (N,) of these files, which were verified."""
    images, labels = [], []
    for file in files:
        content = pickle.loads((folder / file).read_bytes(), encoding="latin1")
        images.append(content["data"].reshape(-1, 3, 32, 32))
        labels += content["labels"] if "labels" in content else content["fine_labels"]
    return np.concatenate(images), np.array(labels, np.int64)


def channel_statistics(examples: Examples) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of each channel of the images, as floats from 0 to 1.

    For networks that normalise: `cnn(32, 10, channels=3, **channel_statistics(train))`. Raises
    ValueError for no examples.
    """
    if not len(examples):
        raise ValueError(f"{examples!r} holds no images to take statistics of; give at least one")
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for index in examples.order(1000):  # in parts: doubles of all images may not fit
        x = examples.batch(index).x.cpu().double().transpose(0, 1).flatten(1)  # (C, B·H·W)
        count, total = count + x.shape[1], total + x.sum(1)
        squares = squares + x.square().sum(1)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
