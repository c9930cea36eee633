"""Generated bad inputs: a finite result of the right shape, or one sentence that kdlib raises."""

import math
import re
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.strategies import SearchStrategy
from trials import BAD_INPUTS, TEST, TRAIN

import kdlib
from kdcourse.explorers import SoftenedLogits
from kdlib import distances, losses, metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, load
from kdlib.files import save
from kdlib.models import mlp, observe
from kdlib.objectives import SoftTargets
from kdlib.training import fit

LIBRARY = Path(kdlib.__file__).parent
COURSE = LIBRARY.parent / "kdcourse"


def scalars() -> SearchStrategy[Any]:
    odd = [None, "4", True, "", [], (), {}, [4], b"4", object, 4j, np.float32(2), np.int64(3)]
    odd += [torch.tensor(2.0), torch.tensor([1.0, 2.0]), torch.tensor(math.nan)]
    numbers = st.one_of(
        st.integers(-3, 300), st.floats(-5, 50), st.sampled_from([math.nan, math.inf, -math.inf])
    )
    return st.one_of(numbers, st.sampled_from(odd))


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Mostly a tensor: of any kind, shape and content; else what people give in its place."""
    shape = draw(
        st.one_of(
            st.sampled_from([(8, 4), (8, 4), (8,), (8, 5), (7, 4), (8, 1, 4, 4), (0, 4), (8, 0)]),
            st.lists(st.integers(0, 4), max_size=4).map(tuple),
        )
    )
    seeded = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    numbers = torch.randn(shape, generator=seeded)
    kinds = [torch.float32] * 3 + [torch.float64, torch.float16, torch.int64, torch.uint8]
    made = numbers.to(draw(st.sampled_from([*kinds, torch.bool, torch.complex64])))
    spoilt = draw(st.sampled_from([None] * 5 + [math.nan, math.inf, -math.inf, 1e30, 1e-30]))
    if spoilt is not None and made.is_floating_point():
        made = torch.where(torch.rand(shape, generator=seeded) < 0.3, spoilt, made)
    form = draw(st.sampled_from(["tensor"] * 8 + ["list", "array", "other"]))
    if form == "list":
        return made.tolist()
    return draw(scalars()) if form == "other" else made.numpy() if form == "array" else made


def labels() -> SearchStrategy[Any]:
    some = [torch.arange(8) % 4, torch.arange(8), -torch.ones(8, dtype=torch.int64)]
    some += [torch.arange(8.0), torch.arange(7), torch.arange(8) % 2 == 0]
    return st.one_of(st.sampled_from(some), tensors())


def called(function: Callable[..., Any], *given_: Any, **named: Any) -> Any:
    """What it returns; None for what kdlib refuses in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*given_, **named)
        except (ValueError, TypeError, OSError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = Path(last.filename).is_relative_to(LIBRARY)
            ours |= Path(last.filename).is_relative_to(COURSE)
            missing = isinstance(error, TypeError) and "argument" in str(error)  # Python's own
            assert ours or missing, f"raw: {error!r} in {last.filename}:{last.lineno}"
            said = re.sub(r"(tensor|array)\([^()]*\)", "it", str(error)).strip()  # as it was given
            assert said and "\n" not in said, f"no sentence: {error!r}"
            assert isinstance(error, TypeError) or len(said.split()) > 4, f"no sentence: {error!r}"
            return None


def finite(result: Any) -> None:
    values = torch.as_tensor(result, dtype=torch.float64)
    assert bool(values.isfinite().all()), f"nan or inf, and not a word: {result}"


def moderate(value: Any) -> bool:
    """Finite, so that its square is, and not empty: of no examples there is no mean."""
    if isinstance(value, torch.Tensor):
        return bool(value.numel()) and bool((value.abs() < 1e6).all())
    return not isinstance(value, float) or abs(value) < 1e6


def loss(function: Callable[..., Any]) -> Callable[..., None]:
    """A loss is a number of its own kind, finite where what it was given is.

    It is asked in each step of a training, and does not look for nan there: nan goes in and comes
    out, where `fit` and `train_bank` see it.
    """

    def look(*given_: Any, **named: Any) -> None:
        result = called(function, *given_, **named)
        if result is not None:
            assert isinstance(result, torch.Tensor)
            if all(map(moderate, given_)):
                finite(result.detach())

    return look


def interval(function: Callable[..., Any]) -> Callable[..., None]:
    def look(*given_: Any) -> None:
        result = called(function, *given_)
        if result is not None and np.asarray(given_[0]).size == 1:
            finite(result.mean)  # one value has no interval, and says nan
        elif result is not None:
            finite([result.mean, result.low, result.high])
            assert result.low <= result.mean <= result.high

    return look


def error_percent(z: Any, y: Any) -> None:
    result = called(metrics.error_percent, z, y)
    if result is not None:
        finite(result)
        assert bool(((result >= 0) & (result <= 100)).all())


def examples(x: Any, y: Any, domain: Any) -> None:
    made = called(Examples, x, y, domain)
    if made is not None:
        assert len(made) == len(made.x) == len(made.y) == len(made.domain)


def trained(**how: Any) -> None:
    run = called(lambda: fit(mlp(16, 4, 4), TRAIN[:32], **{"epochs": 1, "batch": 16, **how}))
    if run is not None:
        assert run.history
        finite([row["loss"] for row in run.history])


def banked(**how: Any) -> None:
    plain = {"epochs": 1, "batch": 16, "seeds": 1, "cache": False, **how}
    if isinstance(plain["seeds"], torch.Tensor):
        return  # of one without an axis PyTorch speaks still
    bank = called(
        lambda: train_bank(
            student=mlp(16, 4, 4), examples=TRAIN[:32], evaluate={"test": TEST[:8]}, **plain
        )
    )
    if bank is not None:
        assert bank.logits["test"].shape == (*bank.shape, 8, 4)
        finite(bank.losses)


def observed(x: Any, taps: Any) -> None:
    try:
        seen = called(observe, mlp(16, 4, 4), x, taps)
    except (RuntimeError, IndexError) as error:  # a network's own word
        frames = traceback.extract_tb(error.__traceback__)
        assert any(Path(frame.filename).parts[-3:-1] == ("nn", "modules") for frame in frames)
        return
    if seen is not None and moderate(x):
        finite(seen.logits.detach())


def loaded(name: Any, size: Any) -> None:
    splits = called(load, name, size=size)
    if splits is not None:
        assert len(splits) == 3 and all(len(part) for part in splits)


def saved(path: Any, content: Any) -> None:
    called(save, path, content)


def explored(T: Any) -> None:
    z = torch.arange(12.0).view(3, 4).numpy()
    explorer = called(
        lambda: SoftenedLogits(z, np.arange(3), np.zeros((3, 4, 4), dtype=np.uint8), T=T)
    )
    if explorer is not None:
        explorer.close()


TEMPERATURE = st.one_of(st.just(4.0), scalars())
WHERE = st.one_of(st.none(), st.just(torch.ones(8, dtype=torch.bool)), tensors())
NAMES = st.sampled_from(
    ["epochs", "lr", "batch", "seed", "order_seed", "schedule", "until", "weight_decay", "clip",
     "forward", "balanced", "precision", "validate", "augment", "objective"]
)  # fmt: skip
SETTINGS = st.sampled_from(
    ["epochs", "lr", "batch", "seeds", "order_seed", "schedule", "weight_decay", "clip",
     "precision", "engine", "grid", "objective", "watch"]
)  # fmt: skip
VALUES = st.one_of(
    st.integers(-3, 3), st.floats(-1, 1), scalars(), tensors(),
    st.just(SoftTargets(mlp(16, 4, 5), T=4)), st.just(TRAIN[:4].unlabelled()),
    st.dictionaries(st.sampled_from(["T", "lr", "", "head", "epochs"]), scalars(), max_size=2),
)  # fmt: skip
GRIDS = st.one_of(scalars(), tensors(), st.lists(scalars(), max_size=4))
TRIED: dict[str, tuple[Callable[..., None], list[SearchStrategy[Any]]]] = {
    "soft_targets": (loss(losses.soft_targets), [tensors(), tensors(), TEMPERATURE]),
    "hard_labels": (loss(losses.hard_labels), [tensors(), labels()]),
    "hint": (loss(losses.hint), [tensors(), tensors()]),
    "similarity": (loss(losses.similarity), [tensors(), tensors()]),
    "where": (
        lambda z, where: loss(losses.soft_targets)(z, z, 4.0, where=where), [tensors(), WHERE]
    ),
    "mmd": (loss(distances.mmd), [tensors(), tensors()]),
    "coral": (loss(distances.coral), [tensors(), tensors()]),
    "interval": (interval(metrics.interval), [tensors()]),
    "difference": (interval(metrics.difference), [tensors(), tensors()]),
    "error_percent": (error_percent, [tensors(), labels()]),
    "Examples": (examples, [tensors(), labels(), st.one_of(st.none(), labels())]),
    "fit": (lambda name, value: trained(**{name: value}), [NAMES, VALUES]),
    "train_bank": (lambda name, value: banked(**{name: value}), [SETTINGS, VALUES]),
    "observe": (observed, [tensors(), st.one_of(st.just(()), st.text(), st.lists(st.text()))]),
    "load": (loaded, [st.one_of(st.just("digits"), scalars(), st.text()), scalars()]),
    "save": (saved, [scalars().filter(lambda path: not isinstance(path, str)), VALUES]),
    "SoftenedLogits": (explored, [GRIDS]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def inputs_that_are_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis also tries what stands in modules that happen to be loaded."""
    monkeypatch.setattr(providers, "_get_local_constants", providers.Constants)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIED)
def test_bad_input_is_answered_rightly_or_in_a_sentence(name: str) -> None:
    look, parts = TRIED[name]

    @settings(
        max_examples=BAD_INPUTS, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(st.tuples(*parts))
    def trial(values: tuple[Any, ...]) -> None:
        look(*values)

    trial()
