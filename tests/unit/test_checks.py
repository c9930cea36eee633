"""Claims that fail the build, checkers that accept the right, predictions that stay the same."""

import atexit
import functools
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from kdcourse.checks import ClaimFailed, Exercise, Prediction, Property, claim, close, lists
from kdcourse.checks.stubs import is_stub
from kdcourse.measured import columns, phrase
from kdlib.metrics import Interval


@pytest.fixture(scope="module", autouse=True)
def shell():
    """IPython's display goes to a shell, as in a notebook: one for all, for each that is left to
    the end of the tests collects the whole memory's garbage then."""
    made = InteractiveShell.instance()
    yield made
    InteractiveShell.clear_instance()
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()


def said(**options: object) -> tuple[str, dict]:
    """What a claim displays: its line, and the record in the output's metadata."""
    with capture_output() as captured:
        claim("02.1", "A teacher helps", **options)  # type: ignore[arg-type]
    (output,) = captured.outputs
    assert set(output.data) == {"text/plain", "text/html"}
    assert "<script" not in output.data["text/html"]
    return output.data["text/plain"], output.metadata["kdlib"]


# ---- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_claim_that_holds(monkeypatch: pytest.MonkeyPatch, strict: str) -> None:
    monkeypatch.setenv("KDLIB_STRICT", strict)
    line, record = said(
        condition=torch.tensor(True),
        measured={"gain": 1.23456, "over": Interval(1, 0.5, 2), "n": 5},
        published="74 errors (Hinton 2015)",
    )
    assert line == (
        "✓ 02.1 A teacher helps\n    measured: gain 1.23, over 1.0 (0.5 to 2.0), n 5\n"
        "    published: 74 errors (Hinton 2015)"
    )
    assert record == {
        "id": "02.1",
        "text": "A teacher helps",
        "holds": True,
        "published": "74 errors (Hinton 2015)",
        "decimals": 1,
        "measured": {"gain": 1.23456, "over": {"mean": 1.0, "low": 0.5, "high": 2.0}, "n": 5},
    }


def test_a_claim_that_does_not_hold_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDLIB_STRICT", raising=False)
    line, record = said(condition=False, measured={"gain": -0.5})
    assert line == "○ 02.1 not reproduced here: A teacher helps\n    measured: gain -0.5"
    assert record["holds"] is False and record["measured"] == {"gain": -0.5}
    line, record = said(condition=0, measured="nothing at all")
    assert line.endswith("measured: nothing at all")
    assert record["measured"] == {"value": "nothing at all"}


def test_a_claim_that_does_not_hold_in_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLIB_STRICT", "1")
    with pytest.raises(ClaimFailed, match=r"claim 02.1 does not hold: A teacher .*gain -0.5"):
        said(condition=False, measured={"gain": -0.5})
    assert issubclass(ClaimFailed, AssertionError)


@pytest.mark.parametrize(("text", "measured"), [("", {"a": 1}), ("A teacher helps", {}), ("x", "")])
def test_a_claim_needs_a_sentence_and_a_measurement(text: str, measured: object) -> None:
    with pytest.raises(ValueError, match=r"claim '02.1' needs a sentence and what was measured"):
        claim("02.1", text, True, measured=measured)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "kept", "words"),
    [
        (0.025912, 0.025912, "0.0259"),
        (94186, 94186, "94186"),
        (True, True, "True"),
        (np.float32(0.5), 0.5, "0.5"),
        (np.int64(3), 3, "3"),
        (np.bool_(False), False, "False"),
        (torch.tensor(2.5), 2.5, "2.5"),
        (torch.tensor([7]), 7, "7"),
        (float("nan"), "nan", "nan"),
        (-np.inf, "-inf", "-inf"),
        (
            Interval(3.4, np.nan, np.inf),
            {"mean": 3.4, "low": "nan", "high": "inf"},
            "3.4 (nan to inf)",
        ),
        (Interval(3.44, 1.81, 5.1), {"mean": 3.44, "low": 1.81, "high": 5.1}, "3.4 (1.8 to 5.1)"),
    ],
)
def test_numbers_stay_numbers_until_they_are_printed(
    monkeypatch: pytest.MonkeyPatch, value: object, kept: object, words: str
) -> None:
    monkeypatch.delenv("KDLIB_STRICT", raising=False)
    line, record = said(condition=False, measured={"points": value})
    assert line == f"○ 02.1 not reproduced here: A teacher helps\n    measured: points {words}"
    assert record["measured"] == {"points": kept}
    assert type(record["measured"]["points"]) is type(kept)
    assert json.loads(json.dumps(record, allow_nan=False)) == record  # JSON without NaN


