"""The eight shifts, examples changed once and for all, and sealed labels."""

import pytest
import torch

from kdlib.data import SHIFTS, Examples, SealedLabels, load, severity
from kdlib.data.shifts import blur, contrast, crop, mirror, noise, rotate, shift, texture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return load("digits").test


@pytest.fixture(scope="module")
def x(digits):
    return digits.batch(slice(0, 40)).x


@pytest.mark.parametrize("name", SHIFTS)
def test_level_zero_is_the_identity_exactly(name, x):
    assert torch.equal(severity(name, 0)(x, generator()), x)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_keeps_shape_and_range_and_depends_on_the_generator_only(name, x):
    transform = severity(name, 0.7)
    torch.manual_seed(1)
    once = transform(x, generator())
    torch.manual_seed(2)
    assert torch.equal(once, transform(x, generator()))
    assert once.shape == x.shape
    assert once.dtype == x.dtype
    assert once.min() >= 0
    assert once.max() <= 1


@pytest.mark.parametrize("name", ["mirror", "texture", "noise"])
def test_chance_comes_from_the_seed(name, x):
    transform = severity(name, 0.5)
    assert not torch.equal(transform(x, generator(0)), transform(x, generator(1)))


@pytest.mark.parametrize("name", SHIFTS)
def test_images_move_further_with_the_level(name):
    x = load("mnist5k").test.batch(slice(0, 60)).x
    moved = [
        (severity(name, level)(x, generator()) - x).abs().mean() for level in (0, 0.3, 0.6, 1.0)
    ]
    assert moved[0] == 0
    assert moved == sorted(moved)
    assert moved[-1] > 0.02


def test_mirror_is_its_own_inverse_and_p_is_a_share(x):
    assert torch.equal(mirror()(mirror()(x, generator()), generator()), x)
    assert torch.equal(mirror()(x, generator())[..., 0], x[..., -1])
    many = torch.rand(2000, 1, 4, 4)
    mirrored = (mirror(0.5)(many, generator()) != many).flatten(1).any(1)
    assert 0.45 < mirrored.double().mean() < 0.55


def test_rotate_turns_against_the_clock():
    x = torch.rand(2, 1, 6, 6)
    torch.testing.assert_close(rotate(90)(x, generator()), torch.rot90(x, 1, (-2, -1)))
    assert torch.equal(rotate(360)(x, generator()), x)


def test_shift_moves_right_and_down():
    x = torch.rand(2, 1, 6, 6)
    moved = shift(2)(x, generator())
    torch.testing.assert_close(moved[..., 2:, 2:], x[..., :-2, :-2])
    assert moved[..., :2, :].abs().max() < 1e-6
    between = shift(0.5)(torch.eye(4)[None, None], generator())
    assert 0 < between[0, 0, 1, 1] < 1


def test_crop_takes_the_middle():
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(crop(20, 20)(x, generator()), x[..., 4:24, 4:24])
    assert crop(20)(x, generator()).shape == x.shape
    assert crop(20, 16)(x, generator()).shape == (3, 1, 16, 16)
    constant = torch.full((1, 1, 9, 9), 0.3)
    torch.testing.assert_close(crop(5)(constant, generator()), constant)


def test_blur_spreads_by_sigma():
    x = torch.zeros(1, 1, 31, 31)
    x[..., 15, 15] = 1
    spread = blur(2)(x, generator())[0, 0]
    steps = torch.arange(31.0) - 15
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert (spread.sum(0) * steps**2).sum() == pytest.approx(4, rel=0.03)  # the variance
    torch.testing.assert_close(spread, spread.T)


