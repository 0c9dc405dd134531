"""A pipeline of one stage in a real process group of one rank: the run that infers shapes leaves no record."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

dist = pytest.importorskip("torch.distributed")
pipelining = pytest.importorskip("torch.distributed.pipelining", reason="torch.distributed.pipelining came with 2.4")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def one_rank(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _train(batches: int) -> None:
    stage = pipelining.PipelineStage(nn.Linear(4, 2), 0, 1, torch.device("cpu"))
    schedule = pipelining.ScheduleGPipe(stage, batches, loss_fn=lambda output, wanted: (output - wanted).abs().sum())
    schedule.step(torch.ones(4, 4), target=torch.zeros(4, 2))


def test_what_runs_to_learn_shapes_is_not_recorded(record: Any) -> None:
    dump = record(lambda: _train(2))
    linear = [name for name in dump.names if name.startswith("Functional.linear.") and name.endswith(".forward")]
    assert len(linear) == 2
    assert len([name for name in dump.names if name.startswith("Tensor.abs.") and name.endswith(".backward")]) == 2


def test_the_stage_is_put_back(record: Any) -> None:
    before = dict(vars(pipelining.PipelineStage))
    record(lambda: _train(2))
    assert dict(vars(pipelining.PipelineStage)) == before


SCRIPT = """
import sys, torch, torch.distributed as dist
from torch import nn
layer = nn.Linear(4, 2)
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
from torch.distributed import pipelining
stage = pipelining.PipelineStage(layer, 0, 1, torch.device("cpu"))
schedule = pipelining.ScheduleGPipe(stage, 2, loss_fn=lambda output, wanted: (output - wanted).abs().sum())
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
schedule.step(torch.ones(4, 4), target=torch.zeros(4, 2))
optimizer.step()
dist.destroy_process_group()
"""


INTERLEAVED = """
import sys, torch, torch.distributed as dist
from torch import nn
layers = [nn.Linear(4, 4), nn.Linear(4, 2)]
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
from torch.distributed import pipelining
stages = [pipelining.PipelineStage(layer, n, 2, torch.device("cpu")) for n, layer in enumerate(layers)]
schedule = pipelining.ScheduleInterleaved1F1B(stages, 2, loss_fn=lambda output, wanted: (output - wanted).abs().sum())
optimizer = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=0.1)
schedule.step(torch.ones(4, 4), target=torch.zeros(4, 2))
optimizer.step()
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("script", "runs"), [(SCRIPT, 2), (INTERLEAVED, 4)])
def test_nor_where_modules_alone_are_looked_at_and_the_script_imports_pipelines_late(
    tmp_path: Path, script: str, runs: int
) -> None:
    (tmp_path / "train.py").write_text(script)
    command = [sys.executable, "-m", "dump", "--level", "L0", "-o", "dump", "train.py", str(tmp_path / "alone")]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (location,) = find_dumps(tmp_path / "dump")
    names = [
        call.name
        for call in read_dump(location.path).calls
        if call.name.startswith("Module.") and ".forward." in call.name
    ]
    assert len(names) == runs
