"""A model and its training, drawn from a seed: one of fourteen families, with random sizes, norms, activations, tying,
checkpointing, accumulation, clipping and optimizer.

    DRAW=17  PRECISION=float32|autocast|bfloat16|float16  STEPS=2  DTYPE=float32  FROM_LIBRARIES=

`DRAW` decides everything but the precision, so that two runs of one seed differ in precision and kernels alone.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from typing import Any

import setting
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

DRAW = int(os.environ.get("DRAW", "0"))
PRECISION = os.environ.get("PRECISION", "float32")
FROM_LIBRARIES = bool(os.environ.get("FROM_LIBRARIES"))
"""Train one of `libraries` instead."""

draw = random.Random(DRAW)
torch.manual_seed(DRAW)

WIDTH = draw.choice((32, 48, 64, 96))
HEADS = draw.choice((2, 4))
DEPTH = draw.randint(1, 3)
BATCH = draw.choice((4, 6, 8))
LENGTH = draw.choice((12, 16, 24))
WORDS = draw.choice((50, 100, 200))
ACT = draw.choice((nn.GELU, lambda: nn.GELU("tanh"), nn.SiLU, nn.ReLU, nn.Tanh, nn.ELU, nn.Mish))
NORM = draw.choice((nn.LayerNorm, lambda width: nn.RMSNorm(width, eps=1e-6)))  # its own default hangs on the dtype
PRE_NORM = draw.random() < 0.7
CHECKPOINTED = draw.random() < 0.2
FUSED_ATTENTION = draw.random() < 0.5
TIED = draw.random() < 0.5
PARTS = draw.choice((1, 1, 1, 2))
CLIPPED = draw.random() < 0.4
BIAS = draw.random() < 0.7
data = setting.Data()


class Attention(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH, bias=BIAS) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH, bias=BIAS)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        other = x if other is None else other
        query, key, value = (
            layer(source).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer, source in ((self.query, x), (self.key, other), (self.value, other))
        )
        if FUSED_ATTENTION:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        else:
            scores = query @ key.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)
            if self.causal:
                above = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
                scores = scores.masked_fill(above, float("-inf"))
            mixed = scores.softmax(-1) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class Feed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH, bias=BIAS), nn.Linear(2 * WIDTH, WIDTH, bias=BIAS)
        self.gate = nn.Linear(WIDTH, 2 * WIDTH, bias=BIAS) if draw.random() < 0.4 else None
        self.act = ACT()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.up(x))
        return self.down(y if self.gate is None else y * self.gate(x))


class Block(nn.Module):
    def __init__(self, causal: bool = False, crossed: bool = False, feed: Callable[[], nn.Module] = Feed) -> None:
        super().__init__()
        self.attention, self.feed = Attention(causal), feed()
        self.crossed = Attention(False) if crossed else None
        self.norms = nn.ModuleList(NORM(WIDTH) for _ in range(3 if crossed else 2))

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        parts: list[Callable[[torch.Tensor], torch.Tensor]] = [self.attention, self.feed]
        if self.crossed is not None:
            parts.insert(1, lambda y: self.crossed(y, other))
        for norm, part in zip(self.norms, parts, strict=True):
            x = x + part(norm(x)) if PRE_NORM else norm(x + part(x))
        return x


def through(blocks: nn.ModuleList, x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
    for block in blocks:
        x = checkpoint(block, x, *more, use_reentrant=False) if CHECKPOINTED else block(x, *more)
    return x


class Tokens(nn.Module):
    """An embedding with places, blocks, a norm and a head over the words."""

    def __init__(self, causal: bool, feed: Callable[[], nn.Module] = Feed) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        nn.init.normal_(self.words.weight, std=0.1)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.ModuleList(Block(causal, feed=feed) for _ in range(DEPTH))
        self.norm, self.head = NORM(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)
        if TIED:
            self.head.weight = self.words.weight

    def hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(through(self.blocks, self.words(tokens) + self.places))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(tokens))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 4, bias=False)
        self.experts = nn.ModuleList(Feed() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, -2)
        weights, chosen = self.router(flat).softmax(-1).topk(2, -1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            token, rank = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, (expert(flat[token]) * weights[token, rank, None]).to(out.dtype))
        return out.view_as(x)


class StateSpace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.rate, self.out = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.decay = nn.Parameter(torch.randn(WIDTH))
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3, padding=2, groups=WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, gate = self.into(x).chunk(2, -1)
        y = F.silu(self.mix(y.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        step = F.softplus(self.rate(y))
        keep, state, states = torch.exp(-step * F.softplus(self.decay)), torch.zeros_like(y[:, 0]), []
        for place in range(x.shape[1]):
            state = keep[:, place] * state + step[:, place] * y[:, place]
            states.append(state)
        return self.out(torch.stack(states, 1) * F.silu(gate))


class Convolutions(nn.Module):
    """Residual or depthwise blocks with batch norm and, where drawn, squeeze and excite."""

    def __init__(self, depthwise: bool) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False), ACT()
        groups = WIDTH if depthwise else 1
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=groups, bias=False), nn.BatchNorm2d(WIDTH), ACT(),
                nn.Conv2d(WIDTH, WIDTH, 1, bias=BIAS), nn.BatchNorm2d(WIDTH),
            )
            for _ in range(DEPTH)
        )  # fmt: skip
        self.squeeze = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, WIDTH)) if depthwise else None
        self.pool, self.head = nn.MaxPool2d(2) if draw.random() < 0.5 else nn.AvgPool2d(2), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act(self.stem(x)))
        for conv in self.convs:
            y = conv(x)
            if self.squeeze is not None:
                y = y * F.hardsigmoid(self.squeeze(y.mean((2, 3))))[:, :, None, None]
            x = self.act(x + y)
        return self.head(x.mean((2, 3)))


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.blocks, self.norm, self.head = (
            nn.ModuleList(Block() for _ in range(DEPTH)),
            NORM(WIDTH),
            nn.Linear(WIDTH, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(through(self.blocks, self.patch(x).flatten(2).transpose(1, 2))).mean(1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def part(given: int, made: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(given, made, 3, padding=1), nn.GroupNorm(4, made), ACT())

        self.first, self.down, self.middle = part(3, WIDTH), nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), part(WIDTH, WIDTH)
        self.up = nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2) if draw.random() < 0.5 else nn.Upsample(scale_factor=2)
        self.last, self.out = part(2 * WIDTH, WIDTH), nn.Conv2d(WIDTH, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        return self.out(self.last(torch.cat((first, self.up(self.middle(self.down(first)))), 1)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        kind = draw.choice((nn.LSTM, nn.GRU))
        self.cells = kind(WIDTH, WIDTH, num_layers=DEPTH, batch_first=True, bidirectional=draw.random() < 0.3)
        self.head = nn.Linear(WIDTH * (2 if self.cells.bidirectional else 1), WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        lengths = torch.arange(BATCH).clamp(max=3).mul(-2).add(LENGTH)  # in decreasing order
        packed = nn.utils.rnn.pack_padded_sequence(self.words(tokens), lengths, batch_first=True)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.cells(packed)[0], batch_first=True)
        return self.head(states)


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.act = nn.Linear(12, WIDTH), ACT()
        self.messages = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(DEPTH))
        self.norm, self.head = NORM(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        x = self.into(x)
        for layer in self.messages:
            sent = self.act(layer(torch.cat((x[source], x[target]), -1)))
            x = self.norm(x + torch.zeros_like(x).index_add(0, target, sent.to(x.dtype)))
        return self.head(x)


class Adapted(nn.Module):
    """A frozen linear layer with a trained low-rank part."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(4, base.in_features) / 8)
        self.b = nn.Parameter(torch.randn(base.out_features, 4) / 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + F.linear(F.linear(x, self.a), self.b) * 0.5


Losses = tuple[list[nn.Module], list[Callable[[], torch.Tensor]]]


def words_after(model: nn.Module) -> Losses:
    def loss() -> torch.Tensor:
        tokens = data.integers(WORDS, BATCH, LENGTH)
        return F.cross_entropy(model(tokens).flatten(0, 1).float(), tokens.roll(-1, 1).flatten())

    return [model], [loss]


def pictures(model: nn.Module) -> Losses:
    def loss() -> torch.Tensor:
        return F.cross_entropy(model(data.normal(BATCH, 3, 32, 32)).float(), data.integers(10, BATCH))

    return [model], [loss]


def decoder() -> Losses:
    return words_after(Tokens(causal=True))


def encoder() -> Losses:
    return words_after(Tokens(causal=False))


def experts() -> Losses:
    return words_after(Tokens(causal=True, feed=Experts))


def state_space() -> Losses:
    return words_after(Tokens(causal=True, feed=StateSpace))


def translator() -> Losses:
    model = nn.ModuleDict({"source": Tokens(causal=False), "words": nn.Embedding(WORDS, WIDTH)})
    model["blocks"] = nn.ModuleList(Block(causal=True, crossed=True) for _ in range(DEPTH))
    model["head"] = nn.Linear(WIDTH, WORDS)

    def loss() -> torch.Tensor:
        source, target = data.integers(WORDS, BATCH, LENGTH), data.integers(WORDS, BATCH, LENGTH)
        hidden = through(model["blocks"], model["words"](target), model["source"].hidden(source))
        wanted = target.roll(-1, 1).flatten()
        return F.cross_entropy(model["head"](hidden).flatten(0, 1).float(), wanted, label_smoothing=0.1)

    return [model], [loss]


def vision() -> Losses:
    return pictures(Patches())


def residual() -> Losses:
    return pictures(Convolutions(depthwise=False))


def mobile() -> Losses:
    return pictures(Convolutions(depthwise=True))


def unet() -> Losses:
    model = UNet()
    return [model], [
        lambda: F.mse_loss(model(data.normal(BATCH, 3, 16, 16)).float(), data.normal(BATCH, 3, 16, 16).float())
    ]


def recurrent() -> Losses:
    return words_after(Recurrent())


def graph() -> Losses:
    model = Graph()

    def loss() -> torch.Tensor:
        ends = data.integers(40, 2, 160)
        return F.cross_entropy(model(data.normal(40, 12), *ends).float(), data.integers(5, 40))

    return [model], [loss]


def towers() -> Losses:
    picture, text, scale = (
        Convolutions(depthwise=False),
        Tokens(causal=False),
        nn.ParameterDict({"log": torch.tensor(2.0)}),
    )
    picture.head = nn.Linear(WIDTH, WIDTH)

    def loss() -> torch.Tensor:
        one = F.normalize(picture(data.normal(BATCH, 3, 32, 32)), dim=-1)
        other = F.normalize(text.hidden(data.integers(WORDS, BATCH, LENGTH)).mean(1), dim=-1)
        logits = (one @ other.to(one.dtype).t() * scale["log"].exp()).float()
        same = torch.arange(BATCH, device=logits.device)
        return (F.cross_entropy(logits, same) + F.cross_entropy(logits.t(), same)) / 2

    return [nn.ModuleList((picture, text, scale))], [loss]


def adversaries() -> Losses:
    maker = nn.Sequential(nn.Linear(16, WIDTH), ACT(), nn.Linear(WIDTH, 24), nn.Tanh())
    critic = nn.Sequential(nn.Linear(24, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, 1))

    def of_critic() -> torch.Tensor:
        real, made = critic(data.normal(BATCH, 24)), critic(maker(data.normal(BATCH, 16)).detach())
        return F.softplus(-real.float()).mean() + F.softplus(made.float()).mean()

    def of_maker() -> torch.Tensor:
        return F.softplus(-critic(maker(data.normal(BATCH, 16))).float()).mean()

    return [critic, maker], [of_critic, of_maker]


def adapted() -> Losses:
    model = Tokens(causal=True)
    for block in model.blocks:
        for name in ("query", "value"):
            setattr(block.attention, name, Adapted(getattr(block.attention, name)))
    return words_after(model)


FAMILIES = (
    decoder, encoder, experts, state_space, translator, vision, residual, mobile, unet, recurrent, graph, towers,
    adversaries, adapted,
)  # fmt: skip


def optimizer_of(model: nn.Module, kind: int) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if kind == 0:
        return torch.optim.SGD(trained, lr=1e-2, momentum=0.9)
    more: dict[str, Any] = {"foreach": True} if kind == 1 else {"fused": True} if kind == 2 else {}
    return torch.optim.AdamW(trained, lr=1e-3, **more)


def main() -> None:
    if FROM_LIBRARIES:
        import libraries

        models, losses = libraries.FAMILIES[DRAW % len(libraries.FAMILIES)](draw)
    else:
        models, losses = FAMILIES[DRAW % len(FAMILIES)]()
    if PRECISION == "bfloat16":
        setting.DTYPE = torch.bfloat16
    models = [setting.place(model) for model in models]
    kind = draw.randint(0, 3)
    optimizers = [optimizer_of(model, kind) for model in models]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=PRECISION == "float16")
    lower = torch.float16 if PRECISION == "float16" else torch.bfloat16
    for step in range(setting.STEPS):
        for optimizer, loss_of, model in zip(optimizers, losses, models, strict=True):
            optimizer.zero_grad()
            for _ in range(PARTS):
                with torch.autocast("cpu", lower, enabled=PRECISION in ("autocast", "float16")):
                    loss = loss_of()
                scaler.scale(loss / PARTS).backward()
            if CLIPPED:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            print(step, loss.item())


main()
