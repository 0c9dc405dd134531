"""A training script for whatever accelerator there is, unmodified: as it is, and with the CPU in the place of CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from acc_compare import compare

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "imagenet_accelerator.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="torch.accelerator came with torch 2.6")
def test_it_records_with_and_without_a_device(tmp_path: Path) -> None:
    for name, flags in (("plain", ()), ("cpu", ("--device", "cpu"))):
        run = subprocess.run(
            [sys.executable, "-m", "dump", *flags, "-o", name, str(SCRIPT), "-b", "2", "--dummy", "--image-size", "32"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert run.returncode == 0, run.stderr
        assert "not recorded" not in run.stderr
    found = compare(tmp_path / "plain", tmp_path / "cpu").overall
    assert found.verdict == "same"
    assert found.coverage.calls > 100
    assert (found.coverage.unmatched_npu, found.coverage.unmatched_bench) == (0, 0)
