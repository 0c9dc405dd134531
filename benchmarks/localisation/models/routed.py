"""Expert parallelism: each rank holds one expert, and tokens go to theirs and back by all_to_all, over gloo.

A world of one holds two experts, as a world of two does.  With JOB=replicas there are two in all, each on every second
rank, and gradients are means over the whole batch.
"""

from __future__ import annotations

import os

import blocks
import setting
import torch
import torch.distributed as dist
from setting import VARIANT
from torch import nn
from torch.distributed.nn.functional import all_to_all_single
from torch.nn import functional as F

rank, world = blocks.start()
torch.manual_seed(setting.SEED)
JOB = os.environ.get("JOB", "")
EXPERTS = 2 if JOB == "replicas" else max(2, world)
PARTS = 4 if JOB == "replicas" else EXPERTS
EACH = PARTS // world
number = rank % EXPERTS
exchanging = [dist.new_group(list(range(n, n + EXPERTS))) for n in range(0, world, EXPERTS)] if world > 1 else []
holding = [dist.new_group(list(range(n, world, EXPERTS))) for n in range(EXPERTS)] if world > EXPERTS else []
enter, router, leave = nn.Linear(16, 32), nn.Linear(32, EXPERTS), nn.Linear(32, 8)
experts = nn.ModuleList(blocks.Block() for _ in range(EXPERTS))
own = experts if world == 1 else experts[number : number + 1]
shared = nn.ModuleList([enter, router, leave])
optimizer = torch.optim.AdamW([*shared.parameters(), *own.parameters()], lr=1e-2)


def exchange(tokens: torch.Tensor, out: list[int], back: list[int]) -> torch.Tensor:
    """Each rank's tokens to the ranks that they are for: `out` many to each, `back` many from each."""
    if world == 1:
        return tokens
    received = tokens.new_empty(sum(back), tokens.shape[1])
    return all_to_all_single(received, tokens, back, out, group=exchanging[rank // EXPERTS])


data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(PARTS, 12, 16), data.normal(PARTS, 12, 8)
    batch, target = (part.unflatten(0, (world, EACH))[rank].flatten(0, 1) for part in (batch, target))
    optimizer.zero_grad()
    hidden = enter(batch)
    weights = F.softmax(router(hidden), -1)
    chosen = weights.argmax(-1)
    order = chosen.argsort(stable=True)
    out = torch.bincount(chosen, minlength=EXPERTS)
    back = torch.empty_like(out)
    if world > 1:
        dist.all_to_all_single(back, out, group=exchanging[rank // EXPERTS])
    here = exchange(hidden[order], out.tolist(), back.tolist())
    parts = here.split(out.tolist()) if world == 1 else [here]
    mine = [expert(part) for expert, part in zip(own, parts, strict=True)]
    done = exchange(torch.cat(mine) if world == 1 else mine[0], back.tolist(), out.tolist())
    places = order.argsort()
    mixed = done[places] * weights.gather(1, chosen[:, None])
    loss = (leave(mixed) - target).square().mean()
    loss.backward()
    for parameter in shared.parameters() if world > 1 else ():
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
    for parameter in own.parameters() if JOB == "replicas" else ():
        if holding:
            dist.all_reduce(parameter.grad, group=holding[number])
        parameter.grad /= world
    optimizer.step()
    print(step, rank, loss.item(), VARIANT)
dist.destroy_process_group()
