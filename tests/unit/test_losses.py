"""Losses by limits, identities, slopes, hand-computed values and a peer's published functions."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

import kdlib.vision  # before torchdistill, which imports torchvision bare  # noqa: F401
from kdlib import losses

BATCH, CLASSES = 6, 5
CENTRES = torch.linspace(-1, 1, 3 * CLASSES, dtype=torch.float64).view(3, CLASSES)

# name -> loss of student logits, teacher logits and T; those of DIST and labels beside the others
LOSSES = {
    "soft_targets": losses.soft_targets,
    "reverse_kl": losses.reverse_kl,
    "jensen_shannon": lambda s, t, T: losses.jensen_shannon(s, t, T, beta=0.3),
    "teacher_labels": lambda s, t, T: losses.teacher_labels(s, t),
    "logit_mse": lambda s, t, T: losses.logit_mse(s, t),
    "probability_mse": losses.probability_mse,
    "decoupled": lambda s, t, T: losses.decoupled(s, t, labels(), T),
    "dist": losses.dist,
    "standardized": losses.standardized,
    "hard_labels": lambda s, t, T: losses.hard_labels(s, labels(), smoothing=0.1),
    "kernel_similarity": lambda s, t, T: losses.kernel_similarity(
        s, t, CENTRES.to(torch.promote_types(s.dtype, torch.float32)), 0.7, T
    ),
}
WARM = [n for n in LOSSES if n not in ("teacher_labels", "logit_mse", "hard_labels")]
WITH_WHERE = {
    "soft_targets": lambda s, t, where: losses.soft_targets(s, t, 3, where=where),
    "reverse_kl": lambda s, t, where: losses.reverse_kl(s, t, 3, where=where),
    "jensen_shannon": lambda s, t, where: losses.jensen_shannon(s, t, 3, beta=0.3, where=where),
    "teacher_labels": lambda s, t, where: losses.teacher_labels(s, t, where=where),
    "logit_mse": lambda s, t, where: losses.logit_mse(s, t, where=where),
    "probability_mse": lambda s, t, where: losses.probability_mse(s, t, 3, where=where),
    "standardized": lambda s, t, where: losses.standardized(s, t, 3, where=where),
    "hard_labels": lambda s, t, where: losses.hard_labels(s, labels(), where=where),
    "hard_labels by label": lambda s, t, where: losses.hard_labels(
        s, torch.where(where, labels(), -1)
    ),
    "decoupled": lambda s, t, where: losses.decoupled(s, t, torch.where(where, labels(), -1), 3),
    "kernel_similarity": lambda s, t, where: losses.kernel_similarity(
        s, t, CENTRES, 0.7, 3, where=where
    ),
    "variational": lambda s, t, where: losses.variational(
        s, torch.zeros(CLASSES, dtype=s.dtype), t, where=where
    ),
}


def labels() -> Tensor:
    return torch.arange(BATCH) % CLASSES


def logits(seed: int = 0, scale: float = 3.0, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z_s, z_t = scale * torch.randn(2, batch, CLASSES, generator=generator, dtype=torch.float64)
    return z_s, z_t


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum(-1)


def close(a: Tensor | float, b: Tensor | float, *, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_soft_targets_tend_to_logit_matching_when_hot(seed: int) -> None:
    z_s, z_t = logits(seed)
    limit = losses.logit_mse(z_s, z_t)
    errors = [abs(losses.soft_targets(z_s, z_t, T) - limit) / limit for T in (1e2, 1e3, 1e4)]
    assert errors[2] < 1e-3
    assert errors[1] < 0.15 * errors[0] and errors[2] < 0.15 * errors[1]  # it converges like 1 / T


def test_logit_mse_ignores_a_shift_of_all_logits() -> None:
    z_s, z_t = logits()
    shifts = torch.arange(BATCH, dtype=torch.float64)[:, None]
    close(losses.logit_mse(z_s + 5 * shifts, z_t - shifts), losses.logit_mse(z_s, z_t))


@pytest.mark.parametrize("seed", range(5))
def test_soft_targets_vanish_when_cold_and_t_times_kl_is_the_margin(seed: int) -> None:
    z_s, z_t = logits(seed)
    z_s.requires_grad_()
    margin = (z_s.amax(-1) - z_s.gather(-1, z_t.argmax(-1)[:, None])[:, 0]).mean()
    T = 1e-4
    loss = losses.soft_targets(z_s, z_t, T)
    close(loss / T, margin, rtol=0, atol=1e-3)
    (slope,) = torch.autograd.grad(loss, z_s)
    assert margin > 0.1 and loss < 1e-2 and slope.abs().max() <= T


def test_p_becomes_one_hot_when_cold_so_that_t_times_gradient_is_hard() -> None:
    _, z_t = logits()
    p = (z_t / 1e-3).softmax(-1)
    close(p, F.one_hot(z_t.argmax(-1), CLASSES).double(), atol=1e-9)


def test_jensen_shannon_is_zero_at_both_ends_and_its_slopes_are_the_two_kls() -> None:
    z_s, z_t = logits(scale=3.0)
    T = 2.0
    for end in (0.0, 1.0):
        z = z_s.clone().requires_grad_()
        value = losses.jensen_shannon(z, z_t, T, beta=end)
        (slope,) = torch.autograd.grad(value, z)
        close(value, 0.0)
        close(slope, torch.zeros_like(slope))
    small = 1e-7
    forward = losses.soft_targets(z_s, z_t, T)
    backward = losses.reverse_kl(z_s, z_t, T)
    close(losses.jensen_shannon(z_s, z_t, T, beta=small) / small, forward, rtol=1e-5)
    close(losses.jensen_shannon(z_s, z_t, T, beta=1 - small) / small, backward, rtol=1e-5)
    assert abs(forward - backward) > 1e-2 * forward  # else the two slopes could be exchanged


def test_jensen_shannon_at_one_half_is_symmetric_and_bounded() -> None:
    z_s, z_t = logits(scale=10.0)
    there = losses.jensen_shannon(z_s, z_t, 1.0, beta=0.5)
    close(there, losses.jensen_shannon(z_t, z_s, 1.0, beta=0.5))
    assert 0 < there <= math.log(2)


# ---- identities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_cross_entropy_is_kl_plus_entropy(seed: int) -> None:
    z_s, z_t = logits(seed)
    T = 0.5 + seed
    p, q = (z_t / T).softmax(-1), (z_s / T).softmax(-1)
    entropy = -(p * p.log()).sum(-1).mean()
    cross = -(p * q.log()).sum(-1).mean()
    close(losses.soft_targets(z_s, z_t, T) / T**2 + entropy, cross)


@pytest.mark.parametrize("seed", range(5))
def test_kl_is_tckd_plus_the_rest_times_nckd(seed: int) -> None:
    z_s, z_t = logits(seed, batch=1)
    T, y = 1.5 + seed, torch.tensor([seed % CLASSES])
    tckd = losses.decoupled(z_s, z_t, y, T, tckd_weight=1, nckd_weight=0)
    nckd = losses.decoupled(z_s, z_t, y, T, tckd_weight=0, nckd_weight=1)
    rest = 1 - (z_t / T).softmax(-1)[0, y]
    close(tckd + rest[0] * nckd, losses.soft_targets(z_s, z_t, T))
    both = losses.decoupled(z_s, z_t, y, T, tckd_weight=1, nckd_weight=float(rest))
    close(both, losses.soft_targets(z_s, z_t, T))
    close(losses.decoupled(z_s, z_t, y, T, tckd_weight=2, nckd_weight=3), 2 * tckd + 3 * nckd)


def test_reverse_kl_is_the_kl_with_the_student_first() -> None:
    z_s, z_t = logits()
    T = 2.5
    q, p = (z_s / T).softmax(-1), (z_t / T).softmax(-1)
    close(losses.reverse_kl(z_s, z_t, T), T**2 * kl(q, p).mean())


@pytest.mark.parametrize("name", [n for n in LOSSES if n not in ("teacher_labels", "hard_labels")])
def test_a_student_that_agrees_has_no_loss_and_no_slope(name: str) -> None:
    _, z_t = logits()
    z_s = z_t.clone().requires_grad_()
    loss = LOSSES[name](z_s, z_t, 3.0)
    (slope,) = torch.autograd.grad(loss, z_s)
    close(loss, 0.0, atol=1e-9)
    close(slope, torch.zeros_like(slope), atol=1e-6)


@pytest.mark.parametrize("name", sorted(WARM))
@pytest.mark.parametrize("seed", range(3))
def test_divergences_are_never_negative(name: str, seed: int) -> None:
    z_s, z_t = logits(seed)
    assert LOSSES[name](z_s, z_t, 0.5 + 2 * seed) > 0


def test_dist_ignores_an_affine_change_of_probabilities() -> None:
    z_s, z_t = logits(scale=1.0)
    q = z_s.softmax(-1)
    flat = (0.5 * q + 0.5 / CLASSES).log()  # each image's probabilities, halved and shifted
    close(losses.dist(flat, z_t), losses.dist(z_s, z_t), rtol=1e-6)


def test_standardized_ignores_scale_and_shift_of_logits() -> None:
    z_s, z_t = logits()
    close(losses.standardized(4 * z_s + 7, z_t, 2), losses.standardized(z_s, z_t, 2), rtol=1e-5)


# ---- values and slopes ---------------------------------------------------------------------------


def test_values_computed_by_hand() -> None:
    z_t = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)  # at T = 2: p = 3/4, 1/4
    z_s = torch.zeros(1, 2, dtype=torch.float64)  # q = 1/2, 1/2
    p, q = (0.75, 0.25), (0.5, 0.5)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    close(losses.soft_targets(z_s, z_t, 2.0), 4 * divergence)
    close(losses.reverse_kl(z_s, z_t, 2.0), 4 * 0.5 * (math.log(2 / 3) + math.log(2)))
    close(losses.probability_mse(z_s, z_t, 2.0), 2 * 0.25**2)
    close(losses.logit_mse(z_s, z_t), math.log(3) ** 2 / 2)  # d = ∓ log 3, Σ d² / (2 · 2)
    close(losses.teacher_labels(z_s, z_t), math.log(2))
    close(losses.hard_labels(z_s, torch.tensor([1])), math.log(2))
    mid = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    halves = [
        sum(a * math.log(a / m) for a, m in zip(side, mid, strict=True)) / 2 for side in (p, q)
    ]
    close(losses.jensen_shannon(z_s, z_t, 2.0, beta=0.5), 4 * sum(halves))
    zero = torch.zeros(1, dtype=torch.float64)
    close(
        losses.variational(zero[None], zero, 2 + zero[None]), (4 + math.log(2 * math.pi)) / 2
    )  # -log N(2; 0, 1)
    close(losses.regularizer({"w": torch.tensor([3.0, 4.0])}), 12.5)


def test_values_of_kernel_similarity_by_hand() -> None:
    centres = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    f_t, f_s = (torch.tensor([[v]], dtype=torch.float64) for v in (0.0, 0.5))
    T, gamma = 2.0, 2.0
    p0 = 1 / (1 + math.exp(-gamma / T))  # distances² 0 and 1
    expected = p0 * math.log(2 * p0) + (1 - p0) * math.log(2 * (1 - p0))
    close(losses.kernel_similarity(f_s, f_t, centres, gamma, T), T**2 * expected)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 20.0])
def test_slope_of_soft_targets_in_closed_form(T: float) -> None:
    z_s, z_t = logits()
    z_s.requires_grad_()
    (slope,) = torch.autograd.grad(losses.soft_targets(z_s, z_t, T), z_s)
    q, p = (z_s / T).softmax(-1), (z_t / T).softmax(-1)
    close(slope, T * (q - p) / BATCH)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_slopes_by_finite_differences(name: str) -> None:
    z_s, z_t = logits(scale=1.5)
    z_s.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, z_t, 2.0), z_s)


def test_slopes_in_temperature_by_finite_differences() -> None:
    z_s, z_t = logits(scale=1.5)
    T = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for name in WARM:
        assert torch.autograd.gradcheck(lambda T, name=name: LOSSES[name](z_s, z_t, T), T), name


def test_slope_of_variational_by_finite_differences() -> None:
    mean, f_t = logits(scale=1.0)
    log_variance = torch.linspace(-1, 1, CLASSES, dtype=torch.float64).requires_grad_()
    mean.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda m, v: losses.variational(m, v, f_t), (mean, log_variance))


# ---- peers ---------------------------------------------------------------------------------------


def _asked(cls: type, **options: float) -> torch.nn.Module:
    where = {f"{who}_module_path": "z" for who in ("student", "teacher")}
    io = {f"{who}_module_io": "output" for who in ("student", "teacher")}
    return cls(**where, **io, **options)


def _io(z: Tensor) -> dict[str, dict[str, Tensor]]:
    return {"z": {"output": z}}


@pytest.mark.parametrize("seed", range(3))
def test_agreement_with_torchdistill(seed: int) -> None:
    from torchdistill.losses import mid_level as peer

    z_s, z_t = logits(seed)
    y, T, alpha = labels(), 1.0 + 3 * seed, 0.3
    ours = (1 - alpha) * losses.hard_labels(z_s, y) + alpha * losses.soft_targets(z_s, z_t, T)
    kd = _asked(peer.KDLoss, temperature=T, alpha=1 - alpha)  # its alpha weighs the labels
    close(ours, kd(_io(z_s), _io(z_t), y), rtol=1e-7)

    dist = _asked(peer.DISTLoss, beta=0.7, gamma=1.9, tau=T)  # beta: between classes
    close(losses.dist(z_s, z_t, T, between=0.7, within=1.9), dist(_io(z_s), _io(z_t)), rtol=1e-6)

    standard = _asked(peer.LogitStdKDLoss, temperature=T, alpha=0.5, beta=9.0)
    ours = 0.5 * losses.hard_labels(z_s, y) + 9 * losses.standardized(z_s, z_t, T)
    close(ours, standard(_io(z_s), _io(z_t), y), rtol=1e-7)

    pair = {who: {"io": "output", "path": "z"} for who in ("student", "teacher")}
    vid = peer.VIDLoss({"pair": pair | {"weight": 1}})
    log_variance = torch.linspace(-1, 1, CLASSES, dtype=torch.float64)
    theirs = vid({"z": {"output": (z_s, log_variance.exp().expand_as(z_s))}}, _io(z_t))
    ours = losses.variational(z_s, log_variance, z_t)
    close(ours - math.log(2 * math.pi) / 2, theirs, rtol=1e-7)  # they leave the constant out


@pytest.mark.parametrize("seed", range(3))
def test_decoupled_agrees_with_the_authors_arithmetic(seed: int) -> None:
    """Zhao et al.'s published code masks the label by -1000 and takes probabilities first."""
    z_s, z_t = logits(seed)
    y, T = labels(), 2.0 + seed
    mask = F.one_hot(y, CLASSES).double()
    q, p = (z_s / T).softmax(-1), (z_t / T).softmax(-1)
    q2, p2 = (torch.stack([(a * mask).sum(1), (a * (1 - mask)).sum(1)], 1) for a in (q, p))
    tckd = F.kl_div(q2.log(), p2, reduction="sum") * T**2 / BATCH
    p_rest = (z_t / T - 1000 * mask).softmax(-1)
    q_rest = (z_s / T - 1000 * mask).log_softmax(-1)
    nckd = F.kl_div(q_rest, p_rest, reduction="sum") * T**2 / BATCH
    ours = losses.decoupled(z_s, z_t, y, T, tckd_weight=1.0, nckd_weight=8.0)
    close(ours, tckd + 8 * nckd, rtol=1e-8)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_hard_labels_agree_with_pytorch(smoothing: float) -> None:
    z_s, _ = logits()
    y = labels()
    y[2] = -1
    theirs = F.cross_entropy(z_s, y, ignore_index=-1, label_smoothing=smoothing)
    close(losses.hard_labels(z_s, y, smoothing=smoothing), theirs)


