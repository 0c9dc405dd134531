"""Data parallelism of every kind: JOB=ddp, fsdp1, fsdp2 or zero (an optimizer's state dealt out), over gloo.

Start it with torchrun --nproc-per-node N.  The batch is the same whatever the number of ranks, and is dealt out.
"""

from __future__ import annotations

import os

import blocks
import setting
import torch
import torch.distributed as dist
from setting import VARIANT
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

JOB = os.environ.get("JOB", "ddp")
rank, world = blocks.start()
torch.manual_seed(setting.SEED)
model = setting.place(blocks.model())
if JOB in ("ddp", "zero"):
    replica: torch.nn.Module = DistributedDataParallel(model)
elif JOB == "fsdp1":
    from torch.distributed.fsdp import FullyShardedDataParallel

    replica = FullyShardedDataParallel(model, device_id=torch.device(setting.DEVICE), use_orig_params=True)
else:
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(setting.DEVICE, (world,))
    for part in model:
        fully_shard(part, mesh=mesh)
    replica = fully_shard(model, mesh=mesh)
if JOB == "zero":
    from torch.distributed.optim import ZeroRedundancyOptimizer

    optimizer: torch.optim.Optimizer = ZeroRedundancyOptimizer(replica.parameters(), torch.optim.AdamW, lr=1e-2)
else:
    optimizer = torch.optim.AdamW(replica.parameters(), lr=1e-2)
data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(8, 16), data.normal(8, 8)
    turn = rank - (VARIANT == "other_data" and rank == 1 and step == 1)  # the batch of another rank
    own = slice(turn * 8 // world, (turn + 1) * 8 // world)
    optimizer.zero_grad()
    loss = (replica(batch[own]) - target[own]).square().mean()
    loss.backward()
    optimizer.step()
    print(step, rank, loss.item())
dist.destroy_process_group()
