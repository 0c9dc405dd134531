"""A training script that knows CUDA alone, unmodified: on the CPU as a bench and on the simulated NPU."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import dump.sim
from acc_compare import compare
from dump import cli
from dump.redirect import redirected

ROOT = Path(__file__).parents[2]
FLAGS = "-a resnet18 -b 2 --gpu 1 --dummy --dummy-images 2 --image-size 32 --classes 10 --seed 3".split()


def _dump(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "dump", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.cuda.amp:FutureWarning")  # the script is of its time
@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_runs_agree_and_go_on_from_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = str(ROOT / "examples" / "imagenet_cuda.py")
    monkeypatch.setattr(sys, "argv", [script, *FLAGS, "--checkpoint", str(tmp_path / "first.pt")])
    with redirected("cpu"):
        runpy.run_path(script, run_name="__main__")
    resumed = (*FLAGS, "--resume", "first.pt", "--epochs", "2", "--amp")
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    assert cli.main(["--device", "cpu", "-o", "bench", script, *resumed]) == 0
    bench = capfd.readouterr().out
    npu = _dump(tmp_path, "--device", "npu", "--simulated-npu", "-o", "npu", script, *resumed)
    assert "=> GPU 1 of 1: cpu in place of CUDA\n=> resumed at epoch 1" in bench
    assert npu.replace("npu in place", "cpu in place") == bench
    found = compare(tmp_path / "npu", tmp_path / "bench").overall
    assert found.verdict == "same"
    assert found.coverage.calls > 150
    assert (found.coverage.unmatched_npu, found.coverage.unmatched_bench) == (0, 0)
    assert found.npu_device == "npu (SimulatedNPU)"
