"""A small training run, written for CUDA and for nothing else, as GPU scripts are."""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x)).flatten(2).transpose(1, 2)
        x = self.norm(x)
        attention = torch.softmax(x @ x.transpose(1, 2) / 8**0.5, dim=-1)
        return self.mlp((x + attention @ x).mean(1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    if torch.cuda.is_available():
        torch.cuda.set_device(arguments.gpu)
        device = torch.device("cuda", arguments.gpu)
    else:
        device = torch.device("cpu")
    torch.manual_seed(0)
    model = Net().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(arguments.steps):
        images = torch.randn(4, 3, 8, 8).to(device, non_blocking=True)
        target = torch.randint(0, 10, (4,)).to(device, non_blocking=True)
        loss = F.cross_entropy(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step} on {loss.device.type}: loss {loss.item():.9f}")


if __name__ == "__main__":
    main()
