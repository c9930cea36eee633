"""Networks, and looking inside any of them."""

import pytest
import torch
from torch import Tensor, nn

from kdlib.data import Batch, Examples
from kdlib.models import (
    Normalise,
    cnn,
    evaluating,
    fingerprint,
    initialise,
    mlp,
    multiply_adds,
    observe,
    parameter_count,
    predict,
)

X = torch.linspace(0, 1, 3 * 64).view(3, 1, 8, 8)


# ---- networks ------------------------------------------------------------------------------------


def test_mlp_is_what_its_sizes_say() -> None:
    network = mlp(64, 5, 7, 10)
    seen = observe(network, X, ["stage1", "stage2", "embedding", "head"])
    assert {n: tuple(f.shape) for n, f in seen.features.items()} == {
        "stage1": (3, 5), "stage2": (3, 7), "embedding": (3, 7), "head": (3, 10),
    }  # fmt: skip
    assert torch.equal(seen.logits, seen.features["head"])
    assert parameter_count(network) == (64 + 1) * 5 + (5 + 1) * 7 + (7 + 1) * 10
    assert not any(isinstance(m, nn.Dropout) for m in network.modules())
    assert sum(isinstance(m, nn.Dropout) for m in mlp(64, 5, 7, 10, dropout=0.5).modules()) == 2


def test_mlp_by_hand() -> None:
    network = mlp(64, 5, 10)
    inside = (X.flatten(1) - 0.1307) / 0.3081
    hidden = (inside @ network.stage1[0].weight.T + network.stage1[0].bias).relu()
    by_hand = hidden @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(X), by_hand)


def test_cnn_has_three_stages_that_double() -> None:
    taps = ["stage1", "stage2", "stage3", "embedding"]
    seen = observe(cnn(4, 10), X, taps)
    shapes = [tuple(seen.features[tap].shape) for tap in taps]
    assert shapes == [(3, 4, 4, 4), (3, 8, 2, 2), (3, 16, 1, 1), (3, 16)]
    assert seen.logits.shape == (3, 10)
    assert cnn(4, 10, channels=3)(X.repeat(1, 3, 1, 1)).shape == (3, 10)


