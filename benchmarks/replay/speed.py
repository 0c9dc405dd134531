"""What proving costs, in processor time of one core.

    python -m benchmarks.replay.speed

Replaying all calls of a ResNet-50 step at batch 4, beside the step itself in float64; and the steps of the small Llama
under `acc check` with its defaults, beside the same steps without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from benchmarks.recording.workloads import resnet
from dump.config import DumpConfig
from dump.session import Session

_ROOT = Path(__file__).parents[2]
_STEPS = 4
_SCRIPT = """
import sys, time, torch
torch.set_num_threads(1)
from benchmarks.recording.workloads import llama
step = llama("cpu").step
for _ in range(int(sys.argv[1])):
    before = time.process_time()
    step()
    print("step", time.process_time() - before)
"""


def timed(act: Callable[[], object]) -> float:
    """Seconds of processor time."""
    before = time.process_time()
    act()
    return time.process_time() - before


def in_float64() -> float:
    """The median ResNet-50 step, once warm."""
    torch.set_default_dtype(torch.float64)
    try:
        step = resnet("cpu").step
    finally:
        torch.set_default_dtype(torch.float32)
    step()
    return statistics.median(timed(step) for _ in range(3))


def recorded(folder: Path) -> Path:
    """A ResNet-50 step as tensors (1.5 GB)."""
    workload = resnet("cpu")
    session = Session(DumpConfig(task="tensor", dump_path=folder))
    session.start([])
    try:
        workload.step()
    finally:
        session.close()
        session.remove()
    return session.written[0].folder


def steps_under(command: list[str]) -> list[float]:
    """The first steps of the small Llama under a command."""
    done = subprocess.run(
        [sys.executable, *command, str(_STEPS)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("step ")]
    if len(found) != _STEPS:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        bare = in_float64()
        dump = recorded(Path(scratch) / "resnet")
        for _ in range(2):
            taken = timed(lambda: replay(dump, Wanted()))
            print(
                f"ResNet-50: step in float64 {bare:.2f} s, replay {taken:.2f} s, {taken / bare:.2f} times", flush=True
            )
        script = Path(scratch) / "train.py"
        script.write_text(_SCRIPT, encoding="utf-8")
        plain = steps_under([str(script)])
        checked = steps_under(["-m", "acc_compare", "check", "-o", str(script.parent / "out"), str(script)])
        for number, (before, taken) in enumerate(zip(plain, checked, strict=True)):
            print(
                f"small Llama, step {number}: {before:.3f} s, under acc check {taken:.3f} s, {taken / before:.2f} times"
            )


if __name__ == "__main__":
    main()
