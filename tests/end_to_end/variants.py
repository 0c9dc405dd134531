"""Records one small Llama-like training step in several variants, each into a folder of its own.

    python variants.py OUT

plain            every operator written out
fused            norm, attention, activation and rotation as fused calls; `fused_KIND` with a fault in one call of KIND
checkpointed     activations recomputed for backward; `reentrant` the older way
accumulated      the batch as three micro-batches; `first_batch` the first of them alone
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from dump import PrecisionDebugger

FAULTS = ("rms", "rms_backward", "swiglu_backward")
BATCH, LENGTH, WORDS = 6, 5, 17
aten: Any = torch.ops.aten  # operators that no hook sees, as on a device
mul: Any = aten.mul.Tensor


class Fault:
    """Spoils the second call of one kind by up to 1 % of each element."""

    def __init__(self) -> None:
        self.kind, self.calls = "", 0

    def __call__(self, kind: str, values: torch.Tensor) -> torch.Tensor:
        self.calls += kind == self.kind
        if kind != self.kind or self.calls != 2:
            return values
        factor = aten.linspace.default(0.99, 1.01, values.numel())
        return mul(values, aten.view.default(factor, values.shape))


fault = Fault()


@torch.library.custom_op(
    "npu::npu_rms_norm", mutates_args=(), schema="(Tensor x, Tensor gamma, float epsilon) -> (Tensor, Tensor)"
)
def fused_rms(x: torch.Tensor, gamma: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    inverse = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
    return fault("rms", x * inverse * gamma), inverse.clone()


def rms_backward(ctx: Any, dy: torch.Tensor, _: Any) -> Any:
    x, gamma, inverse = ctx.saved_tensors
    normed, g = mul(x, inverse), mul(dy, gamma)
    dx = mul(inverse, aten.sub.Tensor(g, mul(normed, aten.mean.dim(mul(g, normed), [-1], True))))
    return fault("rms_backward", dx), aten.sum.dim_IntList(mul(dy, normed), [0, 1]), None


fused_rms.register_autograd(
    rms_backward,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0], inputs[1], output[1]),
)


@torch.library.custom_op("npu::npu_swiglu", mutates_args=(), schema="(Tensor x) -> Tensor")
def fused_swiglu(x: torch.Tensor) -> torch.Tensor:
    return fault("swiglu", plain_swiglu(x))


def swiglu_backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
    gate, up = aten.split.Tensor(ctx.saved_tensors[0], ctx.saved_tensors[0].shape[-1] // 2, -1)
    s = aten.sigmoid.default(gate)
    slope = aten.add.Tensor(s, mul(mul(gate, s), aten.rsub.Scalar(s, 1)))
    return fault("swiglu_backward", aten.cat.default([mul(mul(dy, up), slope), mul(mul(dy, gate), s)], -1))


fused_swiglu.register_autograd(
    swiglu_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0])
)


@torch.library.custom_op("npu::npu_rotary_mul", mutates_args=(), schema="(Tensor x, Tensor cos, Tensor sin) -> Tensor")
def fused_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    return fault("rotary", plain_rotary(x, cos, sin))


def rotary_backward(ctx: Any, dy: torch.Tensor) -> Any:
    cos, sin = ctx.saved_tensors
    first, second = aten.split.Tensor(mul(dy, sin), dy.shape[-1] // 2, -1)
    return aten.add.Tensor(mul(dy, cos), aten.cat.default([second, aten.neg.default(first)], -1)), None, None


fused_rotary.register_autograd(
    rotary_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[1], inputs[2])
)

# What a recording looks for: a loaded torch_npu that hands out the operators of torch.ops.npu.
NAMES = ("npu_rms_norm", "npu_swiglu", "npu_rotary_mul")
npu: Any = types.ModuleType("torch_npu")
for name in NAMES:
    setattr(npu, name, getattr(torch.ops.npu, name))


def plain_rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    variance = x.pow(2).mean(-1, keepdim=True)
    return weight * (x * torch.rsqrt(variance + 1e-6))


def plain_swiglu(x: torch.Tensor) -> torch.Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def plain_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return (x * cos) + (turned * sin)


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    scores = torch.matmul(q, k.transpose(-2, -1)) / q.shape[-1] ** 0.5 + mask
    return torch.matmul(F.softmax(scores, dim=-1), v)


PLAIN = types.SimpleNamespace(rms=plain_rms, swiglu=plain_swiglu, rotary=plain_rotary, attention=plain_attention)
FUSED = types.SimpleNamespace(
    rms=lambda x, weight: npu.npu_rms_norm(x, weight, 1e-6)[0],
    swiglu=lambda x: npu.npu_swiglu(x),
    rotary=lambda x, cos, sin: npu.npu_rotary_mul(x, cos, sin),
    attention=lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
)


class Block(nn.Module):
    def __init__(self, ops: Any, width: int, heads: int) -> None:
        super().__init__()
        self.ops, self.heads = ops, heads
        self.norm1, self.norm2 = nn.Parameter(torch.rand(width) + 0.5), nn.Parameter(torch.rand(width) + 0.5)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.ops.rms(x, self.norm1)).chunk(3, -1)
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in qkv)
        q, k = self.ops.rotary(q, cos, sin), self.ops.rotary(k, cos, sin)
        y = self.ops.attention(q, k, v, mask).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(y)
        return x + self.down(self.ops.swiglu(self.up(self.ops.rms(x, self.norm2))))


class Net(nn.Module):
    def __init__(self, ops: Any, run: Callable[..., torch.Tensor], width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.run = run
        self.embed = nn.Embedding(WORDS, width)
        self.blocks = nn.ModuleList(Block(ops, width, heads) for _ in range(2))
        self.head = nn.Linear(width, WORDS)

    def forward(self, ids: torch.Tensor, *tables: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = self.run(block, x, *tables)
        return self.head(x)


def called(block: nn.Module, *args: torch.Tensor) -> torch.Tensor:
    return block(*args)


def record(out: Path, *, ops: Any = PLAIN, run: Callable[..., Any] = called, parts: int = 1, most: int = 9) -> None:
    """One step of the same training, recorded."""
    torch.manual_seed(3)
    net = Net(ops, run)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    ids = torch.randint(WORDS, (BATCH, LENGTH))
    angle = torch.arange(float(LENGTH))[:, None] * torch.tensor([1.0, 0.3, 0.1, 0.03]).repeat(2)
    tables = (angle.cos(), angle.sin(), torch.full((LENGTH, LENGTH), -1e9).triu(1))
    debugger = PrecisionDebugger(dump_path=str(out), task="statistics", level="mix" if ops is PLAIN else "L1")
    debugger.start(net)
    for part in ids.chunk(parts)[:most]:
        logits = net(part, *tables).flatten(0, 1)
        (F.cross_entropy(logits, part.roll(-1, 1).flatten()) / parts).backward()
    optimizer.step()
    debugger.stop()
    PrecisionDebugger.close()


def main() -> None:
    out = Path(sys.argv[1])
    record(out / "plain")
    record(out / "checkpointed", run=lambda *args: checkpoint(*args, use_reentrant=False))
    record(out / "reentrant", run=lambda *args: checkpoint(*args, use_reentrant=True))
    record(out / "accumulated", parts=3)
    record(out / "first_batch", parts=3, most=1)
    sys.modules["torch_npu"] = npu
    record(out / "fused", ops=FUSED)
    for kind in FAULTS:
        fault.kind, fault.calls = kind, 0
        record(out / f"fused_{kind}", ops=FUSED)


if __name__ == "__main__":
    main()
