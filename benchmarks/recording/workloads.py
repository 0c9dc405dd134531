"""The models that are timed.  Needs torch and `dump.workload` alone, so that it runs in either tool's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from dump.workload import ResNet


@dataclass(frozen=True, slots=True)
class Workload:
    """A model on its device, and `step`: forward, backward and optimizer; returns the loss, not waited for."""

    model: nn.Module
    step: Callable[[], torch.Tensor]


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang, Sennrich 2019), written out as Llama's implementations write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


class Attention(nn.Module):
    """Causal attention with rotary positions (Su et al. 2021); (batch, length, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        split = (batch, length, self.heads, width // self.heads)
        query = _rotate(self.q_proj(x).view(split).transpose(1, 2), cos, sin)
        key = _rotate(self.k_proj(x).view(split).transpose(1, 2), cos, sin)
        value = self.v_proj(x).view(split).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: torch.Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(width)
        self.self_attn = Attention(width, heads)
        self.post_attention_layernorm = RMSNorm(width)
        self.mlp = FeedForward(width, hidden)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        changed: torch.Tensor = self.mlp(self.post_attention_layernorm(x))
        return x + changed


class Decoder(nn.Module):
    """A decoder as Llama has it: tokens (batch, length) to logits (batch, length, words)."""

    def __init__(self, width: int, layers: int, words: int, length: int) -> None:
        super().__init__()
        heads = max(1, width // 64)
        self.embed_tokens = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Layer(width, heads, width * 8 // 3 // 16 * 16) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.lm_head = nn.Linear(width, words, bias=False)
        half = width // heads // 2
        angles = torch.outer(torch.arange(length), 10000.0 ** -(torch.arange(half) / half))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin(), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(tokens)
        cos, sin = self.get_buffer("cos"), self.get_buffer("sin")
        for layer in self.layers:
            x = layer(x, cos, sin)
        logits: torch.Tensor = self.lm_head(self.norm(x))
        return logits


_CHAINED = 100


class Chain(nn.Module):
    """About `calls` recorded calls on a few numbers, forward and backward counted each: for the cost of a call.

    In chains of a hundred that are added up, as blocks and micro-batches are.  One chain would be a graph as deep as
    it has calls, and torch 2.13 overflows its stack when it frees a graph of 50,000 nodes in a row that Python has
    looked at, whoever looked: `y.grad_fn` at each is enough.
    """

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self.weight
        total = x
        left = self.calls // 2 - 1
        while left > 0:
            part = x
            for _ in range(min(_CHAINED, left - 1)):
                part = torch.add(part, 1.0)
            total = torch.add(total, part)
            left -= min(_CHAINED, left - 1) + 1
        return total


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([-high, low], -1) * sin


def resnet(device: str) -> Workload:
    """ResNet-50, batch 4 at 224x224, SGD with momentum."""
    torch.manual_seed(0)
    model = ResNet("resnet50", 1000).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images, target = torch.rand(4, 3, 224, 224).to(device), torch.randint(1000, (4,)).to(device)
    return _training(model, optimizer, lambda: F.cross_entropy(model(images), target))


def llama(device: str, *, width: int = 256, batch: int = 2, length: int = 128, words: int = 1024) -> Workload:
    """The decoder, 8 layers, 2x128 tokens, AdamW; on a device in bfloat16."""
    torch.manual_seed(0)
    model = Decoder(width, 8, words, length)
    model = model.to(device, torch.float32 if device == "cpu" else torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(words, (batch, length + 1)).to(device)
    before, after = tokens[:, :-1].contiguous(), tokens[:, 1:].reshape(-1)
    return _training(model, optimizer, lambda: F.cross_entropy(model(before).flatten(0, 1).float(), after))


def wide_llama(device: str) -> Workload:
    """The decoder at width 2048, for a device."""
    return llama(device, width=2048, words=32000)


def chain(device: str, calls: int) -> Workload:
    """A step of about `calls` recorded calls, all of them tiny."""
    torch.manual_seed(0)
    model = Chain(calls).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    x = torch.ones(4, 4).to(device)
    return _training(model, optimizer, lambda: model(x).sum())


def _training(model: nn.Module, optimizer: torch.optim.Optimizer, forward: Callable[[], Any]) -> Workload:
    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = forward()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return Workload(model, step)


WORKLOADS: dict[str, Callable[[str], Workload]] = {"resnet50": resnet, "llama": llama, "llama-2048": wide_llama}
