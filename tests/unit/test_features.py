"""Losses on features and weights: by hand, by a peer's published functions, limits and slopes."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from kdlib import losses, vision
from kdlib.bank import train_bank
from kdlib.data import Batch, Examples
from kdlib.metrics import cka
from kdlib.models import MLP, cnn, inherit, initialise, mlp, observe
from kdlib.objectives import (
    Attention,
    Contrastive,
    Cosine,
    Flow,
    HardLabels,
    Hint,
    KernelSimilarity,
    Learner,
    NeuronSelectivity,
    Objective,
    ParameterKL,
    ParameterL2,
    Relational,
    Similarity,
    Symbol,
    TeacherTable,
    Variational,
    tabulate,
)
from kdlib.training import fit

BATCH = 5
LOSSES = {
    "hint": losses.hint,
    "cosine": losses.cosine,
    "attention": losses.attention,
    "similarity": losses.similarity,
    "relational": losses.relational,
    "contrastive": losses.contrastive,
    "neuron_selectivity": losses.neuron_selectivity,
    "flow": lambda s, t, where=None: losses.flow(s, s.square(), t, t.square(), where=where),
}
TERMS = [
    Hint, Cosine, Attention, Similarity, Relational, Contrastive, NeuronSelectivity, Variational,
]  # fmt: skip


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = shape or (BATCH, 3, 4, 2)
    return tuple(torch.randn(2, *shape, generator=generator, dtype=dtype))  # type: ignore[return-value]


# ---- each loss by hand ---------------------------------------------------------------------------


def test_hint_and_cosine_by_hand() -> None:
    s, t = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    assert losses.hint(s, t).item() == pytest.approx((4 / 2 + 2 / 2) / 2)
    assert losses.cosine(s, t).item() == pytest.approx(((1 - 1 / 5**0.5) + (1 - 24 / 25)) / 2)
    a, b = maps()
    torch.testing.assert_close(losses.hint(a, b), F.mse_loss(a, b))
    expected = 1 - F.cosine_similarity(a.flatten(1), b.flatten(1)).mean()
    torch.testing.assert_close(losses.cosine(a, b), expected)


def test_attention_by_hand() -> None:
    s = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # one image, two channels, two positions
    t = torch.tensor([[[[0.0, 3.0]]]])  # one channel: channels may differ
    q = torch.tensor([1.0, 4.0]) / 17**0.5
    expected = (q - torch.tensor([0.0, 1.0])).square().sum()
    torch.testing.assert_close(losses.attention(s, t), expected)


def test_similarity_by_hand() -> None:
    s, t = torch.eye(2), torch.ones(2, 3)  # widths may differ
    expected = 4 * ((1 - 0.5**0.5) ** 2 + 0.5) / 2 / 4
    assert losses.similarity(s, t).item() == pytest.approx(expected)


def test_flow_by_hand() -> None:
    first_s, second_s = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])  # G_s = [[3], [6]]
    first_t, second_t = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0]])  # G_t = [[1], [0]]
    expected = (2**2 + 6**2) / 2
    assert losses.flow(first_s, second_s, first_t, second_t).item() == expected


def test_relational_by_hand() -> None:
    s = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2, 3: mean 2
    t = torch.tensor([[0.0], [1.0], [2.0]])  # distances 1, 1, 2: mean 4/3
    gaps = [1 / 2 - 3 / 4, 3 / 2 - 3 / 2, 2 / 2 - 3 / 4]
    expected = 2 * sum(gap**2 / 2 for gap in gaps) / 9
    assert losses.relational(s, t, angle=0).item() == pytest.approx(expected)
    s = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # right angle at 0, halves at 1 and 2
    t = torch.tensor([[0.0], [1.0], [2.0]])  # straight: cosines 1 at 0 and 2, -1 at 1
    half = 0.5**0.5
    gaps = [0 - 1, half + 1, half - 1]
    smooth = [gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5 for gap in gaps]
    expected = 2 * sum(smooth) / 27
    assert losses.relational(s, t, distance=0, angle=1).item() == pytest.approx(expected)


def test_contrastive_by_hand() -> None:
    s, t = torch.eye(2), torch.tensor([[2.0, 0.0], [3.0, 3.0]])
    first = math.log(1 + math.exp((0.5**0.5 - 1) / 0.5))
    second = math.log(1 + math.exp((0 - 0.5**0.5) / 0.5))
    loss = losses.contrastive(s, t, temperature=0.5)
    assert loss.item() == pytest.approx((first + second) / 2)
    a, b = maps(4, 3)
    for same in (losses.contrastive(a, b, temperature=1e6), losses.contrastive(a * 0, b)):
        assert same.item() == pytest.approx(math.log(4), abs=1e-5)  # nobody can be told apart


def test_neuron_selectivity_by_hand() -> None:
    s = torch.tensor([[[[2.0, 0.0]], [[0.0, 5.0]]]])  # two channels, each at one of two positions
    t = torch.tensor([[[[1.0, 1.0]]]])  # one channel at both
    expected = (1 + 1 + 0 + 0) / 4 + 1 - 2 * 0.5
    assert losses.neuron_selectivity(s, t).item() == pytest.approx(expected)


# ---- a peer's published functions ----------------------------------------------------------------


def test_torchdistill_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    mid_level = pytest.importorskip("torchdistill.losses.mid_level")
    a, b = maps(6, 3, 4, 4)
    peer = mid_level.ATLoss({}, mode="code")
    positions = 16  # theirs is a mean over positions, ours a sum
    torch.testing.assert_close(losses.attention(a, b), positions * peer.compute_at_loss(a, b))
    taps = {"s": {"output": a}, "t": {"output": b}}
    spkd = mid_level.SPKDLoss("s", "t", reduction="batchmean")
    # torchdistill 1.1.5 calls normalize(gram, 1), whose 1 is p, not dim: rows of L1 length 1. The
    # paper (and its authors' code) has length 1 in L2; so put in, theirs is ours.
    assert not torch.isclose(losses.similarity(a, b), spkd(taps, taps))
    monkeypatch.setattr(mid_level, "normalize", lambda gram, _: F.normalize(gram, p=2, dim=1))
    torch.testing.assert_close(losses.similarity(a, b), spkd(taps, taps))
    monkeypatch.undo()
    rkd = mid_level.RKDLoss("s", "t", dist_factor=1.5, angle_factor=2.5, reduction="mean")
    ours = losses.relational(a, b, distance=1.5, angle=2.5)
    torch.testing.assert_close(ours, rkd(taps, taps))
    second_a, second_b = maps(6, 5, 2, 2, seed=1)
    g_s, g_t = (mid_level.FSPLoss.compute_fsp_matrix(*p) for p in ((a, second_a), (b, second_b)))
    torch.testing.assert_close(losses.flow(a, second_a, b, second_b), F.mse_loss(g_s, g_t))
    assert torch.allclose(F.normalize(a.square().sum(1).flatten(1)), peer.attention_transfer(a))


# ---- zeros, limits, what each loss does not see --------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_copy_costs_nothing_more(name: str) -> None:
    s, t = maps()
    same, other = LOSSES[name](t.clone().requires_grad_(), t), LOSSES[name](s, t)
    assert same.shape == other.shape == ()
    if name == "contrastive":  # its least is above 0; a copy still beats the rest
        assert 0 < same < other
        assert losses.contrastive(t, t, temperature=1e-3).item() == pytest.approx(0, abs=1e-6)
    else:
        assert same.item() == pytest.approx(0, abs=1e-12) and other > 1e-3


def test_what_each_loss_cannot_see() -> None:
    s, t = maps()
    turn = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64)).Q
    for name in ("similarity", "relational"):  # rotating and scaling a space keeps its relations
        turned = 3 * s.flatten(1) @ turn
        torch.testing.assert_close(LOSSES[name](turned, t), LOSSES[name](s, t))
    moved = s.flatten(1) + 7
    torch.testing.assert_close(losses.relational(moved, t), losses.relational(s, t))
    assert not torch.isclose(losses.similarity(moved, t), losses.similarity(s, t))
    for name in ("cosine", "contrastive", "attention", "neuron_selectivity"):  # lengths
        torch.testing.assert_close(LOSSES[name](5 * s, t), LOSSES[name](s, t))
    order = torch.tensor([2, 0, 1])  # which channel is which
    for name in ("attention", "neuron_selectivity"):
        torch.testing.assert_close(LOSSES[name](s[:, order], t), LOSSES[name](s, t))
        torch.testing.assert_close(
            LOSSES[name](torch.cat([s, s], 1), t), LOSSES[name](s, t)
        )  # how many there are
    for name in ("hint", "cosine", "flow", "contrastive"):
        assert not torch.isclose(LOSSES[name](s[:, order], t), LOSSES[name](s, t))


def test_sizes_are_matched_by_pooling() -> None:
    s, t = maps(2, 3, 4, 4)
    small = F.adaptive_avg_pool2d(s, (2, 4))
    for loss in (losses.attention, losses.neuron_selectivity):
        torch.testing.assert_close(loss(s, t[:, :, :2]), loss(small, t[:, :, :2]))
        torch.testing.assert_close(loss(t[:, :, :2], s), loss(t[:, :, :2], small))
    peak = F.adaptive_max_pool2d(s, (2, 2))
    second = s[:, :2, :2, :2]
    ours = losses.flow(s, second, t, second)
    expected = losses.flow(peak, second, F.adaptive_max_pool2d(t, (2, 2)), second)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_slopes(name: str) -> None:
    s, t = maps(4, 2, 3, 2)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, t), s.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("where", [[1, 1, 0, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]])
def test_where_leaves_examples_out(name: str, where: list[int]) -> None:
    s, t = maps()
    chosen = torch.tensor(where, dtype=torch.bool)
    s[~chosen] = 1e3  # must not be seen
    expected = LOSSES[name](s[chosen], t[chosen])
    torch.testing.assert_close(LOSSES[name](s, t, where=chosen), expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(BATCH, 1), (1,)])
def test_where_has_one_entry_for_each_image(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"where has shape .* and the batch \(5,\)"):
        LOSSES[name](*maps(), where=torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_to_learn_from_is_zero_with_a_gradient(name: str) -> None:
    s, t = maps()
    nobody = torch.zeros(BATCH, dtype=torch.bool)
    loss = LOSSES[name](s.requires_grad_(), t, where=nobody)
    loss.backward()
    assert loss.item() == 0 and s.grad is not None and not s.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_silent_layer_gives_no_nan(name: str) -> None:
    s, t = maps(dtype=torch.float32)
    dead = torch.zeros_like(s).requires_grad_()
    loss = LOSSES[name](dead, t)
    loss.backward()
    assert loss.isfinite() and dead.grad.isfinite().all() and dead.grad.abs().max() < 1e3


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_and_vmap(name: str) -> None:
    s, t = maps(dtype=torch.float32)
    rough = LOSSES[name](s.bfloat16(), t)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, LOSSES[name](s, t), rtol=0.05, atol=0.02)
    students = torch.stack([s, 2 * s + 1, t])
    together = vmap(LOSSES[name], in_dims=(0, None))(students, t)
    torch.testing.assert_close(together, torch.stack([LOSSES[name](one, t) for one in students]))


def test_bad_features() -> None:
    s, t = maps()
    for name in ("hint", "cosine", "contrastive"):
        with pytest.raises(ValueError, match="project the student's to the teacher's shape first"):
            LOSSES[name](s[:, :2], t)
    for name in ("attention", "similarity", "relational", "neuron_selectivity", "flow"):
        with pytest.raises(ValueError, match=r"same batch|project the student's"):
            LOSSES[name](s[:3], t)
    for name in ("attention", "neuron_selectivity"):
        with pytest.raises(ValueError, match="have no positions in common; give two maps"):
            LOSSES[name](s.flatten(1), t)
        with pytest.raises(ValueError, match="two vectors of one width"):
            LOSSES[name](s.flatten(1)[:, :5], t.flatten(1))
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        losses.contrastive(s, t, temperature=0)


# ---- parameters ----------------------------------------------------------------------------------


def test_parameter_kl_by_hand() -> None:
    teacher = {"w": torch.tensor([[0.0, 2.0]]), "b": torch.tensor([1.0, 3.0])}
    student = {"w": torch.tensor([0.0, 4.0, 0.0, 4.0]), "b": torch.tensor([1.0, 3.0])}
    p, q = torch.distributions.Normal(1.0, 1.0), torch.distributions.Normal(2.0, 2.0)
    expected = torch.distributions.kl_divergence(p, q) / 2  # w only, of two tensors
    torch.testing.assert_close(losses.parameter_kl(student, teacher), expected)
    energy = {"w": torch.tensor([[1.0, 1.0]]), "b": torch.tensor([1.0, -3.0])}
    teacher = {"w": torch.tensor([[1.0, 3.0]]), "b": torch.tensor([1.0, 3.0])}
    by_hand = (0.1 * math.log(0.1 / 0.5) + 0.9 * math.log(0.9 / 0.5)) / 2
    loss = losses.parameter_kl(energy, teacher, reading="energy")
    assert loss.item() == pytest.approx(by_hand)  # b differs in sign only: not seen


@pytest.mark.parametrize("reading", ["gaussian", "energy"])
def test_parameter_losses_vanish_on_copies_and_slope_towards_them(reading: str) -> None:
    s, t = maps(4, 3)
    kl = {"w": t.clone()}, {"w": t}
    assert losses.parameter_kl(*kl, reading=reading).item() == pytest.approx(0, abs=1e-12)
    assert losses.parameter_l2(*kl).item() == 0
    assert losses.parameter_l2({"w": s}, {"w": t}).item() == pytest.approx(
        (s - t).square().sum().item() / 2
    )

    def loss(weight: Tensor) -> Tensor:
        return losses.parameter_kl({"w": weight}, {"w": t}, reading=reading)

    assert loss(s) > 0
    assert torch.autograd.gradcheck(loss, s.requires_grad_())
    assert losses.parameter_kl({"w": t * 0}, {"w": t}, reading=reading).isfinite()


def test_parameters_that_cannot_be_paired() -> None:
    here, there = {"w": torch.ones(2, 3)}, {"w": torch.ones(4, 3), "v": torch.ones(1)}
    with pytest.raises(ValueError, match=r"w \(2, 3\).*w \(4, 3\).*no name and shape in common"):
        losses.parameter_l2(here, there)
    with pytest.raises(ValueError, match="no name and shape in common"):
        losses.parameter_kl(here, there, reading="energy")
    assert losses.parameter_kl(here, there).isfinite()  # as Gaussians they can
    with pytest.raises(ValueError, match="no name in common"):
        losses.parameter_kl({"u": torch.ones(2)}, there)
    for wrong in (lambda: losses.parameter_kl(here, there, reading="laplace"),
                  lambda: ParameterKL(mlp(2, 2), reading="laplace")):  # fmt: skip
        with pytest.raises(ValueError, match="'gaussian' or 'energy'"):
            wrong()


def test_shrink_keeps_most_of_a_weight() -> None:
    weight = maps(6, 5)[0]
    singular = torch.linalg.svdvals(weight)
    for shape in ((3, 5), (6, 3), (3, 3)):
        small = losses.shrink(weight, shape)
        assert small.shape == shape
        torch.testing.assert_close(small.norm(), singular[:3].norm())  # Eckart & Young 1936
        torch.testing.assert_close(torch.linalg.svdvals(small), singular[:3])
    assert torch.equal(losses.shrink(weight, (6, 5)), weight)
    torch.testing.assert_close(losses.shrink(-weight, (3, 5)), -losses.shrink(weight, (3, 5)))
    low = weight[:, :2] @ weight[:2]  # rank 2: nothing is lost
    torch.testing.assert_close(losses.shrink(low, (2, 3)).norm(), low.norm())
    kernel = maps(6, 5, 3, 3)[0]
    assert losses.shrink(kernel, (2, 4, 3, 3)).shape == (2, 4, 3, 3)
    for shape in ((7, 5), (6,), (6, 5, 1), (0, 5)):
        with pytest.raises(ValueError, match=r"cannot shrink to|expected whole numbers"):
            losses.shrink(weight, shape)
    with pytest.raises(ValueError, match="the same kernel"):
        losses.shrink(kernel, (2, 4, 1, 1))


def test_inherit_copies_what_fits() -> None:
    student, teacher = initialise(mlp(16, 8, 6, 4), 0), initialise(mlp(16, 8, 7, 4), 1)
    before = copy.deepcopy(student.state_dict())
    names = inherit(student, teacher)
    assert set(names) >= {"stage1.0.weight", "stage1.0.bias", "head.bias"}
    assert "stage2.0.weight" not in names and "head.weight" not in names
    for name, value in student.state_dict().items():
        wanted = teacher.state_dict()[name] if name in names else before[name]
        assert torch.equal(value, wanted)
    assert set(inherit(student, teacher, shrink=True)) - set(names) == {
        "stage2.0.weight", "head.weight",
    }  # fmt: skip
    expected = losses.shrink(teacher.stage2[0].weight, (6, 8))
    torch.testing.assert_close(student.stage2[0].weight, expected)
    assert teacher.stage2[0].weight.shape == (7, 8)
    with pytest.raises(ValueError, match="no weight of one name and shape"):
        inherit(nn.Sequential(nn.Linear(2, 2)), teacher)


# ---- CKA -----------------------------------------------------------------------------------------


def test_cka() -> None:
    a, b = maps(50, 6)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    assert cka(a, 3 * a @ turn + 5).item() == pytest.approx(1)
    x, y = a - a.mean(0), b - b.mean(0)
    by_hand = (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    torch.testing.assert_close(cka(a, b), by_hand)
    assert cka(a, b).item() < 0.4
    wide = torch.cat([a] * 10, 1)  # more columns than images: the other way to the same number
    torch.testing.assert_close(cka(wide, b), cka(a, b))
    orthogonal = torch.linalg.qr(x).Q
    zero = cka(orthogonal[:, :3], orthogonal[:, 3:])
    assert zero.item() == pytest.approx(0, abs=1e-12)
    for bad in ((a[:4], b), (a[:1], b[:1])):
        with pytest.raises(ValueError, match="those of the same images, at least 2"):
            cka(*bad)


# ---- terms ---------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """A network with a layer of one token, and one of each other kind."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.flat, self.head = nn.Flatten(2), nn.Flatten(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flat(self.tokens(x)))


