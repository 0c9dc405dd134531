"""Gradient accumulation over micro-batches under a loss scale, by hand and by GradScaler, with RMSNorm and SwiGLU."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

WIDTH, PARTS = 32, 3

torch.manual_seed(setting.SEED)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.gate, self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


model = setting.place(nn.Sequential(nn.Linear(12, WIDTH), Gated(), Gated(), nn.Linear(WIDTH, 4)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler(setting.DEVICE, init_scale=2.0**10)
data = setting.Data()
parts = PARTS - 1 if VARIANT == "lost_part" else PARTS
for step in range(setting.STEPS):
    for part in range(PARTS):
        features, wanted = data.normal(10, 12), data.normal(10, 4)
        with setting.autocast():
            loss = F.smooth_l1_loss(model(features), wanted)
            if VARIANT != "undivided_loss":
                loss = loss / PARTS  # planted: undivided_loss
        if part < parts:
            scaler.scale(loss).backward()
    if VARIANT == "not_unscaled":
        for parameter in model.parameters():
            parameter.grad = parameter.grad * 2.0  # planted: not_unscaled
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    print(step, loss.item())