@pytest.mark.parametrize("sizes", [(), (5,), (5, 0, 2), ("a", 3), (5, 1.5, 2)])
def test_mlp_needs_sizes(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected inputs, hidden widths and classes"):
        mlp(*sizes)


def test_cnn_needs_a_width() -> None:
    with pytest.raises(ValueError, match=r"width=0.*≥ 1"):
        cnn(0)
    with pytest.raises(ValueError, match=r"width=1.5.* whole numbers ≥ 1"):
        cnn(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"channels=0: expected whole numbers ≥ 1"):
        cnn(4, channels=0)


@pytest.mark.parametrize("dropout", [2, -0.1, "half"])
def test_dropout_is_a_share(dropout) -> None:
    with pytest.raises(ValueError, match=r"dropout=.*expected a number from 0 to 1"):
        mlp(784, 4, 3, dropout=dropout)


class TwoAnswers(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.flatten(1)


def test_a_network_answers_with_one_tensor() -> None:
    for ask in (observe, predict):
        with pytest.raises(ValueError, match="TwoAnswers answers with tuple, not one tensor"):
            ask(TwoAnswers(), X)


def test_one_name_is_one_tap() -> None:
    network = mlp(64, 5, 10)
    one, several = observe(network, X, "stage1"), observe(network, X, ["stage1"])
    assert list(one.features) == ["stage1"]
    assert torch.equal(one.features["stage1"], several.features["stage1"])


def test_normalisation_is_a_buffer_that_travels_with_the_weights() -> None:
    network = nn.Sequential(Normalise(0.5, 0.25))
    assert torch.equal(network(torch.tensor([1.0])), torch.tensor([2.0]))
    assert set(network.state_dict()) == {"0.mean", "0.std"} and parameter_count(network) == 0


# ---- weights from a seed -------------------------------------------------------------------------


@pytest.mark.parametrize("build", [lambda: mlp(64, 5, 10), lambda: cnn(2)], ids=["mlp", "cnn"])
def test_initialise_depends_on_the_seed_alone(build) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    a, b, c = (fingerprint(initialise(build(), seed)) for seed in (0, 0, 1))
    assert a == b != c
    network = build()
    torch.manual_seed(3)
    initialise(network, 5)
    assert torch.equal(torch.rand(1), expected)  # outside randomness goes on untouched


def test_initialise_resets_batchnorm_too() -> None:
    network = cnn(2).train()
    fresh = fingerprint(initialise(network, 0))
    network(X)
    assert fingerprint(network) != fresh == fingerprint(initialise(network, 0))


def test_initialise_names_a_module_that_it_cannot_reset() -> None:
    class Mystery(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

    with pytest.raises(TypeError, match=r"module '1' \(Mystery\).*reset_parameters"):
        initialise(nn.Sequential(nn.ReLU(), Mystery()), 0)


def test_fingerprint_sees_weights_buffers_and_architecture() -> None:
    network = cnn(2)
    before = fingerprint(network)
    with torch.no_grad():
        network.head.bias[0] += 1e-6
    changed = fingerprint(network)
    network.stage1[2].running_mean += 1
    assert len({before, changed, fingerprint(network)}) == 3
    sequence = [nn.Linear(2, 2), nn.ReLU()]
    smooth = [sequence[0], nn.Tanh()]
    assert fingerprint(nn.Sequential(*sequence)) != fingerprint(nn.Sequential(*smooth))
    assert fingerprint(network) == fingerprint(network.to(memory_format=torch.channels_last))


# ---- observe -------------------------------------------------------------------------------------


def test_observe_taps_a_torchvision_network_as_it_is() -> None:
    from kdlib import vision

    network = vision.models.resnet18(num_classes=4).eval()
    x = torch.rand(2, 3, 32, 32)
    seen = observe(network, x, ["layer1", "layer4.0.conv1", "avgpool", "fc"])
    shapes = {name: tuple(f.shape) for name, f in seen.features.items()}
    assert shapes == {
        "layer1": (2, 64, 8, 8), "layer4.0.conv1": (2, 512, 1, 1), "avgpool": (2, 512, 1, 1),
        "fc": (2, 4),
    }  # fmt: skip
    assert torch.equal(seen.logits, network(x)) and torch.equal(seen.logits, seen.features["fc"])
    stem = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    assert torch.equal(seen.features["layer1"], network.layer1(stem))


def test_an_in_place_relu_behind_a_tap_does_not_overwrite_it() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    x = torch.randn(16, 4)
    seen = observe(network, x, ["0", "1"])
    assert torch.equal(seen.features["0"], network[0](x)) and (seen.features["0"] < 0).any()
    assert torch.equal(seen.features["1"], network[0](x).relu())


def test_gradients_flow_through_a_tap() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    observe(network, torch.randn(16, 4), ["0"]).features["0"].sum().backward()
    assert network[0].weight.grad.abs().sum() > 0 and network[2].weight.grad is None


def test_hooks_are_gone_afterwards_even_after_an_error() -> None:
    network = mlp(64, 5, 10)
    observe(network, X, ["stage1"])
    with pytest.raises(RuntimeError):
        observe(network, torch.zeros(3, 1, 2, 2), ["stage1"])
    with pytest.raises(ValueError, match="no module"):
        observe(network, X, ["stage1", "nowhere"])
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("tap", "near"), [("stag1", "stage1"), ("embeding", "embedding"), ("stage1.00", "stage1.0")]
)
def test_an_unknown_tap_names_the_nearest(tap: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"no module of MLP; the nearest name is '{near}'"):
        observe(mlp(64, 5, 10), X, [tap])


@pytest.mark.parametrize("tap", ["", "§"])
def test_a_tap_like_nothing_names_what_there_is(tap: str) -> None:
    with pytest.raises(ValueError, match=r"no module of MLP; it has normalise, flatten, stage1"):
        observe(mlp(64, 5, 10), X, [tap])


def test_a_tap_on_a_module_that_runs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(self.inner(x))

    with pytest.raises(ValueError, match=r"tap 'inner' runs twice .*tap the module around it"):
        observe(Twice(), torch.zeros(1, 4), ["inner"])


def test_a_tap_that_returns_a_tuple() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.twice = nn.GRU(4, 4), TwoAnswers()

        def forward(self, x: Tensor) -> Tensor:
            return self.twice(self.cell(x)[0])[0]

    seen = observe(Recurrent(), torch.rand(2, 3, 4), "cell")  # its states at all times
    assert torch.equal(seen.features["cell"].flatten(1), seen.logits)
    with pytest.raises(ValueError, match=r"tap 'twice' returns tuple, not one tensor"):
        observe(Recurrent(), torch.zeros(1, 1, 4), ["twice"])


@pytest.mark.parametrize("taps", [["unused"], iter(["unused"])], ids=["list", "iterator"])
def test_a_tap_that_never_runs(taps) -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(ValueError, match=r"tap 'unused' never ran"):
        observe(Skips(), X, taps)


def test_observe_works_under_functional_call_and_vmap() -> None:
    from torch.func import functional_call, stack_module_state, vmap

    networks = [initialise(mlp(64, 5, 10), seed) for seed in range(3)]
    params, buffers = stack_module_state(networks)

    class Watching(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            seen = observe(self.network, x, ["stage1"])
            return seen.logits, seen.features["stage1"]

    base = Watching(networks[0])

    def run(p, b):
        state = {f"network.{name}": tensor for name, tensor in (p | b).items()}
        return functional_call(base, state, (X,))

    logits, features = vmap(run)(params, buffers)
    for i, network in enumerate(networks):
        seen = observe(network, X, ["stage1"])
        torch.testing.assert_close(logits[i], seen.logits)
        torch.testing.assert_close(features[i], seen.features["stage1"])


class InPlace(nn.Module):
    """Normalises as torchvision's Normalize(inplace=True) does."""

    def __init__(self) -> None:
        super().__init__()
        self.network = mlp(64, 5, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.sub_(0.5).div_(0.25))


def test_a_network_that_changes_its_input_is_refused() -> None:
    said = r"InPlace changes the images it is shown in place, .*x.sub\(…\) in place of x.sub_\(…\)"
    for ask in (observe, predict):
        with pytest.raises(ValueError, match=said):
            ask(InPlace(), X.clone())
    with pytest.raises(ValueError, match=said):
        predict(InPlace(), Examples(X, torch.zeros(3, dtype=torch.int64)))
    with torch.inference_mode():  # its tensors do not count their changes
        assert observe(InPlace(), X.clone()).logits.shape == (3, 10)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_sees_images_in_its_own_precision(kind: torch.dtype) -> None:
    images = X.to(kind)
    for own in (torch.float32, torch.float64):
        network = initialise(mlp(64, 5, 10), 0).to(own)
        expected = network(images.to(own)).detach()
        for said in (observe(network, images).logits, predict(network, images)):
            assert said.dtype == own and torch.equal(said, expected)


@pytest.mark.slow
def test_observe_compiles_in_one_piece() -> None:
    network = mlp(64, 5, 10)
    ask = torch.compile(lambda x: observe(network, x).logits, backend="eager", fullgraph=True)
    assert torch.equal(ask(X), network(X))


def test_whole_numbers_stay_whole() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.Flatten())
    assert observe(network, torch.tensor([[0, 4]])).logits.shape == (1, 8)


# ---- predict and evaluating ----------------------------------------------------------------------


def test_evaluating_restores_each_modules_own_mode() -> None:
    network = cnn(2).train()
    network.stage1.eval()  # a frozen stage, as in transfer
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
        assert not network(X).requires_grad
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(KeyError), evaluating(network):
        raise KeyError
    assert [module.training for module in network.modules()] == modes


def test_predict_leaves_the_network_as_it_was_and_does_not_depend_on_its_chunks() -> None:
    network = cnn(2).train()
    images = Examples((X * 255).to(torch.uint8), torch.zeros(3, dtype=torch.int64))
    before = fingerprint(network)
    answers = [predict(network, images, size=size) for size in (1, 2, 500)]
    assert network.training and fingerprint(network) == before
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0], answers[2])
    torch.testing.assert_close(predict(network, images.batch()), answers[2])
    torch.testing.assert_close(predict(network, images.batch().x), answers[2])
    assert isinstance(images.batch(), Batch) and not answers[0].requires_grad


