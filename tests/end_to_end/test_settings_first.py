"""An NPU run whose matrix products are in HF32: the page says so before it names a suspect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dump.sim

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, torch
device = sys.argv[1]
if device == "npu":
    torch.npu.matmul.allow_hf32 = True
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).to(device)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model(torch.randn(16, 64).to(device)).square().mean().backward()
optimizer.step()
"""
ACC = "import sys; from acc_compare.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_page_begins_with_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    # In processes of their own: a device that is registered after a first backward pass has no thread of the engine.
    for options in (["--simulated-npu", "-o", "npu", "train.py", "npu"], ["-o", "bench", "train.py", "cpu"]):
        command = [sys.executable, "-m", "dump", *options]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)
    run = subprocess.run(
        [sys.executable, "-c", ACC, "compare", "npu", "bench", "-j", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 1, run.stderr
    page = run.stdout
    assert page.index("matrix products of float32 ran in HF32") < page.index("1. Functional.linear.0.forward")
    assert "torch.npu.matmul.allow_hf32 = False" in page
    document = json.loads(next(tmp_path.glob("compare_result/*/advisor_*.json")).read_text())
    assert len(document["settings"]) == 1
