"""Pipeline parallelism by torch.distributed.pipelining: JOB=1f1b, gpipe or interleaved (two stages a rank), over gloo.

A world of one runs the same stages one behind the other.
"""

from __future__ import annotations

import os
import sys

import blocks
import setting
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B

JOB = os.environ.get("JOB", "1f1b")
if JOB in ("whole", "micro", "deep"):
    import unstaged  # noqa: F401  the same model by one process

    sys.exit()
rank, world = blocks.start()
torch.manual_seed(setting.SEED)
each = 2 if JOB == "interleaved" else 1
count = each * world
whole = setting.place(blocks.model(2 * count - 2))
parts = [nn.Sequential(*list(whole)[2 * number : 2 * number + 2]) for number in range(count)]
device = torch.device(setting.DEVICE)
numbers = [rank + world * turn for turn in range(each)]
stages = [PipelineStage(parts[number], number, count, device) for number in numbers]


def error(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (output - wanted).square().mean()


if JOB == "interleaved":
    schedule = ScheduleInterleaved1F1B(stages, 2 * world, loss_fn=error)
else:
    schedule = (ScheduleGPipe if JOB == "gpipe" else Schedule1F1B)(stages[0], 4, loss_fn=error)
held = [parameter for number in numbers for parameter in parts[number].parameters()]
optimizer = torch.optim.AdamW(held, lr=1e-2)
data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(8, 16), data.normal(8, 8)
    optimizer.zero_grad()
    given = (batch,) if rank == 0 else ()
    schedule.step(*given, target=target if rank == world - 1 else None)
    optimizer.step()
    print(step, rank)
dist.destroy_process_group()
