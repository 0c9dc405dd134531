"""`--seed N --deterministic` on both sides: the same data, parameters and masks, on the CPU and the simulated NPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dump.sim
from acc_compare import compare
from dump.environment import seeding

ROOT = Path(__file__).parents[2]
SCRIPT = """
import random, numpy as np, torch
from dump.environment.device import best_device
device = best_device() if __import__("sys").argv[1:] == ["npu"] else "cpu"
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 4)).to(device)
data = torch.utils.data.TensorDataset(torch.rand(16, 8) + random.random() + np.random.rand())
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for (x,) in torch.utils.data.DataLoader(data, 8, shuffle=True):
    noise = torch.randn(8, 4, device=device)
    (model(x.to(device)) + noise).square().mean().backward()
    optimizer.step()
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch):
    for variable in ("PYTHONHASHSEED", "HCCL_DETERMINISTIC", *seeding._LIBRARIES):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_same_start_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    for name, options, argument in (
        ("npu", ["--seed", "7", "--deterministic", "--simulated-npu"], "npu"),
        ("bench", ["--seed", "7", "--deterministic"], "cpu"),
        ("other", ["--seed", "8", "--deterministic"], "cpu"),
    ):
        # In a process of its own: a device that is registered after a first backward pass has no thread of the engine.
        command = [sys.executable, "-m", "dump", *options, "--step", "0,1", "-o", name, "train.py", argument]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)
    assert compare("npu", "bench").verdict == "same"
    assert {suspect.kind for suspect in compare("npu", "other").suspects} <= {"input", "random"}
    assert compare("npu", "other").verdict == "different"
    numerics = json.loads(next(tmp_path.glob("npu/step1/*/dump.json")).read_text())["numerics"]
    assert numerics["deterministic_algorithms"]
    assert numerics["environment"]["HCCL_DETERMINISTIC"] == "TRUE"
