"""Any network, compressed in each way: a copy that works; bad input gets a sentence."""

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from kdlib.bank import train_bank
from kdlib.compression import (
    bytes_on_disk,
    cost,
    export,
    factorise,
    latency,
    made_permanent,
    nonzero,
    prune,
    quantise,
    rounded,
    smaller,
    zipped_bytes,
)
from kdlib.data import Examples
from kdlib.models import (
    cnn,
    fingerprint,
    initialise,
    mlp,
    multiply_adds,
    parameter_count,
    predict,
)
from kdlib.objectives import HardLabels, SoftTargets
from kdlib.training import fit
from kdlib.vision import models


class Residual(nn.Module):
    """A shortcut, so that two layers' channels belong together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.a, self.norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.b = nn.Conv2d(12, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu()
        h = (h + self.b(self.norm(self.a(h)).relu())).relu()
        out: Tensor = self.head(h.mean((2, 3)))
        return out


class Attention(nn.Module):
    """A transformer encoder layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer(self.embed(x.flatten(0, 1))).mean(1))
        return out


def frozen() -> nn.Module:
    network = mlp(64, 32, 16, 4)
    network.get_submodule("stage1").requires_grad_(False)
    network.get_submodule("stage1").eval()
    return network


def resnet() -> nn.Module:
    network = models.resnet18(num_classes=4)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp(64, 32, 16, 4),
    "cnn": lambda: cnn(4, 4),
    "residual": Residual,
    "attention": Attention,
    "frozen": frozen,
}


@pytest.fixture(scope="module")
def images() -> Examples:
    drawn = blobs(96)
    return Examples(drawn.x.repeat(1, 1, 2, 2), drawn.y, name="larger blobs")


@pytest.fixture(scope="module")
def x(images: Examples) -> Tensor:
    return images.batch().x


def drawn(name: str) -> nn.Module:
    torch.manual_seed(0)
    return (NETWORKS | {"resnet18": resnet})[name]()


WAYS: dict[str, Callable[[nn.Module, Examples], nn.Module]] = {
    "pruned": lambda net, images: prune(net, 0.5),
    "pruned, global": lambda net, images: prune(net, 0.5, how="global"),
    "pruned, then rounded": lambda net, images: rounded(prune(net, 0.5), 4),
    "permanent": lambda net, images: made_permanent(prune(net, 0.5)),
    "smaller": lambda net, images: smaller(net, 0.5, images.batch().x),
    "rounded": lambda net, images: rounded(net, 3),
    "factorised": lambda net, images: factorise(net, rank=2),
    "int8": lambda net, images: quantise(net, images),
    "int8 on the go": lambda net, images: quantise(net),
}
TRAINABLE = [way for way in WAYS if "int8" not in way]


# ---- every way, every network --------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [*NETWORKS, "resnet18"])
def test_a_copy_answers_and_the_original_stays(name: str, way: str, images: Examples) -> None:
    if name == "resnet18" and way not in ("pruned, global", "smaller"):
        pytest.skip("too slow for what it would show")
    network, some = drawn(name), images[:32]
    before, modes = fingerprint(network), [m.training for m in network.modules()]
    flags = [w.requires_grad for w in network.parameters()]
    result = WAYS[way](network, some)
    assert fingerprint(network) == before and [m.training for m in network.modules()] == modes
    assert [w.requires_grad for w in network.parameters()] == flags
    answers = predict(result, some)
    assert answers.shape == predict(network, some).shape and bool(answers.isfinite().all())
    assert torch.equal(predict(copy.deepcopy(result), some), answers)
    if name == "resnet18":
        assert nonzero(result) < nonzero(network)
        return
    spent = cost(result, some.batch().x, repeats=1)
    assert 0 < spent.nonzero <= spent.weights and 0 < spent.zipped < spent.bytes
    if "int8" in way:
        assert spent.multiply_adds is None and not result.training
        assert spent.bytes < bytes_on_disk(network) + 20_000  # a graph's names weigh as well
    else:
        assert spent.multiply_adds and spent.multiply_adds <= multiply_adds(network, some.batch().x)