def upscaled(network: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Upsample(8), network)


def call(objective: Objective, student: nn.Module, batch: Batch) -> Tensor:
    return Learner.of(student, objective, batch)(batch)[0]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("kinds", ["vectors", "maps", "vector to map", "map to vector", "mixed"])
def test_every_term_pairs_every_kind_of_layer(term: type, kinds: str, train: Examples) -> None:
    vector, image = mlp(16, 8, 6, 4), upscaled(cnn(2, 4))
    student, teacher, layers = {
        "vectors": (vector, mlp(16, 12, 4), {"stage2": "stage1"}),
        "maps": (image, upscaled(cnn(3, 4)), {"1.stage1": "1.stage2"}),
        "vector to map": (vector, upscaled(cnn(3, 4)), {"stage1": "1.stage2"}),
        "map to vector": (image, mlp(16, 12, 4), {"1.stage1": "stage1"}),
        "mixed": (image, upscaled(cnn(3, 4)), {"1.stage1": "1.stage1", "1.embedding": "1.stage2"}),
    }[kinds]
    batch = train.batch(slice(0, 16))
    learner = Learner.of(initialise(student, 0), term(teacher, layers), batch)
    loss = learner(batch)[0]
    loss.backward()
    assert loss.shape == () and loss.isfinite()
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in learner.owned.parameters())


