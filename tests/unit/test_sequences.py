"""A language whose every string is known, networks that write it, and exact scores of them."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from kdlib import metrics, models
from kdlib.data import Language, as_words, words
from kdlib.models import GRU, Transformer, initialise, observe, sample, write

SMALL = Language(dialects=2, letters=3, length=4, seed=1)


def network(kind: str, seed: int = 0, vocabulary: int = 5) -> GRU | Transformer:
    builders = {
        "gru": lambda: models.gru(vocabulary, 6),
        "transformer": lambda: models.transformer(vocabulary, 6, 2, 3, length=7),
    }
    return initialise(builders[kind](), seed)


both = pytest.mark.parametrize("kind", ["gru", "transformer"])


def tokens(count: int, length: int, vocabulary: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (count, length), generator=generator)


# ---- the language --------------------------------------------------------------------------------


def test_the_course_s_language_has_1536_strings_and_probabilities_that_sum_to_1() -> None:
    language = Language()
    assert language.support.shape == (6 * 2**8, 10) and language.vocabulary == 12
    assert len(language.support.unique(dim=0)) == 1536
    assert float(language.log_probabilities.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert language.support.dtype == torch.int64
    assert torch.equal(language.support[:, 0], language.support[:, -1])


def test_probabilities_by_hand() -> None:
    language = Language(dialects=2, letters=2, length=4, skew=2.0, likely=0.9)
    of = dict(zip(language.letters(language.support), language.log_probabilities, strict=True))
    assert sorted(s[0] + s[-1] for s in of) == ["AA"] * 4 + ["BB"] * 4
    assert sorted(s[1:3] for s in of if s[0] == "A") == ["aa", "ab", "ba", "bb"]
    expected = sorted(p * r for p in (0.8, 0.2) for r in (0.81, 0.09, 0.09, 0.01))
    assert sorted(math.exp(v) for v in of.values()) == pytest.approx(expected)


def test_draws_have_the_language_s_frequencies_and_the_seed_decides() -> None:
    drawn = SMALL.draw(40_000, seed=3)
    counts = (drawn[:, None] == SMALL.support).all(-1).double().sum(0)
    assert counts.sum() == len(drawn), "only strings of the language"
    p = SMALL.log_probabilities.exp()
    deviations = (counts - len(drawn) * p) / (len(drawn) * p * (1 - p)).sqrt()
    assert deviations.abs().max() < 4
    assert torch.equal(drawn, SMALL.draw(40_000, seed=3))
    assert not torch.equal(drawn, SMALL.draw(40_000, seed=4))
    assert not torch.equal(SMALL.support, Language(2, 3, 4, seed=2).support)
    assert SMALL.draw(0).shape == (0, 4)


def test_what_has_no_wrong_position_is_the_support() -> None:
    everything = torch.tensor(list(itertools.product(range(5), repeat=4)))
    right = everything[~SMALL.wrong(everything).any(-1)]
    assert set(SMALL.letters(right)) == set(SMALL.letters(SMALL.support))
    assert len(right) == len(SMALL.support)


def test_a_letter_after_a_wrong_letter_is_judged_by_its_own_predecessor() -> None:
    """In a language of the same letters and one more place, where that predecessor is right."""
    of_a = Language(2, 3, 5, seed=1).support
    of_a = of_a[of_a[:, 0] == 0]
    (stranger,) = {2, 3, 4} - set(of_a[:, 1].tolist())  # no sequence of dialect A begins with it
    followers = set(of_a[of_a[:, 2] == stranger][:, 3].tolist())
    assert len(followers) == 2
    for letter in (2, 3, 4):
        row = torch.tensor([0, stranger, letter, 0])
        assert SMALL.wrong(row).tolist() == [False, True, letter not in followers, False]


def test_marks_that_are_wrong() -> None:
    string = SMALL.support[0]
    assert SMALL.wrong(torch.cat([string[:3], 1 - string[:1]])).tolist() == [False] * 3 + [True]
    assert SMALL.wrong(torch.tensor([3, 3, 3, 3])).all(), "without a mark all is wrong"
    again = torch.cat([string[:1], string[:2], string[:1]])  # as after the one at the beginning
    assert SMALL.wrong(again).tolist() == [False, True, False, False]


def test_the_next_tokens_distribution_is_the_conditional_of_the_strings() -> None:
    p = SMALL.log_probabilities.exp()
    string = SMALL.support[5]
    conditional = SMALL.next_log_probabilities(string, smoothing=0).exp()
    for t in range(4):
        among = (SMALL.support[:, :t] == string[:t]).all(-1)
        for v in range(5):
            share = p[among & (SMALL.support[:, t] == v)].sum() / p[among].sum()
            assert float(conditional[t, v]) == pytest.approx(float(share))


def test_smoothing_mixes_in_the_uniform_distribution_on_every_prefix() -> None:
    everything = torch.tensor(list(itertools.product(range(5), repeat=4)))
    plain = SMALL.next_log_probabilities(everything, smoothing=0).exp()
    mixed = SMALL.next_log_probabilities(everything, smoothing=0.25)
    torch.testing.assert_close(mixed.exp(), 0.75 * plain + 0.25 / 5)
    assert mixed.isfinite().all() and mixed.dtype == torch.float64
    torch.testing.assert_close(mixed.exp().sum(-1), torch.ones(625, 4, dtype=torch.float64))
    assert torch.equal(
        SMALL.next_log_probabilities(everything[None, :7])[0],
        SMALL.next_log_probabilities(everything[:7]),
    )


def test_readable_strings() -> None:
    assert SMALL.letters(torch.tensor([[0, 2, 4, 1], [1, 3, 3, 1]])) == ["AacB", "BbbB"]
    assert SMALL.letters(torch.tensor([1, 2])) == ["Ba"]


def test_words_of_python_s_manual() -> None:
    rows = words()
    spelled = as_words(rows)
    assert spelled == sorted(set(spelled)) and len(rows) > 500 and {"is", "function"} <= {*spelled}
    assert rows.shape[1] == 9 and rows.dtype == torch.int64
    assert max(map(len, spelled)) == 8 and min(map(len, spelled)) == 2
    ends = rows == 26
    assert (ends.sum(-1) == 1).all()
    assert torch.equal(rows == -1, ends.long().cumsum(-1) - ends.long() == 1)
    assert as_words(torch.tensor([[2, 0, 19, 26, 5], [2, 0, 19, 18, -1]])) == ["cat", "cats"]
    assert words(3).shape[1] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dialects": 0}, "dialects=0"),
        ({"dialects": 27}, "dialects=27"),
        ({"letters": 1}, "letters=1"),
        ({"length": 2}, "length=2: expected a whole number of at least 3"),
        ({"likely": 1.0}, "likely=1.0: expected a number between 0 and 1"),
        ({"likely": 0.0}, "likely=0.0"),
        ({"skew": math.nan}, "skew=nan"),
    ],
)
def test_no_such_language(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Language(**settings)


def test_a_language_too_large_to_list_can_still_be_drawn_from() -> None:
    large = Language(length=20)
    assert not large.wrong(large.draw(10)).any()
    for exact in ("support", "log_probabilities"):
        with pytest.raises(ValueError, match="1,572,864 strings, too many to list"):
            getattr(large, exact)


def test_bad_tokens_and_numbers_are_named() -> None:
    for bad in (torch.tensor([[0, 1, 2, 5]]), torch.tensor([[0, -1, 2, 3]])):
        for method in (SMALL.wrong, SMALL.letters, SMALL.next_log_probabilities):
            with pytest.raises(ValueError, match="tokens run from"):
                method(bad)
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(…, 4\)"):
        SMALL.wrong(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"tokens are torch.float32; expected an int64"):
        SMALL.letters(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="tokens are list"):
        SMALL.wrong([0, 1, 2, 3])
    with pytest.raises(ValueError, match="smoothing=2"):
        SMALL.next_log_probabilities(SMALL.support, smoothing=2)
    with pytest.raises(ValueError, match="count=-1"):
        SMALL.draw(-1)
    with pytest.raises(ValueError, match="longest=1"):
        words(1)
    with pytest.raises(ValueError, match="run from 3 to 27; expected -1 to 26"):
        as_words(torch.tensor([[3, 27]]))


# ---- the networks --------------------------------------------------------------------------------


def test_sizes_of_the_course_s_networks() -> None:
    built = [models.gru(12, 16), models.gru(12, 64), models.transformer(12, 12)]
    built.append(models.transformer(12, 48))
    assert [models.parameter_count(net) for net in built] == [1644, 15_756, 2256, 29_724]


@both
def test_an_answer_sees_only_the_tokens_before_it(kind: str) -> None:
    net, x = network(kind), tokens(3, 7)
    z = net(x)
    assert z.shape == (3, 7, 5)
    for t in range(7):
        changed = x.clone()
        changed[:, t] = (x[:, t] + 1) % 5
        moved = (net(changed) - z).abs().amax((0, 2))
        assert (moved[: t + 1] == 0).all(), "nothing up to the changed token"
        assert (moved[t + 1 :] > 1e-6).all(), "everything after it"
        torch.testing.assert_close(net(x[:, : t + 1]), z[:, : t + 1])


def test_stepping_is_the_forward_pass() -> None:
    net, x = network("gru"), tokens(4, 7)
    state, last, steps = net.begin(4), torch.full((4,), 5), []
    for token in x.unbind(1):
        z, state = net.step(last, state)
        steps.append(z)
        last = token
    torch.testing.assert_close(torch.stack(steps, 1), net(x))


def test_the_gru_is_pytorch_s() -> None:
    net, x = network("gru"), tokens(4, 7)
    peer = nn.GRU(18, 6, batch_first=True)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(torch.eye(18))
        peer.bias_ih_l0.zero_()
        peer.weight_hh_l0.copy_(net.memory.weight)
        peer.bias_hh_l0.copy_(net.memory.bias)
        inputs = torch.cat([torch.full((4, 1), 5), x[:, :-1]], 1)
        states, _ = peer(net.gates(inputs))
        torch.testing.assert_close(net.head(states), net(x))


def test_the_transformer_s_attention_is_pytorch_s() -> None:
    block, h = network("transformer").blocks[0], torch.randn(2, 7, 6)
    y = block.before_attention(h)
    query, key, value = (
        part.reshape(2, 7, 3, 2).transpose(1, 2) for part in block.attends(y).chunk(3, -1)
    )
    mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    after = h + block.attended(mixed.transpose(1, 2).reshape(2, 7, 6))
    expected = after + block.narrow(nn.functional.gelu(block.wide(block.before_layer(after))))
    torch.testing.assert_close(block(h), expected)


@both
def test_stacked_networks_have_the_gradients_of_each(kind: str) -> None:
    nets = [network(kind, seed).train() for seed in range(3)]
    params, buffers = stack_module_state(nets)
    x = torch.stack([tokens(4, 7, seed=seed) for seed in range(3)])

    def loss(params: dict, buffers: dict, x: Tensor) -> Tensor:
        z = functional_call(nets[0], (params, buffers), (x,))
        return nn.functional.cross_entropy(z.flatten(0, 1), x.flatten())

    stacked = vmap(grad(loss))(params, buffers, x)
    for i, net in enumerate(nets):
        nn.functional.cross_entropy(net(x[i]).flatten(0, 1), x[i].flatten()).backward()
        for name, weight in net.named_parameters():
            torch.testing.assert_close(stacked[name][i], weight.grad, msg=name)


@both
def test_the_seed_decides_the_weights_and_their_scale(kind: str) -> None:
    first, again, other = (network(kind, seed).state_dict() for seed in (0, 0, 1))
    drawn = [name for name, w in first.items() if w.std() > 0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_scales_of_the_first_weights() -> None:
    recurrent = initialise(models.gru(100, 100), 0).state_dict()
    for name, weight in recurrent.items():  # uniform up to 1 / sqrt(width), each of them
        assert 0.09 < weight.abs().max() <= 0.1, name
        assert float(weight.std()) == pytest.approx(0.1 / 3**0.5, rel=0.2), name
    attending = initialise(models.transformer(100, 100, length=100), 0).state_dict()
    expected = {"tokens": 0.5, "places": 0.5, "narrow": 1 / 20}
    for name, weight in attending.items():
        if name.endswith("bias"):
            assert (weight == 0).all()
        elif weight.dim() == 1:
            assert (weight == 1).all()
        else:
            module = name.split(".")[-2]
            assert float(weight.std()) == pytest.approx(expected.get(module, 0.1), rel=0.05), name


@both
def test_taps_are_those_of_the_course(kind: str) -> None:
    net, x = network(kind), tokens(3, 7)
    seen = observe(net, x, ["embedding", "head"])
    assert seen.features["embedding"].shape == (3, 7, 6)
    torch.testing.assert_close(net.head(seen.features["embedding"]), seen.logits)


def test_no_such_network() -> None:
    with pytest.raises(ValueError, match="vocabulary=1, width=4: expected whole numbers"):
        models.gru(1, 4)
    with pytest.raises(ValueError, match="width=0"):
        models.gru(5, 0)
    for bad in ({"vocabulary": 1}, {"layers": 0}, {"length": 0}, {"width": 2.5}):
        with pytest.raises(ValueError, match="expected whole numbers"):
            models.transformer(**({"vocabulary": 5, "width": 4} | bad))
    with pytest.raises(ValueError, match="width=5 for 2 heads; expected a multiple"):
        models.transformer(5, 5)
    with pytest.raises(ValueError, match="sequences of 8 tokens for a transformer with length=7"):
        network("transformer")(tokens(2, 8))


@both
@pytest.mark.parametrize("token", [-1, 6])
def test_a_token_beyond_the_vocabulary_is_named(kind: str, token: int) -> None:
    x = tokens(3, 7)
    x[1, 2] = token
    with pytest.raises(ValueError, match="a token is none of 0 to 4"):
        network(kind)(x)


# ---- writing -------------------------------------------------------------------------------------


class Truth(nn.Module):
    """The language as a network that reads all before it writes."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self.language = language

    def forward(self, x: Tensor) -> Tensor:
        whole = nn.functional.pad(x, (0, self.language.length - x.shape[1]))
        return self.language.next_log_probabilities(whole, smoothing=0)[:, : x.shape[1]]


