"""Two small training runs on the CPU, as a user of msprobe has them: the recorder is one import.

    python train.py DEBUGGER_MODULE CONFIG [MODEL]

DEBUGGER_MODULE is the module that `PrecisionDebugger` is imported from: `msprobe.pytorch` or `dump`.  MODEL is
`both` (a transformer and a convolutional net under one loss) or `text` (the transformer alone: nothing in it writes
in place but the optimizer).
"""

from __future__ import annotations

import importlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

TOKENS, WIDTH, HEADS, LENGTH, BATCH, CLASSES = 50, 16, 2, 8, 4, 5
STEPS = 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.view(BATCH, LENGTH, HEADS, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = torch.matmul(query, key.transpose(-2, -1)) * (WIDTH // HEADS) ** -0.5
        scores = scores.masked_fill(mask, float("-inf"))
        weights = self.dropout(torch.softmax(scores, dim=-1, dtype=torch.float32))
        mixed = torch.matmul(weights, value)
        projected: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(BATCH, LENGTH, WIDTH))
        return projected


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.act = nn.GELU()
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x), mask=mask)
        changed: torch.Tensor = self.down(self.act(self.up(self.norm2(x))))
        return x + changed


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), diagonal=1)
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mask)
        words: torch.Tensor = self.head(F.layer_norm(x, x.shape[-1:]))
        return words


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.last = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = x + self.relu(self.bn2(self.conv2(x)))
        with torch.autocast("cpu", torch.bfloat16):
            classes: torch.Tensor = self.fc(torch.flatten(self.last(x), 1)).float()
        return classes


class Both(nn.Module):
    """One model of two, so that one run and one dump hold the operators of both."""

    def __init__(self, *, has_image: bool) -> None:
        super().__init__()
        self.text = Transformer()
        self.image = ConvNet() if has_image else None

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.text(tokens), None if self.image is None else self.image(images)


def main(debugger_module: str, config: str, model_name: str = "both") -> None:
    debugger_class = importlib.import_module(debugger_module).PrecisionDebugger
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = Both(has_image=model_name == "both")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    debugger = debugger_class(config_path=config)
    for _ in range(STEPS):
        tokens = torch.randint(TOKENS, (BATCH, LENGTH + 1))
        following = torch.randint(TOKENS, (BATCH, LENGTH))
        images, labels = torch.randn(BATCH, 3, 12, 12), torch.randint(CLASSES, (BATCH,))
        debugger.start(model)
        optimizer.zero_grad()
        words, classes = model(tokens[:, :LENGTH], images)
        loss = F.cross_entropy(words.flatten(0, 1), following.flatten())
        if classes is not None:
            loss = loss + F.cross_entropy(classes, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        words.argmax(-1).eq(following).sum()
        optimizer.step()
        debugger.stop()
        debugger.step()


if __name__ == "__main__":
    main(*sys.argv[1:])