def test_predict_needs_examples() -> None:
    nothing = Examples(X[:0], torch.zeros(0, dtype=torch.int64), name="nothing")
    with pytest.raises(ValueError, match=r"Examples\(nothing: 0 .* holds no examples to predict"):
        predict(mlp(64, 10), nothing)


def test_multiply_adds_by_hand() -> None:
    x = torch.zeros(2, 1, 8, 8)
    assert multiply_adds(mlp(64, 5, 10), x) == 64 * 5 + 5 * 10
    by_hand = 64 * 9 * 2 + 16 * 9 * 2 * 4 + 4 * 9 * 4 * 8 + 8 * 10
    network = cnn(2)
    assert multiply_adds(network, x) == by_hand
    assert network.training and not any(m._forward_hooks for m in network.modules())


def test_multiply_adds_of_attention_by_hand() -> None:
    """Four products by weights (3 in, 1 out), and two of six tokens with one another."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x[:, 0], x[:, 0], x[:, 0], need_weights=False)[0]

    counted = multiply_adds(Attending(), torch.rand(2, 1, 6, 8))
    assert counted == 4 * 6 * 8 * 8 + 2 * 6 * 6 * 8


def test_mistake_costs_counted_in_train_mode() -> None:
    """Counting must neither use nor move BatchNorm's statistics."""
    network = cnn(2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    multiply_adds(network, torch.rand(4, 1, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_multiply_adds_of_recurrent_layers_by_hand(recwarn: pytest.WarningsRecorder) -> None:
    for cell, gates in ((nn.LSTM, 4), (nn.GRU, 3)):
        layer = cell(8, 8, batch_first=True)
        assert multiply_adds(layer, torch.rand(1, 5, 8)) == gates * 2 * 8 * 8 * 5
    with pytest.raises(ValueError, match="no image to count the multiply-adds of"):
        multiply_adds(mlp(64, 5, 10), torch.zeros(0, 1, 8, 8))
    assert not recwarn.list
