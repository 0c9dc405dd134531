from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from pathlib import Path
from benchmarks.replay.peer import for_acc_check, recorded
from dump import sim
sim.enable()  # before the first backward: autograd counts devices once
print(for_acc_check(recorded(Path(sys.argv[1]) / "dump"), Path(sys.argv[1]) / "peer"))
"""

pytestmark = pytest.mark.skipif(
    not hasattr(torch.library, "get_kernel"), reason="the simulated NPU needs torch 2.10 or newer"
)


def test_the_other_gets_the_same_tensors(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    dump = Path(ran.stdout.splitlines()[-1])
    data = json.loads(dump.read_text())["data"]
    gelu = data["Functional.gelu.0.forward"]
    read, wrote = (
        torch.load(dump.parent / "dump_tensor_data" / record["data_name"])
        for record in (gelu["input_args"][0], gelu["output"][0])
    )
    assert read.requires_grad
    assert torch.equal(torch.nn.functional.gelu(read), wrote)
    assert "Functional.gelu.0.backward" in data
