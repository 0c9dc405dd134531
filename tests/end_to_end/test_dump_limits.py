"""`--max-bytes` and `--max-steps` by the real command line: the script goes on bit-equal, compare tells the cut."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

ROOT = Path(__file__).resolve().parents[2]
ACC = "import sys; from acc_compare.cli import main; sys.exit(main())"
TRAIN = """
import hashlib
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(400, 100), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(100, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(6):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 400)).square().mean()
    loss.backward()
    optimizer.step()
    print(step, loss.item().hex())
print(hashlib.md5(b"".join(each.detach().numpy().tobytes() for each in model.parameters())).hexdigest())
"""


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@pytest.mark.slow
def test_limits_end_the_recording_and_not_the_script(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    alone = _run(tmp_path, "train.py")
    assert alone.returncode == 0, alone.stderr
    limits = {"bytes": ["--step", "all", "--max-bytes", "1.2MB"], "steps": ["--max-steps", "3"]}
    ends = {}
    for name, flags in limits.items():
        done = _run(tmp_path, "-c", ACC, "dump", "--task", "tensor", *flags, "-o", name, "train.py")
        assert (done.returncode, done.stdout) == (0, alone.stdout), done.stderr
        ends[name] = done.stderr.splitlines()[-1]
    assert ends["steps"] == "acc dump: recording ended after step 2, which is whole: max_steps is 3"
    assert [read_dump(place.path).incomplete for place in find_dumps(tmp_path / "steps")] == [None] * 3
    assert sum(path.stat().st_size for path in (tmp_path / "bytes").rglob("*")) <= 1_200_000
    *whole, cut = [read_dump(place.path) for place in find_dumps(tmp_path / "bytes")]
    assert all(dump.incomplete is None for dump in whole)
    assert cut.incomplete is not None
    assert ends["bytes"].endswith(f"within step {len(whole)}, which is cut short: max_bytes is 1.2 MB")
    last = f"step{len(whole)}"
    compared = _run(tmp_path, "-c", ACC, "compare", f"bytes/{last}", f"steps/{last}", "-o", "out")
    assert "was closed by max_bytes (1.2 MB) before its step ended" in " ".join(compared.stdout.split())
