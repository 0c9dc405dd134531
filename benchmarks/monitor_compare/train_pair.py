"""One monitored run: MODEL OPTIMIZER VARIANT STEPS.  Initial parameters and data are the same in every variant."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from dump import TrainerMon

CONFIG = {"targets": {}, "wg_distribution": True, "param_distribution": True, "format": "csv",
          "ops": ["norm", "min", "max", "mean", "nans"], "step_count_per_record": 1000}  # fmt: skip
RATES = {"tenth": 1.1, "hundredth": 1.01}
CHANGED = {"mlp": "2.weight", "transformer": "blocks.1.up.weight", "cnn": "4.weight"}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        read = self.norm1(x)
        x = x + self.attend(read, read, read, need_weights=False)[0]
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, width: int = 64, words: int = 64) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(words, width), nn.Linear(width, words)
        self.blocks = nn.ModuleList([Block(width) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x).transpose(1, 2)


def build(name: str) -> nn.Module:
    if name == "transformer":
        return Transformer()
    if name == "mlp":
        return nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    convolutions = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    convolutions += [nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def batch(name: str, source: torch.Generator) -> tuple[Tensor, Tensor]:
    if name == "transformer":
        start = torch.randint(0, 64, (16, 1), generator=source)
        words = (start * 3 + torch.arange(33) * 5 + torch.randint(0, 2, (16, 33), generator=source)) % 64
        return words[:, :-1], words[:, 1:]
    shape = (256, 64) if name == "mlp" else (16, 3, 24, 24)
    x = torch.randn(shape, generator=source, dtype=torch.float32)
    if name == "mlp":
        return x, x[:, :10].argmax(1)
    return x, (x[:, 0].mean((1, 2)) * 100).long().clamp(-4, 4) + 4


def main() -> None:
    name, rule, variant, steps = sys.argv[1:]
    torch.set_num_threads(2 if variant == "threads" else 1)
    torch.backends.mkldnn.enabled = variant != "kernels"
    torch.manual_seed(0)
    dtype = torch.float64 if variant == "float64" else torch.float32
    model = build(name).to(dtype)
    rate = 1e-3 if rule == "adamw" else 5e-2
    groups = [
        {"params": [parameter], "lr": rate * (RATES.get(variant, 1.0) if path == CHANGED[name] else 1.0)}
        for path, parameter in model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups) if rule == "adamw" else torch.optim.SGD(groups, lr=rate, momentum=0.9)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(CONFIG))
        monitor = TrainerMon(str(config))
    monitor.set_monitor(model, 1, optimizer)
    source = torch.Generator().manual_seed(1)
    for _ in range(int(steps)):
        x, y = batch(name, source)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x if x.dtype == torch.int64 else x.to(dtype)), y).backward()
        optimizer.step()


main()
