"""Record a few lines of torch into a temporary folder and read them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

from dump import installed
from dump.config import DumpConfig
from dump.debugger import PrecisionDebugger
from dump.format.reader import read_dump
from dump.format.schema import CallRecord, Dump, TensorRecord
from dump.format.tensors import read_tensor
from dump.session import Session

Record: TypeAlias = "Callable[..., Recorded]"


class Recorded:
    """A dump with its calls by name; without any where nothing was recorded."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.dump: Dump | None = None if folder is None else read_dump(folder)
        calls = () if self.dump is None else self.dump.calls
        self.calls: dict[str, CallRecord] = {call.name: call for call in calls}

    def __getitem__(self, name: str) -> CallRecord:
        return self.calls[name]

    def __contains__(self, name: str) -> bool:
        return name in self.calls

    @property
    def names(self) -> list[str]:
        return list(self.calls)

    def leaf(self, name: str, argument: str) -> Any:
        """The one leaf of a call's argument, such as ("Torch.add.0.forward", "input.0")."""
        call = self.calls[name]
        groups = (*call.inputs, *call.parameters, *call.outputs, *call.written)
        (found,) = [each.leaf for each in groups if each.name == argument]
        return found

    def tensor(self, name: str, argument: str) -> torch.Tensor:
        """The stored contents of a tensor; only in tensor mode."""
        leaf = self.leaf(name, argument)
        assert isinstance(leaf, TensorRecord)
        assert leaf.data_name is not None
        assert self.folder is not None
        return torch.from_numpy(read_tensor(self.folder / "dump_tensor_data", leaf.data_name).copy())

    def value(self, name: str, argument: str) -> int:
        leaf = self.leaf(name, argument)
        assert isinstance(leaf, TensorRecord)
        assert leaf.value is not None
        return leaf.value


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    """A test that fails half-way leaves no recording behind for those that come after it."""
    yield
    for session in list(installed._installed):
        session.remove()
    PrecisionDebugger._session = PrecisionDebugger._instance = None


@pytest.fixture
def config(tmp_path: Path) -> DumpConfig:
    return DumpConfig(dump_path=tmp_path / "dump", extra_info=False)


@pytest.fixture
def record(config: DumpConfig) -> Iterator[Record]:
    """`record(act, level="mix", ...)` runs `act` under a session of its own and reads what was written."""
    count = 0
    sessions: list[Session] = []

    def run(act: Callable[[], object], *, models: Sequence[torch.nn.Module] = (), **settings: Any) -> Recorded:
        nonlocal count
        count += 1
        own = replace(config, dump_path=Path(config.dump_path) / str(count), **settings)
        session = Session(own)
        sessions.append(session)
        session.start(models)
        try:
            act()
        finally:
            session.close()
        assert session.failure is None
        if not session.written:
            return Recorded(None)
        (written,) = session.written
        recorded = Recorded(written.folder)
        assert recorded.dump is not None
        assert recorded.dump.incomplete is None
        assert recorded.dump.header.coverage is not None
        assert recorded.dump.header.coverage["failed"] == {}
        return recorded

    yield run
    for session in sessions:
        session.remove()
