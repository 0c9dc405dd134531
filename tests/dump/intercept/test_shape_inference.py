"""A pipeline of one stage in a real process group of one rank: the run that infers shapes leaves no record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

dist = pytest.importorskip("torch.distributed")
pipelining = pytest.importorskip("torch.distributed.pipelining", reason="torch.distributed.pipelining came with 2.4")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


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
