"""On two ranks, too, every situation gives the same bits and warnings, recorded or not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("rank_situations.py")
ROOT = SCRIPT.parents[2]

pytestmark = pytest.mark.slow


def _run(command: Sequence[str], **variables: str) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port", port)
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *command, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    lines = (line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    return dict(tuple(line) for line in lines)


@cache
def _alone() -> dict[str, str]:
    return _run(())


@pytest.mark.parametrize(
    "options", [(), ("--task", "tensor", "--audit", "--remeasure"), None], ids=["statistics", "tensors", "a debugger"]
)
def test_situations_of_two_ranks_are_the_same(tmp_path: Path, options: Sequence[str] | None) -> None:
    folder = str(tmp_path / "dump")
    if options is None:
        found = _run((), RECORD=folder)
    else:
        found = _run(("-m", "dump", "--step", "all", "-o", folder, "-s", *options))
    alone = _alone()
    assert len(alone) == 20
    assert found == alone