def test_decimals_of_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDLIB_STRICT", raising=False)
    line, record = said(condition=False, measured={"rho": Interval(0.71, 0.52, 0.82)}, decimals=2)
    assert line.endswith("measured: rho 0.71 (0.52 to 0.82)")
    assert record["measured"]["rho"]["mean"] == 0.71


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.zeros(2), "a Tensor of shape (2,)"),
        (np.zeros((3, 2)), "a ndarray of shape (3, 2)"),
        (None, "None"),
        ("3.4", "a str"),
        ([1, 2, 3], "a list"),
        (1j, "a complex"),
        (Interval(torch.zeros(2), 0, 1), "a Interval"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_number_is_one_sentence(value: object, kind: str) -> None:
    sentence = f"claim '02.1' measured 'gain', which is {kind}; give a number or an Interval ("
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        said(condition=True, measured={"gain": value})
    assert "\n" not in str(raised.value)


def test_claims_of_notebooks_built_before_numbers_were_kept() -> None:
    old = {"id": "04.3", "holds": True, "measured": {"points": "3.4 (1.8 to 5.1)", "n": "5"}}
    assert phrase(old) == "points 3.4 (1.8 to 5.1), n 5"
    assert dict(columns(old)) == {"04.3 points": "3.4 (1.8 to 5.1)", "04.3 n": "5"}
    for measured, words in ((None, ""), ({"value": "up"}, "up"), ("up", "up"), ([1, 2], "[1, 2]")):
        assert phrase({"id": "04.3", "measured": measured}) == words
    assert phrase({"id": "04.3"}) == "" and not dict(columns({"id": "04.3"}))


def test_a_condition_that_is_not_one_truth_value() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        said(condition=torch.tensor([True, False]), measured={"a": 1})


# ---- exercises -----------------------------------------------------------------------------------

SQUARE = Exercise(
    "02.2",
    "square a number",
    [
        Property("gives 9 for 3", lambda f: f(3) == 9, "Multiply."),
        Property("keeps no sign", lambda f: f(-2) == 4, "Minus times minus."),
        Property("takes tensors", lambda f: torch.equal(f(torch.ones(2)), torch.ones(2)), "Use *."),
    ],
    attempted=lambda f: f(1),
)


def raises(error: Exception):
    def answer(x: object) -> object:
        raise error

    return answer


@pytest.mark.parametrize("answer", [lambda x: x * x, lambda x: x**2, lambda x: abs(x) * abs(x)])
def test_every_right_answer_is_accepted(answer) -> None:
    assert SQUARE.verdict(answer) == "✓ exercise 02.2 solved: square a number"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: 9 if x is not None else 0, "keeps no sign\n  Hint: Minus times minus."),
        (lambda x: 2 * x, "gives 9 for 3\n  Hint: Multiply."),
        (lambda x: int(x) ** 2, "takes tensors (it raised "),
        (raises(ZeroDivisionError("division by zero")), "without an error (ZeroDivisionError: div"),
        (raises(KeyError()), "runs without an error (KeyError)"),
        (3, "runs without an error (TypeError: "),
    ],
)
def test_wrong_answers_get_the_property_and_a_hint(answer, said: str) -> None:
    verdict = SQUARE.verdict(answer)
    assert verdict.startswith("✗ exercise 02.2 not yet: ") and said in verdict


@pytest.mark.parametrize(
    "answer",
    [lambda x: ..., lambda x: None, raises(NotImplementedError())],
    ids=["…", "None", "raise"],
)
def test_an_untouched_stub_is_not_a_wrong_answer(answer, capsys: pytest.CaptureFixture) -> None:
    SQUARE(answer)
    assert capsys.readouterr().out == "○ exercise 02.2 not attempted: square a number\n"


def test_a_plain_value_is_checked_without_a_call() -> None:
    guess = Exercise("02.3", "guess", [Property("is 4", lambda v: v == 4, "Count.")])
    assert guess.verdict(4).startswith("✓") and guess.verdict(5).startswith("✗")
    assert guess.verdict(...).startswith("○") and guess.verdict(None).startswith("○")
    assert guess.verdict(0).startswith("✗") and guess.verdict(False).startswith("✗")


