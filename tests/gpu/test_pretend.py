"""The rules of the made-up device, each where it bites: what passes there has kept to them."""

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gpu.pretend import Away, pretend
from torch import nn

HERE = torch.arange(6.0).view(2, 3)
PAST = torch.empty(2, 3, device="meta")  # made before there was the device
TWO, GENERATOR = "at least two devices", "device type for generator"
NUMPY, DOUBLE, EMPTY = r"use Tensor\.cpu\(\) first", "float64", "has no values"
REFUSED: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "a sum": (TWO, lambda there, d: there + HERE),
    "a sum the other way": (TWO, lambda there, d: HERE + there),
    "in place": (TWO, lambda there, d: HERE.clone().add_(there)),
    "one element of one dimension": (TWO, lambda there, d: there + HERE[0, :1]),
    "a product": (TWO, lambda there, d: there @ HERE.T),
    "joined": (TWO, lambda there, d: torch.cat([there, HERE])),
    "a layer": (TWO, lambda there, d: nn.Linear(3, 1)(there)),
    "images to a layer": (TWO, lambda there, d: nn.Linear(3, 1).to(d)(HERE)),
    "labels": (TWO, lambda there, d: nn.functional.cross_entropy(there, torch.tensor([0, 1]))),
    "gathered": (TWO, lambda there, d: there.gather(1, torch.zeros(2, 1, dtype=torch.int64))),
    "a CPU tensor by its index": (TWO, lambda there, d: HERE[torch.tensor([0], device=d)]),
    "drawn": (GENERATOR, lambda there, d: torch.rand(3, generator=dice(), device=d)),
    "an order": (GENERATOR, lambda there, d: torch.randperm(3, generator=dice(), device=d)),
    "drawn in place": (GENERATOR, lambda there, d: there.clone().normal_(generator=dice())),
    "bernoulli": (GENERATOR, lambda there, d: torch.bernoulli(there > 0, generator=dice())),
    "numpy": (NUMPY, lambda there, d: there.numpy()),
    "numpy of a weight": (NUMPY, lambda there, d: nn.Linear(3, 1).to(d).weight.detach().numpy()),
    "an array": (NUMPY, lambda there, d: np.asarray(there)),
    "a list of them": (NUMPY, lambda there, d: np.array([there[0, 0], there[0, 1]])),
    "no values": (EMPTY, lambda there, d: there + PAST),
}  # fmt: skip
DOUBLES: dict[str, Callable[[Any, Any], Any]] = {
    "cast": lambda there, d: there.double(),
    "cast to": lambda there, d: there.to(torch.float64),
    "made": lambda there, d: torch.zeros(3, device=d, dtype=torch.float64),
    "moved": lambda there, d: HERE.double().to(d),
    "summed": lambda there, d: there.sum(dtype=torch.float64),
    "moved before it is cast": lambda there, d: there.double().cpu(),
}
LET: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "a number": (HERE + 2, lambda there, d: there + torch.tensor(2.0)),
    "an index of the CPU": (HERE[[1, 0]], lambda there, d: there[torch.tensor([1, 0])]),
    "a mask of the CPU": (HERE[:1], lambda there, d: there[torch.tensor([True, False])]),
    "a list": (HERE[:, [2, 0]], lambda there, d: there[:, [2, 0]]),
    "copied in": (HERE, lambda there, d: torch.zeros(2, 3, device=d).copy_(HERE)),
    "written by a list": (torch.tensor([1.0, 0, 1]), lambda there, d: written(d)),
    "drawn here, then moved": (
        torch.rand(3, generator=torch.Generator().manual_seed(0)),
        lambda there, d: torch.rand(3, generator=dice()).to(d),
    ),
    "by .tolist()": (HERE, lambda there, d: torch.tensor(there.tolist(), device=d)),
}


def dice() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def written(device: Any) -> Any:
    made = torch.zeros(3, device=device)
    made[[0, 2]] += 1
    return made


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_second_device_refuses(what: str) -> None:
    why, act = REFUSED[what]
    with pretend() as device, pytest.raises((RuntimeError, TypeError), match=why):
        act(HERE.to(device), device)


@pytest.mark.parametrize("what", DOUBLES)
def test_what_a_device_without_float64_refuses(what: str) -> None:
    with pretend() as device:
        DOUBLES[what](HERE.to(device), device)
    with pretend(float64=False) as device, pytest.raises(TypeError, match=DOUBLE):
        DOUBLES[what](HERE.to(device), device)


@pytest.mark.parametrize("what", LET)
def test_what_a_second_device_allows(what: str) -> None:
    expected, act = LET[what]
    with pretend(float64=False) as device:
        made = act(HERE.to(device), device)
        assert isinstance(made, Away) and made.device == device != HERE.device
        for back in (made.cpu(), made.to("cpu"), torch.as_tensor(made, device="cpu")):
            assert not isinstance(back, Away) and torch.equal(back, expected)
        assert made.sum().item() == expected.sum().item()
        assert made.cpu().double().dtype == torch.float64


def test_what_is_moved_is_another_memory() -> None:
    with pretend() as device:
        here = HERE.clone()
        there = here.to(device)
        back = there.cpu()
        here += 1
        back += 2
        assert torch.equal(there.cpu(), HERE)
        assert there.to(device) is there  # as PyTorch does where nothing is to be done


def test_a_network_moves_whole_and_learns_there() -> None:
    here = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pretend() as device:
        there = copy.deepcopy(here).to(device)
        assert all(isinstance(held, Away) for held in there.state_dict().values())
        assert isinstance(there[0].weight, nn.Parameter)
        for network, x in ((here, HERE), (there, HERE.to(device))):
            steps = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
            network(x).square().sum().backward()
            steps.step()
        for mine, theirs in zip(here.parameters(), there.parameters(), strict=True):
            assert isinstance(theirs.grad, Away)
            assert torch.equal(mine, theirs.cpu()) and torch.equal(mine.grad, theirs.grad.cpu())
        file = io.BytesIO()
        torch.save(there.state_dict(), file)
    file.seek(0)
    for name, read in torch.load(file, weights_only=True, map_location="cpu").items():
        assert torch.equal(read, here.state_dict()[name]), name


def test_outside_of_it_nothing_has_changed() -> None:
    before = (torch.tensor, torch.as_tensor, torch.autocast)
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.raises(ZeroDivisionError), pretend(float64=False):
        raise ZeroDivisionError
    assert (torch.tensor, torch.as_tensor, torch.autocast) == before
    assert torch.__future__.get_swap_module_params_on_conversion() == swaps
    assert torch.ones(1, device="meta").is_meta
    with pretend() as device:
        assert torch.ones(1, device=device).double().item() == 1
