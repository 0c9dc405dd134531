"""A recorded training that is killed at any moment: what was written is a whole beginning of the full dump.

One process imports torch and forks a child for every moment, so that twenty kills cost little more than one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    for _ in range(3):
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
    time.sleep(moments.random() * length)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""

MODES: dict[str, tuple[dict[str, Any], int]] = {  # settings, and how many are killed
    "md5": ({"statistics": {"summary_mode": "md5"}}, 20),
    "tensor": ({"task": "tensor"}, 20),
    "tensor, a file a mention, no buffer": ({"task": "tensor", "file_format": "pt", "buffer_mb": 0}, 6),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("settings", "kills"), MODES.values(), ids=MODES)
def test_what_a_killed_recording_leaves_is_a_beginning_of_the_whole(
    tmp_path: Path, settings: dict[str, Any], kills: int
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(kills), json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    whole = read_dump(tmp_path / "full" / "step0" / "rank0")
    assert whole.incomplete is None
    lengths = [_check(tmp_path / str(number) / "step0" / "rank0", whole) for number in range(kills)]
    assert any(0 < length < len(whole.calls) for length in lengths), lengths


def _check(folder: Path, whole: Dump) -> int:
    """How many calls the dump holds; all of them are those of the whole, their files too."""
    if not (folder / "dump.json").exists() or b"\n" not in (folder / "dump.json").read_bytes():
        return 0  # killed before the header was out
    found = read_dump(folder)
    assert found.calls == whole.calls[: len(found.calls)]
    if found.incomplete is None:
        assert len(found.calls) == len(whole.calls)
    named = {tensor.data_name for call in found.calls for _, tensor in call.tensors() if tensor.data_name is not None}
    for name in sorted(named):
        mine, theirs = (read_tensor(each / "dump_tensor_data", name) for each in (folder, whole.path))
        assert mine.tobytes() == theirs.tobytes()
    return len(found.calls)