class Constant(nn.Module):
    """The same distribution at every position."""

    def __init__(self, p: list[float]) -> None:
        super().__init__()
        self.register_buffer("z", torch.tensor(p).log())

    def forward(self, x: Tensor) -> Tensor:
        return self.z.expand(*x.shape, -1)


class Reading(nn.Module):
    """A network without its begin and step."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class Writing(nn.Module):
    """Its forward pass writes, so that functional_call reaches the network's weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, draws: Tensor, temperature: Tensor) -> Tensor:
        return write(self.network, x, draws, temperature=temperature, prompt=2, end=4)


def test_tokens_by_hand() -> None:
    net, x = Constant([0.25, 0.0, 0.5, 0.25, 0.0]), torch.zeros(1, 6, dtype=torch.int64)
    draws = torch.tensor([[0.0, 0.24, 0.25, 0.74, 0.75, 1 - 2**-24]])
    assert write(net, x, draws).tolist() == [[0, 0, 2, 2, 3, 3]]
    # p ** 2, normed: 1/6, 4/6, 1/6
    draws = torch.tensor([[0.16, 0.17, 0.83, 0.84, 0.0, 0.5]])
    assert write(net, x, draws, temperature=0.5).tolist() == [[0, 2, 2, 3, 0, 2]]


def test_the_language_writes_itself() -> None:
    written = sample(Truth(SMALL), 20_000, 4, seed=2)
    counts = (written[:, None] == SMALL.support).all(-1).double().sum(0)
    p = SMALL.log_probabilities.exp()
    assert counts.sum() == 20_000
    deviations = (counts - 20_000 * p) / (20_000 * p * (1 - p)).sqrt()
    assert deviations.abs().max() < 4


