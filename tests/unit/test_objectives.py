"""The algebra of losses: it reads as the formula, and asks its teachers as it says."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kdlib import losses, objectives
from kdlib.data import Batch, Examples
from kdlib.models import MLP, cnn, initialise, mlp, observe
from kdlib.objectives import (
    Decoupled,
    Dist,
    HardLabels,
    JensenShannon,
    KernelSimilarity,
    LearnedTemperature,
    Learner,
    LogitMSE,
    Objective,
    ProbabilityMSE,
    Regularizer,
    ReverseKL,
    SoftTargets,
    Standardized,
    Symbol,
    TeacherLabels,
    TeacherTable,
    Variational,
    progress,
    tabulate,
)
from kdlib.training import Run, fit

T, alpha = Symbol("T"), Symbol("alpha")
HINT = {"stage1": "stage1"}


class Counting(nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.asked = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        return self.network(x)


def call(objective: Objective, student: nn.Module, batch: Batch, **symbols):
    """The loss and its named terms, as `fit` asks for them."""
    return Learner.of(student, objective, batch)(batch, symbols=symbols)


def every_term(teacher: nn.Module) -> list[Objective]:
    return [
        HardLabels(), SoftTargets(teacher, 4), ReverseKL(teacher, 4), TeacherLabels(teacher),
        JensenShannon(teacher, 4, 0.3), LogitMSE(teacher), ProbabilityMSE(teacher, 2),
        Decoupled(teacher, 4),
        Dist(teacher, 2), Standardized(teacher, 2), Variational(teacher, HINT), Regularizer(),
        KernelSimilarity(teacher, HINT, torch.randn(4, 32)), Regularizer(teacher),
    ]  # fmt: skip


# ---- reading -------------------------------------------------------------------------------------


def test_an_objective_prints_as_the_formula(teacher: MLP) -> None:
    formula = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T=4)
    assert str(formula) == "(1 - alpha) · HardLabels() + alpha · SoftTargets(teacher, T=4)"
    numbers = 0.25 * HardLabels(smoothing=0.1) + 0.75 * SoftTargets(teacher, 2.5)
    assert repr(numbers) == "0.25 · HardLabels(smoothing=0.1) + 0.75 · SoftTargets(teacher, T=2.5)"
    assert str(1 * HardLabels()) == "HardLabels()"
    assert str(SoftTargets(teacher, 8 - 7 * progress)) == "SoftTargets(teacher, T=8 - 7 * progress)"
    assert str(HardLabels(smoothing=T)) == "HardLabels(smoothing=T)"
    learned = SoftTargets(teacher, LearnedTemperature(1, 8))
    assert str(learned) == "SoftTargets(teacher, T=T_adversarial[1, 8])"
    shown = str(Variational(teacher, HINT) + Regularizer() + Regularizer(teacher))
    assert shown == (
        "Variational(teacher, layers={'stage1': 'stage1'}) + Regularizer() + "
        "Regularizer(towards teacher)"
    )


@pytest.mark.parametrize(
    ("expression", "shown", "value"),
    [
        (1 - (T - alpha), "1 - (T - alpha)", -1.5),
        ((1 - T) - alpha, "1 - T - alpha", -2.5),
        (2 * (T + alpha), "2 * (T + alpha)", 7.0),
        (T / (2 * alpha), "T / (2 * alpha)", 3.0),
        (T * alpha + 1, "T * alpha + 1", 2.5),
        ((T + 1) ** 2, "(T + 1)**2", 16.0),
        (3 / T, "3 / T", 1.0),
        ((T**2) ** 3, "(T**2)**3", 729.0),
        (2 - T**2, "2 - T**2", -7.0),
        (alpha - 0.5, "alpha - 0.5", 0.0),
    ],
)
def test_symbols_print_with_the_brackets_they_need(expression, shown: str, value: float) -> None:
    assert str(expression) == shown
    assert expression.value({"T": 3.0, "alpha": 0.5}) == value
    assert eval(shown, {"T": 3.0, "alpha": 0.5}) == value


def test_equal_formulas_are_equal_and_hash_alike(teacher: MLP) -> None:
    other = copy.deepcopy(teacher)

    def build(one: nn.Module, t: float = 4) -> Objective:
        return (1 - alpha) * HardLabels() + alpha * SoftTargets(one, t)

    assert build(teacher) == build(teacher) and hash(build(teacher)) == hash(build(teacher))
    assert build(teacher) != build(teacher, 5) and build(teacher) != build(other)
    assert HardLabels() == HardLabels() != HardLabels(0.1)
    assert HardLabels() != SoftTargets(teacher, 4) and HardLabels() != "HardLabels()"
    for same in (1 * HardLabels(), 2 * (0.5 * HardLabels())):
        assert same == HardLabels() and HardLabels() == same and hash(same) == hash(HardLabels())
    assert len({HardLabels(), 1 * HardLabels(), build(teacher), build(teacher)}) == 2


def test_scaling_distributes_over_a_sum(teacher: MLP) -> None:
    a, b = HardLabels(), SoftTargets(teacher, 4)
    assert 2 * (a + b) == 2 * a + 2 * b == (a + b) * 2
    assert alpha * (a + b) == alpha * a + alpha * b
    assert 2 * (3 * a) == 6 * a


@pytest.mark.parametrize("act", [lambda h: h + 1, lambda h: "x" * h, lambda h: h * h])
def test_only_objectives_add_and_only_numbers_scale(act) -> None:
    with pytest.raises(TypeError):
        act(HardLabels())


def test_it_says_what_it_speaks_of(teacher: MLP) -> None:
    other = copy.deepcopy(teacher)
    formula = (
        alpha * SoftTargets(teacher, T) + T * Variational(teacher, {"stage1": "head"})
        + LogitMSE(other) + SoftTargets(teacher, T)
    )  # fmt: skip
    assert formula.symbols() == [alpha, T]
    assert formula.teachers() == [teacher, other]
    assert formula.teacher_taps() == {teacher: ("head",), other: ()}
    assert formula.student_taps() == ("stage1",)


def test_the_key_sees_all_that_decides_a_result(teacher: MLP) -> None:
    def key(objective: Objective) -> str:
        return objective.key()

    formula = SoftTargets(teacher, 4)
    same = SoftTargets(copy.deepcopy(teacher), 4)
    assert key(formula) == key(same)  # another object with the same weights
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.bias[0] += 1e-6
    table = tabulate(teacher, Examples(torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)))
    centres = torch.zeros(4, 32)
    keys = [
        key(formula), key(SoftTargets(other, 4)), key(SoftTargets(teacher, 4.0000001)),
        key(SoftTargets(table, 4)), key(SoftTargets(table.answering(table.logits + 1, "x"), 4)),
        key(KernelSimilarity(teacher, HINT, centres)), key(Regularizer(teacher)),
        key(KernelSimilarity(teacher, HINT, centres + 1e-6)), key(Regularizer(other)),
        key(HardLabels(1e-9)), key(HardLabels()), key(0.1 * HardLabels()),
        key(0.1000000001 * HardLabels()), key(T * HardLabels()), key(alpha * HardLabels()),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


# ---- values --------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_and_terms_are_unweighted(
    teacher: MLP, train: Examples
) -> None:
    student, batch = initialise(mlp(16, 8, 4), 0), train.batch(slice(0, 32))
    formula = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T) + SoftTargets(teacher, 1)
    loss, terms = call(formula, student, batch, T=4.0, alpha=0.25)
    z_s, z_t = student(batch.x), teacher(batch.x)
    hard = losses.hard_labels(z_s, batch.y)
    soft, soft1 = losses.soft_targets(z_s, z_t, 4), losses.soft_targets(z_s, z_t, 1)
    torch.testing.assert_close(loss, 0.75 * hard + 0.25 * soft + soft1)
    assert list(terms) == ["HardLabels", "SoftTargets", "SoftTargets 3"]
    for term, expected in zip(terms.values(), (hard, soft, soft1), strict=True):
        torch.testing.assert_close(term, expected)


def test_each_term_is_the_loss_of_its_name(teacher: MLP, train: Examples) -> None:
    student, batch = initialise(mlp(16, 8, 4), 0), train.batch(slice(0, 32))
    z_s, z_t = student(batch.x), teacher(batch.x)
    pairs = [
        (HardLabels(0.2), losses.hard_labels(z_s, batch.y, smoothing=0.2)),
        (SoftTargets(teacher, 3), losses.soft_targets(z_s, z_t, 3)),
        (ReverseKL(teacher, 3), losses.reverse_kl(z_s, z_t, 3)),
        (JensenShannon(teacher, 3, 0.2), losses.jensen_shannon(z_s, z_t, 3, beta=0.2)),
        (TeacherLabels(teacher), losses.teacher_labels(z_s, z_t)),
        (LogitMSE(teacher), losses.logit_mse(z_s, z_t)),
        (ProbabilityMSE(teacher, 3), losses.probability_mse(z_s, z_t, 3)),
        (
            Decoupled(teacher, 3, 2, 5),
            losses.decoupled(z_s, z_t, batch.y, 3, tckd_weight=2, nckd_weight=5),
        ),
        (Dist(teacher, 3, 2, 5), losses.dist(z_s, z_t, 3, within=2, between=5)),
        (Standardized(teacher, 3), losses.standardized(z_s, z_t, 3)),
        (Regularizer(), losses.regularizer(dict(student.named_parameters()))),
        (Regularizer(student), torch.tensor(0.0)),
    ]
    for objective, expected in pairs:
        torch.testing.assert_close(call(objective, student, batch)[0], expected)


def test_terms_on_layers_use_what_the_objective_owns(teacher: MLP, train: Examples) -> None:
    student, batch = initialise(mlp(16, 8, 4), 0), train.batch(slice(0, 32))
    f_s = observe(student, batch.x, ["stage1"]).features["stage1"]
    f_t = observe(teacher, batch.x, ["stage1"]).features["stage1"]
    centres = losses.class_centres(f_t.detach(), batch.y)
    learner = Learner.of(student, KernelSimilarity(teacher, HINT, centres, 0.1, 2), batch)
    ((projector,),) = learner.owned.by_term
    assert projector.weight.shape == (32, 8)
    loss, _ = learner(batch)
    expected = losses.kernel_similarity(projector(f_s), f_t, centres, 0.1, 2)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert projector.weight.grad.abs().sum() > 0

    learner = Learner.of(student, Variational(teacher, HINT), batch)
    ((regression,),) = learner.owned.by_term
    loss, _ = learner(batch)
    torch.testing.assert_close(loss, losses.variational(*regression(f_s), f_t))


def test_progress_is_bound_by_the_loop(teacher: MLP, train: Examples) -> None:
    student, batch = initialise(mlp(16, 8, 4), 0), train.batch(slice(0, 32))
    learner = Learner.of(student, SoftTargets(teacher, 8 - 7 * progress), batch)
    for done, T in ((0.0, 8.0), (1.0, 1.0)):
        expected = losses.soft_targets(student(batch.x), teacher(batch.x), T)
        torch.testing.assert_close(learner(batch, done)[0], expected)


# ---- teachers ------------------------------------------------------------------------------------


def test_a_teacher_is_held_and_not_owned(teacher: MLP, train: Examples) -> None:
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    for objective in every_term(teacher):
        learner = Learner.of(student, objective, batch)
        assert all(module is not teacher for module in learner.modules())
        theirs = {id(parameter) for parameter in teacher.parameters()}
        assert not theirs & {id(parameter) for parameter in learner.parameters()}
        assert not any("teacher" in name for name in learner.state_dict())
        learner.train()
        assert not teacher.training
        learner(batch)[0].backward()
        assert all(parameter.grad is None for parameter in teacher.parameters()), str(objective)


def test_three_terms_cost_one_forward(teacher: MLP, train: Examples) -> None:
    counting = Counting(teacher)
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    formula = SoftTargets(counting, 4) + LogitMSE(counting) + 0.5 * ReverseKL(counting, 2)
    learner = Learner.of(student, formula, batch)
    answers = {}
    learner(batch, answers=answers)
    assert counting.asked == 1 and list(answers) == [counting]
    learner(batch, answers=answers)  # which are known now
    assert counting.asked == 1
    learner(train.batch(slice(0, 32)))
    assert counting.asked == 2
    with_layer = formula + Variational(counting, {"stage1": "network.stage1"})
    learner = Learner.of(student, with_layer, batch)
    counting.asked = 0
    learner(train.batch(slice(0, 32)))
    assert counting.asked == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_filtered_or_shuffled_batch_takes_its_own_answers(
    teacher: MLP, train: Examples, seed: int
) -> None:
    table = tabulate(teacher, train)
    generator = torch.Generator().manual_seed(seed)
    part = train.without([seed])
    for batch in part.batches(13, generator):
        torch.testing.assert_close(table.find(batch.ids), teacher(batch.x), rtol=1e-5, atol=1e-5)
    assert table.find(None) is None


def test_an_unknown_image_is_not_in_the_table(teacher: MLP, train: Examples) -> None:
    table = tabulate(teacher, train[:10])
    assert table.find(train[:10].ids) is not None
    assert table.find(train[5:15].ids) is None
    for unknown in (-(2**63), 2**63 - 1):
        assert table.find(torch.tensor([unknown])) is None


def test_an_augmented_batch_never_takes_a_tables_answer(teacher: MLP, train: Examples) -> None:
    counting = Counting(teacher)
    table = tabulate(counting, train)
    table.logits += 100  # so that an answer from the table would be seen
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    changed = batch.changed(batch.x.flip(-1))
    counting.asked = 0
    loss, _ = call(LogitMSE(table), student, changed)
    torch.testing.assert_close(loss, losses.logit_mse(student(changed.x), teacher(changed.x)))
    assert counting.asked == 1
    loss, _ = call(SoftTargets(table, 2), student, changed)
    expected = losses.soft_targets(student(changed.x), teacher(changed.x), 2)
    torch.testing.assert_close(loss, expected)


def test_a_table_without_network_says_what_it_cannot_do(teacher: MLP, train: Examples) -> None:
    table = tabulate(teacher, train)
    permuted = table.answering(losses.permute_wrong_classes(table.logits), "permuted")
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    objective = SoftTargets(permuted, 4)
    assert str(objective) == "SoftTargets(permuted, T=4)"
    loss, _ = call(objective, student, batch)
    z_t = permuted.logits[:32]
    torch.testing.assert_close(loss, losses.soft_targets(student(batch.x), z_t, 4))
    with pytest.raises(ValueError, match=r"table 'permuted' does not know these images"):
        call(objective, student, batch.changed(batch.x))
    with pytest.raises(ValueError, match=r"1 answers for 320 images"):
        table.answering(table.logits[:1], "one")


def test_a_teacher_answers_in_eval_mode_and_float32(train: Examples) -> None:
    noisy = initialise(mlp(16, 64, 4, dropout=0.5), 0).train()
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    learner, answers = Learner.of(student, LogitMSE(noisy), batch), {}
    with torch.autocast("cpu", torch.bfloat16):
        learner(batch, answers=answers)
    (seen,) = answers.values()
    assert seen.logits.dtype == torch.float32 and not seen.logits.requires_grad and noisy.training
    torch.testing.assert_close(seen.logits, noisy.eval()(batch.x), rtol=1e-6, atol=1e-6)


# ---- building ------------------------------------------------------------------------------------


def test_projectors_disturb_neither_randomness_nor_batchnorm(train: Examples) -> None:
    images = Examples(
        nn.functional.interpolate(train.x[:8].float(), 8).to(torch.uint8), train.y[:8]
    )
    student, teacher = initialise(cnn(2, 4), 0), initialise(cnn(3, 4), 1)
    before = {
        k: v.clone() for n in (student, teacher) for k, v in n.state_dict(prefix=str(id(n))).items()
    }
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    formula = Variational(teacher, {"embedding": "embedding"}) + SoftTargets(
        teacher, LearnedTemperature()
    )
    one, two = (Learner.of(student.train(), formula, images.batch(), seed=3) for _ in range(2))
    assert torch.equal(torch.rand(2), expected) and student.training
    after = {k: v for n in (student, teacher) for k, v in n.state_dict(prefix=str(id(n))).items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    weights = [learner.owned.by_term[0][0].mean.weight for learner in (one, two)]
    assert torch.equal(*weights)
    another = Learner.of(student, formula, images.batch(), seed=4)
    other = another.owned.by_term[0][0].mean.weight
    assert not torch.equal(weights[0], other)
    assert weights[0].requires_grad


def test_a_learned_temperature_is_one_however_often_it_stands(
    teacher: MLP, train: Examples
) -> None:
    warm = LearnedTemperature(2, 6)
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    formula = SoftTargets(teacher, warm) + ReverseKL(teacher, warm)
    learner = Learner.of(student, formula, batch)
    extra = len(list(learner.parameters())) - len(list(student.parameters()))
    assert extra == 1
    loss, terms = learner(batch)
    assert terms["T_adversarial[2, 6]"].item() == 4.0  # the middle
    z_s, z_t = student(batch.x), teacher(batch.x)
    expected = losses.soft_targets(z_s, z_t, 4) + losses.reverse_kl(z_s, z_t, 4)
    torch.testing.assert_close(loss, expected)
    for low, high in ((0, 1), (5, 2), (float("nan"), 3)):
        with pytest.raises(ValueError, match="expected 0 < low < high"):
            LearnedTemperature(low, high)


def test_adversarial_and_descended_temperatures_have_opposite_slopes(
    teacher: MLP, train: Examples
) -> None:
    student, batch = initialise(mlp(16, 8, 4), 0), train.batch(slice(0, 32))
    slopes = []
    for adversarial in (True, False):
        warm = LearnedTemperature(1, 8, adversarial=adversarial)
        learner = Learner.of(student, SoftTargets(teacher, warm), batch)
        learner(batch)[0].backward()
        slopes.append(float(learner.owned.temperatures[0].theta.grad))
    assert slopes[0] == pytest.approx(-slopes[1]) and slopes[0] != 0


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_weights_must_be_finite_and_not_negative(weight: float, train: Examples) -> None:
    with pytest.raises(ValueError, match=r"the weight of HardLabels\(\) is .*at least 0"):
        weight * HardLabels()
    with pytest.raises(ValueError, match="expected a finite number of at least 0"):
        (alpha * HardLabels()).check(train, {"alpha": weight})


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_alpha_outside_0_and_1(teacher: MLP, train: Examples, value: float) -> None:
    formula = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, 4)
    with pytest.raises(ValueError, match=r"is alpha outside \[0, 1\]\?"):
        formula.check(train, {"alpha": value})
    with pytest.raises(ValueError, match=r"is alpha outside \[0, 1\]\?"):
        (1 - value) * HardLabels() + value * SoftTargets(teacher, 4)
    for ok in (0.0, 1.0):
        formula.check(train, {"alpha": ok})


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "term", ["SoftTargets", "ReverseKL", "JensenShannon", "ProbabilityMSE", "Decoupled", "Dist",
             "Standardized"],
)  # fmt: skip
def test_temperatures_must_be_above_zero(
    teacher: MLP, train: Examples, term: str, value: float
) -> None:
    with pytest.raises(ValueError, match=r"temperature T=.*above 0"):
        getattr(objectives, term)(teacher, T=value).check(train)
    with pytest.raises(ValueError, match=r"temperature T=.*above 0"):
        getattr(objectives, term)(teacher, T=T).check(train, {"T": value})


@pytest.mark.parametrize("value", [0.0, -4.0, float("nan")])
def test_a_tensor_given_for_a_number_is_checked_as_one(
    teacher: MLP, train: Examples, value: float
) -> None:
    given = torch.tensor(value)
    for objective in (
        SoftTargets(teacher, given),
        SoftTargets(teacher, T + (given - 1)),
        objectives.Contrastive(teacher, HINT, given),
    ):
        with pytest.raises(ValueError, match=r"temperature T=.*expected a finite number above 0"):
            objective.check(train, {"T": 1.0})
    for objective in (JensenShannon(teacher, 4, given - 1), HardLabels(given - 1)):
        with pytest.raises(ValueError, match=r"expected a number from 0 to 1"):
            objective.check(train)
    with pytest.raises(ValueError, match=r"the weight of HardLabels\(\) is .*at least 0"):
        ((T + (given - 2)) * HardLabels()).check(train, {"T": 1.0})
    with pytest.raises(ValueError, match=r"T=tensor\(\[.*expected a number, a symbol"):
        SoftTargets(teacher, given[None])


def test_a_tensor_given_for_a_number_trains_as_one(teacher: MLP, train: Examples) -> None:
    runs = [
        fit(mlp(16, 8, 4), train, HardLabels(smooth) + SoftTargets(teacher, warm), epochs=1, seed=0)
        for smooth, warm in ((0.1, 4.0), (torch.tensor(0.1), torch.tensor(4.0)))
    ]
    assert runs[0].history[0]["loss"] == pytest.approx(runs[1].history[0]["loss"])


def test_a_temperature_that_anneals_below_zero(teacher: MLP, train: Examples) -> None:
    SoftTargets(teacher, 8 - 7 * progress).check(train)
    with pytest.raises(ValueError, match=r"temperature T=-1"):
        SoftTargets(teacher, 8 - 9 * progress).check(train)


@pytest.mark.parametrize("low", [0.1, 0.5, 0.9])
def test_schedules_are_checked_in_the_midst_of_training(
    teacher: MLP, train: Examples, low: float
) -> None:
    dip = (progress - low) ** 2 - 0.005  # above 0 at both ends, below 0 for 0.14 of the way
    with pytest.raises(ValueError, match=r"weight of HardLabels\(\) is -0.00.* at progress 0\.\d"):
        (dip * HardLabels()).check(train)
    with pytest.raises(ValueError, match=r"temperature T=-\d"):
        SoftTargets(teacher, dip).check(train)
    ((dip + 0.005) * HardLabels()).check(train)
    SoftTargets(teacher, dip + 0.01).check(train)


def test_other_hyperparameters_are_checked(teacher: MLP, train: Examples) -> None:
    with pytest.raises(ValueError, match=r"smoothing=1.5: expected a number from 0 to 1"):
        HardLabels(smoothing=1.5).check(train)
    with pytest.raises(ValueError, match="smoothing=-1"):
        HardLabels(smoothing=alpha).check(train, {"alpha": -1})
    with pytest.raises(ValueError, match="beta=2"):
        JensenShannon(teacher, 4, beta=2).check(train)


def test_hard_labels_need_labels_and_everyone_needs_examples(teacher: MLP, train: Examples) -> None:
    nothing = train[:0]
    with pytest.raises(ValueError, match="has no labels, which HardLabels needs; use soft targets"):
        (HardLabels() + SoftTargets(teacher, 4)).check(train.unlabelled())
    SoftTargets(teacher, 4).check(train.unlabelled())
    (HardLabels() + SoftTargets(teacher, 4)).check(train[:4] + train[4:].unlabelled())
    for objective in (HardLabels(), SoftTargets(teacher, 4)):
        with pytest.raises(ValueError, match="holds no examples to train on"):
            objective.check(nothing)


def test_decoupled_needs_labels_too(teacher: MLP, train: Examples) -> None:
    objective = Decoupled(teacher, 4)
    with pytest.raises(ValueError, match="has no labels, which Decoupled needs; use soft targets"):
        objective.check(train.unlabelled())
    objective.check(train[:4] + train[4:].unlabelled())
    with pytest.raises(ValueError, match="temperature T=-1"):
        Decoupled(teacher, -1).check(train)


def test_a_student_learns_from_a_teacher_with_a_class_taken_away(
    teacher: MLP, train: Examples
) -> None:
    z = tabulate(teacher, train).logits.clone()
    z[:, 3] = -torch.inf
    without = tabulate(teacher, train).answering(z, "no 3")
    for T in (4.0, LearnedTemperature(), torch.tensor(4.0)):
        run = fit(mlp(16, 16, 4), train, SoftTargets(without, T), epochs=8, batch=32, seed=0)
        assert all(row["loss"] > 0 for row in run.history)  # and not nan
        assert not (run.logits(train).argmax(-1) == 3).any()


def test_a_symbol_without_a_value(teacher: MLP, train: Examples) -> None:
    with pytest.raises(ValueError, match=r"^T in SoftTargets\(teacher, T=T\) has no value"):
        SoftTargets(teacher, T).check(train)


def test_different_class_counts(train: Examples) -> None:
    wide = mlp(16, 8, 7)
    for objective in (SoftTargets(wide, 4), LogitMSE(wide), TeacherLabels(wide), Dist(wide)):
        with pytest.raises(ValueError, match="4 classes and the teacher with 7"):
            call(objective, mlp(16, 8, 4), train.batch(slice(0, 8)))


@pytest.mark.parametrize("term", ["SoftTargets", "ReverseKL", "Standardized"])
def test_a_term_wants_a_network_and_a_number(teacher: MLP, term: str) -> None:
    make = getattr(objectives, term)
    with pytest.raises(ValueError, match=f"{term} was given T='4'; expected a number"):
        make(teacher, "4")
    with pytest.raises(ValueError, match=f"{term} was given teacher=7; expected a network"):
        make(7, 4)
    with pytest.raises(ValueError, match=f"{term} was given teacher=''; expected a network"):
        make("", 4)
    with pytest.raises(ValueError, match=f"{term} was given 2 teachers at once; merge them"):
        make([teacher, teacher], 4)
    with pytest.raises(ValueError, match=f"{term} was given a Run; give run.network"):
        make(Run(teacher), 4)


def test_terms_on_layers_and_weights_want_a_network_too(teacher: MLP) -> None:
    for make in (
        lambda run: objectives.Hint(run, {"stage1": "stage1"}),
        lambda run: objectives.ParameterKL(run),
        lambda run: Regularizer(run),
    ):
        with pytest.raises(ValueError, match=r"was given a Run; give run\.network"):
            make(Run(teacher))


def test_sums_and_quotients(teacher: MLP) -> None:
    a, b = HardLabels(), SoftTargets(teacher, 4)
    assert sum([a, b]) == a + b
    assert (a + b) / 2 == 0.5 * a + 0.5 * b and str(a / alpha) == "1 / alpha · HardLabels()"
    with pytest.raises(ValueError, match=r"HardLabels\(\) is divided by 0"):
        a / 0
    for act in (lambda: 1 + a, lambda: a / "2"):
        with pytest.raises(TypeError, match="unsupported operand"):
            act()


def test_a_table_of_one_layer(teacher: MLP, train: Examples) -> None:
    assert list(tabulate(teacher, train[:4], taps="stage1").features) == ["stage1"]


def test_an_unknown_layer_is_named_before_training(teacher: MLP, train: Examples) -> None:
    for layers in ({"stag1": "stage1"}, {"stage1": "stag1"}):
        with pytest.raises(ValueError, match=r"'stag1' is no module of MLP.*'stage1'"):
            Learner.of(mlp(16, 8, 4), Variational(teacher, layers), train.batch(slice(0, 2)))


# ---- mistakes that real projects ship ------------------------------------------------------------


def test_mistake_kl_identically_zero(teacher: MLP, train: Examples) -> None:
    """Student logits stand in the first place: an untrained student has a loss, a copy has none."""
    batch = train.batch(slice(0, 32))
    assert call(SoftTargets(teacher, 4), initialise(mlp(16, 32, 4), 3), batch)[0] > 0.01
    same, _ = call(SoftTargets(teacher, 4), copy.deepcopy(teacher), batch)
    assert abs(same.item()) < 1e-6


def test_mistake_no_grad_missing_on_the_teacher(teacher: MLP, train: Examples) -> None:
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    loss, _ = call(SoftTargets(teacher, 4) + LogitMSE(teacher), student, batch)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in teacher.parameters())  # left as it was


def test_mistake_teacher_left_in_train_mode(train: Examples) -> None:
    """Neither BatchNorm's statistics move nor does dropout stay on, whatever mode it was in."""
    images = nn.functional.interpolate(train.x[:16].float(), 8) / 255
    wide = initialise(cnn(3, 4), 1).train()
    before = {name: buffer.clone() for name, buffer in wide.named_buffers()}
    batch = Batch(images, train.y[:16], train.domain[:16])
    call(SoftTargets(wide, 4), cnn(2, 4), batch)
    assert wide.training and all(torch.equal(b, before[n]) for n, b in wide.named_buffers())


