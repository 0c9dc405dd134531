"""Recording changes nothing: losses, gradients, parameters and generators are equal to the bit with and without."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from dump.config import DumpConfig
from dump.format.layout import find_dumps
from dump.format.reader import read_dump
from dump.session import Session

STEPS = 5


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.drop = nn.Dropout(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x)), inplace=True), 2)
        return self.fc(self.drop(x.mean((2, 3))))


class Transformer(nn.Module):
    """One block whose output layer shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.block(self.embed(x), src_mask=mask, is_causal=True)).flatten(0, 1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(3, 5, num_layers=2, dropout=0.5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.lstm(x)[0][-1])


class Straight(torch.autograd.Function):
    """Rounds forward, passes gradients through; keeps a tensor and recomputes in backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.round(x * 8) / 8

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (1 - torch.tanh(x).square() / 2)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Straight.apply(self.fc(x))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x).clone()
        y.add_(1).mul_(0.5)
        y[:, 1:3].mul_(2)
        y[:, 0] = y[:, 0] - 1
        self.seen.add_(y.detach().sum(0))
        z = y.view(-1)[: y.shape[0] * 3].view(-1, 3)
        z -= self.seen.mean()
        return z


class Checkpointed(nn.Module):
    def __init__(self, *, use_reentrant: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 3)
        self.use_reentrant = use_reentrant

    def _inner(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(F.dropout(torch.tanh(self.first(x)), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self._inner, x, use_reentrant=self.use_reentrant)


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    batch: Callable[[], torch.Tensor]
    mixed: bool = False
    """Under autocast to bfloat16, with a GradScaler."""


CASES = {
    "cnn": Case(Cnn, lambda: torch.randn(4, 1, 8, 8)),
    "transformer": Case(Transformer, lambda: torch.randint(11, (2, 5))),
    "lstm": Case(Recurrent, lambda: torch.randn(4, 2, 3)),
    "function": Case(Custom, lambda: torch.randn(4, 3)),
    "in place": Case(InPlace, lambda: torch.randn(4, 4)),
    "reentrant": Case(lambda: Checkpointed(use_reentrant=True), lambda: torch.randn(4, 3, requires_grad=True)),
    "not reentrant": Case(lambda: Checkpointed(use_reentrant=False), lambda: torch.randn(4, 3)),
    "mixed": Case(Cnn, lambda: torch.randn(4, 1, 8, 8), mixed=True),
}


def _train(case: Case, around: Callable[[nn.Module, Callable[[], None]], None]) -> list[torch.Tensor]:
    """Train for some steps, each inside `around`; everything that a step leaves behind."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    model = case.make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=case.mixed, init_scale=8.0)
    left: list[torch.Tensor] = []

    def step() -> None:
        x = case.batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=case.mixed):
            out = model(x)
            loss = F.cross_entropy(out, torch.arange(out.shape[0]) % out.shape[1])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        scaler.step(optimizer)
        scaler.update()
        left.extend([loss.detach(), *gradients, *(p.detach().clone() for p in model.parameters())])

    for _ in range(STEPS):
        around(model, step)
    left.extend(buffer.clone() for buffer in model.buffers())
    state = [torch.get_rng_state(), torch.from_numpy(np.random.rand(3)), torch.tensor(random.random())]
    return [*left, *state]


@cache
def _alone(name: str) -> list[torch.Tensor]:
    return _train(CASES[name], lambda _, step: step())


def _assert_equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


MODES: dict[str, dict[str, Any]] = {
    "statistics": {"task": "statistics"},
    "md5": {"task": "statistics", "summary_mode": "md5"},
    "tensor": {"task": "tensor"},
    "audited": {"task": "statistics", "audit": True, "remeasure": True},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "level", [pytest.param("L0", marks=pytest.mark.slow), pytest.param("L1", marks=pytest.mark.slow), "mix"]
)
@pytest.mark.parametrize("name", CASES)
def test_recording_changes_nothing(tmp_path: Path, name: str, level: Any, mode: str) -> None:
    config = replace(DumpConfig(dump_path=tmp_path), level=level, extra_info=level == "mix", **MODES[mode])
    session = Session(config)

    def recorded(model: nn.Module, step: Callable[[], None]) -> None:
        session.start([model])
        step()
        session.stop()
        session.step()

    expected = _alone(name)
    try:
        found = _train(CASES[name], recorded)
    finally:
        session.close()
    _assert_equal(found, expected)
    assert session.failure is None
    assert len(session.written) == STEPS
    coverage = read_dump(session.written[0].folder).header.coverage
    assert coverage is not None
    assert coverage["failed"] == {}


@pytest.mark.parametrize("name", CASES)
def test_recording_from_the_first_line_changes_nothing(tmp_path: Path, name: str) -> None:
    """As `acc dump` does: building the model happens under the patches too."""
    expected = _alone(name)
    config = replace(DumpConfig(dump_path=tmp_path), level="mix", step=frozenset(range(STEPS)))
    session = Session(config, finds_steps=True)
    session.start()
    try:
        found = _train(CASES[name], lambda _, step: step())
    finally:
        session.close()
    _assert_equal(found, expected)
    assert [part.folder.parent.name for part in session.written] == [f"step{n}" for n in range(STEPS)]


DISTRIBUTED = """
import os, sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dump.config import DumpConfig
from dump.session import Session


def ways():
    # Every level and task; the first at mix, which the test reads.
    tasks = [{}, {"summary_mode": "md5"}, {"task": "tensor"}, {"audit": True, "remeasure": True}]
    return [{"level": level, **task} for level in ("mix", "L0", "L1") for task in tasks]


def train(rank, root, **settings):
    torch.manual_seed(rank)
    model = nn.parallel.DistributedDataParallel(
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    session = None if root is None else Session(replace(DumpConfig(dump_path=Path(root)), **settings))
    left = []
    for _ in range(5):
        if session is not None:
            session.start([model])
        loss = model(torch.randn(4, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        left += [p.grad.clone() for p in model.parameters()]
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        left += [mean, *(p.detach().clone() for p in model.parameters())]
        if session is not None:
            session.step()
    if session is not None:
        session.close()
    return [*left, torch.get_rng_state()]


def main(rank, port, root):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    alone = train(rank, None)
    for number, settings in enumerate(ways()):
        recorded = train(rank, f"{root}/{number}", **settings)
        assert all(torch.equal(a, b) for a, b in zip(alone, recorded, strict=True)), settings
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(main, sys.argv[1:], nprocs=2)
"""


@pytest.mark.slow
def test_two_ranks_over_gloo_change_nothing_and_record_a_folder_each(tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    everything = tmp_path / "dump"
    root = everything / "0"
    done = subprocess.run(
        [sys.executable, script, str(port), str(everything)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = [(location.step, location.rank) for location in find_dumps(root)]
    assert found == [(step, rank) for step in range(5) for rank in range(2)]
    dump = read_dump(root / "step1" / "rank1")
    assert dump.header.world_size == 2
    reduced = next(call for call in dump.calls if call.name == "Distributed.all_reduce.0.forward")
    assert [argument.name for argument in reduced.outputs] == ["output.0"]
    assert reduced.outputs[0].leaf != reduced.inputs[0].leaf
    step = next(call for call in dump.calls if call.name == "Optimizer.SGD.0.forward")
    gradient = next(argument for argument in step.inputs if argument.name.startswith("input.grad."))
    assert gradient.leaf is not None
