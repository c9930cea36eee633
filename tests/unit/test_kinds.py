"""Every loss, metric and distance, given another kind of thing in each place for a tensor."""

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlib import distances, losses, metrics

HOME = Path(losses.__file__).resolve().parents[1]
ROOMS = (losses, metrics, distances)
LOGITS = torch.linspace(-2, 2, 24).sin().view(6, 4) * 3
OTHER = torch.linspace(-3, 5, 24).cos().view(6, 4) * 2
Y = torch.tensor([0, 1, 2, 3, 0, 1])
WHERE = torch.tensor([True, True, False, True, True, True])
MAPS, MORE_MAPS = torch.linspace(0, 9, 216).sin().view(2, 6, 3, 2, 3)
CLOUD, FAR = torch.linspace(0, 40, 144).sin().view(2, 24, 3)
TOKENS = torch.tensor([[0, 1, 2], [2, 1, -1]])
TEXT, MORE_TEXT = torch.linspace(0, 20, 48).sin().view(2, 2, 3, 4)
LOG_P = torch.tensor([0.5, 0.25, 0.25]).log().double()
TARGETS = torch.tensor([[0.0, 1], [1, 0], [1, 1]])
WRONG = torch.tensor([[0.0, 1, 1, 0, 1], [1, 0, 1, 0, 0]]).bool()
WEIGHTS = {"a": torch.eye(3), "b": torch.arange(3.0)}
MORE_WEIGHTS = {"a": torch.ones(3, 3), "b": torch.ones(3)}

PAIR = {"z_s": LOGITS, "z_t": OTHER, "where": WHERE}
LABELS = {"z_s": LOGITS, "y": Y}
FEATURES = {"f_s": MAPS, "f_t": MORE_MAPS, "where": WHERE}
NUMBERS = {"z_s": TARGETS * 2 - 1, "y": TARGETS}
CLOUDS = {"f_a": CLOUD, "f_b": FAR}
ALONE = {"z": LOGITS, "where": WHERE}
SCORED = {"logits": LOGITS, "y": Y}

