"""An encoder-decoder transformer with cross attention (torch's own layers), padding mask, Adam."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

WORDS, WIDTH, HEADS, BATCH, SOURCE, TARGET = 80, 32, 4, 4, 14, 11

torch.manual_seed(setting.SEED)


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(WORDS, WIDTH)
        self.target = nn.Embedding(WORDS, WIDTH)
        layer = {"dim_feedforward": 2 * WIDTH, "dropout": 0.0, "batch_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(WIDTH, HEADS, **layer), 2, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, **layer), 2)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, source: torch.Tensor, target: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if VARIANT == "wrong_lengths":
            lengths = lengths - 1  # planted: wrong_lengths
        padding = torch.arange(SOURCE, device=source.device) >= lengths[:, None]
        memory = self.encoder(self.source(source), src_key_padding_mask=padding)
        later = torch.triu(torch.ones(TARGET, TARGET, dtype=torch.bool, device=source.device), diagonal=1)
        y = self.target(target)
        if VARIANT == "swapped_order":
            y = y.mul(WIDTH**0.5)  # planted: swapped_order
            y = torch.tanh(y)  # planted: swapped_order
        else:
            y = torch.tanh(y)  # planted: swapped_order
            y = y.mul(WIDTH**0.5)  # planted: swapped_order
        y = self.decoder(y, memory, tgt_mask=later, memory_key_padding_mask=padding)
        return self.head(y)


model = setting.place(Translator())
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
data = setting.Data()
for step in range(setting.STEPS):
    source, target = data.integers(WORDS, BATCH, SOURCE), data.integers(WORDS, BATCH, TARGET + 1)
    lengths = torch.tensor([14, 12, 9, 7], device=setting.DEVICE)
    with setting.autocast():
        logits = model(source, target[:, :-1], lengths)
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