def test_texture_contrast_noise_do_what_they_say():
    black = torch.zeros(500, 1, 8, 8)
    clouds = texture(0.6)(black, generator())
    assert clouds.max() <= 0.6
    assert clouds.flatten(1).std(0).min() > 0.03  # another background in every image
    x = torch.rand(3, 1, 5, 5)
    torch.testing.assert_close(contrast(-1)(x, generator()), 1 - x)
    torch.testing.assert_close(contrast(0)(x, generator()), torch.full_like(x, 0.5))
    grey = torch.full((100, 1, 8, 8), 0.5)
    assert noise(0.1)(grey, generator()).std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mirror(1.5), "p=1.5; expected 0 to 1"),
        (lambda: blur(-1), "sigma=-1; expected 0 or more"),
        (lambda: texture(2), "strength=2"),
        (lambda: noise(-0.1), "std=-0.1"),
        (lambda: crop(0), "inner=0"),
        (lambda: crop(9)(torch.rand(1, 1, 8, 8), generator()), "inner=9 of 8×8 images"),
        (lambda: severity("rain", 0.5), "shift 'rain' is unknown; choose one of mirror"),
        (lambda: severity("blur", 1.5), "level=1.5; expected 0 to 1"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        call()


# ---- Examples.transformed ------------------------------------------------------------------------


def test_transformed_keeps_dtype_labels_and_domains_and_makes_new_ids(digits):
    digits = digits.as_domain(2)
    before = digits.ids
    changed = digits.transformed(contrast(-1))
    assert changed.x.dtype == torch.uint8
    assert torch.equal(changed.x, 255 - digits.x)
    assert torch.equal(changed.y, digits.y)
    assert changed.domains == [2]
    assert not torch.isin(changed.ids, before).any()
    assert changed.name == "digits test, contrast(-1)"


def test_transformed_once_and_for_all_by_its_seed(digits):
    once, again, other = (digits.transformed(noise(0.3), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(once.x, again.x)
    assert once.fingerprint == again.fingerprint
    assert not torch.equal(once.x, other.x)
    assert torch.equal(digits.transformed(severity("noise", 0)).x, digits.x)


def test_transformed_floats_stay_floats_and_are_rounded_nowhere():
    images = Examples(torch.rand(5, 1, 4, 4), torch.zeros(5, dtype=torch.int64), name="made")
    changed = images.transformed(lambda x, generator: x / 3)
    torch.testing.assert_close(changed.x, images.x / 3, rtol=0, atol=0)
    assert changed.name == "made, changed"


def test_transformed_refuses_a_transform_that_loses_images(digits):
    with pytest.raises(ValueError, match="expected as many images"):
        digits.transformed(lambda x, generator: x[:3])


def test_a_thousand_images_at_a_time_are_not_all_treated_alike():
    images = Examples(torch.zeros(2100, 1, 2, 2), torch.zeros(2100, dtype=torch.int64))
    changed = images.transformed(noise(0.3)).x
    assert changed.shape == images.x.shape
    assert not torch.equal(changed[:1000], changed[1000:2000])


# ---- sealed labels -------------------------------------------------------------------------------


def test_sealed_labels_are_not_in_the_examples_nor_in_what_is_printed(digits, capsys):
    unlabelled, labels = digits.seal()
    assert isinstance(labels, SealedLabels)
    assert (unlabelled.y == -1).all()
    assert torch.equal(unlabelled.x, digits.x)
    assert repr(labels) == "SealedLabels(500 labels, opened 0×)"
    assert not any(isinstance(value, torch.Tensor) for value in vars(labels).values())
    assert capsys.readouterr().out == ""


def test_every_opening_is_printed_and_counted(digits, capsys):
    _, labels = digits.seal()
    assert torch.equal(labels.open("to draw them"), digits.y)
    right = torch.nn.functional.one_hot(digits.y, 10).float()
    assert labels.error(right, "final score") == 0
    assert labels.error(right.roll(1, 1), "once more") == 100
    assert labels.opened == ["to draw them", "final score", "once more"]
    assert repr(labels) == "SealedLabels(500 labels, opened 3×)"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Target labels opened (1×): to draw them"
    assert len(lines) == 3


def test_what_was_opened_cannot_change_what_is_inside(digits):
    _, labels = digits.seal()
    labels.open("first").fill_(0)
    assert torch.equal(labels.open("second"), digits.y)


def test_error_counts_labelled_examples_only():
    y = torch.tensor([0, 1, -1, 1])
    logits = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    _, labels = Examples(torch.zeros(4, 1, 2, 2), y).seal()
    assert labels.error(logits, "score") == pytest.approx(100 / 3)


def test_sealed_labels_refuse_silence_and_other_shapes(digits):
    unlabelled, labels = digits.seal()
    with pytest.raises(ValueError, match="say why"):
        labels.open("  ")
    with pytest.raises(ValueError, match=r"expected \(500, classes\)"):
        labels.error(torch.zeros(3, 10), "score")
    with pytest.raises(ValueError, match="no label to seal"):
        unlabelled.seal()
    assert labels.opened == []