def test_stepping_and_reading_write_the_same() -> None:
    net = network("gru")
    for settings in ({}, {"temperature": 0.3, "end": 2}):
        stepped, read = sample(net, 200, 6, **settings), sample(Reading(net), 200, 6, **settings)
        assert torch.equal(stepped, read)


@both
def test_at_temperature_0_the_likeliest_token_is_written(kind: str) -> None:
    net = network(kind)
    cold = sample(net, 20, 7, temperature=2e-39)
    with torch.no_grad():
        assert torch.equal(net(cold).argmax(-1), cold)


@both
def test_the_end_and_the_prompt(kind: str) -> None:
    net, prompt = network(kind), tokens(300, 2)
    written = sample(net, 300, 7, prompt=prompt, end=4)
    ended = (written == 4).long().cumsum(-1) - (written == 4).long() > 0
    assert torch.equal(written == -1, ended) and ended.any() and not ended.all(-1).any()
    assert torch.equal(written[:, 0], prompt[:, 0])
    assert torch.equal(written[:, 1] == -1, prompt[:, 0] == 4), "a prompt may end, too"
    free = sample(net, 300, 7, prompt=prompt)
    assert torch.equal(written[written >= 0], free[written >= 0]) and (free >= 0).all()
    assert torch.equal(sample(net, 5, 2, prompt=prompt[:5]), prompt[:5])