@pytest.mark.parametrize("way", TRAINABLE)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_trains_on_with_the_flags_of_the_network(name: str, way: str, images: Examples) -> None:
    network = drawn(name)
    result = WAYS[way](network, images)
    for module in network.modules():
        if module.training:  # a frozen part was put in eval mode by hand
            assert result.training == network.training
    still = [weight.clone() for weight in result.parameters() if not weight.requires_grad]
    assert bool(still) == (name == "frozen")
    teacher = drawn("mlp").eval()
    before = predict(result, images)
    fit(result, images, HardLabels() + SoftTargets(teacher, 2), epochs=1, batch=32, seed=None)
    assert not torch.equal(predict(result, images), before)
    for was, now in zip(
        still, [w for w in result.parameters() if not w.requires_grad], strict=True
    ):
        assert torch.equal(was, now)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_an_int8_network_has_nothing_to_train(name: str, images: Examples) -> None:
    for calibration in (images, None):
        result = quantise(drawn(name), calibration)
        with pytest.raises(ValueError, match="has no weights that may change"):
            fit(result, images, epochs=1, seed=None)


# ---- pruning -------------------------------------------------------------------------------------


def zeros(network: nn.Module) -> dict[str, Tensor]:
    plain = made_permanent(network)
    return {n: w == 0 for n, w in plain.named_parameters() if n.endswith("weight") and w.dim() > 1}


@pytest.mark.parametrize("how", ["layer", "global"])
def test_the_smallest_weights_go_and_stay_away(how: str, images: Examples) -> None:
    network = drawn("mlp")
    pruned = prune(network, 0.75, how=how)
    gone = zeros(pruned)
    sizes = {name: (int(mask.sum()), mask.numel()) for name, mask in gone.items()}
    assert sizes["head.weight"][0] == 0
    pruned_layers = [value for name, value in sizes.items() if name != "head.weight"]
    if how == "layer":
        assert all(count == round(0.75 * size) for count, size in pruned_layers)
    total = sum(count for count, _ in pruned_layers)
    assert total == round(0.75 * sum(size for _, size in pruned_layers))
    assert nonzero(network) - nonzero(pruned) == total
    old = network.state_dict()["stage1.0.weight"].abs()
    mask = gone["stage1.0.weight"]
    assert float(old[mask].max()) <= float(old[~mask].min())
    fit(pruned, images, epochs=3, batch=16, seed=None, weight_decay=0.1)
    for name, mask in zeros(pruned).items():
        assert torch.equal(mask, gone[name])


def test_pruning_goes_on_from_its_zeros(images: Examples) -> None:
    once = prune(drawn("mlp"), 0.5)
    fit(once, images, epochs=1, seed=None)
    twice = prune(once, 0.9)
    for name, mask in zeros(once).items():
        assert bool(zeros(twice)[name][mask].all())
        if name != "head.weight":
            assert int(zeros(twice)[name].sum()) == round(0.9 * mask.numel())
    assert nonzero(prune(twice, 0.1)) == nonzero(twice)  # nothing comes back
    layer = twice.get_submodule("stage1.0")
    assert len(layer.parametrizations.weight) == 1  # type: ignore[union-attr, arg-type]


def test_layers_by_name_and_amounts_of_their_own() -> None:
    network = drawn("cnn")
    assert [n for n, m in zeros(prune(network, 0.5, layers="head")).items() if m.any()] == [
        "head.weight"
    ]
    each = zeros(prune(network, {"stage2.0": 0.25, "head": 0.5}))
    shares = {n: float(m.float().mean()) for n, m in each.items() if m.any()}
    assert shares == {"stage2.0.weight": 0.25, "head.weight": 0.5}


def test_made_permanent_gives_a_plain_network_and_leaves_the_pruned_one_whole() -> None:
    network, x = drawn("mlp"), torch.rand(4, 1, 8, 8)
    pruned = prune(network, 0.5)
    plain = made_permanent(pruned)
    assert str(plain) == str(network) and list(plain.state_dict()) == list(network.state_dict())
    assert torch.equal(plain(x), pruned(x))
    assert torch.equal(made_permanent(copy.deepcopy(pruned))(x), pruned(x))
    assert bytes_on_disk(pruned) == bytes_on_disk(network) == bytes_on_disk(plain)
    assert zipped_bytes(pruned) < zipped_bytes(network)
    normed = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 4)))
    torch.testing.assert_close(made_permanent(normed)(x), normed(x))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_bank_starts_from_pruned_networks(name: str, images: Examples) -> None:
    begun = {seed: prune(initialise(drawn(name), seed), 0.5) for seed in (0, 1)}
    teacher = drawn("mlp").eval()
    how: dict[str, Any] = {"epochs": 2, "batch": 32, "precision": "fp32"}
    objective = HardLabels() + SoftTargets(teacher, 2)
    bank = train_bank(
        objective, student=begun[0], examples=images, start=begun.__getitem__, seeds=2,
        evaluate={"train": images}, **how,
    )  # fmt: skip
    for seed, network in begun.items():
        alone = copy.deepcopy(network)
        fit(alone, images, objective, seed=None, **how)
        for mask, stays in zip(zeros(alone).values(), zeros(network).values(), strict=True):
            assert bool(mask[stays].all())
        torch.testing.assert_close(
            bank.logits["train"][seed], predict(alone, images), rtol=1e-3, atol=1e-3
        )


