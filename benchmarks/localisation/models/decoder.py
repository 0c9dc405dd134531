"""A decoder-only transformer: causal attention spelt out, pre-norm blocks, GELU, tied embedding, AdamW."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

WORDS, WIDTH, HEADS, LENGTH, BATCH = 100, 64, 4, 24, 4

torch.manual_seed(setting.SEED)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        ones = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
        above = 2 if VARIANT == "mask_off_by_one" else 1
        hidden = torch.triu(ones, diagonal=above)  # planted: mask_off_by_one
        if VARIANT == "fused_attention":
            mixed = F.scaled_dot_product_attention(query, key, value, ~hidden)
        else:
            scores = torch.matmul(query, key.transpose(-2, -1)) * (WIDTH // HEADS) ** -0.5
            mixed = torch.matmul(F.softmax(scores.masked_fill(hidden, -1e9), -1), value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.act = nn.GELU()
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1 if VARIANT.startswith("dropout") else 0.0)

    def forward(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        if VARIANT == "norm_eps" and last:
            y = F.layer_norm(x, (WIDTH,), self.norm2.weight, self.norm2.bias, 1e-3)  # planted: norm_eps
        else:
            y = self.norm2(x)
        y = self.up(y)
        if VARIANT == "extra_call" and last:
            y = y * 1.01  # planted: extra_call
        if VARIANT == "harmless_extra":
            y = y.contiguous().clone()
        y = self.drop(self.down(self.act(y)))
        if VARIANT == "overwritten" and last:
            x.detach().numpy()[0, 0] += 0.5
            return x + y  # planted: overwritten
        return x + y


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        nn.init.normal_(self.words.weight, std=0.1)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.places
        for block in self.blocks:
            x = block(x, block is self.blocks[-1])
        if VARIANT != "missing_norm":
            x = self.norm(x)  # planted: missing_norm
        return self.head(x)


model = setting.place(Decoder())
optimizer = torch.optim.AdamW(
    model.parameters(),
    lr=1.1e-3 if VARIANT == "wrong_lr" else 1e-3,
    betas=(0.9, 0.99 if VARIANT == "wrong_beta" else 0.999),
    eps=1e-6 if VARIANT == "wrong_adam_eps" else 1e-8,
    weight_decay=0.1 if VARIANT == "wrong_decay" else 0.01,
)
data = setting.Data()
if VARIANT == "dropout_other_seed":
    torch.manual_seed(77)
for step in range(setting.STEPS):
    tokens = data.integers(WORDS, BATCH, LENGTH)
    with setting.autocast():
        logits = model(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, 1).flatten())
        if VARIANT == "tiny_gradients":
            loss = loss * 1e-9
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