@both
def test_writing_under_vmap_is_writing_one_by_one(kind: str) -> None:
    nets = [network(kind, seed) for seed in range(3)]
    params, buffers = stack_module_state([Writing(net) for net in nets])
    draws = torch.rand(3, 8, 6, generator=torch.Generator().manual_seed(0))
    x, temperature = tokens(8, 6), torch.tensor([0.5, 1.0, 2.0])

    def together(params: dict, buffers: dict, draws: Tensor, temperature: Tensor) -> Tensor:
        return functional_call(Writing(nets[0]), (params, buffers), (x, draws, temperature))

    stacked = vmap(together)(params, buffers, draws, temperature)
    for i, net in enumerate(nets):
        expected = write(net, x, draws[i], temperature=float(temperature[i]), prompt=2, end=4)
        assert torch.equal(stacked[i], expected)


def test_sampling_leaves_the_network_and_the_chance_of_others_as_they_were() -> None:
    net = network("gru").train()
    before = torch.random.get_rng_state()
    written = sample(net, 5001, 3, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before) and net.training
    assert torch.equal(written, sample(net, 5001, 3, seed=1))
    assert not torch.equal(written, sample(net, 5001, 3, seed=2))
    assert written.dtype == torch.int64 and written.shape == (5001, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count=0, length=4"),
        ({"length": 0}, "count=3, length=0"),
        ({"temperature": 0}, "temperature T=0"),
        ({"prompt": torch.zeros(2, 1, dtype=torch.int64)}, r"shape \(2, 1\); expected torch.int64"),
        ({"prompt": torch.zeros(3, 5, dtype=torch.int64)}, "with k ≤ 4"),
        ({"prompt": torch.zeros(3, 1)}, "prompt is torch.float32"),
    ],
)
def test_nothing_to_write(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(network("gru"), **({"count": 3, "length": 4} | settings))


# ---- scores --------------------------------------------------------------------------------------


def test_log_probabilities_by_hand() -> None:
    p = torch.tensor([[[0.5, 0.5], [0.25, 0.75]], [[0.1, 0.9], [0.2, 0.8]]])
    rows = torch.tensor([[0, 1], [1, -1]])
    expected = torch.tensor([math.log(0.375), math.log(0.9)], dtype=torch.float64)
    torch.testing.assert_close(
        metrics.log_probabilities(p.log() + 3, rows), expected, rtol=1e-6, atol=0
    )
    stacked = metrics.log_probabilities(torch.stack([p.log(), p.log()]), rows)
    torch.testing.assert_close(stacked[1], expected, rtol=1e-6, atol=0)


def test_all_strings_of_a_network_have_probabilities_that_sum_to_1() -> None:
    everything = torch.tensor(list(itertools.product(range(5), repeat=4)))
    for kind in ("gru", "transformer"):
        log_q = metrics.log_probabilities(network(kind)(everything), everything)
        assert log_q.dtype == torch.float64
        assert float(log_q.detach().exp().sum()) == pytest.approx(1, abs=1e-6)


def test_scores_by_hand() -> None:
    p = torch.tensor([0.5, 0.3, 0.2])
    q = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.02, 0.03], [0.04, 0.06, 0.1]])
    scores = metrics.sequence_scores(p.log(), q.log())
    assert scores.share.tolist() == pytest.approx([1, 0.65, 0.2])
    assert scores.coverage.tolist() == pytest.approx([1, 0.7, 0.5])
    assert scores.kl.tolist() == pytest.approx((p * (p / q).log()).sum(-1).tolist(), abs=1e-6)
    assert scores.kl.dtype == torch.float64
    lost = metrics.sequence_scores(torch.tensor([1.0, 0.0]).log(), torch.tensor([0.5, 0.0]).log())
    assert float(lost.kl) == pytest.approx(math.log(2))


