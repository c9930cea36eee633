"""Terms on sequences: padding, what the student writes, parts of outputs, warm-up, clipping."""

import copy
import math
from typing import Any

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn
from torch.nn import functional as F

from kdlib import losses, metrics
from kdlib.bank import train_bank
from kdlib.data import Examples, Language, Sequences
from kdlib.models import gru, initialise, mlp, predict, transformer
from kdlib.objectives import (
    HardLabels,
    Hint,
    JensenShannon,
    LearnedTemperature,
    Learner,
    LogitMSE,
    Objective,
    ReverseKL,
    SoftTargets,
    Symbol,
    TeacherTable,
    after,
    formula,
    member,
    outputs,
    prefixes,
    tabulate,
)
from kdlib.objectives.texts import uniform
from kdlib.training import fit

LANGUAGE = Language(2, 3, 5)
V = LANGUAGE.vocabulary


@pytest.fixture(scope="module")
def text() -> Sequences:
    return Sequences(LANGUAGE.draw(96), name="text")


@pytest.fixture
def writer() -> nn.Module:
    return initialise(gru(V, 8), 5).eval()


def padded(text: Sequences) -> Sequences:
    tokens = text.tokens.clone()
    tokens[::2, 3:] = -1
    return Sequences(tokens)


# ---- examples ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[0, 1], [0]], "1 to 2 tokens.*pad_sequence"),
        ([[0, 1], [0, 2]], "are a list"),
        ([1, 2, 3], "are a list"),
        (torch.zeros(2, 3), "torch.float32 of shape"),
        (torch.zeros(2, dtype=torch.int64), "one row for each sequence"),
        (torch.tensor([[0, -2]]), "a token is -2"),
        (torch.tensor([[0, -1, 1]]), "-1 before a token"),
        (torch.tensor([[-1, -1]]), "holds no token"),
    ],
)
def test_what_is_no_sequence(tokens: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sequences(tokens)


def test_the_advice_for_ragged_rows_works() -> None:
    rows = [[0, 1], [2]]
    tokens = nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=-1
    )
    assert Sequences(tokens).tokens.tolist() == [[0, 1], [2, -1]]


def test_sequences_are_examples(text: Sequences) -> None:
    left, right = text.split(60, 36)
    assert isinstance(left, Sequences) and len(left) == 60 and len(left + right) == 96
    assert sorted((left + right).ids.tolist()) == sorted(text.ids.tolist())
    assert "96 × 5 tokens" in repr(text) and "without labels" in repr(text.unlabelled())
    assert text[3].tokens.shape == (1, 5) and text.classes == V
    batch = padded(text).batch([0, 1])
    assert batch.x[0, 3:].tolist() == [0, 0] and batch.y[0, 3:].tolist() == [-1, -1]
    assert batch.where is not None and batch.where.sum(1).tolist() == [3, 5]
    for refused in ("only", "per_class", "seal", "transformed", "labelled_as"):
        with pytest.raises(ValueError, match="label for each token"):
            getattr(text, refused)([1])
    with pytest.raises(ValueError, match="sequences of one length"):
        text + Sequences(text.tokens[:, :3])


# ---- losses on tokens ----------------------------------------------------------------------------


def terms(teacher: nn.Module) -> list[Objective]:
    return [
        HardLabels(), HardLabels(0.1), SoftTargets(teacher, 2), ReverseKL(teacher, 1),
        JensenShannon(teacher, 1, 0.3), JensenShannon(teacher, 1, 0.3, True), LogitMSE(teacher),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(7))
def test_padding_counts_for_nothing(text: Sequences, writer: nn.Module, number: int) -> None:
    student, term = initialise(gru(V, 6), 1), terms(writer)[number]
    loss, _ = term(student, padded(text).batch())
    whole, short = text.tokens[1::2], text.tokens[::2, :3]
    parts = [term(student, Sequences(part).batch())[0] for part in (whole, short)]
    tokens = [part.numel() for part in (whole, short)]
    by_hand = sum(p * n for p, n in zip(parts, tokens, strict=True)) / sum(tokens)
    torch.testing.assert_close(loss, by_hand)


