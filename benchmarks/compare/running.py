"""One command in a process of its own, with its time and its memory; and what reading alone takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("record.py")
# What this machine sets for one numpy must not reach another.
_DROPPED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class BenchError(Exception):
    """Something that has to run did not."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds by the clock, seconds of all cores, the largest process's memory in bytes, the load before; `ended` is
    False where it was stopped at the limit."""

    wall: float
    cpu: float
    memory: int
    load: float
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool and the interpreter that has it.  `version` is msprobe's, or "" for ours."""

    name: str
    python: Path
    version: str = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in (*_DROPPED, "PYTHONPATH")}
        return kept if self.version else {**kept, "PYTHONPATH": str(ROOT)}

    def compare(self, npu: Path, bench: Path, out: Path) -> list[str]:
        """The command that compares two dump roots of one step and rank, as a user gives it."""
        if not self.version:
            code = "import sys; from acc_compare.cli import main; sys.exit(main(sys.argv[1:]))"
            return [str(self.python), "-c", code, "compare", str(npu), str(bench), "-q", "-o", str(out)]
        program = str(self.python.with_name("msprobe"))
        if not self.version.startswith("8."):
            steps = [str(next(side.glob("step*"))) for side in (npu, bench)]
            return [program, "compare", "--target_path", steps[0], "--golden_path", steps[1], "--output_path", str(out)]
        out.mkdir(parents=True, exist_ok=True)
        sides = [next(side.glob("step*/*/dump.json")) for side in (npu, bench)]
        settings = out / "compare.json"
        keys = {"npu_path": str(sides[0]), "bench_path": str(sides[1]), "is_print_compare_log": False}
        settings.write_text(json.dumps({**keys, "stack_path": str(sides[0].with_name("stack.json"))}))
        return [program, "-f", "pytorch", "compare", "-i", str(settings), "-o", str(out)]

    def record(self, config: Mapping[str, object], folder: Path, *, model: Sequence[str], threads: int) -> None:
        """Record one training step to `folder`.  Raises BenchError."""
        module = "msprobe.pytorch" if self.version else "dump"
        folder.mkdir(parents=True)
        file = folder.with_suffix(".json")
        file.write_text(json.dumps({**config, "dump_path": str(folder)}))
        measure([str(self.python), str(RECORD), module, str(file), *model, str(threads)], self.environment, folder)


def measure(
    command: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    *,
    expected: Sequence[int] = (0,),
    limit: float = 1800.0,
) -> Measured:
    """Run to the end, or for `limit` seconds.  Raises BenchError where the exit code is not one of `expected`."""
    load = os.getloadavg()[0]
    log = cwd / "last.log"
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=dict(environment), cwd=cwd, stdout=output, stderr=output)
        stop = threading.Timer(limit, process.kill)
        stop.start()
        _, status, usage = os.wait4(process.pid, 0)
        stop.cancel()
        wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = wall < limit
    if ended and process.returncode not in expected:
        text = log.read_text(errors="replace")[-2000:]
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    log.unlink()
    scale = 1 if sys.platform == "darwin" else 1024
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale, load, ended)


def read_all(*roots: Path) -> tuple[Measured, int]:
    """Read every file below `roots` into one buffer of a mebibyte, by one thread; and the bytes there are."""
    buffer, size = bytearray(1 << 20), 0
    load, begun, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
    for file in (file for root in roots for file in root.rglob("*") if file.is_file()):
        with file.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                size += count
    return Measured(time.perf_counter() - begun, time.process_time() - cpu, len(buffer), load), size