def test_code_that_returns_nothing_is_told_so() -> None:
    def forgot(x: object) -> None:
        x * x  # type: ignore[operator]

    def left_the_dots(x: object) -> object:
        square = x * x  # type: ignore[operator] # noqa: F841
        return ...

    for answer in (forgot, left_the_dots, print, functools.partial(forgot)):
        verdict = SQUARE.verdict(answer)
        assert verdict.startswith("✗ exercise 02.2 not yet: it ran, but returned nothing"), verdict
        assert "Hint: Is `return` missing?" in verdict


# ---- stubs ---------------------------------------------------------------------------------------


def dots(x: object) -> None: ...


def documented(x: object) -> object:
    """Number -> number."""
    ...  # your code here


def passed(x: object) -> None:
    pass


def returned(x: object) -> None:
    return


def generator(x: object):
    yield


def imports(x: object) -> None:
    import math  # noqa: F401


def named(x: object) -> None:
    x  # noqa: B018


def asked(x: object) -> None:
    if x:
        pass


def outer(value: object):
    def inner(x: object) -> object: ...

    def closed(x: object) -> object:
        return value

    return inner, closed


class Untouched(torch.nn.Module):
    """A class whose body is a stub, and a method of it."""

    def forward(self, x: object) -> object: ...


class Called:
    def __call__(self, x: object) -> object: ...


class Touched(torch.nn.Module):
    def forward(self, x: object) -> object:
        return x


STUBS = {
    "dots": dots,
    "docstring": documented,
    "pass": passed,
    "bare return": returned,
    "…": ...,
    "None": None,
    "lambda": lambda *x: ...,
    "lambda None": lambda *x: None,
    "nested": outer(3)[0],
    "partial": functools.partial(documented, 3),
    "partial of a partial": functools.partial(functools.partial(dots)),
    "decorated": torch.no_grad()(documented),
    "cached": functools.cache(dots),
    "method": Called().__call__,
    "object": Called(),
    "class": Untouched,
}
ATTEMPTS = {
    "number": 0,
    "text": "",
    "builtin": print,
    "lambda": lambda x: x,
    "constant": lambda x: 0,
    "closure": outer(3)[1],
    "closure over None": outer(None)[1],
    "defines a function": outer,
    "a call": lambda x: print(x),
    "partial": functools.partial(max, 3),
    "decorated": torch.no_grad()(lambda x: x),
    "generator": generator,
    "import": imports,
    "argument alone": named,
    "condition": asked,
    "class": Touched,
    "object": Touched(),
    "library": torch.softmax,
}


@pytest.mark.parametrize("answer", STUBS.values(), ids=STUBS)
def test_a_stub_is_recognised(answer: object) -> None:
    assert is_stub(answer)


@pytest.mark.parametrize("answer", ATTEMPTS.values(), ids=ATTEMPTS)
def test_an_attempt_is_no_stub(answer: object) -> None:
    assert not is_stub(answer)


# ---- lists of a lesson ---------------------------------------------------------------------------


def by_sum(x: object) -> object:
    return x + x  # type: ignore[operator]


def power(x: object, *, of: int) -> object:
    return x**of  # type: ignore[operator]


def test_a_list_that_is_right_passes() -> None:
    lists.accepts(SQUARE, functools.partial(power, of=2))
    lists.rejects(SQUARE, by_sum, "Multiply")
    lists.untouched(SQUARE)


def test_a_list_that_is_wrong_names_the_answer_and_what_was_printed() -> None:
    with pytest.raises(AssertionError) as caught:
        lists.accepts(SQUARE, by_sum)
    line = by_sum.__code__.co_firstlineno
    said = f"exercise 02.2: by_sum (test_checks.py:{line}) should be accepted, but it printed\n"
    assert str(caught.value) == said + "  " + SQUARE.verdict(by_sum)
    with pytest.raises(AssertionError, match=r"power\(of=2\) .*a hint of 'Multiply'.*\n  ✓ exerc"):
        lists.rejects(SQUARE, functools.partial(power, of=2), "Multiply")
    with pytest.raises(AssertionError, match=r"by_sum .*hint of 'gives 9'"):
        lists.rejects(SQUARE, by_sum, "gives 9")  # the property's name is no hint
    with pytest.raises(AssertionError, match=r"exercise 02.2: 3 should be accepted"):
        lists.accepts(SQUARE, 3)


