"""The published files of data sets, known by their hashes."""

# ruff: noqa: E501

import hashlib
from pathlib import Path

# SHA-256 of the files we read. torchvision checks only that its files are present: a truncated
# download stays broken for ever. Fashion-MNIST is published, and read here, as .gz.
# fmt: off
MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
MNIST5K = {"mnist_5k.csv.gz": "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"}
# fmt: on


def check_published(
    folder: Path,
    manifest: dict[str, str],
    missing: str = "load the data set once with a network",
    damaged: str = "delete it and load again",
) -> None:
    """Raises FileNotFoundError, or OSError, for a file that is not what was published.

    manifest: name -> SHA-256 (or MD5, of 32 digits) in hexadecimal · missing, damaged: what to do.
    """
    for file, expected in manifest.items():
        path = folder / file
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; {missing}")
        kind = "MD5" if len(expected) == 32 else "SHA-256"
        digest = hashlib.new(kind.replace("-", ""), path.read_bytes(), usedforsecurity=False)
        found = digest.hexdigest()
        if found != expected:
            raise OSError(
                f"{path} ({path.stat().st_size:,} bytes) is damaged: its {kind} begins "
                f"{found[:12]}, the published file's {expected[:12]}; {damaged}"
            )