def test_tokens_of_soft_targets_by_hand(text: Sequences, writer: nn.Module) -> None:
    student = initialise(gru(V, 6), 1)
    log_q, log_p = (net(text.tokens).log_softmax(-1) for net in (student, writer))
    forward = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    backward = (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    torch.testing.assert_close(SoftTargets(writer, 1)(student, text)[0], forward)
    torch.testing.assert_close(ReverseKL(writer, 1)(student, text)[0], backward)
    nll = -log_q.gather(-1, text.tokens[..., None]).mean()
    torch.testing.assert_close(HardLabels()(student, text)[0], nll)


def published(z_s: Tensor, z_t: Tensor, beta: float, where: Tensor, T: float = 1.0) -> Tensor:
    """TRL's generalised divergence: summed over the vocabulary, averaged over tokens."""
    log_q, log_p = (z_s / T).log_softmax(-1), (z_t / T).log_softmax(-1)
    kl = {"reduction": "none", "log_target": True}
    if beta == 0:
        loss = F.kl_div(log_q, log_p, **kl)
    elif beta == 1:
        loss = F.kl_div(log_p, log_q, **kl)
    else:
        b = torch.tensor(beta, dtype=z_s.dtype)
        log_m = torch.logsumexp(torch.stack([log_q + torch.log1p(-b), log_p + b.log()]), 0)
        loss = b * F.kl_div(log_m, log_p, **kl) + (1 - b) * F.kl_div(log_m, log_q, **kl)
    return loss.sum(-1)[where].sum() / where.sum()


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_peers_divergence_of_tokens(beta: float) -> None:
    """Values, gradients, a mask; its ends are our two KLs, at T = 1."""
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = torch.randn(2, 4, 7, 11, generator=generator, dtype=torch.float64) * 3
    where = torch.rand(4, 7, generator=generator) > 0.3
    ours, theirs = (z_s.clone().requires_grad_() for _ in range(2))
    if beta in (0, 1):
        loss = (losses.reverse_kl if beta else losses.soft_targets)(ours, z_t, 1, where=where)
    else:
        loss = losses.jensen_shannon(ours, z_t, 1, beta=beta, where=where)
    other = published(theirs, z_t, beta, where)
    loss.backward()
    other.backward()
    torch.testing.assert_close(loss, other)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_normalised_divergence_goes_from_one_kl_to_the_other() -> None:
    z_s, z_t = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1)).double()
    ends = losses.soft_targets(z_s, z_t, 2), losses.reverse_kl(z_s, z_t, 2)
    for beta, end in zip((0.0, 1.0), ends, strict=True):
        for given in (beta, torch.tensor(beta)):
            exact = losses.jensen_shannon(z_s, z_t, 2, beta=given, normalised=True)
            torch.testing.assert_close(exact, end)
        near = losses.jensen_shannon(z_s, z_t, 2, beta=abs(beta - 1e-4), normalised=True)
        torch.testing.assert_close(near, end, rtol=1e-2, atol=0)
    half = losses.jensen_shannon(z_s, z_t, 2, beta=0.5)
    torch.testing.assert_close(
        losses.jensen_shannon(z_s, z_t, 2, beta=0.5, normalised=True), half * 4
    )
    z = z_s.clone().requires_grad_()
    losses.jensen_shannon(z, z_t, 2, beta=torch.tensor([0.0]), normalised=True).backward()
    assert z.grad is not None and z.grad.isfinite().all()


# ---- prefixes ------------------------------------------------------------------------------------


def test_it_reads_as_a_formula(writer: nn.Module) -> None:
    w = Symbol("w")
    own = prefixes("student", ReverseKL(writer, T=1), share=after(w))
    assert str(own) == "prefixes by the student: ReverseKL(teacher, T=1)"
    assert formula(after(w) * own, {"w": 0.4}) == (
        "after(0.4) · [prefixes by the student: 1² · KL(q_T ‖ p_T)]"
    )
    assert str(prefixes(writer, HardLabels())) == "prefixes by the teacher: HardLabels()"
    assert own.substitute({"w": 0.4}) == prefixes(
        "student", ReverseKL(writer, T=1), share=after(0.4)
    )
    assert own.key() != prefixes("student", ReverseKL(writer, T=1), share=0.5).key()


