"""An NPU run whose matrix products are in HF32: the page says so before it names a suspect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dump.sim
from acc_compare import cli

ROOT = Path(__file__).parents[2]
SCRIPT = """
import torch
from dump.device import best_device
device = best_device()
if device == "npu":
    torch.npu.matmul.allow_hf32 = True
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).to(device)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model(torch.randn(16, 64).to(device)).square().mean().backward()
optimizer.step()
"""
ACC = [sys.executable, "-c", "import sys; from acc_compare.cli import main; sys.exit(main(sys.argv[1:]))"]


def _acc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [*ACC, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_page_begins_with_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    assert _acc(tmp_path, "dump", "--simulated-npu", "-o", "npu", "train.py").returncode == 0
    assert _acc(tmp_path, "dump", "-o", "bench", "train.py").returncode == 0
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", "npu", "bench", "-j", "1"]) == 1
    page = capsys.readouterr().out
    assert page.index("matrix products of float32 ran in HF32") < page.index("1. Functional.linear.0.forward")
    assert "torch.npu.matmul.allow_hf32 = False" in page
    document = json.loads(next(tmp_path.glob("compare_result/*/advisor_*.json")).read_text())
    assert len(document["settings"]) == 1
