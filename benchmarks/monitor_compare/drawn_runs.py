"""Monitored runs drawn from a seed: a model, an optimizer, a precision; in health with other kernels, or faulty.

A run of a seed starts from the same parameters and reads the same data whatever is planted in it.
"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.localisation import plant
from benchmarks.localisation.kernels import COPIES, OPERATORS
from benchmarks.localisation.rows import Kernel
from benchmarks.localisation.truth import Tracer
from dump import TrainerMon

MODELS = ("mlp", "encoder", "decoder", "convnet", "lstm")
OPTIMIZERS = ("adamw", "sgd", "adafactor")
PRECISIONS = ("float32", "autocast")
FAULTS = ("gradient 1 %", "gradient 3 %", "gradient 10 %", "beta", "learning rate 1 %", "frozen")
FAULTY_FROM = 20
STEPS = 60

_CONFIG = {"targets": {}, "wg_distribution": True, "param_distribution": True, "format": "csv",
           "ops": ["norm", "min", "max", "mean", "nans"], "step_count_per_record": 1000}  # fmt: skip
_WORDS, _LENGTH, _BATCH = 48, 24, 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed stands for.  `fault` names what is wrong, or nothing; `noisy` says whether other kernels run."""

    seed: int
    model: str
    optimizer: str
    precision: str
    width: int
    rate: float
    noisy: bool = False
    fault: str = ""


def plan_of(seed: int, *, noisy: bool = False, fault: str = "") -> Plan:
    """`seed`'s run, the same on every machine: its first 30 numbers go through all models, optimizers, precisions."""
    draw = random.Random(seed)
    optimizer = OPTIMIZERS[seed // len(MODELS) % len(OPTIMIZERS)]
    rate = {"adamw": 1e-3, "sgd": 3e-2, "adafactor": 1e-2}[optimizer] * draw.choice((0.3, 1.0, 3.0))
    precision = PRECISIONS[seed // (len(MODELS) * len(OPTIMIZERS)) % len(PRECISIONS)]
    return Plan(seed, MODELS[seed % len(MODELS)], optimizer, precision, draw.choice((16, 32, 48)), rate, noisy, fault)


class Block(nn.Module):
    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        norm = nn.RMSNorm if causal else nn.LayerNorm
        self.causal, self.heads = causal, 4
        self.norm1, self.norm2 = norm(width), norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=not causal), nn.Linear(width, width, bias=not causal)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        activation = functional.silu if self.causal else functional.gelu
        return x + self.down(activation(self.up(self.norm2(x))))


class Tokens(nn.Module):
    """Words in, the word after each out: blocks of attention, or an LSTM."""

    def __init__(self, width: int, core: nn.Module, *, tied: bool) -> None:
        super().__init__()
        self.embed, self.core, self.head = nn.Embedding(_WORDS, width), core, nn.Linear(width, _WORDS)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        made = self.core(self.embed(x))
        return self.head(made[0] if isinstance(made, tuple) else made).transpose(1, 2)


def build(plan: Plan) -> nn.Module:
    width = plan.width
    if plan.model == "mlp":
        return nn.Sequential(nn.Linear(32, 2 * width), nn.Tanh(), nn.Linear(2 * width, width), nn.ReLU(),
                             nn.Linear(width, 10))  # fmt: skip
    if plan.model == "convnet":
        layers: list[nn.Module] = []
        for given in (3, width // 2, width // 2):
            layers += [nn.Conv2d(given, width // 2, 3, padding=1), nn.BatchNorm2d(width // 2), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2 * width, 10))
    if plan.model == "lstm":
        return Tokens(width, nn.LSTM(width, width, 2, batch_first=True), tied=False)
    causal = plan.model == "decoder"
    blocks = nn.Sequential(*(Block(width, causal=causal) for _ in range(2 + plan.seed % 2)))
    return Tokens(width, blocks, tied=causal)


def batch(plan: Plan, source: torch.Generator) -> tuple[Tensor, Tensor]:
    if plan.model in ("mlp", "convnet"):
        shape = (64, 32) if plan.model == "mlp" else (8, 3, 12, 12)
        x = torch.randn(shape, generator=source)
        return x, (x.flatten(1)[:, :10] + 0.3 * x.flatten(1)[:, 10:20]).argmax(1)
    start = torch.randint(0, _WORDS, (_BATCH, 1), generator=source)
    noise = torch.randint(0, 2, (_BATCH, _LENGTH + 1), generator=source)
    words = (start * 3 + torch.arange(_LENGTH + 1) * 5 + noise) % _WORDS
    return words[:, :-1], words[:, 1:]


def optimizer_of(plan: Plan, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    wrong = plan.fault == "beta"
    rate = plan.rate * (1.01 if plan.fault == "learning rate 1 %" else 1.0)
    if plan.optimizer == "adamw":
        betas = ((0.9, 0.99) if plan.seed % 2 else (0.95, 0.999)) if wrong else (0.9, 0.999)
        return torch.optim.AdamW(parameters, lr=rate, betas=betas)
    if plan.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.95 if wrong else 0.9)
    return torch.optim.Adafactor(parameters, lr=rate, beta2_decay=-0.6 if wrong else -0.8)


def faulty_parameter(plan: Plan, model: nn.Module) -> str:
    """The parameter that a fault of one layer hits."""
    names = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    return random.Random(plan.seed * 7919 + 1).choice(names)


def expected_step(plan: Plan) -> int:
    """The first step at whose end the runs can differ by the fault."""
    return {"beta": 1, "learning rate 1 %": 0}.get(plan.fault, FAULTY_FROM)


def run(plan: Plan, folder: Path) -> None:
    """Train and monitor into `folder`.  Only for a process that ends with it: kernels are not put back."""
    if plan.noisy:
        draw = random.Random(plan.seed * 31 + 7)
        kernels = tuple(
            Kernel(operator, draw.choice(("rounds", "rounds", "truncates")), draw.uniform(0.3, 1.0))
            for operator in OPERATORS
            if operator not in COPIES
        )
        plant.install(kernels, Tracer(folder.with_suffix(".truth")))
    torch.manual_seed(plan.seed)
    model = build(plan)
    optimizer = optimizer_of(plan, list(model.parameters()))
    step = 0
    name = faulty_parameter(plan, model)
    hit = dict(model.named_parameters())[name]
    if plan.fault.startswith("gradient"):
        times = 1 + float(plan.fault.split()[1]) / 100
        hit.register_hook(lambda gradient: gradient * times if step >= FAULTY_FROM else gradient)
    elif plan.fault == "frozen":
        _freeze(optimizer, hit, lambda: step >= FAULTY_FROM)
    with _monitored(model, optimizer, folder):
        source = torch.Generator().manual_seed(plan.seed + 1)
        for _ in range(STEPS):
            x, y = batch(plan, source)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=plan.precision == "autocast"):
                loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            step += 1


def _freeze(optimizer: torch.optim.Optimizer, hit: nn.Parameter, due: Callable[[], bool]) -> None:
    """The update of `hit` is lost where `due`."""
    kept = hit.detach().clone()

    def before(*_: object) -> None:
        kept.copy_(hit.detach())

    def after(*_: object) -> None:
        if due():
            with torch.no_grad():
                hit.copy_(kept)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


@contextlib.contextmanager
def _monitored(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config.json"
        config.write_text(json.dumps(_CONFIG))
        monitor = TrainerMon(str(config), params_have_main_grad=False)
    monitor.set_monitor(model, grad_acc_steps=1, optimizer=optimizer)
    try:
        yield
    finally:
        monitor.close()
