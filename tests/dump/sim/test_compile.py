"""torch.compile on the simulated device gives what it gives on the CPU, forward and backward."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dump.sim

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
dump.sim.enable()
BACKENDS = ("eager", "aot_eager")


@pytest.fixture(autouse=True)
def _nothing_compiled_is_left() -> Iterator[None]:
    yield
    torch._dynamo.reset()


class Attending(nn.Module):
    """Attention and what stands around it; dropout is 0, so that both sides draw nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm = nn.Linear(8, 24), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return x + F.gelu(attended) + torch.zeros(8, device=x.device)


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("make", "shape"), [(Attending, (2, 5, 8)), (convolutions, (2, 3, 6, 6))])
def test_compiled_models(backend: str, make: type[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = make(), torch.randn(shape)
    on_npu = copy.deepcopy(model).to("npu")
    compiled = torch.compile(on_npu, backend=backend, fullgraph=True)(x.to("npu"))
    expected = model(x)
    compiled.sum().backward()
    expected.sum().backward()
    assert compiled.device.type == "npu"
    torch.testing.assert_close(compiled.cpu(), expected)
    for ours, theirs in zip(on_npu.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fault_fires_in_compiled_code(backend: str) -> None:
    x = torch.linspace(-1, 1, 6)
    with dump.sim.npu(faults=["aten::gelu=sign"]):
        found = torch.compile(F.gelu, backend=backend)(x.to("npu")).cpu()
    assert torch.equal(found, -F.gelu(x))
