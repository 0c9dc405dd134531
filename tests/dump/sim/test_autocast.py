"""torch.autocast("npu") casts what the lists say, and gradients come back in the parameter's dtype."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dump.sim

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
dump.sim.enable()

LOW = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda x: x @ x.mT, "low"),
        (lambda x: F.linear(x, x, x[:, 0]), "low"),
        (lambda x: F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]), "low"),
        (lambda x: x.to(torch.bfloat16).softmax(-1), "float32"),
        (lambda x: x.to(torch.bfloat16).sum(), "float32"),
        (lambda x: torch.cat([x.to(torch.bfloat16), x]), "float32"),
        (lambda x: torch.cat([x.half(), x.half()]), "low"),
        (lambda x: x + x, "float32"),
        (lambda x: x.double() @ x.double().mT, "float64"),
    ],
)
def test_results_have_the_dtype_of_their_list(call, result, dtype):
    x = torch.randn(4, 4, device="npu")
    with torch.autocast("npu", dtype=dtype):
        found = call(x).dtype
    assert found == {"low": dtype, "float32": torch.float32, "float64": torch.float64}[result]


def test_the_numbers_are_those_of_a_cast_by_hand():
    x, layer = torch.randn(3, 4), nn.Linear(4, 5)
    expected = F.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    with torch.autocast("npu", dtype=torch.bfloat16):
        found = layer.to("npu")(x.to("npu"))
    assert torch.equal(found.detach().cpu(), expected)


def test_gradients_come_back_in_float32_and_the_scaler_unscales_them():
    layer = nn.Linear(4, 5).to("npu")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("npu", init_scale=1024.0)
    before = layer.weight.detach().clone()
    with torch.autocast("npu", dtype=torch.float16):
        loss = layer(torch.ones(2, 4, device="npu")).float().mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer.weight.grad.cpu(), torch.full((5, 4), 0.2), rtol=1e-3, atol=0)
    scaler.step(optimizer)
    scaler.update()
    assert not torch.equal(layer.weight.detach().cpu(), before.cpu())


def test_cpu_autocast_leaves_the_device_alone():
    x = torch.randn(4, 4, device="npu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.float32
        assert torch.equal((x @ x).cpu(), _plain(x))


def _plain(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return x.cpu() @ x.cpu()