GOOD: dict[str, dict[str, Any]] = {
    "hard_labels": LABELS | {"where": WHERE},
    "soft_targets": PAIR | {"T": 4.0},
    "reverse_kl": PAIR | {"T": 4.0},
    "jensen_shannon": PAIR | {"T": 4.0, "beta": 0.3},
    "teacher_labels": PAIR,
    "logit_mse": PAIR,
    "probability_mse": PAIR,
    "decoupled": {"z_s": LOGITS, "z_t": OTHER, "y": Y, "T": 4.0},
    "dist": {"z_s": LOGITS, "z_t": OTHER},
    "standardized": PAIR | {"T": 2.0},
    "class_mean_logits": {"z_t": OTHER, "y": Y},
    "permute_wrong_classes": {"z_t": OTHER},
    "merge_logits": {"z": torch.stack([LOGITS, OTHER]), "weights": torch.tensor([1.0, 3])},
    "attention": FEATURES,
    "contrastive": FEATURES,
    "cosine": FEATURES,
    "hint": FEATURES,
    "neuron_selectivity": FEATURES,
    "similarity": FEATURES,
    "relational": FEATURES,
    "flow": {
        "first_s": MAPS, "second_s": MORE_MAPS, "first_t": MORE_MAPS, "second_t": MAPS,
        "where": WHERE,
    },
    "variational": {
        "mean": LOGITS, "log_variance": torch.zeros(4), "f_t": OTHER, "where": WHERE
    },
    "reverse_gradient": {"x": LOGITS},
    "binary_labels": NUMBERS,
    "mean_squares": NUMBERS,
    "sigmoid_targets": PAIR | {"T": 2.0},
    "teacher_mean_squares": PAIR,
    "weighted_labels": LABELS
    | {"weights": torch.arange(1.0, 5), "other": Y.flip(0), "share": torch.full((6,), 0.3)},
    "parameter_kl": {"student": WEIGHTS, "teacher": MORE_WEIGHTS},
    "parameter_l2": {"student": WEIGHTS, "teacher": MORE_WEIGHTS},
    "regularizer": {"parameters": WEIGHTS, "towards": MORE_WEIGHTS},
    "shrink": {"weight": LOGITS, "shape": (3, 2)},
    "class_centres": {"features": CLOUD[:6], "y": Y},
    "kernel_similarity": {
        "f_s": LOGITS, "f_t": OTHER, "centres": OTHER[:3], "gamma": 0.5, "T": 1.0, "where": WHERE
    },
    "entropy": ALONE,
    "diversity": ALONE,
    "information_maximization": ALONE,
    "minimum_class_confusion": ALONE | {"T": 2.0},
    "error_percent": SCORED,
    "wrong": SCORED,
    "accuracy": SCORED,
    "calibration_error": SCORED | {"bins": 3},
    "calibration_null": {"logits": LOGITS, "bins": 3, "draws": 5},
    "confusion": SCORED,
    "coverage_error": SCORED,
    "dark_knowledge": SCORED,
    "macro_f1": SCORED,
    "nll": SCORED,
    "reliability": SCORED | {"bins": 3},
    "agreement": {"a": LOGITS, "b": OTHER},
    "inherited_errors": {"student": LOGITS, "teacher": OTHER, "y": Y},
    "root_mean_square": {"outputs": TARGETS * 2, "y": TARGETS},
    "cka": {"f_a": CLOUD, "f_b": FAR},
    "log_probabilities": {"logits": TEXT, "tokens": TOKENS},
    "sequence_scores": {"log_p": LOG_P, "log_q": torch.stack([LOG_P, LOG_P - 1])},
    "acceptance": {"z_s": TEXT, "z_t": MORE_TEXT, "where": TOKENS >= 0},
    "errors_after": {"wrong": WRONG},
    "negative_entropy": {"logits": LOGITS},
    "information_maximization_score": {"logits": LOGITS},
    "bnm": {"logits": LOGITS},
    "snd": {"logits": LOGITS, "features": OTHER},
    "interval": {"values": OTHER},
    "mean_intervals": {"values": OTHER},
    "difference": {"wrong_a": WRONG, "wrong_b": WRONG.flip(0)},
    "rank_correlation": {"a": OTHER[:, 0], "b": LOGITS[:, 1], "draws": 20},
    "null_band": CLOUDS | {"distance": distances.euclidean, "permutations": 20},
    **{f.__name__: CLOUDS for f in distances.DISTANCES.values()},
}  # fmt: skip
OTHERWISE = {"holm", "one_standard_error", "score"}  # names -> numbers, and what has examples
SAY_NAN = {"mean_intervals", "errors_after"}  # of one seed, and where nothing went wrong
NONE_THERE = {("root_mean_square", "y"), ("mean_intervals", "values")}  # what nan says there


def functions() -> dict[str, Callable[..., Any]]:
    return {
        name: given
        for room in ROOMS
        for name, given in vars(room).items()
        if inspect.isfunction(given) and not name.startswith("_")
    }


def other_kinds(x: Tensor) -> Iterator[tuple[str, Any]]:
    yield "None", None
    yield "a list", x.tolist()
    yield "NumPy's", x.numpy()
    yield "a number", 3.0
    yield "a string", "logits"
    yield "0-d", torch.tensor(1.0).to(x.dtype)
    yield "without a row's axis", x[0]
    yield "with one axis more", x[None]
    yield "with a last axis more", x[..., None]
    yield "one row fewer", x[1:]
    yield "one column fewer", x[..., 1:]
    yield "no row", x[:0]
    yield "no column", x[..., :0]
    yield "complex", x.to(torch.complex64)
    yield "int64", x.long()
    yield "bool", x.bool()
    yield "float16", x.half()
    yield "float64", x.double()