def test_the_smoothed_truth_scores_as_it_must() -> None:
    smoothing = 0.1
    logits = SMALL.next_log_probabilities(SMALL.support, smoothing=smoothing)
    log_q = metrics.log_probabilities(logits, SMALL.support)
    scores = metrics.sequence_scores(SMALL.log_probabilities, log_q)
    # At each position the tokens that the language allows have (1 - s) + s · (allowed / V).
    allowed = [2, 2, 2, 1]
    expected = math.prod(1 - smoothing + smoothing * a / 5 for a in allowed)
    assert float(scores.share) == pytest.approx(expected) and float(scores.coverage) > 0.999
    perfect = metrics.sequence_scores(SMALL.log_probabilities, SMALL.log_probabilities)
    assert float(perfect.kl) == 0 and float(perfect.share) == pytest.approx(1)


def test_share_is_how_often_a_network_writes_grammar() -> None:
    net = network("gru")
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([1.5, -1.0, 2.0, 0.5, 2.0]))
        log_q = metrics.log_probabilities(net(SMALL.support), SMALL.support)
    share = float(metrics.sequence_scores(SMALL.log_probabilities, log_q).share)
    right = ~SMALL.wrong(sample(net, 20_000, 4)).any(-1)
    assert float(right.double().mean()) == pytest.approx(share, abs=4 * (share / 20_000) ** 0.5)
    assert share > 0.005