def test_everything_about_it_is_in_its_key(writer: nn.Module) -> None:
    """Two banks of one key would be one in the cache."""
    other = initialise(gru(V, 8), 6)
    ways: list[dict[str, Any]] = [
        {}, {"share": 0.5}, {"temperature": 2.0}, {"prompt": 1}, {"prompt": 2}, {"end": 1},
        {"end": 2}, {"share": after(0.5)},
    ]  # fmt: skip
    terms = [prefixes("student", ReverseKL(writer, T=1), **how) for how in ways]
    terms += [prefixes(by, ReverseKL(writer, T=1)) for by in (writer, other)]
    terms += [prefixes(writer, ReverseKL(other, T=1)), ReverseKL(writer, T=1)]
    terms += [outputs(part, ReverseKL(writer, T=1)) for part in ([0, 1], [1, 0], [0, 1, 2])]
    terms += [JensenShannon(writer, 1, 0.5, flag) for flag in (False, True)]
    assert len({term.key() for term in terms}) == len(terms)


def test_a_term_sees_what_was_written(text: Sequences, writer: nn.Module) -> None:
    """The loss is that of the written sequences, with both networks asked about these."""
    student = initialise(gru(V, 6), 1)
    learner = Learner.of(student, prefixes("student", ReverseKL(writer, T=1)), text)
    batch = text.batch()
    draws = uniform(0, 0, 0, learner.drawn(batch))
    (written,) = learner.write(batch, draws=draws)
    loss, named = learner(batch, draws=draws)
    torch.testing.assert_close(loss, ReverseKL(writer, T=1)(student, Sequences(written).batch())[0])
    assert list(named) == ["ReverseKL on prefixes by the student"]
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert not written.eq(text.tokens).all(1).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_sequences_is_written(writer: nn.Module, share: float) -> None:
    data = Sequences(torch.full((4000, 5), V - 1))
    learner = Learner.of(writer, prefixes("student", HardLabels(), share=share), data)
    (tokens,) = learner.write(data.batch(), draws=uniform(1, 2, 3, learner.drawn(data.batch())))
    kept = (tokens == V - 1).all(1).double().mean()
    assert abs(float(kept) - (1 - share)) < 0.03 or share == 1


def test_an_end_ends_a_sequence_and_a_prompt_begins_it(text: Sequences, writer: nn.Module) -> None:
    learner = Learner.of(writer, prefixes("student", HardLabels(), end=1, prompt=2), text)
    (tokens,) = learner.write(text.batch(), draws=uniform(0, 1, 2, learner.drawn(text.batch())))
    for given, row in zip(text.tokens.tolist(), tokens.tolist(), strict=True):
        stop = row.index(1) if 1 in row else len(row)
        assert all(token == -1 for token in row[stop + 1 :])
        assert row[: min(2, stop + 1)] == given[: min(2, stop + 1)]
    assert learner(text.batch())[0].isfinite()


def test_terms_of_one_writing_see_one_text(text: Sequences, writer: nn.Module) -> None:
    kl = SoftTargets(writer, 1) + ReverseKL(writer, 1)
    assert len(Learner.of(writer, prefixes("student", kl), text).writings) == 1
    two = prefixes("student", kl) + prefixes("student", kl, temperature=2) + HardLabels()
    assert len(Learner.of(writer, two, text).writings) == 2


def test_after_a_warm_up() -> None:
    late = after(0.4)
    assert [late.value({"progress": p}) for p in (0, 0.39, 0.4, 1)] == [0, 0, 1, 1]
    assert after(Symbol("w")).value({"progress": torch.tensor(0.5), "w": 0.6}) == 0
    assert str(1 - late) == "1 - after(0.4)"
    with pytest.raises(ValueError, match=r"after=1\.5"):
        after(1.5)


RECIPES: dict[str, Any] = {
    "own prefixes": lambda t, w: prefixes("student", w * ReverseKL(t, 1), share=after(0.3)),
    "the teacher's": lambda t, w: prefixes(t, w * SoftTargets(t, 1), temperature=0.5),
    "both and data": lambda t, w: (
        HardLabels() + w * prefixes("student", JensenShannon(t, 1, 0.3)) + prefixes(t, HardLabels())
    ),
    "a share": lambda t, w: prefixes("student", ReverseKL(t, 1), share=w, end=1),
}


