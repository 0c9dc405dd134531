"""A recorded training that is killed at random moments, and the check of what each kill leaves.

One process imports torch and forks a child for every moment, so that many kills cost little more than one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dump.format.reader import read_dump
from dump.format.schema import Dump
from dump.format.tensors import read_tensor

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, os, random, signal, sys, time, warnings
import torch
from dump import PrecisionDebugger

root, kills = sys.argv[1], int(sys.argv[2])
settings = json.loads(sys.argv[3])
torch.set_num_threads(1)
torch.optim.SGD([torch.zeros(1)], 0.1)  # imports much of torch, once for all children

def train(folder, ready):
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(True)) for _ in range(4)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(32, 64)
    path = folder + ".json"
    with open(path, "w") as file:
        json.dump({**settings, "dump_path": folder, "level": "mix"}, file)
    debugger = PrecisionDebugger(config_path=path)
    ready()
    debugger.start(model, rank_id=0)
    for _ in range(12):
        model(x).square().mean().backward()
        optimizer.step()
    debugger.stop()
    debugger.step()

def child(folder):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            train(folder, lambda: os.write(writing, b"!"))
        finally:
            os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return pid

pid = child(os.path.join(root, "full"))
began = time.perf_counter()
os.waitpid(pid, 0)
length = time.perf_counter() - began
moments = random.Random(1)
for number in range(kills):
    pid = child(os.path.join(root, str(number)))
    time.sleep((number + moments.random()) / kills * length)  # every part of the run has its kill
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


@dataclass(frozen=True, slots=True)
class Kills:
    """What `kills` kills left: how many calls each dump holds, of `whole` in an undisturbed one; 0 where not even
    the header was out.  `closed` dumps were whole, `files` tensor files were compared byte for byte."""

    whole: int
    lengths: tuple[int, ...]
    closed: int
    files: int


def kill(folder: Path, settings: Mapping[str, Any], *, kills: int) -> Kills:
    """Record, kill, check.  Raises AssertionError where something that was written is lost, or a child failed."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(kills), json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    whole = read_dump(folder / "full" / "step0" / "rank0")
    assert whole.incomplete is None
    found = [check(folder / str(number) / "step0" / "rank0", whole) for number in range(kills)]
    lengths = tuple(calls for calls, _, _ in found)
    return Kills(len(whole.calls), lengths, sum(closed for _, closed, _ in found), sum(files for _, _, files in found))


def check(folder: Path, whole: Dump) -> tuple[int, bool, int]:
    """How many calls the dump holds, whether it is whole, how many tensor files it names.

    Every finished line was read, all calls are those of `whole`, every named file has the bytes of its own.
    """
    source = folder / "dump.json"
    if not source.exists() or b"\n" not in source.read_bytes():
        return 0, False, 0  # killed before the header was out
    found = read_dump(folder)
    assert found.calls == whole.calls[: len(found.calls)]
    if found.incomplete is None:
        assert len(found.calls) == len(whole.calls)
    elif b"\n}" not in source.read_bytes():
        assert len(found.calls) == source.read_bytes().count(b"\n") - 1
    named = {tensor.data_name for call in found.calls for _, tensor in call.tensors() if tensor.data_name is not None}
    for name in sorted(named):
        mine, theirs = (read_tensor(each / "dump_tensor_data", name) for each in (folder, whole.path))
        assert mine.tobytes() == theirs.tobytes()
    return len(found.calls), found.incomplete is None, len(named)
