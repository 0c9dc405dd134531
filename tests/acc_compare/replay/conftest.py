"""Record a few lines of torch as tensors, and make the calls again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from acc_compare.replay.results import ReplayedCall, ReplayResult
from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from dump.config import DumpConfig
from dump.session import Session

Record: TypeAlias = "Callable[..., Path]"


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """`record(act)` runs `act` under a session of its own; the folder of its dump."""
    count = 0

    def run(act: Callable[[], object], **settings: Any) -> Path:
        nonlocal count
        count += 1
        chosen = {"task": "tensor", "dump_path": tmp_path / str(count), "extra_info": False, **settings}
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