def test_equal_shapes_need_no_projector(teacher: MLP, train: Examples) -> None:
    student, batch = initialise(mlp(16, 32, 4), 0), train.batch(slice(0, 16))
    f_s, f_t = (observe(n, batch.x, ["stage1"]).features["stage1"] for n in (student, teacher))
    pair = {"stage1": "stage1"}
    for term, loss in (
        (Hint(teacher, pair), losses.hint),
        (Cosine(teacher, pair), losses.cosine),
        (Attention(teacher, pair), losses.attention),
        (Similarity(teacher, pair), losses.similarity),
        (Relational(teacher, pair), losses.relational),
        (Contrastive(teacher, pair), losses.contrastive),
        (NeuronSelectivity(teacher, pair), losses.neuron_selectivity),
    ):
        assert list(Learner.of(student, term, batch).owned.by_term) == [None]
        torch.testing.assert_close(call(term, student, batch), loss(f_s, f_t))
    both = {"stage1": "stage1", "head": "head"}
    z_s, z_t = student(batch.x), teacher(batch.x)
    mean = (losses.hint(f_s, f_t) + losses.hint(z_s, z_t)) / 2
    torch.testing.assert_close(call(Hint(teacher, both), student, batch), mean)
    torch.testing.assert_close(
        call(Flow(teacher, both), student, batch), losses.flow(f_s, z_s, f_t, z_t)
    )


