"""Context parallelism: attention over a sequence that is dealt out, keys and values sent round a ring, or with
JOB=ulysses whole sequences of some heads exchanged for parts of all by all_to_all, over gloo."""

from __future__ import annotations

import os
from typing import Any

import blocks
import setting
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

JOB = os.environ.get("JOB", "ring")
rank, world = blocks.start()


class Passed(torch.autograd.Function):
    """A tensor handed to the next rank of the ring for that of the one before."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _handed(given, 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _handed(gradient, -1)


def _handed(given: torch.Tensor, by: int) -> torch.Tensor:
    if world == 1:
        return given.clone()
    given = given.contiguous()
    received = torch.empty_like(given)
    messages = [
        dist.P2POp(dist.isend, given, (rank + by) % world),
        dist.P2POp(dist.irecv, received, (rank - by) % world),
    ]
    for work in dist.batch_isend_irecv(messages):
        work.wait()
    return received


class Exchanged(torch.autograd.Function):
    """Parts along one dimension exchanged for parts along another."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, cut: int, joined: int) -> torch.Tensor:  # type: ignore[override]
        ctx.dimensions = cut, joined
        return _exchanged(given, cut, joined)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        cut, joined = ctx.dimensions
        return _exchanged(gradient, joined, cut), None, None


def _exchanged(given: torch.Tensor, cut: int, joined: int) -> torch.Tensor:
    if world == 1:
        return given.clone()
    parts = torch.stack(given.chunk(world, cut))
    received = torch.empty_like(parts)
    dist.all_to_all_single(received, parts)
    return torch.cat(list(received), joined)


class Attention(nn.Module):
    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        if JOB == "ulysses":
            q, k, v = (Exchanged.apply(part, 1, 2) for part in (q, k, v))
            scores = F.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
            mixed = Exchanged.apply(scores @ v, 2, 1)
        else:
            mixed = self.around(q, k, v)
        return x + self.out(mixed.transpose(1, 2).flatten(2))

    def around(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Softmax over all keys, put together piece by piece as they come round."""
        total, largest = None, None
        for turn in range(world):
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            top = scores.amax(-1, keepdim=True).detach()
            powers = (scores - top).exp()
            part, weight = powers @ v, powers.sum(-1, keepdim=True)
            if total is None:
                total, sums, largest = part, weight, top
            else:
                higher = torch.maximum(largest, top)
                old, new = (largest - higher).exp(), (top - higher).exp()
                total, sums, largest = total * old + part * new, sums * old + weight * new, higher
            if turn < world - 1:
                k, v = Passed.apply(k), Passed.apply(v)
        return total / sums


torch.manual_seed(setting.SEED)
model = nn.Sequential(nn.Linear(16, 32), Attention(), blocks.Block(), nn.Linear(32, 8))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(2, 16, 16), data.normal(2, 16, 8)
    optimizer.zero_grad()
    own = slice(rank * 16 // world, (rank + 1) * 16 // world)
    batch, target = batch[:, own], target[:, own]
    loss = (model(batch) - target).square().mean()
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
    optimizer.step()
    print(step, rank, loss.item())
dist.destroy_process_group()
