"""Notebook 15: its checkers, its ward, its programs; and a test of kdlib for every room."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdcourse.checks import Exercise
from kdcourse.checks.lists import accepts, exercises_of, rejects, untouched
from kdcourse.lessons.lesson15 import exercises, mistakes, rooms, stored, table
from kdcourse.lessons.lesson15.clinic import PANELS, Diagnosis, Ward
from kdcourse.lessons.lesson15.mistakes import MISTAKES
from kdcourse.pages import tables
from kdlib import distances, losses
from kdlib.data import Examples, jitter
from kdlib.models import Together, cnn, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, member, tabulate
from kdlib.training import fit
from kdlib.training.epochs import Epochs
from kdlib.training.settings import Settings

# ---- exercise 1 ---------------------------------------------------------------------------------

Loss = Callable[[Tensor, Tensor, float], Tensor]


def far(count: int = 20, *, double: bool = True) -> tuple[Tensor, Tensor]:
    kind = torch.float64 if double else torch.float32
    z_s, z_t = 5 * torch.randn(2, count, 7, dtype=kind)
    return z_s.requires_grad_(), z_t


def by_slope(loss: Loss, *, T: float = 3.0, count: int = 20) -> None:
    z_s, z_t = far(count)
    (slope,) = torch.autograd.grad(loss(z_s, z_t, T), z_s, allow_unused=True)
    assert slope is not None
    q, p = (z_s / T).softmax(-1), (z_t / T).softmax(-1)
    torch.testing.assert_close(slope, T * (q - p) / len(z_s))


def by_value(loss: Loss) -> bool:
    """In float32, by a formula; returns instead of asserting."""
    z_s, z_t = far(double=False)
    log_q, log_p = (z_s / 2).log_softmax(-1), (z_t / 2).log_softmax(-1)
    expected = 4 * (log_p.exp() * (log_p - log_q)).sum() / len(z_s)
    return torch.allclose(loss(z_s, z_t, 2.0), expected, rtol=1e-3)


def by_peer(loss: Loss) -> Tensor:
    """Returns a tensor of truths."""
    z_s, z_t = far()
    pairs = [(loss(z_s, z_t, T), losses.soft_targets(z_s, z_t, T)) for T in (1.0, 5.0)]
    return torch.tensor([torch.allclose(a, b) for a, b in pairs])


def only_equal(loss: Loss) -> None:
    z, _ = far()
    assert abs(float(loss(z, z, 4.0))) < 1e-6


def only_positive(loss: Loss) -> None:
    z_s, z_t = far()
    assert not loss(z_s, z_t, 4.0) < 0


def positive_and_equal(loss: Loss) -> None:
    only_positive(loss)
    only_equal(loss)


def by_near(loss: Loss) -> None:
    """Near logits, a loose bound: KL turned round passes."""
    z_s, _ = far()
    z_t = z_s.detach() + 1e-3 * torch.randn_like(z_s)
    torch.testing.assert_close(
        loss(z_s, z_t, 3.0), losses.soft_targets(z_s, z_t, 3.0), rtol=0.05, atol=0
    )


def exact(loss: Loss) -> None:
    z_s, z_t = far(double=False)
    log_q, log_p = (z_s / 2).log_softmax(-1), (z_t / 2).log_softmax(-1)
    assert (loss(z_s, z_t, 2.0) == 4 * (log_p.exp() * (log_p - log_q)).mean(0).sum()).all()


def same_for_doubled(loss: Loss) -> None:
    """Right, but blind to most."""
    z_s, z_t = far()
    torch.testing.assert_close(loss(z_s, z_t, 1.0), loss(z_s.repeat(2, 1), z_t.repeat(2, 1), 1.0))


def always(loss: Loss) -> bool:
    return False


def raises_its_own(loss: Loss) -> None:
    raise RuntimeError("no such thing")


# ---- exercise 2 ---------------------------------------------------------------------------------


def of_program(
    program: Any, *, buffers: bool = True, weights: bool = True, mode: bool = True,
    heard: bool = True, seeded: bool = True, copied: bool = True, teacher_mode: bool = True,
) -> None:  # fmt: skip
    (x, y), answers = exercises.images(), []
    for number in (0, 1):
        student, teacher = exercises.networks(0)[0], exercises.networks(number)[1]
        named = dict(teacher.named_buffers()) if buffers else {}
        named |= dict(teacher.named_parameters()) if weights else {}
        before = copy.deepcopy(named) if copied else dict(teacher.state_dict())
        was = teacher.training
        if seeded:
            torch.manual_seed(0)
        program(student, teacher, x, y)
        now = teacher.state_dict()
        assert all(torch.equal(before[name], now[name]) for name in named)
        assert student.training or not mode
        assert teacher.training == was or not teacher_mode
        answers.append(predict(student, x))
    assert not (heard and torch.equal(*answers))


def of_program_by_numbers(program: Any) -> bool:
    """In numpy, with a verdict; another pair of networks; dropout seeded by hand."""
    (x, y), said = exercises.images(3), []
    for number in (7, 8):
        student, teacher = exercises.networks(5)[0], exercises.networks(number)[1]
        before = {name: v.numpy().copy() for name, v in teacher.state_dict().items()}
        torch.manual_seed(1)
        program(student, teacher, x, y)
        after = {name: v.numpy() for name, v in teacher.state_dict().items()}
        if (
            not student.training
            or teacher.training
            or any((before[n] != after[n]).any() for n in before)
        ):
            return False
        said.append(torch.cat([p.detach().ravel() for p in student.parameters()]))
    return not torch.equal(*said)


def asks_for_eval(program: Any) -> None:
    of_program(program)
    student, teacher = exercises.networks(0)
    program(student, teacher, *exercises.images())
    assert not student.training


# ---- exercise 3 ---------------------------------------------------------------------------------


def recognised(count: int = 60) -> tuple[Tensor, Tensor]:
    """Image k has brightness (k + 1) / count, wherever it is moved to, and the label k."""
    places = torch.arange(count)
    return ((places + 1.0) / count).view(-1, 1, 1, 1).expand(-1, 1, 8, 8), places


def of_data(
    batches: Any, *, values: bool = True, first: bool = False, count: bool = True,
    sort: bool = True, pairs: bool = True, own: bool = True,
) -> None:  # fmt: skip
    _, teacher = exercises.networks()
    x, places = recognised()
    y = places if own else places % 10
    came = []
    for seen, labels, z_t in batches(x, y, teacher):
        if values and not (first and came):
            torch.testing.assert_close(z_t, predict(teacher, seen))
        assert z_t.shape == (len(seen), 10)
        index = (60 * seen.amax((1, 2, 3))).round().long() - 1
        assert not pairs or torch.equal(y[index], labels)
        came.append(labels)
    got = torch.cat(came)
    assert len(got) == len(y) or not count
    assert not sort or got.sort().values.tolist() == y.sort().values.tolist()


def of_data_by_numbers(batches: Any) -> bool:
    """In numpy, with a verdict; ten classes, each image's place read from its brightness."""
    (x, places), (_, teacher) = recognised(), exercises.networks()
    y = places.numpy() % 10
    given = list(batches(x, torch.from_numpy(y), teacher))
    alike = all(np.allclose(z.numpy(), teacher(s).detach().numpy(), atol=1e-6) for s, _, z in given)
    came = [np.rint(60 * s.numpy().max(axis=(1, 2, 3))).astype(int) - 1 for s, _, _ in given]
    labels = np.concatenate([labels.numpy() for _, labels, _ in given])
    index = np.concatenate(came)
    return alike and sorted(index) == list(range(60)) and bool((y[index] == labels).all())