def cases() -> Iterator[tuple[str, str, str, Any]]:
    for name, good in GOOD.items():
        for place, given in good.items():
            if isinstance(given, Tensor):
                for kind, other in other_kinds(given):
                    yield name, place, kind, other
            elif isinstance(given, Mapping):
                yield from ((name, place, repr(bad)[:9], bad) for bad in (None, [1.0], LOGITS))
                for kind, bad in other_kinds(given["a"]):
                    yield name, place, f"holds {kind}", given | {"a": bad}


def finite(result: Any) -> bool:
    if isinstance(result, metrics.Interval):
        result = [result.mean, result.low, result.high]
    if isinstance(result, metrics.SequenceScores):
        result = list(vars(result).values())
    if isinstance(result, tuple | list):
        return all(map(finite, result))
    return bool(torch.as_tensor(result).isfinite().all())


def in_a_sentence(call: Callable[[], Any]) -> str | None:
    """What is wrong with how this ends: neither finite numbers nor a sentence that kdlib raised."""
    try:
        return None if finite(call()) else "nan or inf"
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raised = (last.line or "").lstrip().startswith("raise ")
        if not (raised and Path(last.filename).is_relative_to(HOME)):
            return f"{type(error).__name__} of {last.filename}:{last.lineno}: {error}"
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_the_table_knows_every_function() -> None:
    assert set(functions()) == set(GOOD) | OTHERWISE


@pytest.mark.parametrize("name", GOOD)
def test_good_ones_pass(name: str) -> None:
    functions()[name](**GOOD[name])


@pytest.mark.parametrize("name", GOOD)
def test_another_kind_of_thing_ends_in_a_sentence(name: str) -> None:
    function, found = functions()[name], []
    for of, place, kind, other in cases():
        if of == name:
            if name in SAY_NAN and kind in ("no row", "no column", "with a last axis more"):
                continue
            ends = in_a_sentence(lambda given=GOOD[name] | {place: other}: function(**given))
            found += [f"{place} {kind}: {ends}"] if ends else []
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [n for n in GOOD if not hasattr(losses, n)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_of_what_is_no_number_end_in_a_sentence(name: str, bad: float) -> None:
    for place, given in GOOD[name].items():
        if isinstance(given, Tensor) and given.is_floating_point():
            broken = given.clone()
            broken[0] = bad
            if np.isnan(bad) and (name, place) in NONE_THERE:
                continue
            with pytest.raises(ValueError) as caught:
                functions()[name](**GOOD[name] | {place: broken})
            last = traceback.extract_tb(caught.tb)[-1]
            assert Path(last.filename).is_relative_to(HOME), caught.value


def settings() -> Iterator[tuple[str, str]]:
    for name in GOOD:
        for place, own in inspect.signature(functions()[name]).parameters.items():
            given = GOOD[name].get(place, own.default)
            if isinstance(given, int | float | str | tuple) or place in ("generator", "distance"):
                yield name, place


@pytest.mark.parametrize(("name", "place"), list(settings()))
def test_another_kind_of_setting_ends_in_a_sentence(name: str, place: str) -> None:
    found = []
    for bad in (None, "x", [1.0], np.nan, np.inf, -1, 0, 0.5, 3, {"a": 1}):
        ends = in_a_sentence(lambda bad=bad: functions()[name](**GOOD[name] | {place: bad}))
        found += [f"{place}={bad!r}: {ends}"] if ends else []
    assert not found, "\n".join(found)


@pytest.mark.parametrize("bad", [None, [0.1], 3, "x", LOGITS, {"a": None}, {"a": "x"}])
def test_what_has_names_and_examples_says_so(bad: Any) -> None:
    for call in (
        lambda: metrics.holm(bad),
        lambda: metrics.one_standard_error(bad),
        lambda: metrics.score(LOGITS, bad),
    ):
        assert in_a_sentence(call) is None
        with pytest.raises(ValueError):
            call()
