"""A mixture of experts: top-2 routing, experts by index, a balance loss beside the main one, AdamW."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

WIDTH, EXPERTS = 32, 4

torch.manual_seed(setting.SEED)


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(16, WIDTH)
        self.gate = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.SiLU(), nn.Linear(2 * WIDTH, WIDTH)) for _ in range(EXPERTS)
        )
        self.write = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.tanh(self.read(x))
        routes = F.softmax(self.gate(x), -1)
        weights, chosen = routes.topk(2, -1)
        if VARIANT == "normalised_routes":
            weights = weights / weights.sum(-1, keepdim=True)  # planted: normalised_routes
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = chosen == number
            rows = mine.any(-1).nonzero().squeeze(-1)
            share = (weights * mine)[rows].sum(-1, keepdim=True)
            y = y.index_add(0, rows, expert(x[rows]) * share)
        balance = EXPERTS * routes.mean(0).square().sum()
        return self.write(x + y), balance


model = setting.place(Experts())
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
data = setting.Data()
for step in range(setting.STEPS):
    features, labels = data.normal(48, 16), data.integers(10, 48)
    with setting.autocast():
        logits, balance = model(features)
        weight = 0.02 if VARIANT == "wrong_balance" else 0.01
        balance = weight * balance  # planted: wrong_balance
        loss = F.cross_entropy(logits, labels) + balance
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