def test_drawing_anew_is_refused(images: Examples) -> None:
    for network in (prune(drawn("mlp"), 0.5), rounded(drawn("mlp"), 4)):
        with pytest.raises(TypeError, match=r"'stage1\.0' is parametrized .* seed=None"):
            initialise(network, 0)
        with pytest.raises(TypeError, match="is parametrized"):
            fit(network, images, epochs=1, seed=0)


# ---- structured, low rank, rounded ---------------------------------------------------------------


def test_smaller_is_smaller_and_truthful(x: Tensor, images: Examples) -> None:
    thin = smaller(drawn("mlp"), 0.5, x)
    assert thin.sizes == (64, 16, 8, 4) and type(thin) is type(drawn("mlp"))
    assert str(thin) == str(mlp(64, 16, 8, 4))
    run = {"student": thin, "examples": images, "evaluate": {"train": images}, "seeds": 1}
    assert train_bank(HardLabels(), epochs=1, **run).engine == "fast"  # type: ignore[arg-type]
    kept = smaller(drawn("mlp"), 0.5, x, keep="stage1.0")
    assert kept.sizes == (64, 32, 8, 4)
    widths = [m.out_channels for m in smaller(cnn(8, 4), 0.5, x).modules() if hasattr(m, "groups")]
    assert widths == [4, 8, 16]


def test_the_largest_channels_stay(x: Tensor) -> None:
    network = drawn("mlp")
    with torch.no_grad():
        network.get_submodule("stage1.0").weight[::2] *= 10  # type: ignore[index, operator]
        network.get_submodule("stage2.0").weight[:, ::2] *= 10  # type: ignore[index, operator]
    thin = smaller(network, 0.5, x, keep="stage2.0")
    wide = network.get_submodule("stage1.0").weight
    assert torch.equal(thin.get_submodule("stage1.0").weight, wide[::2])  # type: ignore[index]


@pytest.mark.parametrize("name", NETWORKS)
def test_all_of_the_energy_is_the_same_function(name: str, images: Examples) -> None:
    network = drawn(name)
    with torch.no_grad():  # weights of low rank, so that all of it takes few directions
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and module is not network.head:
                rows = module.weight.flatten(1)
                thin = rows[:, :2] @ rows[:2]
                module.weight.copy_(thin.view_as(module.weight))
    halved = factorise(network, energy=1 - 1e-9)
    assert parameter_count(halved) < parameter_count(network)
    torch.testing.assert_close(
        predict(halved, images), predict(network, images), rtol=1e-3, atol=1e-4
    )


