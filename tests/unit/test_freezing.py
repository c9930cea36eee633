"""AdaBN and freezing: what moves, what does not, and that a frozen BatchNorm is wholly frozen."""

import copy

import pytest
import torch
from blobs import blobs
from torch import Tensor, nn

from kdlib.adaptation import adabn, freeze, unfreeze
from kdlib.data import Examples
from kdlib.models import CNN, cnn, fingerprint, initialise, mlp
from kdlib.objectives import HardLabels, Learner
from kdlib.training import fit


def images(count: int, *, seed: int = 0) -> Examples:
    """uint8 (count, 1, 8, 8) of four classes."""
    small = blobs(count, seed=seed)
    x = small.x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return Examples(x, small.y, name="large blobs")


@pytest.fixture
def network() -> CNN:
    """Trained a little, so that its statistics are not those of a fresh network."""
    return fit(cnn(2, 4), images(200), epochs=2, seed=0, precision="fp32").network  # type: ignore[return-value]


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    after = network.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


STATISTICS = {
    f"stage{i}.2.{name}"
    for i in (1, 2, 3)
    for name in ("running_mean", "running_var", "num_batches_tracked")
}


# ---- AdaBN ---------------------------------------------------------------------------------------


def test_the_statistics_become_those_of_the_images(network: CNN) -> None:
    other = images(60, seed=5)
    assert adabn(network, other) is network
    x = network.stage1[:2](network.normalise(other.batch().x))
    bn = network.stage1[2]
    torch.testing.assert_close(bn.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(bn.running_var, x.var((0, 2, 3)))


def test_in_one_batch_eval_says_what_train_says(network: CNN) -> None:
    """Exact through all layers: with these statistics both modes normalise (nearly) alike."""
    other = images(60, seed=5)
    adabn(network, other)
    evaluated = network.eval()(other.batch().x)
    trained = copy.deepcopy(network).train()(other.batch().x)
    # eval takes the unbiased variance, train the biased one: n/(n-1) with n of 240 or more
    torch.testing.assert_close(evaluated, trained, rtol=0.05, atol=0.05)


def test_batches_count_alike_and_what_was_before_leaves_no_trace(network: CNN) -> None:
    other = images(60, seed=5)
    again = copy.deepcopy(network)
    adabn(network, other, size=20)
    nn.init.constant_(again.stage1[2].running_mean, 1e6)
    nn.init.constant_(again.stage3[2].running_var, 1e6)
    adabn(again, other, size=20)
    assert fingerprint(network) == fingerprint(again)
    with torch.no_grad():
        parts = [network.stage1[:2](network.normalise(b.x)) for b in other.batches(20)]
    means = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    variances = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
    torch.testing.assert_close(network.stage1[2].running_mean, means)
    torch.testing.assert_close(network.stage1[2].running_var, variances)
    assert int(network.stage1[2].num_batches_tracked) == 3


def test_only_statistics_move_and_no_label_is_read(network: CNN) -> None:
    before, blind = state(network), copy.deepcopy(network)
    other = images(60, seed=5)
    adabn(network, other)
    assert changed(network, before) == STATISTICS - {
        f"stage{i}.2.num_batches_tracked" for i in (1, 2, 3)
        if int(before[f"stage{i}.2.num_batches_tracked"]) == 1
    }  # fmt: skip
    adabn(blind, other.unlabelled())
    assert fingerprint(network) == fingerprint(blind)


def test_modes_and_momentum_are_as_before_and_dropout_is_off() -> None:
    layers = [nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 4)]
    network = nn.Sequential(*layers).train()
    network[3].eval()
    adabn(network, blobs(100))
    assert [module.training for module in network] == [True, True, True, False]
    assert network[2].momentum == 0.1
    x = blobs(100).batch().x.flatten(1)
    torch.testing.assert_close(network[2].running_mean, x.mean(0))  # dropout would change it


