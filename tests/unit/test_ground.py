"""What pages share: networks kept under all that decides them, the domain task and its table."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kdcourse.figures import show_table
from kdcourse.ground import domains, kept, mnist
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdlib.data import load
from kdlib.metrics import Interval
from kdlib.models import initialise, mlp


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDLIB_CACHE", str(tmp_path))
    return tmp_path


def small() -> torch.nn.Module:
    return initialise(mlp(4, 3, 2), 0)


def test_a_kept_network_is_trained_once_for_each_thing_that_decides_it(cache: Path) -> None:
    trained = []

    def train(network: torch.nn.Module) -> None:
        trained.append(network)
        with torch.no_grad():
            next(network.parameters()).fill_(len(trained))

    first = kept(small(), train, "images", 8)
    again = kept(small(), train, "images", 8)
    assert len(trained) == 1 and not again.training
    assert torch.equal(next(first.parameters()), next(again.parameters()))
    kept(small(), train, "other images", 8)
    kept(small(), train, "images", 9)
    kept(initialise(mlp(4, 3, 2), 1), train, "images", 8)
    assert len(trained) == 4


def test_a_damaged_or_unwritable_cache_costs_a_training_and_no_more(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[torch.nn.Module] = []
    kept(small(), trained.append, 1)
    (file,) = cache.rglob("*.pt")
    file.write_bytes(file.read_bytes()[:50])
    kept(small(), trained.append, 1)
    assert len(trained) == 2
    (cache / "file").write_text("no folder")
    monkeypatch.setenv("KDLIB_CACHE", str(cache / "file"))
    with pytest.warns(UserWarning, match="used without being kept"):
        kept(small(), trained.append, 1)
    assert len(trained) == 3


def test_everybody_takes_as_many_steps() -> None:
    train = load("mnist5k").train
    assert [mnist.epochs(train), mnist.epochs(train.per_class(100))] == [20, 70]
    assert mnist.epochs(train.per_class(20)) == 280
    few, more = (train.per_class(n, seed=3).ids for n in (20, 100))
    assert torch.isin(few, more).all()  # the labels of a draw are nested


@pytest.mark.parametrize("fold", domains.FOLDS)
def test_the_folds_share_no_image_and_both_domains_have_one_frame(fold: str) -> None:
    here = domains.domains(fold)
    assert not torch.isin(here.target.ids, here.target_test.ids).any()
    assert {x.x.shape[1:] for x in here} == {torch.Size([1, 16, 16])}
    assert here.source.domains == [0] and here.target.domains == [1]
    counts = torch.bincount(here.target_test.y)
    assert len(here.target_test) == 500 and counts.min() >= 45
    if fold == "A":
        assert not torch.isin(here.spare.ids, (here.target + here.target_test).ids).any()


def test_an_unknown_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="'C'; expected 'A' or 'B'"):
        domains.domains("C")


def test_rows_of_all_pages_so_far_make_one_table(tmp_path: Path) -> None:
    here = domains.domains("A")
    network = initialise(mlp(256, 4, 10), 0)
    rows = [domains.row("AdaBN", "A", seed, network, here) for seed in (11, 10)]
    rows += [domains.row("AdaBN", "B", 10, network, here), {"shift": "no row of the table"}]
    for number, stored in (("06", rows), ("08", [rows[0] | {"way": "later"}])):
        maker = tmp_path / f"lesson{number}.py"
        maker.write_text("")
        tables.write(maker, stored)
    lessons = [
        SimpleNamespace(number=number, maker=tmp_path / f"lesson{number}.py")
        for number in ("05", "06", "08")
    ]
    course = SimpleNamespace(lessons=lambda: lessons)
    found = domains.ways("07", course)  # type: ignore[arg-type]
    assert list(found) == ["AdaBN"] and found["AdaBN"].page == "06"
    assert found["AdaBN"].wrong["A"].shape == (2, 500)
    z = network(here.target_test.batch().x)
    assert torch.equal(found["AdaBN"].wrong["A"][0], z.argmax(1) != here.target_test.y)
    assert list(domains.ways("08", course)) == ["AdaBN", "later"]  # type: ignore[arg-type]
    head, (line,) = domains.table(found, new="06")
    assert len(head) == len(line) and line[0] == "**AdaBN**" and line[-1] == "06"


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.7, 0.1, 1.4), "saves 0.7 (0.1 to 1.4) points"),
        ((-3.4, -5.1, -1.8), "costs 3.4 (1.8 to 5.1) points"),
        ((0.4, -0.3, 1.1), "saves 0.4 (-0.3 to 1.1) points, not resolved"),
        ((-1.2, -2.3, 0.4), "costs 1.2 (-0.4 to 2.3) points, not resolved"),
    ],
)
def test_a_difference_is_said_with_one_sign(ends: tuple[float, float, float], text: str) -> None:
    assert saves(Interval(*ends)) == text


def test_a_row_as_long_as_its_head() -> None:
    with pytest.raises(ValueError, match="1 entries under 2 heads"):
        show_table(["a", "b"], [["1"]])
