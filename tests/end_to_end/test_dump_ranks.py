"""Several ranks under torchrun: one folder for each, and none depends on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

ROOT = Path(__file__).resolve().parent.parent.parent

TRAIN = """
import os
import torch
import torch.distributed as dist
from torch import nn

torch.set_num_threads(1)
dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(2):
    loss = model(torch.randn(3, 4) * (1 + dist.get_rank())).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
dist.destroy_process_group()
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed"),
]


def _torchrun(folder: Path, ranks: int, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(TRAIN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run(
        [*launcher, "-m", "dump", *options, "train.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@pytest.mark.parametrize(("ranks", "options", "wanted"), [(4, (), [0, 1, 2, 3]), (2, ("--rank", "1"), [1])])
def test_each_rank_has_a_folder_of_its_own(
    tmp_path: Path, ranks: int, options: tuple[str, ...], wanted: list[int]
) -> None:
    done = _torchrun(tmp_path, ranks, "--step", "0-1", "-o", "out", *options)
    assert done.returncode == 0, done.stderr
    found = list(find_dumps(tmp_path / "out"))
    assert [(place.step, place.rank) for place in found] == [(step, rank) for step in (0, 1) for rank in wanted]
    inputs = set()
    for place in found:
        dump = read_dump(place.path)
        assert dump.incomplete is None
        assert dump.header.world_size == ranks
        assert dump.calls[-1].name == "Optimizer.SGD.0.forward"
        linear = next(call for call in dump.calls if call.name == "Functional.linear.0.forward")
        inputs.add(linear.inputs[0].leaf.norm)  # type: ignore[union-attr]
    assert len(inputs) == 2 * len(wanted)  # each rank has recorded its own batches
