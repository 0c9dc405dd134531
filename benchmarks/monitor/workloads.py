"""What is trained while it is timed: ResNet-50, batch 4, and a decoder as Llama has it, 8 layers, width 256, 2x128 tokens.

Needs torch and this repository's `dump.workload`, so that it runs in either tool's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from dump.workload import ResNet

WIDTH, HEADS, HIDDEN, LAYERS, WORDS, LENGTH = 256, 4, 688, 8, 1024, 128


@dataclass(frozen=True, slots=True)
class Workload:
    """`step` is forward, backward and optimizer."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], None]


class RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Layer(nn.Module):
    """Causal attention and SwiGLU, each behind its norm (without rotary positions, which have no parameters)."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(), RMSNorm()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate_proj, self.up_proj = (nn.Linear(WIDTH, HIDDEN, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.input_layernorm(x)
        split = (*x.shape[:2], HEADS, WIDTH // HEADS)
        query, key, value = (
            part(normed).view(split).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.o_proj(mixed.transpose(1, 2).reshape(x.shape))
        normed = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))


def resnet50() -> Workload:
    torch.manual_seed(0)
    model = ResNet("resnet50", 1000)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images, target = torch.rand(4, 3, 224, 224), torch.randint(1000, (4,))
    return _training(model, optimizer, lambda: F.cross_entropy(model(images), target))


def llama() -> Workload:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(WORDS, WIDTH), *(Layer() for _ in range(LAYERS)), RMSNorm(), nn.Linear(WIDTH, WORDS, bias=False)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(WORDS, (2, LENGTH + 1))
    before, after = tokens[:, :-1].contiguous(), tokens[:, 1:].reshape(-1)
    return _training(model, optimizer, lambda: F.cross_entropy(model(before).flatten(0, 1), after))


def _training(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> Workload:
    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return Workload(model, optimizer, step)


WORKLOADS = {"resnet50": resnet50, "llama": llama}
