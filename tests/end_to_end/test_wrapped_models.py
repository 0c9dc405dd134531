"""A model inside a wrapper of torch's answers, call by call and parameter by parameter, to the model alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from acc_compare import compare
from dump.config import DumpConfig
from dump.format.reader import read_dump
from dump.session import Session


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.fc(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Block(), Block())
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * self.scale


def _checkpointed(model: Net) -> nn.Module:
    for index, block in enumerate(model.layers):
        model.layers[index] = checkpoint_wrapper(block)
    return model


def _compiled(model: Net) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def _in_ddp(model: Net) -> nn.Module:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return nn.parallel.DistributedDataParallel(model)


def _record(folder: Path, level: str, wrap: Callable[[Net], nn.Module]) -> Path:
    torch.manual_seed(0)
    model = wrap(Net())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    session = Session(DumpConfig(dump_path=folder, level=level, extra_info=False))  # type: ignore[arg-type]
    try:
        session.start([model])
        with torch.compiler.set_stance("force_eager"):  # compiled code shows none of its calls
            model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
        session.step()
    finally:
        session.close()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return folder


@pytest.mark.parametrize("level", ["L0", "mix"])
@pytest.mark.parametrize(
    ("wrap", "mark"),
    [(_checkpointed, "._checkpoint_wrapped_module."), (_compiled, "._orig_mod."), (_in_ddp, ".module.")],
    ids=["checkpointed", "compiled", "ddp"],
)
def test_a_wrapped_model_answers_to_the_plain_one(
    tmp_path: Path, wrap: Callable[[Net], nn.Module], mark: str, level: str
) -> None:
    plain, wrapped = _record(tmp_path / "plain", level, lambda model: model), _record(tmp_path / "wrapped", level, wrap)
    comparison = compare(wrapped, plain)
    rows = comparison.to_frame()
    assert comparison.verdict == "same"
    lone = rows[(rows["NPU Name"].isna()) | (rows["NPU Name"] == "")]
    assert lone.empty, list(lone["Bench Name"])
    calls = read_dump(next(plain.glob("step0/*"))).calls
    assert {"Module.layers.0.Block.forward.0", "Optimizer.SGD.0.forward"} <= {call.name for call in calls}
    assert any(mark in name for name in rows["NPU Name"])
