"""Expert parallelism: each rank holds one expert, and tokens go to theirs and back by all_to_all, over gloo.

A world of one holds two experts, as a world of two does.
"""

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
EXPERTS = max(2, world)
enter, router, leave = nn.Linear(16, 32), nn.Linear(32, EXPERTS), nn.Linear(32, 8)
experts = nn.ModuleList(blocks.Block() for _ in range(EXPERTS))
own = experts if world == 1 else experts[rank : rank + 1]
shared = nn.ModuleList([enter, router, leave])
optimizer = torch.optim.AdamW([*shared.parameters(), *own.parameters()], lr=1e-2)


def exchange(tokens: torch.Tensor, out: list[int], back: list[int]) -> torch.Tensor:
    """Each rank's tokens to the ranks that they are for: `out` many to each, `back` many from each."""
    if world == 1:
        return tokens
    return all_to_all_single(tokens.new_empty(sum(back), tokens.shape[1]), tokens, back, out)


data = setting.Data()
for step in range(setting.STEPS):
    batch, target = data.normal(EXPERTS, 12, 16), data.normal(EXPERTS, 12, 8)
    batch, target = (batch.flatten(0, 1), target.flatten(0, 1)) if world == 1 else (batch[rank], target[rank])
    optimizer.zero_grad()
    hidden = enter(batch)
    weights = F.softmax(router(hidden), -1)
    chosen = weights.argmax(-1)
    order = chosen.argsort(stable=True)
    out = torch.bincount(chosen, minlength=EXPERTS)
    back = torch.empty_like(out)
    if world > 1:
        dist.all_to_all_single(back, out)
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
    optimizer.step()
    print(step, rank, loss.item(), VARIANT)
dist.destroy_process_group()