def test_acceptance_is_1_minus_total_variation() -> None:
    p = torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]])
    q = torch.tensor([[[0.25, 0.25, 0.5], [0.2, 0.3, 0.5]]])
    assert float(metrics.acceptance(q.log(), p.log())) == pytest.approx((0.5 + 1) / 2)
    where = torch.tensor([[True, False]])
    assert float(metrics.acceptance(q.log(), p.log(), where)) == pytest.approx(0.5)
    students = torch.stack([q, p]).log()
    assert metrics.acceptance(students, p.log()).tolist() == pytest.approx([0.75, 1])
    assert metrics.acceptance(students, p.log(), where).tolist() == pytest.approx([0.5, 1])


def test_errors_before_and_after_a_mistake() -> None:
    rows = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    first, after = metrics.errors_after(rows)
    assert float(first) == pytest.approx(2 / 10) and float(after) == pytest.approx(1 / 2)
    both_rates = metrics.errors_after(torch.stack([rows, rows[[2, 2, 2]]]))
    assert both_rates[0].tolist() == pytest.approx([0.2, 0])
    assert math.isnan(both_rates[1][1])


def test_bad_scores_are_named() -> None:
    z, rows = torch.zeros(3, 4, 5), torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"tokens \(3, 4\); expected"):
        metrics.log_probabilities(z[:2], rows)
    with pytest.raises(ValueError, match="a token is 5 and the logits speak of 5"):
        metrics.log_probabilities(z, rows + 5)
    with pytest.raises(ValueError, match=r"probabilities sum to 0\.9; expected 1"):
        metrics.sequence_scores(torch.tensor([0.5, 0.4]).log(), torch.zeros(2))
    with pytest.raises(ValueError, match=r"log_p has shape \(2,\) and log_q \(3,\)"):
        metrics.sequence_scores(torch.tensor([0.5, 0.5]).log(), torch.zeros(3))
    with pytest.raises(ValueError, match="student answers with 5 classes and the teacher with 4"):
        metrics.acceptance(z, z[..., :4])
    with pytest.raises(ValueError, match="at no position"):
        metrics.acceptance(z, z, torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"wrong is torch\.int64"):
        metrics.errors_after(rows)