# ---- which examples, which precision, which transform --------------------------------------------


@pytest.mark.parametrize("name", sorted(WITH_WHERE))
def test_a_loss_averages_over_the_examples_it_concerns(name: str) -> None:
    z_s, z_t = logits()
    where = torch.tensor([True, False, True, True, False, False])
    loss = WITH_WHERE[name]
    alone = [loss(z_s, z_t, torch.arange(BATCH) == i) for i in where.nonzero()[:, 0]]
    close(loss(z_s, z_t, where), torch.stack(alone).mean())
    other = torch.where(where[:, None], z_s, z_s + 1)
    close(loss(other, z_t, where), loss(z_s, z_t, where))


@pytest.mark.parametrize("name", sorted(WITH_WHERE))
def test_a_loss_that_concerns_none_is_zero_with_a_gradient(name: str) -> None:
    z_s, z_t = logits()
    z_s.requires_grad_()
    loss = WITH_WHERE[name](z_s, z_t, torch.zeros(BATCH, dtype=torch.bool))
    (slope,) = torch.autograd.grad(loss, z_s)
    assert loss.item() == 0 and slope.abs().max() == 0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_compute_in_float32_under_autocast(name: str) -> None:
    z_s, z_t = (z.bfloat16() for z in logits())
    with torch.autocast("cpu", torch.bfloat16):
        half = LOSSES[name](z_s, z_t, 3.0)
    full = LOSSES[name](z_s.float(), z_t.float(), 3.0)
    assert half.dtype == torch.float32
    close(half, full, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_float64_stays_float64_also_beside_a_float32_teacher(name: str) -> None:
    z_s, z_t = logits()
    z_t = z_t.float()  # as from a table
    mixed = LOSSES[name](z_s, z_t, 3.0)
    assert mixed.dtype == torch.float64
    close(mixed, LOSSES[name](z_s, z_t.double(), 3.0), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("T", [0.05, 1.0, 100.0])
def test_extreme_logits_stay_finite_in_float32(name: str, T: float) -> None:
    z_s, z_t = (z.float() for z in logits(scale=100.0))
    z_s.requires_grad_()
    loss = LOSSES[name](z_s, z_t, T)
    (slope,) = torch.autograd.grad(loss, z_s)
    assert loss.isfinite() and slope.isfinite().all()


@pytest.mark.parametrize("T", [0.05, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("taken", [0, 3])
def test_a_class_taken_from_the_teacher_counts_nothing(T: float, taken: int) -> None:
    z_s, z_t = logits(scale=1.0)
    z_t[:, taken] = -torch.inf
    left = [c for c in range(CLASSES) if c != taken]
    p, q = (z_t[:, left] / T).softmax(-1), (z_s / T).softmax(-1)[:, left]
    close(losses.soft_targets(z_s, z_t, T), T**2 * kl(p, q).mean())
    z_s[:, taken] = -torch.inf  # from the student too: 0 log 0, not nan
    close(losses.soft_targets(z_s, z_t, T), losses.soft_targets(z_s[:, left], z_t[:, left], T))


@pytest.mark.parametrize(
    "name", ["soft_targets", "jensen_shannon", "probability_mse", "decoupled", "dist"]
)
def test_a_class_taken_from_the_teacher_leaves_slopes_finite(name: str) -> None:
    """In the student's logits and in T, learned or one for each student."""
    z_s, z_t = (z.float() for z in logits())
    z_t[:, 3] = -torch.inf
    z_s.requires_grad_()
    T = torch.tensor(4.0, requires_grad=True)
    (plain,) = torch.autograd.grad(LOSSES[name](z_s, z_t, 4.0), z_s)
    learned = torch.autograd.grad(LOSSES[name](z_s, z_t, T), (z_s, T))
    assert plain.isfinite().all() and plain.abs().max() > 0
    close(learned[0], plain, rtol=1e-5, atol=1e-6)
    low, high = (LOSSES[name](z_s.double(), z_t.double(), 4.0 + step) for step in (-1e-4, 1e-4))
    close(learned[1], (high - low) / 2e-4, rtol=1e-3, atol=1e-5)
    slopes = vmap(torch.func.grad(lambda t: LOSSES[name](z_s, z_t, t)))(torch.tensor([1.0, 4.0]))
    close(slopes[1], learned[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_work_under_vmap_with_a_temperature_per_student(name: str) -> None:
    students = torch.stack([logits(seed)[0] for seed in range(3)])
    _, z_t = logits()
    T = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)
    together = vmap(lambda z, t: LOSSES[name](z, z_t, t))(students, T)
    apart = [LOSSES[name](z, z_t, float(t)) for z, t in zip(students, T, strict=True)]
    close(together, torch.stack(apart))


def test_beta_and_smoothing_work_under_vmap() -> None:
    z_s, z_t = logits()
    share = torch.tensor([0.0, 0.1, 0.5, 1.0], dtype=torch.float64)
    for loss in (
        lambda b: losses.jensen_shannon(z_s, z_t, 2, beta=b),
        lambda b: losses.hard_labels(z_s, labels(), smoothing=b),
    ):
        close(vmap(loss)(share), torch.stack([loss(float(b)) for b in share]))


# ---- controls and turned gradients ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_permuted_teacher_keeps_the_top_class_and_the_values(seed: int) -> None:
    _, z_t = logits(seed, batch=200)
    shuffled = losses.permute_wrong_classes(z_t, generator=torch.Generator().manual_seed(seed))
    close(shuffled.argmax(-1), z_t.argmax(-1))
    close(shuffled.sort(-1).values, z_t.sort(-1).values)
    moved = (shuffled != z_t).double().mean()
    expected = (CLASSES - 1) / CLASSES * (1 - 1 / (CLASSES - 1))  # a random order keeps 1 in 4
    assert abs(moved - expected) < 0.06


def test_class_mean_logits_say_the_mean_of_the_class() -> None:
    _, z_t = logits()
    y = torch.tensor([0, 1, 0, 1, 1, 2])
    p = (z_t / 3).softmax(-1)
    q = (losses.class_mean_logits(z_t, y, 3.0) / 3).softmax(-1)
    close(q[0], (p[0] + p[2]) / 2)
    close(q[3], (p[1] + p[3] + p[4]) / 3)
    close(q[5], p[5])


def test_class_centres_are_means() -> None:
    f = torch.arange(8.0).view(4, 2)
    expected = torch.tensor([[2.0, 3.0], [2.0, 3.0], [6.0, 7.0]])
    close(losses.class_centres(f, torch.tensor([0, 1, 0, 2])), expected)


def test_reverse_gradient_turns_the_slope_round() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = losses.reverse_gradient(x, 0.5)
    close(y, x)
    (slope,) = torch.autograd.grad((y**2).sum(), x)
    close(slope, torch.tensor([-1.0, -2.0]))


def test_regularizer_pulls_to_zero_or_to_the_teacher() -> None:
    own = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([2.0])}
    towards = {"a": torch.tensor([0.0, 2.0]), "b": torch.tensor([5.0, 5.0])}  # b: another shape
    close(losses.regularizer(own, towards), 0.5 * (1 + 0 + 4))
    close(losses.regularizer({}), 0.0)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", sorted(WARM))
def test_a_temperature_must_be_above_zero_and_finite(name: str, T: float) -> None:
    with pytest.raises(ValueError, match=r"temperature T=.*above 0"):
        LOSSES[name](*logits(), T)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"hard_labels", "kernel_similarity"}))
def test_student_and_teacher_need_the_same_classes(name: str) -> None:
    z_s, z_t = logits()
    with pytest.raises(ValueError, match="5 classes and the teacher with 4"):
        LOSSES[name](z_s, z_t[:, :4], 2.0)


def test_student_and_teacher_need_the_same_batch() -> None:
    z_s, z_t = logits()
    with pytest.raises(ValueError, match="same batch"):
        losses.soft_targets(z_s, z_t[:1], 2.0)


@pytest.mark.parametrize("name", sorted(set(WITH_WHERE) - {"hard_labels by label", "decoupled"}))
@pytest.mark.parametrize("shape", [(BATCH, 1), (1,), (BATCH, BATCH), ()])
def test_where_has_one_entry_for_each_image(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"where has shape .* and the batch \(6,\); expected True"):
        WITH_WHERE[name](*logits(), torch.ones(shape, dtype=torch.bool))


ON_STUDENTS_ALONE = {
    "entropy": losses.entropy,
    "diversity": losses.diversity,
    "confusion": lambda z_s, where: losses.minimum_class_confusion(z_s, 2.5, where=where),
}


@pytest.mark.parametrize("name", ON_STUDENTS_ALONE)
def test_where_has_one_entry_for_each_image_without_a_teacher(name: str) -> None:
    loss, (z_s, _) = ON_STUDENTS_ALONE[name], logits()
    assert loss(z_s, where=torch.ones(BATCH, dtype=torch.bool)).isfinite()
    for shape in ((BATCH, 1), (1,)):
        with pytest.raises(ValueError, match=r"where has shape .* and the batch \(6,\)"):
            loss(z_s, where=torch.ones(shape, dtype=torch.bool))


def test_labels_have_one_entry_for_each_image() -> None:
    z_s, z_t = logits()
    for y in (labels()[:1], labels()[:, None], labels()[:5], labels()[0]):
        for loss in (
            lambda y: losses.hard_labels(z_s, y),
            lambda y: losses.decoupled(z_s, z_t, y, 3),
        ):
            with pytest.raises(
                ValueError, match=r"labels have shape .* expected \(6,\): one label"
            ):
                loss(y)


def test_kernel_similarity_names_the_missing_projection() -> None:
    f, _ = logits()
    with pytest.raises(ValueError, match="project"):
        losses.kernel_similarity(f[:, :2], f, CENTRES, 1.0, 1.0)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_must_lie_between_0_and_1(share: float) -> None:
    z_s, z_t = logits()
    with pytest.raises(ValueError, match=r"beta=.*from 0 to 1"):
        losses.jensen_shannon(z_s, z_t, 2, beta=share)
    with pytest.raises(ValueError, match=r"smoothing=.*from 0 to 1"):
        losses.hard_labels(z_s, labels(), smoothing=share)


# ---- mistakes that real projects ship ------------------------------------------------------------


def test_mistake_missing_t_squared() -> None:
    """The slope must not fade as 1 / T² when the teacher is softened."""
    z_s, z_t = logits(scale=0.5)
    z_s.requires_grad_()
    slopes = [
        torch.autograd.grad(losses.soft_targets(z_s, z_t, T), z_s)[0].norm() for T in (20.0, 80.0)
    ]
    assert 0.9 < slopes[1] / slopes[0] < 1.1


def test_mistake_mean_over_classes() -> None:
    """KL is summed over classes: a copy of every class at half the probability changes nothing."""
    z_s, z_t = logits()
    twice = losses.soft_targets(z_s.repeat(1, 2), z_t.repeat(1, 2), 1.0)
    close(twice, losses.soft_targets(z_s, z_t, 1.0))


def test_mistake_kl_arguments_swapped() -> None:
    """Where the teacher has two modes and the student one, KL(p || q) is the larger by far."""
    z_t = torch.tensor([[6.0, 6.0, 0.0]])
    z_s = torch.tensor([[6.0, 0.0, 0.0]])
    assert losses.soft_targets(z_s, z_t, 1.0) > 2 * losses.reverse_kl(z_s, z_t, 1.0)


def test_mistake_probabilities_in_place_of_log_probabilities() -> None:
    z_s, z_t = logits()
    close(losses.soft_targets(z_s, z_t, 1.0), kl(z_t.softmax(-1), z_s.softmax(-1)).mean())


def test_mistake_softmax_twice() -> None:
    """Logits go in: one that is 40 above the rest leaves the labels no doubt."""
    z = torch.tensor([[40.0, 0.0, 0.0]])
    assert losses.hard_labels(z, torch.tensor([0])) < 1e-6
    assert losses.soft_targets(z, z.flip(-1), 1.0) > 30  # softmax twice can not exceed 1


def test_mistake_kd_that_is_mse_on_probabilities() -> None:
    """A confidently wrong student keeps its slope under KL, and loses it under the L2 form."""
    z_t = torch.tensor([[30.0, 0.0]])
    z_s = torch.tensor([[0.0, 30.0]], requires_grad=True)
    (kl_slope,) = torch.autograd.grad(losses.soft_targets(z_s, z_t, 1.0), z_s)
    (l2_slope,) = torch.autograd.grad(losses.probability_mse(z_s, z_t), z_s)
    assert kl_slope.abs().max() > 0.99 and l2_slope.abs().max() < 1e-6


def test_mistake_student_and_teacher_swapped() -> None:
    """The teacher's logits get no say over themselves: only z_s moves towards z_t."""
    z_s, z_t = logits(scale=1.0)
    z_s.requires_grad_()
    before = losses.soft_targets(z_s, z_t, 2.0)
    (slope,) = torch.autograd.grad(before, z_s)
    p = (z_t / 2).softmax(-1)
    top = p.argmax(-1, keepdim=True)
    under = (z_s / 2).softmax(-1).gather(-1, top) < p.gather(-1, top)
    assert (slope.gather(-1, top)[under] < 0).all() and under.any()


def test_mistake_alpha_means_the_opposite() -> None:
    """Here alpha weighs the soft targets; torchdistill's weighs the labels (checked above)."""
    from kdlib.objectives import HardLabels, SoftTargets

    objective = (1 - 0.9) * HardLabels() + 0.9 * SoftTargets(torch.nn.Identity(), T=4)
    weights = {term.name: weight for weight, term in objective.terms}
    close(weights["SoftTargets"], 0.9)
    close(weights["HardLabels"], 0.1)


# ---- no examples ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: losses.hard_labels(z, torch.zeros(0, dtype=torch.int64)),
        lambda z: losses.soft_targets(z, z.detach(), 4.0),
        lambda z: losses.jensen_shannon(z, z.detach(), 4.0, beta=0.5),
        lambda z: losses.logit_mse(z, z.detach()),
        lambda z: losses.probability_mse(z, z.detach(), 4.0),
        lambda z: losses.dist(z, z.detach(), 4.0),
        lambda z: losses.hint(z, z.detach()),
        lambda z: losses.relational(z, z.detach()),
        lambda z: losses.contrastive(z, z.detach()),
        lambda z: losses.entropy(z),
        lambda z: losses.diversity(z),
        lambda z: losses.information_maximization(z),
    ],
)
def test_no_examples_are_no_loss(loss) -> None:
    z = torch.zeros(0, 4, requires_grad=True)
    value = loss(z)
    value.backward()
    assert value == 0 and z.grad is not None


@pytest.mark.parametrize("y", [[0, 2, 0], [0, -1, 1]])
def test_a_class_without_images_has_no_centre(y: list[int]) -> None:
    with pytest.raises(ValueError, match="it has no centre"):
        losses.class_centres(torch.randn(3, 2), torch.tensor(y))


def test_where_is_true_or_false_and_means_have_the_targets_shape() -> None:
    z = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"where\.bool\(\)"):
        losses.soft_targets(z, z, 2.0, where=torch.ones(3))
    with pytest.raises(ValueError, match="project the student's"):
        losses.variational(z[:, :1], torch.zeros(4), z)


def test_two_standardised_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="logits of 2 classes are constants"):
        losses.standardized(torch.randn(3, 2), torch.randn(3, 2), 2.0)
