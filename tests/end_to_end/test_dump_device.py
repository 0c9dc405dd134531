"""A device whose backward pass runs on a thread of autograd's own is recorded call for call as the CPU is."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dump
from dump.format.layout import find_dumps
from dump.format.reader import read_dump
from dump.format.schema import Dump

TRAIN = """
import sys
import torch
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
device = sys.argv[1]
model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(inplace=True))
head = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
net = torch.nn.ModuleDict({"body": model, "head": head}).to(device)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
x, y = torch.randn(4, 1, 6, 6).to(device), torch.tensor([0, 1, 2, 0]).to(device)
hidden = model(x).mean((2, 3))
loss = torch.nn.functional.cross_entropy(checkpoint(head, hidden, use_reentrant=False), y)
loss.backward()
optimizer.step()
"""


def _record(folder: Path, device: str, *flags: str) -> Dump:
    (folder / "train.py").write_text(TRAIN)
    command = [sys.executable, "-m", "dump", "--level", "mix", "-o", device, *flags, "train.py", device]
    environment = {**os.environ, "PYTHONPATH": str(Path(dump.__file__).parent.parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (location,) = find_dumps(folder / device)
    return read_dump(location.path)


@pytest.mark.slow
def test_a_simulated_npu_is_recorded_as_the_cpu_is(tmp_path: Path) -> None:
    cpu, npu = _record(tmp_path, "cpu"), _record(tmp_path, "npu", "--simulated-npu")
    assert (cpu.header.device, npu.header.device) == ("cpu", "npu")
    assert [call.name for call in cpu.calls] == [call.name for call in npu.calls]
    assert dict(cpu.owners) == dict(npu.owners)
    assert "Functional.linear.0.backward" in cpu.owners
    assert [call.name for call in npu.calls if call.is_recompute] == [
        "Functional.linear.1.forward",
        "Module.Sequential.0.Linear.forward.1",
    ]
    for ours, theirs in zip(cpu.calls, npu.calls, strict=True):
        for (name, here), (_, there) in zip(ours.tensors(), theirs.tensors(), strict=True):
            assert here.value == there.value, (ours.name, name)
            assert here.norm is not None
            assert there.norm is not None
            assert math.isclose(here.norm, there.norm, rel_tol=1e-5, abs_tol=1e-6), (ours.name, name)
