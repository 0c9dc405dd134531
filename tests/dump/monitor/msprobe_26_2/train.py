"""Two blocks and a head on synthetic data, three steps of two micro batches, under either tool's TrainerMon.

    MONITOR_OUTPUT_DIR=OUT python train.py {msprobe.pytorch|dump} monitor_config.json

What mindstudio-probe 26.2.0 wrote on a CPU lies beside this file; the newest folder's csv files, copied.
"""

from __future__ import annotations

import importlib
import sys

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layers = nn.ModuleList([Block(), Block()])
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embedding(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.out(self.norm(x).mean(1))


def train(trainer_mon: type, config: str) -> None:
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    monitor = trainer_mon(config, params_have_main_grad=False)
    monitor.set_monitor(model, grad_acc_steps=2, optimizer=optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(2):
            tokens, target = torch.randint(11, (4, 5)), torch.randint(3, (4,))
            (nn.functional.cross_entropy(model(tokens), target) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()


if __name__ == "__main__":
    train(importlib.import_module(sys.argv[1]).TrainerMon, sys.argv[2])
