"""Tensor parallelism as Megatron does it: collectives in autograd functions of its own, weights that say how they are
cut; JOB=tp, sp with the sequence dealt out between blocks, or tp_dp with the batch dealt out among the groups of two
ranks that hold a model.  Over gloo."""

from __future__ import annotations

import os
from typing import Any

import blocks
import setting
import torch
import torch.distributed as dist
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

JOB = os.environ.get("JOB", "tp")
rank, world = blocks.start()
number, count, group = rank, world, None  # of the ranks that hold a model together
if JOB == "tp_dp" and world > 2:
    mesh = dist.init_device_mesh("cpu", (world // 2, 2), mesh_dim_names=("data", "tensor"))
    number, count, group = rank % 2, 2, mesh["tensor"].get_group()


def _reduced(x: torch.Tensor) -> torch.Tensor:
    if count > 1:
        reduction = dist.ReduceOp.MAX if VARIANT == "maximum" else dist.ReduceOp.SUM
        dist.all_reduce(x, op=reduction, group=group)
    return x


def _gathered(x: torch.Tensor) -> torch.Tensor:
    whole = torch.empty(x.shape[0] * world, *x.shape[1:], dtype=x.dtype)
    dist.all_gather_into_tensor(whole, x.contiguous())
    return whole


def _scattered(x: torch.Tensor) -> torch.Tensor:
    part = torch.empty(x.shape[0] // world, *x.shape[1:], dtype=x.dtype)
    dist.reduce_scatter_tensor(part, x.contiguous())
    return part


class Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _reduced(gradient.contiguous())


class Reduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _reduced(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _gathered(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _scattered(gradient)


class Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _scattered(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _gathered(gradient)


def _cut(whole: torch.Tensor, dimension: int) -> nn.Parameter:
    part = nn.Parameter(whole.detach().chunk(count, dimension)[number].clone())
    part.tensor_model_parallel, part.partition_dim, part.partition_stride = True, dimension, 1  # type: ignore[attr-defined]
    return part


class Column(nn.Module):
    def __init__(self, whole: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = _cut(whole.weight, 0), _cut(whole.bias, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(Gather.apply(x) if JOB == "sp" else Copy.apply(x), self.weight, self.bias)


class Row(nn.Module):
    def __init__(self, whole: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = _cut(whole.weight, 1), nn.Parameter(whole.bias.detach().clone())
        self.bias.sequence_parallel = JOB == "sp"  # type: ignore[attr-defined]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        partial = F.linear(x, self.weight)
        return (Scatter.apply(partial) if JOB == "sp" else Reduce.apply(partial)) + self.bias


torch.manual_seed(setting.SEED)
model = blocks.model()
for block in (model[1], model[2]):
    block.up, block.down = Column(block.up), Row(block.down)
    for parameter in block.norm.parameters():
        parameter.sequence_parallel = JOB == "sp"
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(8, 4, 16), data.normal(8, 4, 8)
    if JOB == "sp":
        own = slice(rank * 8 // world, (rank + 1) * 8 // world)
        batch, target = batch[own], target[own]
    elif count < world:
        own = slice(rank // count * 8 * count // world, (rank // count + 1) * 8 * count // world)
        batch, target = batch[own], target[own]
    optimizer.zero_grad()
    loss = (model(batch) - target).square().mean()
    loss.backward()
    if JOB == "sp":
        for parameter in model.parameters():
            if not getattr(parameter, "tensor_model_parallel", False):
                dist.all_reduce(parameter.grad)
    elif count < world:
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad, group=mesh["data"].get_group())
            parameter.grad /= world // count
    optimizer.step()
    print(step, rank, loss.item())
dist.destroy_process_group()