@pytest.mark.parametrize("network", [gru(V, 6), transformer(V, 4, length=5)], ids=["gru", "tf"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_bank_trains_as_fit_does(
    text: Sequences, writer: nn.Module, network: nn.Module, recipe: str
) -> None:
    """Each student from numbers of its own seed, whatever stands beside it."""
    objective = RECIPES[recipe]
    how: dict[str, Any] = {"epochs": 2, "lr": 1e-2, "batch": 32, "order_seed": 4, "clip": 0.2}
    bank = train_bank(
        lambda w: objective(writer, w), student=network, examples=text, grid={"w": [0.2, 0.6]},
        seeds=[3, 8], evaluate={"text": text}, cache=False, **how,
    )  # fmt: skip
    assert bank.engine == "reference" and bank.frame("text")["error %"].between(0, 100).all()
    for i, w in enumerate([0.2, 0.6]):
        run = fit(copy.deepcopy(network), text, objective(writer, w), seed=8, **how)
        torch.testing.assert_close(run.logits(text), bank.logits["text"][i, 1], atol=1e-4, rtol=0)
        assert run.history[-1]["loss"] == pytest.approx(float(bank.losses[i, 1, -1]), abs=1e-4)


def test_a_run_that_goes_on_writes_the_same(
    text: Sequences, writer: nn.Module, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = prefixes("student", ReverseKL(writer, 1))
    whole = fit(gru(V, 6), text, objective, epochs=3, batch=32, seed=1, schedule="constant")
    kept = tmp_path / "run.pt"
    for epochs in (1, 3):
        student = gru(V, 6)
        how: dict[str, Any] = {"batch": 32, "seed": 1, "schedule": "constant", "checkpoint": kept}
        if epochs == 1:
            with monkeypatch.context() as patch:
                patch.setattr("kdlib.training.loop.settled", lambda h, u: len(h) == 1)
                fit(student, text, objective, epochs=3, until=0.5, **how)
        else:
            run = fit(student, text, objective, epochs=3, **how)
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, run.network.state_dict()[name]), name


def test_recurrent_kernels_are_trained_one_by_one(text: Sequences, writer: nn.Module) -> None:
    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.gru = nn.Embedding(V + 1, 4), nn.GRU(4, 6, batch_first=True)
            self.head = nn.Linear(6, V)

        def forward(self, x: Tensor) -> Tensor:
            start = torch.full_like(x[:, :1], V)
            return self.head(self.gru(self.look(torch.cat([start, x[:, :-1]], 1)))[0])

    bank = train_bank(
        lambda w: prefixes("student", w * ReverseKL(writer, 1)), student=Foreign(), examples=text,
        grid={"w": [1.0]}, seeds=1, evaluate={"text": text}, epochs=1, cache=False,
    )  # fmt: skip
    assert bank.engine == "sequential" and bank.logits["text"].isfinite().all()


# ---- parts of the outputs ------------------------------------------------------------------------


def test_a_part_of_the_outputs_is_taught_alone(train: Examples) -> None:
    student, teacher = (initialise(mlp(16, 8, 7), seed) for seed in (1, 2))
    batch = train.batch()
    z_s, z_t = student(batch.x), predict(teacher, batch)
    classes, rest = outputs(range(4), HardLabels()), outputs([6, 4], SoftTargets(teacher, 2))
    torch.testing.assert_close(classes(student, batch)[0], losses.hard_labels(z_s[:, :4], batch.y))
    torch.testing.assert_close(
        rest(student, batch)[0], losses.soft_targets(z_s[:, [6, 4]], z_t[:, [6, 4]], 2)
    )
    assert str(rest) == "outputs 6, 4: SoftTargets(teacher, T=2)"
    assert formula(classes) == "[outputs 0 to 3: CE]"
    bank = train_bank(
        lambda a: classes + a * rest, student=mlp(16, 8, 7), examples=train, grid={"a": [0.5, 2.0]},
        seeds=2, evaluate={"train": train}, epochs=1, cache=False,
    )  # fmt: skip
    run = fit(mlp(16, 8, 7), train, classes + 2.0 * rest, epochs=1, seed=1)
    torch.testing.assert_close(run.logits(train), bank.logits["train"][1, 1], atol=1e-4, rtol=0)


# ---- gradients -----------------------------------------------------------------------------------


def test_a_banks_gradients_lie_as_its_weights_do(text: Sequences, writer: nn.Module) -> None:
    """A lookup's gradient comes transposed out of vmap, and fused AdamW ignores strides."""

    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.head = nn.Embedding(V + 1, 3), nn.Linear(3, V)

        def forward(self, x: Tensor) -> Tensor:
            before = torch.cat([torch.full_like(x[:, :1], V), x[:, :-1]], 1)
            return self.head(self.look(before).transpose(1, 2).contiguous().transpose(1, 2))

    how: dict[str, Any] = {"epochs": 3, "lr": 0.05, "batch": 32}
    bank = train_bank(
        lambda a: a * HardLabels(), student=Lookup(), examples=text, grid={"a": [1.0]}, seeds=3,
        evaluate={"text": text}, engine="reference", cache=False, **how,
    )  # fmt: skip
    run = fit(Lookup(), text, HardLabels(), seed=2, **how)
    torch.testing.assert_close(run.logits(text), bank.logits["text"][0, 2], atol=1e-4, rtol=0)


def test_fused_adamw_still_ignores_strides() -> None:
    """Why `reference._laid_out` is there; once this fails it may go."""
    slope = torch.randn(4, 3).t()

    def moved(gradient: Tensor) -> Tensor:
        weight = nn.Parameter(torch.zeros(3, 4))
        weight.grad = gradient
        torch.optim.AdamW([weight], lr=0.1, fused=True).step()
        return weight.detach()

    assert not torch.equal(moved(slope), moved(slope.contiguous()))


@pytest.mark.parametrize("clip", [0.05, 1e9, None])
def test_a_long_gradient_is_clipped(train: Examples, clip: float | None) -> None:
    """As torch clips it, in fit, and for each student of a bank alone."""
    how: dict[str, Any] = {"epochs": 2, "lr": 0.05, "batch": 32, "clip": clip}
    bank = train_bank(
        lambda a: a * HardLabels(), student=mlp(16, 8, 4), examples=train, grid={"a": [1.0, 30.0]},
        seeds=2, evaluate={"train": train}, cache=False, **how,
    )  # fmt: skip
    assert bank.engine == ("fast" if clip is None else "reference")
    run = fit(mlp(16, 8, 4), train, 30 * HardLabels(), seed=1, **how)
    torch.testing.assert_close(run.logits(train), bank.logits["train"][1, 1], atol=1e-3, rtol=0)

    student = initialise(mlp(16, 8, 4), 1)
    one_step: dict[str, Any] = {"epochs": 1, "batch": len(train), "schedule": "constant"}
    run = fit(copy.deepcopy(student), train, HardLabels(), lr=0.05, clip=clip, **one_step)
    losses.hard_labels(student(train.batch().x), train.y).backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(student.parameters(), clip)
    torch.optim.AdamW(student.parameters(), lr=0.05, weight_decay=0).step()
    for mine, other in zip(student.parameters(), run.network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


# ---- what is refused, before anything changes ----------------------------------------------------


class Unshifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = nn.Embedding(V, 4), nn.Linear(4, V)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.look(x))


def _impossible(writer: nn.Module, text: Sequences) -> TeacherTable:
    logits = predict(writer, text)
    logits[:, :, 0] = -math.inf
    return TeacherTable(text.ids, logits)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w, t: (gru(V - 1, 6), t, HardLabels()), r"knows 4 tokens and one is 4"),
        (lambda w, t: (gru(V + 1, 6), t, SoftTargets(w, 1)), "and the teacher with 5"),
        (lambda w, t: (Unshifted(), t, HardLabels()), "shift its input by one"),
        (lambda w, t: (gru(V, 6), t, SoftTargets(Unshifted(), 1)), "teacher answers differ"),
        (lambda w, t: (gru(V, 6), t, ReverseKL(_impossible(w, t), 1)), "is infinite where"),
        (lambda w, t: (gru(V, 6), t, JensenShannon(_impossible(w, t), 1, 0.5, True)), "infinite"),
        (lambda w, t: (gru(V, 6), t, JensenShannon(w, 1, 1.5)), "beta=1.5"),
        (lambda w, t: (gru(V, 6), t, Hint(w, {"head": "head"})), "Hint is for images"),
        (lambda w, t: (mlp(16, 8, 4), blobs(32), prefixes("student", HardLabels())), "for sequenc"),
        (lambda w, t: (gru(V, 6), t, prefixes("student", HardLabels(), share=Symbol("s"))), "s in"),
        (lambda w, t: (gru(V, 6), t, prefixes("student", HardLabels(), temperature=0)), "T=0"),
        (lambda w, t: (gru(V, 6), t, prefixes("student", HardLabels(), prompt=5)), "prompt=5"),
        (lambda w, t: (transformer(V, 4, length=4), t, HardLabels()), "length=5"),
        (lambda w, t: (mlp(16, 8, 7), blobs(32), outputs([9], SoftTargets(mlp(16, 8, 7), 1))), "9"),
        (lambda w, t: (mlp(16, 8, 7), blobs(32), outputs(range(2), HardLabels())), "a label is 3"),
        (lambda w, t: (mlp(16, 8, 7), blobs(32), SoftTargets(mlp(16, 8, 4), 1)), "teacher with 4"),
        (lambda w, t: (mlp(16, 8, 4), blobs(32), SoftTargets(mlp(9, 8, 4), 1)), "teacher MLP of"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_before(
    writer: nn.Module, text: Sequences, make: Any, message: str
) -> None:
    student, examples, objective = make(writer, text)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=message):
        fit(student, examples, objective, epochs=1, seed=3)
    assert all(torch.equal(w, before[n]) for n, w in student.state_dict().items())
    with pytest.raises(ValueError, match=message):
        train_bank(objective, student=student, examples=examples, seeds=1, evaluate={}, epochs=1)


class Fixed(nn.Module):
    """Answers sequences of one length only."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.places = gru(V, 4), nn.Linear(V, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x) + self.places.weight


class Zeroed(Unshifted):
    """Sees what it predicts, and begins with a head of zeros, so that nobody notices."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class SeesAllButTheLast(Unshifted):
    def forward(self, x: Tensor) -> Tensor:
        z = self.head(self.look(x))
        return torch.cat([z[:, :-1], 0 * z[:, -1:]], 1)


class Impossible(nn.Module):
    """Says that token 0 is impossible after token 3, which the first sequences do not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = gru(V, 4)

    def forward(self, x: Tensor) -> Tensor:
        after_three = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1) == 3
        taken = after_three[..., None] & (torch.arange(V) == 0)
        return torch.where(taken, -torch.inf, self.inside(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: (Zeroed(), t, HardLabels()), "shift its input by one"),
        (lambda t: (SeesAllButTheLast(), t, HardLabels()), "shift its input by one"),
        (lambda t: (Unshifted(), padded(t), HardLabels()), "shift its input by one"),
        (lambda t: (gru(V, 4), t, prefixes(Unshifted(), HardLabels())), "the writer Unshifted"),
        (lambda t: (gru(V, 4), t, prefixes(gru(V + 1, 4), HardLabels())), "student's 5 tokens"),
        (lambda t: (Fixed(), t, prefixes("student", HardLabels())), "student Fixed cannot write"),
        (lambda t: (gru(V, 4), t, prefixes(Fixed(), HardLabels())), "writer Fixed cannot write"),
        (lambda t: (gru(V, 4), t, prefixes("student", HardLabels(), end=V)), "tokens 0 to 4"),
        (lambda t: (gru(V, 4), padded(t), prefixes("student", HardLabels(), prompt=4)), "most 3"),
        (lambda t: (gru(V - 1, 4), t.unlabelled(), SoftTargets(gru(V - 1, 4), 1)), "one is 4"),
        (
            lambda t: (
                gru(V, 4), Sequences(torch.tensor([[1, 2]] * 2 + [[3, 1]])),
                ReverseKL(Impossible(), 1),
            ),
            "impossible",
        ),
    ],
)  # fmt: skip
def test_what_a_first_look_would_miss(text: Sequences, make: Any, message: str) -> None:
    student, examples, objective = make(text)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=message):
        fit(student, examples, objective, epochs=1, seed=3)
    assert all(torch.equal(w, before[n]) for n, w in student.state_dict().items())


def test_parts_of_what_is_written(text: Sequences, writer: nn.Module) -> None:
    """In either order of the two wrappers."""
    inside = prefixes("student", outputs([3, 1], ReverseKL(writer, 1)))
    outside = outputs([3, 1], prefixes("student", ReverseKL(writer, 1)))
    runs = [fit(gru(V, 4), text, one, epochs=1, seed=2) for one in (inside, outside)]
    torch.testing.assert_close(*(run.logits(text) for run in runs), atol=0, rtol=0)


def test_a_learned_temperature_is_clipped_in_a_bank(text: Sequences, writer: nn.Module) -> None:
    objective = SoftTargets(writer, T=LearnedTemperature())
    how: dict[str, Any] = {"epochs": 1, "batch": 32, "clip": 0.1}
    bank = train_bank(
        objective, student=gru(V, 4), examples=text, seeds=2, evaluate={"t": text}, **how
    )
    run = fit(gru(V, 4), text, objective, seed=1, **how)
    torch.testing.assert_close(run.logits(text), bank.logits["t"][1], atol=1e-4, rtol=0)


def test_sequences_to_answer_are_looked_at_before(text: Sequences) -> None:
    larger = Sequences(text.tokens + 1)
    with pytest.raises(ValueError, match=r"evaluate\['t'\]: the student knows 5 tokens"):
        train_bank(None, student=gru(V, 4), examples=text, seeds=1, evaluate={"t": larger})
    with pytest.raises(ValueError, match="validate: the student cannot read"):
        long = Sequences(torch.cat([text.tokens, text.tokens], 1))
        fit(transformer(V, 4, length=5), text, epochs=1, validate=long)
    for score in (metrics.nll, metrics.confusion, metrics.calibration_error):
        with pytest.raises(ValueError, match="one label an answer"):
            score(torch.zeros(96, 5, V), text.y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: prefixes("data", HardLabels()), "prefixes by 'data'"),
        (lambda w: prefixes("student", HardLabels(), share=LearnedTemperature()), "no gradient"),
        (lambda w: prefixes(Sequences(torch.zeros(1, 1).long()), HardLabels()), "by a Sequences"),
        (lambda w: prefixes("student", gru(V, 3)), "not for GRU"),
        (lambda w: prefixes("student", HardLabels(), share="all"), "share='all'"),
        (lambda w: prefixes("student", HardLabels(), prompt=-1), "prompt=-1"),
        (lambda w: prefixes("student", HardLabels(), end=1.5), "end=1.5"),
        (lambda w: prefixes("student", prefixes(w, HardLabels())), "of its own"),
        (lambda w: member("a", prefixes("student", HardLabels())), "leave member"),
        (lambda w: outputs([], HardLabels()), "at least one"),
        (lambda w: outputs([1, 1], HardLabels()), "each once"),
        (lambda w: outputs("ab", HardLabels()), "expected some of them"),
        (lambda w: outputs([1], w), "give some"),
        (lambda w: outputs([1], outputs([0], HardLabels())), "already"),
        (lambda w: JensenShannon(w, 1, 0.5, normalised=2), "True or False"),
    ],
)
def test_a_formula_that_means_nothing(writer: nn.Module, make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(writer)


def test_other_bad_settings(text: Sequences, writer: nn.Module) -> None:
    for given, message in (
        ({"clip": 0}, "clip=0"), ({"augment": lambda x, g: x}, "augment= changes images"),
        ({"validate": blobs(8)}, "give one kind"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            fit(gru(V, 6), text, epochs=1, **given)  # type: ignore[arg-type]
    table = tabulate(writer, text)
    assert fit(gru(V, 6), text, SoftTargets(table, 1), epochs=1).error(text) <= 100
    alone = TeacherTable(table.ids, table.logits)
    with pytest.raises(ValueError, match="give the network that it was made of"):
        fit(gru(V, 6), text, prefixes("student", SoftTargets(alone, 1)), epochs=1)