def test_mistake_cached_answers_misaligned(teacher: MLP, train: Examples) -> None:
    """A table made in one order serves another order with the right rows."""
    backwards = train[torch.arange(len(train) - 1, -1, -1)]
    table = tabulate(teacher, backwards)
    student, batch = mlp(16, 8, 4), train.batch(slice(0, 32))
    loss, _ = call(SoftTargets(table, 4), student, batch)
    expected = losses.soft_targets(student(batch.x), teacher(batch.x), 4)
    torch.testing.assert_close(loss, expected)


def test_mistake_a_taught_student_whose_loss_never_mentions_the_teacher(teacher: MLP) -> None:
    assert HardLabels().teachers() == [] and (HardLabels() + Regularizer()).teachers() == []
    assert (0.5 * HardLabels() + 0.5 * SoftTargets(teacher, 4)).teachers() == [teacher]
    assert isinstance(TeacherTable(torch.zeros(1), torch.zeros(1, 2)), TeacherTable)


def test_an_objective_is_checked_as_fit_checks_it(train: Examples, teacher: MLP) -> None:
    """A loop of one's own hears of weights below 0, and of labels that there are not."""
    student = initialise(mlp(16, 8, 4), 0)
    alpha = Symbol("alpha")
    formula = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T=4)
    with pytest.raises(ValueError, match="is -1; expected a finite number of at least 0"):
        formula(student, train, alpha=2)
    with pytest.raises(ValueError, match="has no labels, which HardLabels needs"):
        HardLabels()(student, train.unlabelled())
    learner = Learner.of(student, alpha * objectives.Hint(teacher, {"stage1": "stage1"}), train)
    with pytest.raises(ValueError, match="the symbol 'alpha' has no value; give one: learner"):
        learner(train)
    assert learner(train, 0.5, {"alpha": 0.5})[0].isfinite()
