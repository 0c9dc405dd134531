"""Record a few lines of torch as tensors, and make the calls again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from acc_compare.replay.results import ReplayedCall, ReplayResult
from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from dump.config import DumpConfig
from dump.format.layout import TENSOR_FOLDER
from dump.format.tensors import read_tensor, write_tensor
from dump.session import Session

Record: TypeAlias = "Callable[..., Path]"


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """`record(act)` runs `act` under a session of its own; the folder of its dump."""
    count = 0

    def run(act: Callable[[], object], **settings: Any) -> Path:
        nonlocal count
        count += 1
        chosen = {
            "task": "tensor",
            "file_format": "safetensors",
            "dump_path": tmp_path / str(count),
            "extra_info": False,
            **settings,
        }
        session = Session(DumpConfig(**chosen))
        session.start([])
        try:
            act()
        finally:
            session.close()
            session.remove()
        assert session.failure is None
        return session.written[0].folder

    return run


def again(folder: Path, *names: str, **options: Any) -> ReplayResult:
    return replay(folder, Wanted(names), **options)


def the_call(result: ReplayResult, name: str) -> ReplayedCall:
    (found,) = [call for call in result.calls if call.name == name]
    return found


def verdicts(result: ReplayResult) -> dict[str, str]:
    return {call.name: call.cause or call.verdict for call in result.calls}


def draw(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = True) -> torch.Tensor:
    """Normal numbers, made by what no recording listens to."""
    found = torch.Tensor(np.random.default_rng(sum(shape)).standard_normal(shape).tolist())
    return (found if dtype is torch.float32 else found.to(dtype)).requires_grad_(grad)


def rewrite(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    file = folder / TENSOR_FOLDER / f"{name}.safetensors"
    array = np.array(change(np.array(read_tensor(file.parent, file.name))), np.float32)
    write_tensor(file, data=array.tobytes(), dtype="torch.float32", shape=array.shape)