def sorted_labels(batches: Any) -> None:
    """Noise for images, ten classes: blind to pairs."""
    (x, y), (_, teacher) = exercises.images(), exercises.networks()
    came = []
    for seen, labels, z_t in batches(x, y, teacher):
        torch.testing.assert_close(z_t, predict(teacher, seen))
        came.append(labels)
    assert torch.equal(torch.cat(came).sort().values, y.sort().values)


def as_printed(batches: Any) -> None:
    (x, y), (_, teacher) = exercises.images(), exercises.networks()
    for seen, _, z_t in batches(x, y, teacher):
        truth = (z_t.shape == (len(seen), 10), "one row for each image")
        assert truth  # a tuple
        break


def same_order(batches: Any) -> None:
    """Wants the order of the images, which a right epoch may change."""
    (x, y), (_, teacher) = exercises.images(), exercises.networks()
    assert torch.cat([labels for _, labels, _ in batches(x, y, teacher)]).tolist() == y.tolist()


RIGHT = [
    (exercises.loss_test, by_slope),
    (exercises.loss_test, by_value),
    (exercises.loss_test, by_peer),
    (exercises.program_test, of_program),
    (exercises.program_test, of_program_by_numbers),
    (exercises.data_test, of_data),
    (exercises.data_test, of_data_by_numbers),
]
WRONG = {
    "T = 1 only": (exercises.loss_test, partial(by_slope, T=1.0), "T above 1"),
    "one image only": (exercises.loss_test, partial(by_slope, count=1), "batch of several"),
    "not negative": (exercises.loss_test, only_positive, "T above 1"),
    "equal logits": (exercises.loss_test, only_equal, "T above 1"),
    "both": (exercises.loss_test, positive_and_equal, "T above 1"),
    "near logits": (exercises.loss_test, by_near, "far apart"),
    "a mean over images": (exercises.loss_test, exact, "=="),
    "a doubled batch": (exercises.loss_test, same_for_doubled, "T above 1"),
    "never passes": (exercises.loss_test, always, "right"),
    "an error of its own": (exercises.loss_test, raises_its_own, "Read the error"),
    "no look at buffers": (exercises.program_test, partial(of_program, buffers=False), "buffers"),
    "no look at weights": (
        exercises.program_test, partial(of_program, weights=False), "deepcopy",
    ),
    "no copy": (exercises.program_test, partial(of_program, copied=False), "deepcopy"),
    "no look at the mode": (
        exercises.program_test, partial(of_program, mode=False), "training mode",
    ),
    "one teacher": (exercises.program_test, partial(of_program, heard=False), "two equal students"),
    "other dropout": (exercises.program_test, partial(of_program, seeded=False), "random seed"),
    "no look at the teacher's mode": (
        exercises.program_test, partial(of_program, teacher_mode=False), "teacher.training",
    ),
    "wants eval": (exercises.program_test, asks_for_eval, "right"),
    "as printed": (exercises.data_test, as_printed, "Ask the teacher again"),
    "shapes and counts": (exercises.data_test, partial(of_data, values=False), "Ask the teacher"),
    "the first batch": (exercises.data_test, partial(of_data, first=True), "every batch"),
    "no count": (
        exercises.data_test, partial(of_data, count=False, sort=False), "Count what comes",
    ),
    "a count only": (exercises.data_test, partial(of_data, sort=False), "not the same"),
    "sorted labels": (exercises.data_test, sorted_labels, "look at pairs"),
    "no pairs": (exercises.data_test, partial(of_data, pairs=False), "look at pairs"),
    "ten classes": (exercises.data_test, partial(of_data, own=False), "of its own"),
    "wants the order": (exercises.data_test, same_order, "right"),
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


# ---- every room, asked of kdlib -----------------------------------------------------------------


def small(count: int = 96, *, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 10
    x = 255 * torch.rand(count, 1, 8, 8, generator=generator)
    return Examples(x.to(torch.uint8), y)


def student_and_teacher(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    return initialise(mlp(64, 16, 10), seed), initialise(cnn(2), 50 + seed).eval()


def logits(height: float = 5.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(15)
    z_s, z_t = height * torch.randn(2, 24, 10, dtype=torch.float64, generator=generator)
    return z_s, z_t


def soft(**how: Any) -> Any:
    return 0.1 * HardLabels() + 0.9 * SoftTargets(how["teacher"], 4.0)


def trained(student: nn.Module, teacher: Any, **how: Any) -> nn.Module:
    settings = {"epochs": 2, "batch": 32, "precision": "fp32"} | how
    return fit(student, small(), soft(teacher=teacher), **settings).network


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


def the_teacher_is_used() -> None:
    one, other = (trained(student_and_teacher()[0], student_and_teacher(s)[1]) for s in (0, 1))
    assert not same(one.state_dict(), other.state_dict())


def the_student_is_compared_with_the_teacher() -> None:
    z_s, z_t = logits()
    assert losses.soft_targets(z_s, z_t, 4) > 0.1
    batch, (student, teacher) = small().batch(), student_and_teacher()
    value = SoftTargets(teacher, 4.0)(student, batch)[0]
    assert value > 0.01
    assert abs(float(SoftTargets(teacher, 4.0)(copy.deepcopy(teacher), batch)[0].detach())) < 1e-5


def alpha_weighs_what_it_stands_before() -> None:
    batch, (student, teacher) = small().batch(), student_and_teacher()
    hard, kl = HardLabels()(student, batch)[0], SoftTargets(teacher, 4.0)(student, batch)[0]
    both = (0.1 * HardLabels() + 0.9 * SoftTargets(teacher, 4.0))(student, batch)[0]
    torch.testing.assert_close(both, 0.1 * hard + 0.9 * kl)


def the_loss_passes_the_readers_test() -> None:
    """By its slope, at T = 3: T², batchmean, arguments' order, logarithms, T on both sides."""
    torch.manual_seed(0)
    by_slope(losses.soft_targets)


def images_are_averaged_not_summed() -> None:
    z_s, z_t = logits()
    once, twice = (losses.soft_targets(z_s.repeat(k, 1), z_t.repeat(k, 1), 4) for k in (1, 2))
    torch.testing.assert_close(once, twice)


def classes_are_summed() -> None:
    z_s, z_t = logits()
    log_q, p = (z_s / 4).log_softmax(-1), (z_t / 4).softmax(-1)
    torch.testing.assert_close(
        losses.soft_targets(z_s, z_t, 4), 16 * F.kl_div(log_q, p, reduction="batchmean")
    )


def the_teacher_stands_first_in_kl() -> None:
    sure, even = torch.tensor([[40.0, 0.0]]), torch.zeros(1, 2)
    assert losses.soft_targets(even, sure, 1) < 1 < 10 < losses.soft_targets(sure, even, 1)


def a_kl_is_not_negative() -> None:
    z_s, z_t = logits(20.0)
    assert losses.soft_targets(z_s, z_t, 1) > 0
    assert abs(float(losses.soft_targets(z_s, z_s, 1))) < 1e-9


def far_logits_are_no_nan() -> None:
    z_s, z_t = (1e4 * z for z in logits())
    for loss in (losses.soft_targets, losses.reverse_kl):
        z = z_s.float().requires_grad_()
        value = loss(z, z_t.float(), 1.0)
        value.backward()
        assert value.isfinite() and z.grad is not None and z.grad.isfinite().all()


def no_network_ends_in_a_softmax() -> None:
    for network in (mlp(64, 16, 10), cnn(2)):
        assert not any(
            isinstance(module, nn.Softmax | nn.LogSoftmax) for module in network.modules()
        )
    sharp = 50 * F.one_hot(torch.arange(10), 10).double()
    assert losses.hard_labels(sharp, torch.arange(10)) < 1e-6  # no floor


def equal_logits_have_no_loss_at_any_T() -> None:
    z, _ = logits()
    for T in (0.5, 1.0, 4.0, 20.0):
        assert abs(float(losses.soft_targets(z, z, T))) < 1e-9


def soft_targets_are_no_bounded_mse() -> None:
    z_s, z_t = logits(40.0)
    assert losses.soft_targets(z_s, z_t, 1) > 2 > losses.probability_mse(z_s, z_t, 1)


def the_teacher_is_left_as_it_was() -> None:
    """Mode, buffers and weights, given in train mode and with dropout."""
    teacher = nn.Sequential(initialise(cnn(2), 1), nn.Dropout(0.5)).train()
    before = copy.deepcopy(teacher.state_dict())
    for augment in (None, jitter(1)):
        trained(student_and_teacher()[0], teacher, augment=augment)
    assert teacher.training and same(before, teacher.state_dict())
    assert all(weight.grad is None and weight.requires_grad for weight in teacher.parameters())


def only_the_student_is_drawn_anew() -> None:
    """A seed draws the student's weights, and never those of a teacher's trained head."""
    student, teacher = student_and_teacher()
    before = copy.deepcopy(teacher.state_dict())
    trained(student, teacher, seed=3)
    assert same(before, teacher.state_dict())


def both_see_the_same_pixels() -> None:
    student, teacher = student_and_teacher()
    seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_hook(
            lambda module, given, out, name=name: seen[name].append(given[0].detach().clone())
        )
    trained(student, teacher, epochs=1, batch=96, augment=jitter(2), order_seed=1)
    pictures = [x for x in seen["teacher"] if len(x) == 96]
    assert pictures and all(0 <= float(x.min()) <= float(x.max()) <= 1 for x in pictures)
    assert any(torch.equal(x, pictures[-1]) for x in seen["student"])


def kept_answers_are_found_by_image() -> None:
    student, teacher = student_and_teacher()
    examples, order = small(), torch.randperm(96, generator=torch.Generator().manual_seed(1))
    kept, live = (SoftTargets(one, 4.0)(student, examples.batch(slice(0, 32)))[0]
                  for one in (tabulate(teacher, examples[order]), teacher))  # fmt: skip
    torch.testing.assert_close(kept, live)


def moved_images_are_asked_about_anew() -> None:
    student, teacher = student_and_teacher()
    known = tabulate(teacher, small())
    known.logits += 100.0 * torch.arange(10)  # an answer from the table would be seen
    batch = small().batch(slice(0, 32))
    moved = batch.changed(batch.x.flip(-1))
    value = SoftTargets(known, 4.0)(student, moved)[0]
    torch.testing.assert_close(value, losses.soft_targets(student(moved.x), teacher(moved.x), 4.0))
    nobody = known.answering(known.logits, "without a network")
    with pytest.raises(ValueError, match="does not know these images"):
        SoftTargets(nobody, 4.0)(student, moved)


def every_image_comes_once_an_epoch() -> None:
    for size in (7, 32, 128):
        passes = Epochs(
            small(97), Settings(2, 1e-2, size, 0, 0.0, "one-cycle", "fp32"), balanced=False
        )
        for epoch in (0, 1):
            came = torch.cat([index for index, _ in passes[epoch].batches()])
            assert came.sort().values.tolist() == list(range(97))


def the_student_trains_in_training_mode() -> None:
    student = initialise(mlp(64, 16, 10, dropout=0.5), 0)
    modes: list[tuple[bool, bool]] = []
    student.register_forward_hook(lambda m, x, z: modes.append((m.training, z.requires_grad)))
    trained(student, student_and_teacher()[1], epochs=3, validate=small(40, seed=2))
    assert {training for training, graded in modes if graded} == {True}
    assert {training for training, graded in modes if not graded} == {False}


def fit_is_the_right_program(mistake: str | None = None) -> bool:
    """By hand, with all that a loop needs: a gradient of its own in each step, a falling rate."""
    student, teacher = student_and_teacher()
    (x, y), order = (small().batch().x, small().y), partial(mistakes.order, len(small()), seed=0)
    plan = [index for epoch in (0, 1) for index in order(epoch)]
    descent, schedule = mistakes.optimiser_of("AdamW", student.parameters(), len(plan), mistake)
    for index in plan:
        loss = mistakes.loss_of(None, student(x[index]), predict(teacher, x[index]), y[index])
        if mistake != "no zero_grad":
            descent.zero_grad()
        loss.backward()
        descent.step()
        if mistake != "a rate that never falls":
            schedule.step()
    run = trained(student_and_teacher()[0], teacher, batch=128)
    pairs = zip(run.parameters(), student.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs)


def gradients_do_not_pile_up() -> None:
    assert fit_is_the_right_program() and not fit_is_the_right_program("no zero_grad")


def the_rate_falls_to_the_end() -> None:
    assert not fit_is_the_right_program("a rate that never falls")
    rates: list[float] = []

    class Watched(torch.optim.AdamW):
        def step(self, *given: Any, **named: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watched)
        fit(mlp(64, 4, 10), small(), epochs=3, batch=8, lr=1.0, seed=0)
    assert rates[-1] < 0.03 < 0.9 < max(rates)


ROOMS: dict[str, Callable[[], None]] = {
    "the teacher is never used": the_teacher_is_used,
    "student compared with itself": the_student_is_compared_with_the_teacher,
    "alpha on the wrong term": alpha_weighs_what_it_stands_before,
    "no T²": the_loss_passes_the_readers_test,
    'reduction="mean"': classes_are_summed,
    'reduction="sum"': images_are_averaged_not_summed,
    "KL turned round": the_teacher_stands_first_in_kl,
    "no logarithm": a_kl_is_not_negative,
    "logarithm of the target": far_logits_are_no_nan,
    "the student ends in a softmax": no_network_ends_in_a_softmax,
    "softmax twice, teacher": equal_logits_have_no_loss_at_any_T,
    "T on the teacher only": equal_logits_have_no_loss_at_any_T,
    "T on the student only": equal_logits_have_no_loss_at_any_T,
    "MSE of probabilities": soft_targets_are_no_bounded_mse,
    "teacher in train mode": the_teacher_is_left_as_it_was,
    "teacher in the optimiser": the_teacher_is_left_as_it_was,
    "the teacher's head is fresh": only_the_student_is_drawn_anew,
    "other pixels for the teacher": both_see_the_same_pixels,
    "cached answers, shuffled": kept_answers_are_found_by_image,
    "cached answers, moved images": moved_images_are_asked_about_anew,
    "drop_last": every_image_comes_once_an_epoch,
    "student left in eval": the_student_trains_in_training_mode,
    "no zero_grad": gradients_do_not_pile_up,
    "a rate that never falls": the_rate_falls_to_the_end,
}


def test_every_mistake_has_a_room() -> None:
    assert list(ROOMS) == list(MISTAKES)


@pytest.mark.parametrize("room", ROOMS)
def test_kdlib_has_not_the_mistake_of_this_room(room: str) -> None:
    ROOMS[room]()


def test_room_b_members_are_all_stepped_and_pass_no_gradient_to_their_teachers() -> None:
    """Three losses summed, three models stepped; a student's term moves no teacher."""

    def trio() -> Together:
        networks = {
            name: initialise(mlp(64, 8, 10), k)
            for k, name in enumerate(("teacher", "helper", "student"))
        }
        return Together(**networks)

    whole = (
        member("teacher", HardLabels())
        + member("helper", HardLabels() + SoftTargets("teacher", 4.0))
        + member("student", HardLabels() + SoftTargets("helper", 4.0))
    )
    how: dict[str, Any] = {"epochs": 2, "batch": 32, "precision": "fp32"}
    moved = fit(trio(), small(), whole, **how).network
    for name, network in trio().named_children():
        assert not same(network.state_dict(), getattr(moved, name).state_dict()), name
    alone = fit(trio(), small(), member("student", SoftTargets("helper", 4.0)), **how).network
    assert same(trio().helper.state_dict(), alone.helper.state_dict())
    assert same(trio().teacher.state_dict(), alone.teacher.state_dict())


# ---- the protocol, and peers' losses -------------------------------------------------------------


def validation_decides_nothing() -> None:
    """No epoch is chosen: the network is that of the last one, with or without validation."""
    plain, watched = (
        trained(student_and_teacher()[0], student_and_teacher()[1], validate=images)
        for images in (None, small(40, seed=2))
    )
    assert same(plain.state_dict(), watched.state_dict())


def labels_that_are_hidden_are_gone() -> None:
    hidden = small().unlabelled()
    assert int(hidden.y.max()) == -1
    with pytest.raises(ValueError, match="labels"):
        fit(mlp(64, 4, 10), hidden, HardLabels())


def similarity_has_rows_of_length_one() -> None:
    f_s, f_t = (f.float() for f in logits())
    grams = [F.normalize(f @ f.T, dim=1) for f in (f_s, f_t)]
    expected = (grams[0] - grams[1]).square().sum() / len(f_s) ** 2
    torch.testing.assert_close(losses.similarity(f_s, f_t), expected)


def jensen_shannon_has_no_jump() -> None:
    z_s, z_t = logits(1.0)
    for end, near, limit in ((0.0, 1e-4, losses.soft_targets), (1.0, 1 - 1e-4, losses.reverse_kl)):
        assert abs(float(losses.jensen_shannon(z_s, z_t, 1.0, beta=end))) < 1e-12
        value = losses.jensen_shannon(z_s, z_t, 1.0, beta=near)
        assert float(value) < 1e-2
        torch.testing.assert_close(value / 1e-4, limit(z_s, z_t, 1.0), rtol=2e-2, atol=0)


def decoupled_is_finite_at_80() -> None:
    z_t = torch.zeros(4, 10)
    z_t[:, 3] = 80.0
    z_s = torch.zeros(4, 10, requires_grad=True)
    value = losses.decoupled(z_s, z_t, torch.full((4,), 3), 1.0)
    value.backward()
    assert value.isfinite() and z_s.grad is not None and z_s.grad.isfinite().all()


def coral_sees_no_mean() -> None:
    cloud, _ = logits()
    assert abs(float(distances.coral(cloud, cloud + 3.0))) < 1e-9


PROTOCOL: dict[str, Callable[[], None]] = {
    "best epoch on the test images": validation_decides_nothing,
    "labels that leak": labels_that_are_hidden_are_gone,
    "similarity by L1": similarity_has_rows_of_length_one,
    "the ends of beta": jensen_shannon_has_no_jump,
    "decoupled at 80": decoupled_is_finite_at_80,
    "CORAL with a mean": coral_sees_no_mean,
}


@pytest.mark.parametrize("room", PROTOCOL)
def test_kdlib_has_not_the_fault_of_the_notes(room: str) -> None:
    PROTOCOL[room]()


# ---- the programs of the page -------------------------------------------------------------------


@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_every_switch_trains_and_changes_something(mistake: str | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(150, 1, 28, 28, generator=generator)
    examples = Examples((255 * x).to(torch.uint8), torch.arange(150) % 10)
    teacher = initialise(cnn(2), 0).eval()
    before = copy.deepcopy(teacher.state_dict())
    beside = MISTAKES[mistake].beside if mistake else ""
    how: dict[str, Any] = {"epochs": 2, "watch": examples, "watched": predict(teacher, examples)}
    patient = mistakes.train(mistake, teacher, examples, **how)
    assert set(patient.curves) == set(PANELS) and len(patient.curves["loss"]) == 2
    assert same(before, teacher.state_dict())  # the reader's own teacher is never touched
    if mistake:
        right = mistakes.train(None, teacher, examples, beside=beside, **how)
        assert patient.curves != right.curves


def test_rooms_begin_as_printed_and_end_in_controls() -> None:
    for steps in (rooms.A, rooms.B):
        names = list(steps)
        assert names[0] == "as printed" and names[-1].startswith("control")


def test_the_table_holds_every_mistake_with_its_seeds() -> None:
    kept = tables.read(table.__file__)
    wards = [row["mistake"] for row in kept if "mistake" in row]
    assert wards == [*table.RIGHT, *MISTAKES]
    assert all(
        len(row["errors"]) == len(table.SEEDS) for row in kept if "teacher of room A" not in row
    )
    for room, steps in (("A", rooms.A), ("B", rooms.B)):
        assert [row["room"] for row in stored.rows("room", how=room)] == list(steps)
    with pytest.raises(ValueError, match="no rows of the kind"):
        stored.rows("nothing")


# ---- the ward -----------------------------------------------------------------------------------


def ward() -> Ward:
    chance = np.random.default_rng(0)

    def curve() -> dict[str, list[float]]:
        return {panel: chance.uniform(0.3, 1.0, 5).tolist() for panel in PANELS}

    patients = {name: curve() for name in list(MISTAKES)[:4]}
    patients |= {"drop_last": curve(), "cached answers, moved images": curve()}
    patients["logarithm of the target"] = curve() | {"loss": [float("nan")] * 5}
    return Ward(patients, {"": curve(), "jitter": curve()})


def test_the_ward_is_drawn_in_every_state_and_hides_the_name() -> None:
    shown = ward()
    assert shown.sweep() == 14
    for patient in range(1, 8):
        name = shown.mistake(patient)
        assert name not in shown.sentence({"patient": patient, "name": "hidden"})
        assert name in shown.sentence({"patient": patient, "name": "shown"})


def test_a_diagnosis_is_answered_only_when_it_is_made() -> None:
    shown = ward()
    diagnosis = Diagnosis(shown)
    real, other = shown.mistake(1), shown.mistake(2)
    assert "Choose" in diagnosis.decide(None) and not diagnosis.first
    wrong = diagnosis.decide(other)
    assert wrong.startswith("✗") and f"“{real}”" in wrong and "0 of 1" in wrong
    assert diagnosis.decide(real).startswith("✓") and diagnosis.first == {1: other}
    shown.set(patient=2)
    assert "1 of 2" in diagnosis.decide(other)
    with pytest.raises(ValueError, match="no mistake of this ward"):
        diagnosis.decide("bad luck")


def test_the_ward_refuses_what_does_not_fit() -> None:
    curve = {panel: [1.0] for panel in PANELS}
    with pytest.raises(ValueError, match="no such mistakes"):
        Ward({"bad luck": curve}, {"": curve})
    with pytest.raises(ValueError, match="right program is missing"):
        Ward({"student left in eval": curve}, {"": curve})