def test_less_energy_is_less_rank() -> None:
    network = drawn("mlp")
    sizes = [parameter_count(factorise(network, energy=share)) for share in (0.1, 0.5, 0.8)]
    assert sizes == sorted(sizes) and sizes[-1] < parameter_count(network)
    weight = network.get_submodule("stage1.0").weight
    two = factorise(network, rank=3, layers="stage1.0").get_submodule("stage1.0")
    u, s, v = torch.linalg.svd(weight)  # type: ignore[arg-type]
    torch.testing.assert_close(two.weight, u[:, :3] * s[:3] @ v[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_levels_and_gradient(bits: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    layer = rounded(network, bits)[1]  # type: ignore[index]
    for row, before in zip(layer.weight, network[1].weight, strict=True):
        assert len(row.unique()) <= 2**bits
        if bits > 1:
            torch.testing.assert_close(row.abs().max(), before.abs().max())
            step = before.abs().max() / (2 ** (bits - 1) - 1)
            assert float((row - before).abs().max()) <= 0.501 * float(step)
    layer.weight.sum().backward()
    original = layer.parametrizations.weight.original
    assert torch.equal(original.grad, torch.ones_like(original))
    again = rounded(rounded(network, bits), 3)[1]  # type: ignore[index]
    assert torch.equal(again.weight, rounded(network, 3)[1].weight)  # type: ignore[index]


def test_training_after_rounding_knows_the_levels(images: Examples) -> None:
    network = initialise(drawn("mlp"), 0)
    fit(network, images, epochs=8, batch=32, seed=None)
    coarse = rounded(network, 2)
    tuned = copy.deepcopy(coarse)
    fit(tuned, images, epochs=8, batch=32, seed=None)
    assert len(made_permanent(tuned).get_submodule("stage1.0").weight[0].unique()) <= 4  # type: ignore[index]
    errors = [int((predict(n, images).argmax(1) != images.y).sum()) for n in (coarse, tuned)]
    assert errors[1] <= errors[0]


# ---- int8, costs, export -------------------------------------------------------------------------


def kernels(network: nn.Module, x: Tensor) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen, torch.no_grad():
        network(x)
    return {event.key for event in seen.key_averages()}


def test_int8_kernels_run(images: Examples, x: Tensor) -> None:
    static = kernels(quantise(drawn("cnn"), images), x)
    assert any(k.startswith("quantized::conv2d") for k in static)
    assert any(k.startswith("quantized::linear") for k in static)
    assert not static & {"aten::convolution", "aten::linear", "aten::addmm"}
    dynamic = kernels(quantise(drawn("mlp")), x)
    assert any("linear_dynamic" in k or "linear_relu_dynamic" in k for k in dynamic)
    assert not dynamic & {"aten::linear", "aten::addmm"}


def test_int8_answers_nearly_alike_in_a_quarter_of_the_bytes(images: Examples) -> None:
    network = mlp(64, 256, 256, 4)
    fit(network, images, epochs=5, batch=32)
    for small in (quantise(network, images), quantise(network)):
        same = predict(small, images).argmax(1) == predict(network, images).argmax(1)
        assert float(same.float().mean()) > 0.95
        assert bytes_on_disk(small) < 0.3 * bytes_on_disk(network)
        assert nonzero(small) > 0.9 * nonzero(network)


def test_latency_leaves_threads_and_mode(x: Tensor) -> None:
    network, before = drawn("mlp"), torch.get_num_threads()
    measured = latency(network, x[:3], batch=7, repeats=5)
    assert 0 < measured.low <= measured.median <= measured.high
    assert "µs" in str(measured) and network.training and torch.get_num_threads() == before


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "attention"])
def test_an_exported_network_answers_alike(
    name: str, suffix: str, x: Tensor, tmp_path: Path
) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
        if name == "attention":
            pytest.skip("three seconds more for the same road")
    path = tmp_path / "new" / f"network{suffix}"
    network = prune(drawn(name), 0.5) if name == "mlp" else drawn(name)
    assert export(network, x, path) < 1e-4
    assert network.training
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size < 8 * bytes_on_disk(network) + 100_000


def test_a_view_of_many_images_is_not_stored(tmp_path: Path) -> None:
    many = torch.rand(20_000, 1, 8, 8)
    export(drawn("mlp"), many[:4], tmp_path / "a.pt2")
    assert (tmp_path / "a.pt2").stat().st_size < 200_000


class Branching(nn.Module):
    """Asks a value: nothing can trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(64, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x.flatten(1))
        out: Tensor = self.head(h if float(h.sum()) > 0 else -h)
        return out


class Random(nn.Module):
    """Answers otherwise each time, in the file too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1)) + 5 * torch.rand(4)
        return out


