"""A convolutional net with batch norm, ReLU in place, max pooling and a residual, SGD with momentum."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

torch.manual_seed(setting.SEED)


class Layer(nn.Module):
    def __init__(self, read: int, written: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(read, written, 3, padding=1)
        self.norm = nn.BatchNorm2d(written)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if VARIANT == "act_before_norm":
            x = self.act(x)  # planted: act_before_norm
            return self.norm(x)  # planted: act_before_norm
        x = self.norm(x)  # planted: act_before_norm
        return self.act(x)  # planted: act_before_norm


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(3, 12), Layer(12, 24), Layer(24, 24), Layer(24, 40)])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.layers[1](self.layers[0](x)))
        x = x + self.layers[2](x)
        x = self.layers[3](self.pool(x))
        return self.head(x.mean((2, 3)))


model = setting.place(ConvNet())
if VARIANT == "weights_touched":
    with torch.no_grad():
        model.layers[2].conv.weight[0, 0, 0, 0] += 0.01
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8 if VARIANT == "wrong_momentum" else 0.9)
data = setting.Data()
for step in range(setting.STEPS):
    images, labels = data.normal(8, 3, 20, 20), data.integers(10, 8)
    if VARIANT == "wrong_label":
        labels.numpy()[0] ^= 1
    with setting.autocast():
        loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    if VARIANT == "clipped":
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)  # planted: clipped
    optimizer.step()
    print(step, loss.item())
