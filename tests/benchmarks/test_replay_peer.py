from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.replay.peer import for_acc_check, recorded
from dump import sim

pytestmark = pytest.mark.skipif(
    not hasattr(torch.library, "get_kernel"), reason="the simulated NPU needs torch 2.10 or newer"
)


def test_the_other_gets_the_same_tensors(tmp_path: Path) -> None:
    sim.enable()
    dump = for_acc_check(recorded(tmp_path / "dump"), tmp_path / "peer")
    data = json.loads(dump.read_text())["data"]
    gelu = data["Functional.gelu.0.forward"]
    read, wrote = (
        torch.load(dump.parent / "dump_tensor_data" / record["data_name"])
        for record in (gelu["input_args"][0], gelu["output"][0])
    )
    assert read.requires_grad
    assert torch.equal(torch.nn.functional.gelu(read), wrote)
    assert "Functional.gelu.0.backward" in data
