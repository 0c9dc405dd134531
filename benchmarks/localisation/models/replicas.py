"""Two ranks over gloo: one model in DistributedDataParallel, and a mean of the loss by an explicit all_reduce.

Start it with torchrun --nproc-per-node 2, or alone as a world of one.
"""

from __future__ import annotations

import os

import setting
import torch
import torch.distributed as dist
from setting import VARIANT
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}.items():
    os.environ.setdefault(name, value)
dist.init_process_group("gloo")
torch.manual_seed(setting.SEED)
model = setting.place(nn.Sequential(nn.Linear(12, 24), nn.LayerNorm(24), nn.Hardswish(), nn.Linear(24, 5)))
replica = model if VARIANT.startswith("by_hand") else DistributedDataParallel(model, gradient_as_bucket_view=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
data = setting.Data()
for step in range(setting.STEPS):
    for rank in range(dist.get_world_size()):
        drawn = data.normal(16, 12), data.integers(5, 16)
        if rank == dist.get_rank():
            features, labels = drawn
    loss = F.cross_entropy(replica(features), labels)
    optimizer.zero_grad()
    loss.backward()
    if VARIANT.startswith("by_hand"):
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    optimizer.step()
    print(step, mean.item())
dist.destroy_process_group()
