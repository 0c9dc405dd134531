"""Data parallelism with what training scripts add to it, over gloo.

JOB=accumulate (two micro-batches, the first within no_sync), unused (parameters that some ranks do not use), static
(a static graph), fp16_hook (gradients reduced in float16), mixed (FSDP2 that computes in bfloat16), kept
(FSDP2 that gathers once a step), hsdp (FSDP2 on a mesh of two dimensions; four ranks), clip or fsdp_clip (gradients
clipped by the norm over all ranks), uneven (ranks with batches of other sizes, joined), branch (a rank with calls of
its own), statistics (a batch norm that adds up its sums over all ranks), autocast (DDP in bfloat16).
"""

from __future__ import annotations

import os
from typing import Any

import blocks
import setting
import torch
import torch.distributed as dist
from setting import VARIANT
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.join import Join
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

JOB = os.environ.get("JOB", "accumulate")
rank, world = blocks.start()


class Summed(torch.autograd.Function):
    """A sum over ranks, in both directions."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class BatchNorm(nn.Module):
    """Normalises by the mean and the variance over the batches of all ranks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0] * world
        mean = Summed.apply(x.sum(0)) / rows
        variance = Summed.apply((x - mean).square().sum(0)) / rows
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


class Sometimes(nn.Module):
    """A head beside the last one, which odd ranks use in odd steps."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(8, 8)
        self.wanted = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return y + self.head(y) if self.wanted else y


torch.manual_seed(setting.SEED)
body = blocks.model()
if JOB == "statistics":
    body = nn.Sequential(body[0], BatchNorm(32), *body[1:])
model: nn.Module = setting.place(Sometimes(body) if JOB == "unused" else body)
sharded = JOB in ("mixed", "kept", "hsdp", "fsdp_clip")
if sharded:
    extents = (2, world // 2) if JOB == "hsdp" else (world,)
    mesh = init_device_mesh(setting.DEVICE, extents, mesh_dim_names=("replicate", "shard")[-len(extents) :])
    options: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": JOB != "kept"}
    if JOB == "mixed":
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for part in body:
        fully_shard(part, **options)
    replica = fully_shard(model, **options)
else:
    replica = DistributedDataParallel(
        model, find_unused_parameters=JOB == "unused", static_graph=JOB == "static", gradient_as_bucket_view=True
    )
    if JOB.endswith("_hook"):
        replica.register_comm_hook(None, getattr(default_hooks, f"{JOB.removesuffix('_hook')}_compress_hook"))
optimizer = torch.optim.AdamW(replica.parameters(), lr=1e-2)
data = setting.Data()


def train(batch: torch.Tensor, target: torch.Tensor, parts: int = 1) -> None:
    autocast = torch.autocast(setting.DEVICE, torch.bfloat16, enabled=JOB == "autocast")
    with autocast:
        output = replica(batch)
        loss = (output.float() - target).square().mean() / parts
    if JOB == "branch" and rank == 1:
        loss = loss + 1e-3 * torch.tanh(output).square().mean()
    loss.backward()
    print(rank, loss.item())


for step in range(setting.STEPS):
    batch, target = data.normal(16, 16), data.normal(16, 8)
    turn = rank - (VARIANT == "other_data" and rank == 1 and step == 1)  # the batch of another rank
    own = slice(turn * 16 // world, (turn + 1) * 16 // world)
    batch, target = batch[own], target[own]
    optimizer.zero_grad()
    if JOB == "accumulate":
        half = len(batch) // 2
        with replica.no_sync():
            train(batch[:half], target[:half], 2)
        train(batch[half:], target[half:], 2)
    elif JOB == "uneven":
        with Join([replica]):
            for start in range(0, len(batch) if rank == 0 else len(batch) // 2, 4):
                train(batch[start : start + 4], target[start : start + 4])
    else:
        if JOB == "unused":
            model.wanted = rank % 2 == 1 and step % 2 == 1
        train(batch, target)
    if JOB.endswith("clip"):
        nn.utils.clip_grad_norm_(replica.parameters(), 0.1)
    optimizer.step()
dist.destroy_process_group()
