from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import amp
from torch.utils.data import DataLoader

import dump.sim
from dump.config import DumpConfig
from dump.format.reader import read_dump
from dump.older_torch import grad_scaler
from dump.redirect import redirected
from dump.session import Session

OWNERS: tuple[Any, ...] = (
    torch, torch.Tensor, torch.cuda, torch.fft, torch.nested, torch.nn.Module, amp, amp.autocast_mode,
    amp.autocast_mode.autocast, grad_scaler(), DataLoader, torch.distributed, torch.distributed.distributed_c10d,
    torch.nn.parallel.DistributedDataParallel, torch.jit,
)  # fmt: skip


@pytest.mark.parametrize("kind", ["cpu", "npu"])
def test_all_is_as_it_was(kind: Any) -> None:
    with redirected(kind):
        pass  # whatever torch loads on the way is loaded now
    before = [dict(vars(owner)) for owner in OWNERS]
    with redirected(kind):
        assert [dict(vars(owner)) for owner in OWNERS] != before
    assert [dict(vars(owner)) for owner in OWNERS] == before


def test_a_recording_sees_through_it(tmp_path: Any) -> None:
    with redirected("cpu"):
        session = Session(DumpConfig(dump_path=tmp_path, level="L1"))
        session.start()
        torch.zeros(3, device="cuda").cuda().to("cuda:0").relu()
        session.step()
        session.close()
    names = [call.name for call in read_dump(next(tmp_path.glob("step0/*"))).calls]
    assert names == ["Torch.zeros.0.forward", "Tensor.cuda.0.forward", "Tensor.to.0.forward", "Tensor.relu.0.forward"]


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_simulated_npu_in_place_of_cuda() -> None:
    dump.sim.enable()
    with redirected("npu"):
        x = torch.ones(2, 2, device="cuda:1").cuda()
        assert x.device.type == "npu"
        with torch.autocast("cuda"):
            assert (x @ x).dtype is torch.float16
        generator = torch.Generator("cuda").manual_seed(3)
        drawn = torch.rand(3, device="cuda", generator=generator).cpu()
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(3)))
