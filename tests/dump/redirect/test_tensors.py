"""Tensors that a script makes on CUDA, or moves there, lie on the CPU, and are what they would be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dump.redirect import redirected


@pytest.fixture(autouse=True)
def _on_the_cpu() -> Iterator[None]:
    with redirected("cpu"):
        yield


X = torch.arange(6.0).view(2, 3)
GPU = torch.device("cuda:1")
CALLS: dict[str, Callable[[], Any]] = {
    "zeros": lambda: torch.zeros(2, device="cuda"),
    "tensor": lambda: torch.tensor([1.0], device=GPU),
    "as_tensor": lambda: torch.as_tensor([1.0], dtype=torch.float32, device=GPU),
    "number": lambda: torch.ones(2, device=0),
    "pinned": lambda: torch.empty(2, pin_memory=True),
    "like": lambda: torch.rand_like(X, device="cuda:0"),
    "new": lambda: X.new_zeros(2, device=GPU),
    "to": lambda: X.to(GPU, non_blocking=True),
    "to a number": lambda: X.to(1),
    "to by keyword": lambda: X.to(device="cuda", dtype=torch.float16),
    "cuda": lambda: X.cuda(),
    "cuda of a number": lambda: X.cuda(1, non_blocking=True),
    "type": lambda: X.type("torch.cuda.HalfTensor"),
    "tensor type": lambda: torch.cuda.FloatTensor([1.0]),
    "pin_memory": lambda: X.pin_memory(),
    "fft": lambda: torch.fft.fftfreq(4, device="cuda"),
    "layer": lambda: torch.nn.Linear(2, 2, device="cuda").weight,
    "module": lambda: torch.nn.Linear(2, 2).to(GPU).weight,
    "module to a number": lambda: torch.nn.Linear(2, 2).to(0).weight,
    "module cuda": lambda: torch.nn.Linear(2, 2).cuda(1).half().weight,
    "to_empty": lambda: torch.nn.Linear(2, 2, device="meta").to_empty(device="cuda").weight,
    "generator": lambda: torch.rand(2, device="cuda", generator=torch.Generator(device="cuda")),
    "packed": lambda: torch.nn.utils.rnn.pack_sequence([X]).cuda().data,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_where_cuda_is_meant(call: Callable[[], Any]) -> None:
    assert call().device == torch.device("cpu")


def test_values_and_dtypes_are_those_that_were_asked_for() -> None:
    moved = X.to(device="cuda", dtype=torch.float16)
    assert moved.dtype is torch.float16
    assert torch.equal(moved.float(), X)
    assert X.type("torch.cuda.HalfTensor").dtype is torch.float16
    assert X.to(torch.float64).dtype is torch.float64
    pinned = X.pin_memory()
    assert torch.equal(pinned, X)
    assert pinned.data_ptr() != X.data_ptr()


def test_other_devices_stay_what_they_are() -> None:
    assert torch.zeros(2, device="meta").is_meta
    assert X.to("meta").is_meta
    assert GPU.type == "cuda"  # a script's own branches go as on a GPU


def test_a_generator_is_a_generator() -> None:
    made = torch.Generator("cuda").manual_seed(3)
    assert isinstance(made, torch.Generator)
    assert not isinstance(X, torch.Generator)
    assert torch.equal(torch.rand(3, generator=made), torch.rand(3, generator=torch.Generator().manual_seed(3)))


def test_a_default_device() -> None:
    torch.set_default_device("cuda")
    try:
        assert torch.zeros(2).device.type == "cpu"
    finally:
        torch.set_default_device(None)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_script_still_compiles() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2 + torch.zeros_like(x)

    assert torch.equal(torch.jit.script(double)(X), X * 2)