def test_a_projector_is_the_objectives_and_learns(teacher: MLP, train: Examples) -> None:
    student = mlp(16, 8, 4)
    learner = Learner.of(initialise(student, 0), Hint(teacher, {"stage1": "stage1"}), train.batch())
    ((projector,),) = learner.owned.by_term
    assert projector.weight.shape == (32, 8)
    assert not any("projector" in name for name in student.state_dict())
    run = fit(student, train, Hint(teacher, {"stage1": "stage1"}), epochs=5, seed=0, batch=32)
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]


def test_foreign_networks_by_taps(train: Examples) -> None:
    resnet = vision.models.resnet18(weights=None, num_classes=4).eval()
    colour = Examples(train.x[:4].expand(-1, 3, -1, -1).repeat(1, 1, 8, 8), train.y[:4])
    student, batch = initialise(cnn(2, 4, channels=3), 0), colour.batch()
    layers = {"stage2": "layer1.1.bn2", "stage3": "layer2"}
    formula = HardLabels() + Hint(resnet, layers) + Attention(resnet, layers)
    formula = formula + Flow(resnet, layers) + Cosine(resnet, {"embedding": "avgpool"})
    learner = Learner.of(student, formula, batch)
    learner(batch)[0].backward()
    assert all(p.grad is None for p in resnet.parameters())
    assert student.stage1[0].weight.grad.any()


