"""The model of train.py under either tool's TrainerMonitorV2, three steps of two micro batches.

    python train_v2.py {msprobe.core.monitor_v2|dump.monitor.trainer_v2} monitor_v2_config.json

What mindstudio-probe 26.2.0 wrote on a CPU lies in the folder v2 beside this file.
"""

from __future__ import annotations

import importlib
import sys

import torch
from torch import nn
from train import Model


def train(trainer_monitor: type, config: str) -> None:
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    monitor = trainer_monitor(config, fr="pytorch")
    monitor.start(model=model, optimizer=optimizer, grad_acc_steps=2)
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(2):
            tokens, target = torch.randint(11, (4, 5)), torch.randint(3, (4,))
            (nn.functional.cross_entropy(model(tokens), target) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    monitor.stop()


if __name__ == "__main__":
    train(importlib.import_module(sys.argv[1]).TrainerMonitorV2, sys.argv[2])
