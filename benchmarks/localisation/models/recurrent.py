"""Two LSTM layers and a GRU over words, gradient clipping, SGD with momentum."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

WORDS = 50

torch.manual_seed(setting.SEED)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 24)
        self.lstm = nn.LSTM(24, 32, 2, batch_first=True)
        self.gru = nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.lstm(self.words(tokens))[0]
        return self.head(torch.sigmoid(self.gru(x)[0]))


model = setting.place(Recurrent())
if VARIANT == "forget_bias":
    with torch.no_grad():
        model.lstm.bias_hh_l1[32:64] += 1.0
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
data = setting.Data()
for step in range(setting.STEPS):
    tokens = data.integers(WORDS, 4, 12)
    with setting.autocast():
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.05 if VARIANT == "wrong_clip" else 0.1)  # planted: wrong_clip
    optimizer.step()
    print(step, loss.item())