def test_a_table_keeps_features(teacher: MLP, train: Examples) -> None:
    table = tabulate(teacher, train, taps=["stage1"], size=100)
    part = train[torch.arange(50).flip(0)].batch()
    live = observe(teacher, part.x, ["stage1"])
    seen = table.observation(part.ids, ["stage1"])
    assert seen is not None
    torch.testing.assert_close(seen.features["stage1"], live.features["stage1"].detach())
    torch.testing.assert_close(seen.logits, live.logits.detach())
    assert table.observation(part.ids, ["head"]) is None
    assert table.observation(None, ["stage1"]) is None
    alone = TeacherTable(table.ids, table.logits, None, "kept", table.features)
    pair, student = {"stage1": "stage1"}, initialise(mlp(16, 8, 4), 0)
    ours, live_loss = (call(Hint(one, pair), student, part) for one in (alone, teacher))
    torch.testing.assert_close(ours, live_loss)
    other = TeacherTable(
        table.ids, table.logits, None, "", {"stage1": table.features["stage1"] + 1}
    )
    assert len({table.key(), other.key(), tabulate(teacher, train).key()}) == 3
    assert table.to(torch.device("cpu")).features.keys() == {"stage1"}
    with pytest.raises(ValueError, match=r"layers \['head'\]"):
        Learner.of(student, Hint(alone, {"head": "head"}), part)


