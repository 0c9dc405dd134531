"""Tensor parallelism by DTensor: JOB=tp (columns, rows), sp (sequence parallel norms too), fsdp_tp or ddp_tp (a mesh of
two dimensions; four ranks), ddp_tp_turned (the same mesh in the other order), over gloo."""

from __future__ import annotations

import os

import blocks
import setting
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

JOB = os.environ.get("JOB", "tp")
rank, world = blocks.start()
torch.manual_seed(setting.SEED)
model: nn.Module = setting.place(blocks.model())
if JOB in ("fsdp_tp", "ddp_tp", "ddp_tp_turned"):
    names = ("tensor", "data") if JOB == "ddp_tp_turned" else ("data", "tensor")
    mesh = init_device_mesh(setting.DEVICE, (2, world // 2), mesh_dim_names=names)
    cut, dealt = mesh["tensor"], mesh["data"]
else:
    cut, dealt = init_device_mesh(setting.DEVICE, (world,)), None
if JOB == "sp":
    parallelize_module(
        model,
        cut,
        {
            "0": ColwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
            "3": PrepareModuleInput(input_layouts=Shard(1), desired_input_layouts=Replicate(), use_local_output=True),
        },
    )
    for block in (model[1], model[2]):
        plan = {
            "norm": SequenceParallel(),
            "up": ColwiseParallel(input_layouts=Shard(1)),
            "down": RowwiseParallel(output_layouts=Shard(1)),
        }
        parallelize_module(block, cut, plan)
else:
    for block in (model[1], model[2]):
        parallelize_module(block, cut, {"up": ColwiseParallel(), "down": RowwiseParallel()})
if JOB == "fsdp_tp":
    from torch.distributed.fsdp import fully_shard

    for part in model:
        fully_shard(part, mesh=dealt)
    fully_shard(model, mesh=dealt)
if JOB in ("ddp_tp", "ddp_tp_turned"):
    model = nn.parallel.DistributedDataParallel(model, device_mesh=dealt)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(4, 8, 16), data.normal(4, 8, 8)
    if dealt is not None:
        own = slice(dealt.get_local_rank() * 2, dealt.get_local_rank() * 2 + 2)
        batch, target = batch[own], target[own]
    optimizer.zero_grad()
    loss = (model(batch) - target).square().mean()
    loss.backward()
    optimizer.step()
    print(step, rank, loss.item())
dist.destroy_process_group()
