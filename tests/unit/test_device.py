"""Where the work runs: device, threads, precision, and randomness in a box."""

import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from kdlib import device
from kdlib.models import cnn, mlp


def test_pick_takes_what_is_asked_for_or_the_best() -> None:
    assert device.pick("cpu") == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.backends.mps.is_available():
        assert device.pick().type == best


@pytest.mark.parametrize("name", ["cuda:77", "tpu", "nonsense:0", "xla"])
def test_a_device_that_is_not_here(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be used here .*device='cpu'"):
        device.pick(name)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),  # half a processor is still one thread
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "99900000 100000"}, None),  # a quota above the machine is no limit
        ({}, None),
    ],
)
def test_threads_follow_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int | None
) -> None:
    """None: the processors that the affinity mask leaves (four, in this test)."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert device.threads(tmp_path) == (expected or 4)


def test_precision_auto_is_bf16_only_for_convolutions_on_such_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for here in (True, False):
        monkeypatch.setattr(device, "has_bf16", lambda device, here=here: here)
        assert device.resolve_precision("auto", cnn(2), cpu) == ("bf16" if here else "fp32")
        assert device.resolve_precision("auto", mlp(4, 2), cpu) == "fp32"
        assert device.resolve_precision("bf16", mlp(4, 2), cpu) == "bf16"


def test_autocast_changes_the_precision_of_products() -> None:
    layer, x = nn.Linear(2, 2), torch.zeros(1, 2)
    with device.autocast("bf16", torch.device("cpu")):
        assert layer(x).dtype == torch.bfloat16
    with device.autocast("fp32", torch.device("cpu")):
        assert layer(x).dtype == torch.float32
    with pytest.raises(ValueError, match=r"precision='fp16'.*'fp32', 'bf16' or 'auto'"):
        device.autocast("fp16", torch.device("cpu"))


def test_seeded_leaves_outside_randomness_as_it_was() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with device.seeded(5):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with device.seeded(5):
        assert torch.equal(torch.rand(3), inside)
    with device.seeded(6):
        assert not torch.equal(torch.rand(3), inside)


def test_seeded_restores_after_an_error() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with pytest.raises(KeyError), device.seeded(5):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so")
@pytest.mark.parametrize("kept", [True, False])
def test_memory_that_a_step_frees_is_not_faulted_in_again(kept: bool) -> None:
    """40 MB a step are 10,240 pages; more than glibc, left alone, ever keeps of one block."""
    script = """
        import resource, sys, torch
        from kdlib.device import keep_freed_memory
        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        if sys.argv[1] == "True":
            keep_freed_memory()
        each = []
        for i in range(16):
            before = faults()
            torch.ones(10 << 20)
            each.append(faults() - before)
        print(sorted(each[-5:])[2])  # the heap has grown by then, or grows once more
    """
    words = [sys.executable, "-c", textwrap.dedent(script), str(kept)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert (int(said) < 3_000) == kept, said


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_card_that_runs_no_kernel_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory on a card that is too old for this PyTorch can be had; its first kernel fails."""

    class Card(torch.Tensor):
        def add_(self, *args: object, **kwargs: object) -> torch.Tensor:
            raise RuntimeError("CUDA error: no kernel image is available for execution")

    def made(*shape: int, device: torch.device) -> torch.Tensor:
        assert device.type == name
        return torch.ones(*shape).as_subclass(Card)

    monkeypatch.setattr(torch, "zeros", made)
    monkeypatch.setattr(torch, "empty", made)
    with pytest.raises(ValueError, match=r"cannot be used here \(CUDA error: no kernel image"):
        device.pick(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.pick() == torch.device("cpu")


def test_bf16_is_asked_of_the_card_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cards = {"cuda:0": (7, 5), "cuda:1": (9, 0)}
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda card=None: cards[str(card or "cuda:0")]
    )
    assert device.has_bf16("cuda:1") and not device.has_bf16("cuda:0")


def test_seeded_leaves_the_randomness_of_mps_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    state = [torch.tensor([3])]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[0])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda new: state.__setitem__(0, new))
    monkeypatch.setattr(
        torch.mps, "manual_seed", lambda seed: state.__setitem__(0, torch.tensor([seed]))
    )
    with pytest.raises(KeyError), device.seeded(5, "mps"):
        assert state[0].item() == 5
        raise KeyError
    assert state[0].item() == 3