def test_a_checker_that_judges_a_stub_is_found() -> None:
    class Hasty(Exercise):
        def verdict(self, answer: object) -> str:
            return "✗ at once"

    with pytest.raises(AssertionError, match=r"_stub .* should count as not attempted"):
        lists.untouched(Hasty("02.9", "any", []))


def test_the_exercises_of_a_module_are_found_in_their_order() -> None:
    module = type(functools)("made")
    module.second, module.number, module.first = SQUARE, 3, Exercise("02.1", "any", [])
    assert lists.exercises_of(module) == [SQUARE, module.first]


# ---- closeness -----------------------------------------------------------------------------------


def test_close_compares_shapes_and_values() -> None:
    assert close(0.5, torch.tensor(0.5)) and close([1, 2], torch.tensor([1.0, 2.0]))
    assert close(1 + 9e-5, 1) and not close(1 + 3e-4, 1) and close(1.05, 1, rtol=0.1)
    assert close(9e-7, 0) and not close(3e-6, 0) and close(3e-6, 0, atol=1e-5)
    assert not close([1.0], 1.0) and not close(torch.ones(2, 1), torch.ones(2))
    assert not close(float("nan"), float("nan"))
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        close("one", 1.0)


# ---- predictions ---------------------------------------------------------------------------------


def test_a_prediction_is_answered_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after Run All, which recalls before anybody could guess."""
    shown: list[Any] = []
    monkeypatch.setattr("kdcourse.checks.predictions.display", shown.append)
    prediction = Prediction("Which T is best?", ["T = 1", "T < 4"])
    assert prediction.guess is None
    prediction.recall("T < 4")
    (line,) = shown
    assert "Make your prediction above" in line.value and "4" not in line.value
    prediction.choose("T = 1")
    assert "✗ You predicted <b>T = 1</b>; measured: <b>T &lt; 4</b>." in line.value
    prediction.choose("T < 4")
    assert "✓ You predicted <b>T &lt; 4</b>, and so it was measured." in line.value
    prediction.recall("T < 4")  # the cell is run once more
    assert shown[1].value == line.value


def test_an_answer_is_folded_where_no_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("kdcourse.checks.predictions.display", shown.append)
    prediction = Prediction("Which T is best?", ["T = 1", "T < 4"])
    prediction.recall("T < 4")
    bundle = shown[0]._repr_mimebundle_()
    data = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
    assert data["text/plain"] == "Measured, for your prediction: T < 4"
    assert data["text/html"].startswith("<details><summary>What was measured")
    assert data["text/html"].endswith("</summary>T &lt; 4</details>")
    prediction.choose("T = 1")
    bundle = shown[0]._repr_mimebundle_()
    again = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
    assert again["text/html"] == data["text/html"] and again["text/plain"] == data["text/plain"]


def test_a_prediction_reads_the_same_on_every_machine() -> None:
    prediction = Prediction("Which T is best?", ["T = 1", "T = 4"])
    bundle = prediction._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["text/plain"] == "Prediction: Which T is best? (T = 1 / T = 4)"
    prediction.choose("T = 4")
    bundle = prediction._repr_mimebundle_()
    again = bundle[0] if isinstance(bundle, tuple) else bundle
    assert again["text/plain"] == data["text/plain"]


def test_options_that_are_none() -> None:
    prediction = Prediction("Which?", ["a", "b"])
    for act in (prediction.choose, prediction.recall):
        with pytest.raises(ValueError, match="'c' is no option; there are a, b"):
            act("c")
    with pytest.raises(ValueError, match="1 options for 'Which\\?'; give at least two"):
        Prediction("Which?", ["a"])


@pytest.mark.parametrize(
    "condition",
    [Interval(-1, -2, 0), Interval(-1, -2, 0).excludes, float("nan"), "False", (i for i in ())],
)
def test_a_condition_is_true_or_false(condition: object) -> None:
    """A forgotten call, such as `interval.excludes`, would hold always."""
    with pytest.raises(ValueError, match=r"claim '02.1' has the condition .*give True or False"):
        said(condition=condition, measured={"a": 1})
    with pytest.raises(ValueError, match=r"claim '02.1' measured 3.2; give it a name"):
        said(condition=True, measured=3.2)


def test_conditions_of_numpy_and_torch_are_conditions() -> None:
    for condition in (np.bool_(True), torch.tensor(True), np.array([True]), 1):
        assert said(condition=condition, measured={"a": 1})[1]["holds"] is True
    with pytest.raises(ValueError, match="give True or False"):
        said(condition=torch.tensor([True, False]), measured={"a": 1})