def test_cosine_of_two_views(teacher: MLP, train: Examples) -> None:
    student, batch = initialise(mlp(16, 8, 4), 0), train.batch(slice(0, 16))
    changed = batch.changed(batch.x.flip(-1))
    term, pair = Cosine(teacher, {"head": "head"}, a=0.3, b=0.7), {"head": "head"}
    views = [0.3 * n(batch.x) + 0.7 * n(changed.x) for n in (student, teacher)]
    torch.testing.assert_close(call(term, student, changed), losses.cosine(*views))
    plain = call(Cosine(teacher, pair), student, changed)
    torch.testing.assert_close(plain, losses.cosine(student(changed.x), teacher(changed.x)))
    torch.testing.assert_close(
        call(term, student, batch), losses.cosine(student(batch.x), teacher(batch.x))
    )


def test_terms_read_compare_and_are_keyed(teacher: MLP) -> None:
    pair = {"stage1": "stage1"}
    assert str(0.5 * Hint(teacher, pair)) == "0.5 · Hint(teacher, layers={'stage1': 'stage1'})"
    assert str(ParameterKL(teacher)) == "ParameterKL(teacher, reading=gaussian)"
    assert Hint(teacher, pair) == Hint(teacher, dict(pair)) != Hint(teacher, {"head": "stage1"})
    assert hash(Hint(teacher, pair)) == hash(Hint(teacher, dict(pair)))
    assert Hint(teacher, pair) != Cosine(teacher, pair)
    keys = {one(teacher, pair).key() for one in TERMS}
    keys |= {ParameterKL(teacher).key(), ParameterKL(teacher, "energy").key()}
    assert len(keys) == len(TERMS) + 2
    pair["head"] = "head"  # a term does not change behind its owner's back
    assert len(Hint(teacher, {"stage1": "stage1"}).layers) == 1


