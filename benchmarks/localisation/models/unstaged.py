"""The model of `stages` by one process, without a pipeline: JOB=whole takes a batch at once, JOB=micro in parts,
JOB=deep at once through four stages in place of two."""

from __future__ import annotations

import os

import blocks
import setting
import torch

JOB = os.environ.get("JOB", "whole")
COUNT = 4 if JOB == "deep" else 2
torch.manual_seed(setting.SEED)
model = setting.place(blocks.model(2 * COUNT - 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
data = setting.Data()
parts = 4 if JOB == "micro" else 1
for step in range(setting.STEPS):
    batch, target = data.normal(8, 16), data.normal(8, 8)
    optimizer.zero_grad()
    for some, wanted in zip(batch.chunk(parts), target.chunk(parts), strict=True):
        ((model(some) - wanted).square().mean() / parts).backward()
    optimizer.step()
    print(step)
