"""Notebook 13: its checkers accept the right and reject the wrong; its explorer, swept whole."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson13 import exercises, stored, students, table
from kdcourse.lessons.lesson13.directions import SITUATIONS, Directions

# ---- exercises -----------------------------------------------------------------------------------


def kl(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(
        b.log_softmax(-1), a.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)


def masked(z_s: Tensor, z_t: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    count = where.sum()
    return (kl(z_t, z_s) * where).sum() / count, (kl(z_s, z_t) * where).sum() / count


def by_probabilities(z_s: Tensor, z_t: Tensor, where: Tensor) -> list[float]:
    p, q = z_t[where].softmax(-1), z_s[where].softmax(-1)
    both = (p * (p / q).log(), q * (q / p).log())
    return [gaps.sum(-1).mean().item() for gaps in both]


def step(student: Any, teacher: Any, given: Tensor, write: Any, done: float, warm: float) -> Tensor:
    if done < warm:
        return kl(teacher(given), student(given)).mean()
    x = write(student, len(given))
    return kl(student(x), teacher(x)).mean()


def step_detached(
    student: Any, teacher: Any, given: Tensor, write: Any, done: float, warm: float
) -> Tensor:
    late = not done < warm
    x = write(student, given.shape[0]).detach() if late else given
    z_t, z_s = teacher(x).detach(), student(x)
    return (kl(z_s, z_t) if late else kl(z_t, z_s)).sum() / x.numel()


def faulty(**fault: Any) -> Any:
    """`step` with one fault."""

    def own_step(
        student: Any, teacher: Any, given: Tensor, write: Any, done: float, warm: float
    ) -> Tensor:
        late = done > warm if fault.get("strictly") else done >= warm
        x = given
        if late or fault.get("always"):
            x = write(teacher if fault.get("teacher") else student, fault.get("count", len(given)))
        if fault.get("given") or not late:
            x = given
        z_s, z_t = student(x), teacher(x)
        if fault.get("frozen"):
            z_s = z_s.detach()
        reverse = (late or fault.get("cold")) and not fault.get("forward")
        return kl(z_s, z_t).mean() if reverse else kl(z_t, z_s).mean()

    return own_step


def three(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p, q = log_p.exp(), log_q.exp()
    return q.sum(), p[q >= p / 10].sum(), (p * (log_p - log_q)).sum()


def three_in_a_loop(log_p: Tensor, log_q: Tensor) -> list[float]:
    share = coverage = divergence = 0.0
    for a, b in zip(log_p.tolist(), log_q.tolist(), strict=True):
        p, q = torch.tensor([a, b]).double().exp().tolist()
        share, divergence = share + q, divergence + p * (a - b)
        coverage += p if 10 * q >= p else 0
    return [share, coverage, divergence]


def with_(place: int, of: Any) -> Any:
    """`three` with one score by another function of p, q."""

    def scores(log_p: Tensor, log_q: Tensor) -> list[Any]:
        found: list[Any] = list(three(log_p, log_q))
        found[place] = of(log_p.exp(), log_q.exp())
        return found

    return scores


RIGHT = [
    (exercises.both_directions, masked),
    (exercises.both_directions, by_probabilities),
    (exercises.both_directions, lambda *given: torch.stack(masked(*given))),
    (exercises.own_step, step),
    (exercises.own_step, step_detached),
    (exercises.own_step, faulty()),
    (exercises.mended_scores, three),
    (exercises.mended_scores, three_in_a_loop),
    (exercises.mended_scores, lambda p, q: torch.stack(three(p, q)).numpy()),
]
WRONG = {
    "exchanged": (exercises.both_directions, lambda *g: masked(*g)[::-1], "exchanged"),
    "one number": (exercises.both_directions, lambda *g: masked(*g)[:1], "one number each"),
    "mean over the vocabulary": (
        exercises.both_directions,
        lambda *g: tuple(value / 5 for value in masked(*g)),
        "sums over the vocabulary",
    ),
    "batchmean": (
        exercises.both_directions,
        lambda s, t, where: (kl(t, s).sum() / len(s), kl(s, t).sum() / len(s)),
        "the mean over positions",
    ),
    "no mask": (
        exercises.both_directions,
        lambda s, t, where: (kl(t, s).mean(), kl(s, t).mean()),
        "where `where` is True alone",
    ),
    "by sequences": (
        exercises.both_directions,
        lambda s, t, where: tuple(
            ((gaps * where).sum(1) / where.sum(1)).mean() for gaps in (kl(t, s), kl(s, t))
        ),
        "short sequences more weight",
    ),
    "probabilities in place of logarithms": (
        exercises.both_directions,
        lambda s, t, where: masked(s.softmax(-1), t.softmax(-1), where),
        "log_softmax over the last axis",
    ),
    "reverse in the warm-up": (exercises.own_step, faulty(cold=True), "While done < warm"),
    "writes always": (exercises.own_step, faulty(always=True), "only after the warm-up"),
    "the teacher writes": (exercises.own_step, faulty(teacher=True), "write(student"),
    "one sequence": (exercises.own_step, faulty(count=1), "len(given)"),
    "forward to the end": (exercises.own_step, faulty(forward=True), "by the student's prob"),
    "on the given text": (exercises.own_step, faulty(given=True), "Both networks read"),
    "late by a step": (exercises.own_step, faulty(strictly=True), "at done = warm it is over"),
    "no gradient": (exercises.own_step, faulty(frozen=True), "for the teacher alone"),
    "share normalised": (
        exercises.mended_scores, with_(0, lambda p, q: (q / q.sum()).sum()), "need not sum to 1",
    ),
    "coverage of strings": (
        exercises.mended_scores,
        with_(1, lambda p, q: (q >= p / 10).double().mean()),
        "count each string alike",
    ),
    "coverage by the student": (
        exercises.mended_scores, with_(1, lambda p, q: q[q >= p / 10].sum()), "ask the student",
    ),
    "reverse": (
        exercises.mended_scores,
        with_(2, lambda p, q: (q * (q / p).log()).sum()),
        "weigh log p − log q by p",
    ),
    "two scores": (exercises.mended_scores, lambda p, q: three(p, q)[:2], "share, coverage and KL"),
}  # fmt: skip


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_a_right_answer_is_accepted(exercise: Exercise, answer: Any) -> None:
    accepts(exercise, answer)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_gets_its_hint(exercise: Exercise, answer: Any, hint: str) -> None:
    rejects(exercise, answer, hint)


@pytest.mark.parametrize("exercise", exercises_of(exercises), ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    untouched(exercise)


# ---- the explorer --------------------------------------------------------------------------------


def test_the_explorer_is_drawn_in_every_state_with_a_sentence_of_its_own() -> None:
    shown = Directions()
    states = len(table.DIRECTIONS) * len(SITUATIONS) * len(table.COUNTS)
    assert shown.sweep() == states
    assert len({shown.sentence(state) for state in shown.states()}) == states


def test_the_explorer_says_what_the_table_holds() -> None:
    shown = Directions()
    row = stored.grid(n=24, own=True, direction=1.0)
    assert shown.cell(shown.state) == row
    assert f"share {stored.mean(row).mean:.2f}" in shown.sentence(shown.state)
    shown.set(prefixes="own, from scratch", sequences=128)
    assert "(never read)" in shown.sentence(shown.state)
    assert shown.cell(shown.state)["n"] == students.FRESH
    shown.set(prefixes="given, from scratch", direction=0.0)
    assert "changes nothing" in shown.sentence(shown.state)
    same = [shown.cell(shown.state | {"prefixes": f"given, {w}"})
            for w in ("from scratch", "after warm-up")]  # fmt: skip
    assert same[0]["kl"] == same[1]["kl"]  # a warm-up by forward KL before forward KL


# ---- what is stored ------------------------------------------------------------------------------


def test_every_row_is_whole() -> None:
    for row in stored.every():
        lists = [row[key] for key in students.KEYS]
        assert {len(values) for values in lists} == {1 if row["of"] == "teacher" else 5}
        assert all(0 <= value <= 1 for key in students.KEYS[:2] for value in row[key])
        assert all(value >= 0 for value in row["kl"])
    assert set(table.KINDS) == {row["of"] for row in stored.every()}


def test_differences_are_paired_by_seed() -> None:
    first, second = {"share": [0.1, 0.3]}, {"share": [0.2, 0.5]}
    assert stored.more(second, first).mean == pytest.approx(0.15)
    with pytest.raises(KeyError, match="0 rows of 'grid'"):
        stored.grid(n=7)


def test_a_few_sequences_are_repeated_in_turn() -> None:
    tokens = torch.arange(6).view(3, 2)
    again = students.repeated(tokens, 2, 5)
    assert again.tokens.tolist() == [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]]