def test_layers_that_cannot_be_paired(teacher: MLP, train: Examples) -> None:
    student, batch = Tokens(), train.batch(slice(0, 4))
    with pytest.raises(ValueError) as error:
        Learner.of(student, Hint(teacher, {"tokens": "normalise"}), batch)
    said = str(error.value)
    assert "cannot pair 'tokens', of shape (1, 16) per image" in said
    assert "The student has tokens (1, 16), flat (16,), head (4,)" in said
    assert "stage1 (32,)" in said.split("the teacher has")[1]
    for layers in (("stage1", "stage1"), {}, "stage1"):
        with pytest.raises(ValueError, match=r'expected pairs \{"student.layer": "teacher.layer"'):
            Hint(teacher, layers)
    with pytest.raises(ValueError, match=r"Flow was given 1 pairs.*two: where the flow starts"):
        Flow(teacher, {"stage1": "stage1"})
    with pytest.raises(ValueError, match="KernelSimilarity was given 2 pairs"):
        KernelSimilarity(teacher, {"stage1": "stage1", "head": "head"}, torch.ones(4, 32))
    with pytest.raises(ValueError, match="temperature T=0"):
        Contrastive(teacher, {"head": "head"}, temperature=0.0).check(train)


@pytest.mark.parametrize(
    "kind", ["vectors", "maps", "relations", "weights", "two pairs", "table", "to map"]
)
def test_the_bank_trains_what_fit_trains(kind: str, teacher: MLP, train: Examples) -> None:
    pair, small = {"stage1": "stage1"}, train[:64]
    student: nn.Module = mlp(16, 8, 4)
    image = upscaled(initialise(cnn(3, 4), 1)).eval()
    table = tabulate(teacher, small, taps=["stage1"])
    formula = {
        "vectors": lambda w: w * Hint(teacher, pair) + w * Cosine(teacher, pair),
        "maps": lambda w: (
            w * Attention(image, {"1.stage1": "1.stage1"})
            + NeuronSelectivity(image, {"1.stage1": "1.stage2"})
            + Flow(image, {"1.stage1": "1.stage1", "1.stage2": "1.stage2"})
        ),
        "relations": lambda w: (
            w * Similarity(teacher, pair)
            + Relational(teacher, pair, angle=w)
            + Contrastive(teacher, pair, temperature=w)
        ),
        "weights": lambda w: w * ParameterKL(teacher) + w * ParameterL2(student_like),
        "two pairs": lambda w: w * Flow(teacher, {"stage1": "stage1", "head": "head"}),
        "table": lambda w: w * Hint(table, pair) + Variational(table, pair),
        "to map": lambda w: w * Hint(image, {"stage1": "1.stage1"}),
    }[kind]
    student_like = initialise(mlp(16, 8, 4), 5)
    if kind == "maps":
        student = upscaled(cnn(2, 4))
    options = {"grid": {"w": [0.1, 0.5]}, "seeds": 2, "evaluate": {"train": small}, "epochs": 2}
    options |= {"batch": 16, "cache": False, "student": student, "examples": small}
    banks = [
        train_bank(lambda w: HardLabels() + formula(w), engine=engine, **options)
        for engine in ("reference", "sequential")
    ]
    for one, other in zip(*(bank.logits["train"].flatten(0, 1) for bank in banks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-3)
    w = Symbol("w")
    assert formula(w).symbols() == [w]