def test_a_network_that_fails_keeps_its_statistics(network: CNN) -> None:
    before = state(network)
    colour = Examples(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"CNN cannot take Examples.*that it was built for"):
        adabn(network, colour)
    assert not changed(network, before)
    assert network.stage1[2].momentum == 0.1 and not network.training


def test_adabn_says_what_it_needs(network: CNN) -> None:
    with pytest.raises(ValueError, match="MLP has no BatchNorm with running statistics"):
        adabn(mlp(16, 8, 4), blobs(20))
    for count in (0, 1):
        with pytest.raises(ValueError, match=f"{count} images, 500 at a time.*at least 2"):
            adabn(network, images(4)[:count])
    adabn(network, images(3), size=2)  # never a batch of one image


# ---- freezing ------------------------------------------------------------------------------------


def test_what_is_frozen_does_not_move_and_the_rest_does(network: CNN) -> None:
    before = state(network)
    assert freeze(network, "stage1", "stage2") is network
    fit(network, images(120, seed=5), epochs=2, precision="fp32")
    moved = changed(network, before)
    assert not any(name.startswith(("stage1", "stage2")) for name in moved)
    assert moved >= {"stage3.0.weight", "stage3.2.running_mean", "head.weight", "head.bias"}


def test_frozen_last_layers_still_pass_the_gradient_on(network: CNN) -> None:
    before = state(network)
    freeze(network, "stage3", "head")
    fit(network, images(120, seed=5), epochs=2, precision="fp32", weight_decay=0.1)
    moved = changed(network, before)
    assert not any(name.startswith(("stage3", "head")) for name in moved)
    assert moved >= {"stage1.0.weight", "stage1.2.weight", "stage1.2.running_var"}


def test_a_frozen_batchnorm_stays_in_eval_and_only_a_frozen_one(network: CNN) -> None:
    learner = Learner(freeze(network, "stage1"), HardLabels())
    learner.train()
    modes = [network.stage1[2].training, network.stage2[2].training, network.training]
    assert modes == [False, True, True]
    unfreeze(network, "stage1.2.bias")  # half frozen: it moves, and so do its statistics
    assert learner.train().student.stage1[2].training
    assert not learner.eval().student.stage2[2].training
    unfreeze(network, "")
    assert learner.train().student.stage1[2].training


def test_validation_does_not_wake_a_frozen_batchnorm(network: CNN) -> None:
    before = state(network)
    freeze(network, "stage1")
    fit(network, images(120, seed=5), epochs=2, validate=images(40, seed=6), precision="fp32")
    assert not any(name.startswith("stage1") for name in changed(network, before))


def test_a_batchnorm_without_weights_is_not_taken_for_frozen() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16, affine=False), nn.Linear(16, 4))
    learner = Learner(network, HardLabels()).train()
    assert learner.student[1].training


def test_prefixes_are_whole_names_and_the_empty_one_means_all() -> None:
    network = initialise(mlp(16, *[8] * 10, 4), 0)  # stage1 … stage10
    freeze(network, "stage1")
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert frozen == {"stage1.0.weight", "stage1.0.bias"}
    unfreeze(network, "stage1.0.bias")
    assert network.stage1[0].bias.requires_grad and not network.stage1[0].weight.requires_grad
    freeze(network, *[])  # no frozen stages: nothing happens
    assert network.stage2[0].weight.requires_grad
    assert not any(weight.requires_grad for weight in freeze(network, "").parameters())
    assert not any(weight.requires_grad for weight in copy.deepcopy(network).parameters())
    assert all(weight.requires_grad for weight in unfreeze(network, "").parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stage4", "nearest name is 'stage3'"),
        ("haed", "nearest name is 'head'"),
        ("q", "'q' is no module or weight of CNN; it has stage1"),
        ("embedding", "'embedding' of CNN has no weights; there are stage1"),
    ],
)
def test_an_unknown_name_is_told_and_nothing_is_frozen(
    network: CNN, name: str, message: str
) -> None:
    for change in (freeze, unfreeze):
        with pytest.raises(ValueError, match=message):
            change(network, "stage1", name)
    assert all(weight.requires_grad for weight in network.parameters())
