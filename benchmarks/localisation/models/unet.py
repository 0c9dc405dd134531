"""A U-Net with group norm, SiLU, average pooling, transposed convolution and a skip connection, AdamW."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

torch.manual_seed(setting.SEED)


def stage(read: int, written: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(read, written, 3, padding=1), nn.GroupNorm(4, written), nn.SiLU())


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = stage(3, 16), stage(16, 24), stage(24, 24)
        self.up = nn.ConvTranspose2d(24, 16, 2, 2)
        self.merge = stage(32, 16)
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        high = self.down1(x)
        low = self.middle(self.down2(F.avg_pool2d(high, 2)))
        up = self.up(low)
        parts = [up, high] if VARIANT == "skip_swapped" else [high, up]
        joined = torch.cat(parts, 1)  # planted: skip_swapped
        return self.out(self.merge(joined))


model = setting.place(UNet())
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
data = setting.Data()
for step in range(setting.STEPS):
    images = data.normal(4, 3, 16, 16)
    with setting.autocast():
        loss = F.mse_loss(model(images), 0.5 * images)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
