"""What the doctor says of a graphics card, with cards that are not there."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdcourse import doctor
from kdlib import device

CU126 = "--index-url https://download.pytorch.org/whl/cu126"


@pytest.mark.parametrize(
    ("built", "available", "why_not", "hidden", "said", "mend"),
    [
        (None, False, None, None, "is not used: this torch is built for the CPU alone", CU126),
        ("13.0", False, None, None, "its driver 535.1 is too old for this torch", CU126),
        ("12.6", False, None, None, "its driver 535.1 is too old", "update NVIDIA's driver"),
        ("13.0", True, "CUDA error: no kernel image is available", None, "no kernels for", CU126),
        ("13.0", True, "CUDA error: out of memory", None, "out of memory", "device='cpu' works"),
        ("13.0", False, None, "", "CUDA_VISIBLE_DEVICES hides it", "unset CUDA_VISIBLE_DEVICES"),
        ("13.0", True, None, None, "is used where device='cuda'", "CUDA_VISIBLE_DEVICES=-1"),
    ],
)
def test_why_a_card_is_not_used(
    built: str | None, available: bool, why_not: str | None, hidden: str | None, said: str,
    mend: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def tool(*words: Any, **settings: Any) -> Any:
        return SimpleNamespace(stdout="NVIDIA GeForce GTX 1080, 535.1\nNVIDIA T4, 535.1\n")

    monkeypatch.setattr(subprocess, "run", tool)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(device, "why_not", lambda name: why_not)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (line,) = doctor._card()
    assert line.mark == "○" and line.what.startswith("NVIDIA GeForce GTX 1080 ")
    assert said in line.what and mend in line.mend
    if mend == CU126:
        assert f"torch=={torch.__version__.partition('+')[0]}+cu126 torchvision==" in line.mend


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi")]
)
def test_no_card_is_no_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*words: Any, **settings: Any) -> Any:
        raise error

    monkeypatch.setattr(subprocess, "run", missing)
    assert list(doctor._card()) == []
