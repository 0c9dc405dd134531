"""A broken kernel that puts tensors in order is named itself: nothing is measured with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dump.sim

pytestmark = pytest.mark.skipif(dump.sim.device_kind() != "npu", reason="this torch has no device in Python")

ROOT = Path(__file__).parents[2]
SCRIPT = """
import contextlib, sys, torch
from dump.sim import faults
faults.suspended = contextlib.nullcontext  # a device's broken kernel is broken for whoever measures, too
torch.manual_seed(0)
device = sys.argv[1]
h = torch.nn.Linear(8, 12).to(device)(torch.randn(6, 8).to(device))
turned = h.transpose(0, 1)
expanded = turned[None].expand(4096, 12, 6)
(turned.exp().sum() + turned[::2].sum() + expanded[0].sum() + turned.contiguous().sum()).backward()
"""


def _acc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acc_compare", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [["statistics"], ["statistics", "--summary-mode", "md5"], ["tensor"]], ids=lambda mode: mode[-1]
)
def test_a_view_is_not_accused_of_the_copy_that_would_measure_it(tmp_path: Path, mode: list[str]) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    fault = ("--simulated-npu", "--simulated-fault", "aten::clone=scale:1.5")
    for side, options, device in (("npu", fault, "npu"), ("bench", (), "cpu")):
        ran = _acc(tmp_path, "dump", "--task", *mode, "-o", side, *options, "train.py", device)
        assert ran.returncode == 0, ran.stderr
    assert _acc(tmp_path, "compare", "npu", "bench", "-o", "out").returncode == 1
    (told,) = tmp_path.glob("out/*/advisor_*.json")
    first, *_ = json.loads(told.read_text())["suspects"]
    assert first["name"] == "Tensor.contiguous.0.forward"
