"""Expert parallelism: each rank holds one expert, and tokens go to theirs and back by all_to_all, over gloo."""

from __future__ import annotations

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
enter, router, leave = nn.Linear(16, 32), nn.Linear(32, world), nn.Linear(32, 8)
experts = [blocks.Block() for _ in range(world)]
expert = experts[rank]
shared = nn.ModuleList([enter, router, leave])
optimizer = torch.optim.AdamW([*shared.parameters(), *expert.parameters()], lr=1e-2)


def exchange(tokens: torch.Tensor, out: list[int], back: list[int]) -> torch.Tensor:
    """Each rank's tokens to the ranks that they are for: `out` many to each, `back` many from each."""
    return all_to_all_single(tokens.new_empty(sum(back), tokens.shape[1]), tokens, back, out)


data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(world, 12, 16)[rank], data.normal(world, 12, 8)[rank]
    optimizer.zero_grad()
    hidden = enter(batch)
    weights = F.softmax(router(hidden), -1)
    chosen = weights.argmax(-1)
    order = chosen.argsort(stable=True)
    out = torch.bincount(chosen, minlength=world)
    back = torch.empty_like(out)
    dist.all_to_all_single(back, out)
    here = exchange(hidden[order], out.tolist(), back.tolist())
    done = exchange(expert(here), back.tolist(), out.tolist())
    places = order.argsort()
    mixed = done[places] * weights.gather(1, chosen[:, None])
    loss = (leave(mixed) - target).square().mean()
    loss.backward()
    for parameter in shared.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
    optimizer.step()
    print(step, rank, loss.item(), VARIANT)
dist.destroy_process_group()
