"""npu tensors leave and come back: copies, files, pickles, and memory that outlives its names."""

from __future__ import annotations

import copy
import gc
import io
import pickle

import pytest
import torch
from torch import nn

import dump.sim

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
from dump.sim import storage

dump.sim.enable()

DTYPES = [
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.int64,
    torch.bool,
    torch.complex64,
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_survives_the_way_to_the_device_and_back(dtype):
    x = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    there = x.to("npu")
    assert (there.device, there.dtype, there.is_npu) == (torch.device("npu", 0), dtype, True)
    assert type(there) is torch.Tensor
    assert there.data_ptr() != x.data_ptr()
    assert torch.equal(there.cpu(), x)
    assert torch.equal(x.npu().t().cpu(), x.t())


def saved_and_loaded(x, **options):
    buffer = io.BytesIO()
    torch.save(x, buffer)
    buffer.seek(0)
    return torch.load(buffer, **options)


@pytest.mark.parametrize(
    ("again", "device"),
    [
        (copy.deepcopy, "npu"),
        (saved_and_loaded, "npu"),
        (lambda x: saved_and_loaded(x, map_location="cpu"), "cpu"),
        (lambda x: saved_and_loaded(x.cpu(), map_location="npu"), "npu"),
        (lambda x: pickle.loads(pickle.dumps(x)), "npu"),
        (torch.clone, "npu"),
    ],
)
def test_a_copy_has_the_same_numbers_in_other_memory(again, device):
    x = torch.arange(6.0, device="npu").view(2, 3).t()
    other = again(x)
    assert other.device.type == device
    assert other.stride() == x.stride()
    assert torch.equal(other.cpu(), x.cpu())
    x.zero_()
    assert other.sum().item() == 15


def test_a_deep_copied_model_trains_by_itself():
    model = nn.Linear(3, 2).to("npu")
    twin = copy.deepcopy(model)
    twin(torch.ones(1, 3, device="npu")).sum().backward()
    assert model.weight.grad is None
    assert twin.weight.grad.device.type == "npu"


def test_memory_lives_as_long_as_a_view_of_it():
    x = torch.full((1000,), 7.0).to("npu")
    part = x[10:20].view(2, 5)
    del x
    gc.collect()
    torch.full((1000,), 8.0)
    assert part.sum().item() == 70


def test_views_keep_sharing_memory_after_a_resize():
    x = torch.zeros(4, device="npu")
    view = x.view(2, 2)
    x.resize_(1000)
    x.fill_(3)
    assert view.sum().item() == 12
    assert x.untyped_storage().nbytes() >= 4000


def test_as_host_is_an_alias():
    x = torch.zeros(2, 3, device="npu")
    host = storage.as_host(x[1])
    host += 1
    assert host.device.type == "cpu"
    assert x.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_as_host_refuses_a_third_device():
    with pytest.raises(RuntimeError, match="found one on meta"):
        storage.as_host(torch.empty(2, device="meta"))


def test_numpy_needs_a_copy_first():
    x = torch.ones(2, device="npu")
    with pytest.raises(TypeError, match="npu:0"):
        x.numpy()
    assert x.cpu().numpy().tolist() == [1, 1]