def test_what_differs_or_fails_leaves_the_old_file(x: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    path.write_text("old")
    for network in (Random(), Branching()):
        with pytest.raises(ValueError, match=r"cannot be exported|with another class"):
            export(network, x, path)
        assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


# ---- bad input -----------------------------------------------------------------------------------

NET = mlp(64, 32, 16, 4)
X = torch.rand(4, 1, 8, 8)
PRUNED = prune(NET, 0.5)
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "amount above 1": (lambda: prune(NET, 1.5), "amount=1.5: expected a number from 0 to 1"),
    "amount below 0": (lambda: prune(NET, -0.1), "amount=-0.1"),
    "amount nan": (lambda: prune(NET, float("nan")), "amount=nan"),
    "amount text": (lambda: prune(NET, "half"), "amount='half'"),  # type: ignore[arg-type]
    "amount of a layer": (lambda: prune(NET, {"head": 2.0}), r"amount\['head'\]=2.0"),
    "everything": (lambda: prune(NET, 1), "none of the 2048 weights of layer 'stage1.0' .layer c"),
    "collapse": (lambda: prune(NET, 0.999, layers="head"), "'head' .layer collapse"),
    "unknown": (lambda: prune(NET, 0.5, layers="stage1.1x"), "no module of MLP; the nearest name"),
    "nearest": (lambda: prune(NET, 0.5, layers="hed"), "nearest name is 'head'"),
    "not prunable": (lambda: prune(NET, 0.5, layers="stage1"), "Sequential.*name 'stage1.0'"),
    "a relu": (lambda: prune(NET, 0.5, layers="stage1.1"), "ReLU.*neither a linear"),
    "no names": (lambda: prune(NET, 0.5, layers=[]), "names no layer"),
    "how": (lambda: prune(NET, 0.5, how="channel"), "how='channel': expected 'layer' or 'global'"),
    "twice named": (lambda: prune(NET, {"head": 0.5}, layers="head"), "names layers already"),
    "one layer": (lambda: prune(mlp(64, 1, 4).head, 0.5), "1 linear or convolution layers"),
    "no network": (lambda: prune(3, 0.5), "type int; expected a torch.nn.Module"),  # type: ignore[arg-type]
    "smaller 0": (lambda: smaller(NET, 0, X), "amount=0: expected a share above 0 and below 1"),
    "smaller 1": (lambda: smaller(NET, 1.0, X), "amount=1.0"),
    "smaller little": (lambda: smaller(mlp(64, 1, 4), 0.5, X), "takes no channel out"),
    "smaller, no images": (lambda: smaller(NET, 0.5, X[:0]), "at least one"),
    "smaller, wrong size": (lambda: smaller(NET, 0.5, X[..., :4]), "cannot be asked about x"),
    "smaller, pruned": (lambda: smaller(PRUNED, 0.5, X), "parametrized .* made_permanent"),
    "smaller, one layer": (lambda: smaller(NET.head, 0.5, X), "1 linear or convolution"),
    "keep": (lambda: smaller(NET, 0.5, X, keep="stage3.0"), "no module of MLP"),
    "int8 of what branches": (lambda: quantise(Branching(), blobs(8)), "cannot be traced"),
    "int8 twice": (lambda: quantise(quantise(NET)), "no linear layer"),
    "no images": (lambda: quantise(NET, blobs(8)[:0]), "calibration is"),
    "a tensor": (lambda: quantise(NET, X), "expected Examples"),  # type: ignore[arg-type]
    "no linear": (lambda: quantise(nn.Sequential(nn.Conv2d(1, 2, 3))), "no linear layer for dyn"),
    "bits 0": (lambda: rounded(NET, 0), "bits=0: expected a whole number from 1 to 16"),
    "bits 17": (lambda: rounded(NET, 17), "bits=17"),
    "bits 2.5": (lambda: rounded(NET, 2.5), "bits=2.5"),  # type: ignore[arg-type]
    "bits True": (lambda: rounded(NET, True), "bits=True"),
    "nothing to round": (lambda: rounded(nn.Sequential(nn.ReLU()), 4), "to round"),
    "neither": (lambda: factorise(NET), "energy=None and rank=None: expected one"),
    "both": (lambda: factorise(NET, energy=0.5, rank=3), "expected one of them"),
    "energy 0": (lambda: factorise(NET, energy=0.0), "energy=0.0: expected a share above 0"),
    "energy 2": (lambda: factorise(NET, energy=2.0), "energy=2.0"),
    "rank 0": (lambda: factorise(NET, rank=0), "rank=0: expected a whole number from 1"),
    "rank 1.5": (lambda: factorise(NET, rank=1.5), "rank=1.5"),  # type: ignore[arg-type]
    "too much": (lambda: factorise(NET, energy=1.0), "makes no layer of MLP smaller"),
    "factorise pruned": (lambda: factorise(PRUNED, rank=2, layers="stage1.0"), "made_permanent"),
    "all pruned": (lambda: factorise(PRUNED, rank=2), "makes no layer"),
    "batch 0": (lambda: latency(NET, X, batch=0), "batch=0"),
    "suffix": (lambda: export(NET, X, "a.txt"), "ends in '.txt'; expected '.pt2' or '.onnx'"),
    "nothing to export": (lambda: export(NET, X[:0], "a.pt2"), "at least one"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(case: str) -> None:
    call, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r"pip install kdlib\[compression\]"):
        smaller(NET, 0.5, X)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx, .*pip install kdlib\[export\]"):
        export(NET, X, tmp_path / "a.onnx")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        (tmp_path / "b.pt2").mkdir()
        export(NET, X, tmp_path / "b.pt2")
