"""Pipeline stages of FSDP2 of tensor parallel blocks: JOB=2x2x2 is stages, parts of the batch and of each tensor, over
gloo.  1x1x1 and 1x2x2 are the same model without stages."""

from __future__ import annotations

import os

import blocks
import setting
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

COUNT = 2  # of stages, whoever holds them
extents = tuple(int(extent) for extent in os.environ.get("JOB", "1x1x1").split("x"))
rank, world = blocks.start()
torch.manual_seed(setting.SEED)
mesh = init_device_mesh(setting.DEVICE, extents, mesh_dim_names=("pipe", "data", "tensor"))
place, number = mesh["pipe"].get_local_rank(), mesh["data"].get_local_rank()
model = list(setting.place(blocks.model(2 * COUNT - 2)))
own = nn.Sequential(*(model[2 * place : 2 * place + 2] if extents[0] > 1 else model))
for block in own:
    if isinstance(block, blocks.Block) and extents[2] > 1:
        parallelize_module(block, mesh["tensor"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
if extents[1] > 1:
    for block in own:
        fully_shard(block, mesh=mesh["data"])
    fully_shard(own, mesh=mesh["data"])


def error(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (output - wanted).square().mean()


optimizer = torch.optim.AdamW(own.parameters(), lr=1e-2)
if extents[0] > 1:
    stage = PipelineStage(own, place, extents[0], torch.device(setting.DEVICE), group=mesh["pipe"].get_group())
    schedule = Schedule1F1B(stage, 4, loss_fn=error)
data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(16, 16), data.normal(16, 8)
    whose = number - (setting.VARIANT == "other_data" and rank == 3 and step == 1)  # the part of other ranks
    dealt = slice(whose * 16 // extents[1], (whose + 1) * 16 // extents[1])
    batch, target = batch[dealt], target[dealt]
    optimizer.zero_grad()
    if extents[0] > 1:
        schedule.step(*((batch,) if place == 0 else ()), target=target if place == extents[0] - 1 else None)
    else:
        error(own(batch), target).backward()
    optimizer.step()
    print(step, rank)
dist.destroy_process_group()
