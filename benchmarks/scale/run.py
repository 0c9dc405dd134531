"""What comparing two jobs of very many ranks costs, and what that makes of a model of 70 billion parameters.

    python benchmarks/scale/run.py [--ranks 16,64,256,1024] [--write]

A job of two ranks is recorded for one step, and its dumps are made those of as many ranks as asked for: each rank has
the dump of one of the two, its collectives take in all.  One rank of the NPU side has the dump of a run in which a call
of gelu was wrong.  `--write` writes docs/scale.md.  Takes some minutes, most of it for the largest job.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale.md"
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.localisation import recording  # noqa: E402
from benchmarks.localisation.jobs import JOBS  # noqa: E402
from benchmarks.localisation.rows import Kernel  # noqa: E402

RANKS = (16, 64, 256, 1024)
LAYERS, CALLS_A_LAYER = 80, 70
"""A decoder of 70 billion parameters, and the calls of one of its layers in a step, forward and backward together:
seven projections, two norms, rotation, attention, a gated activation, two additions, and the views between them."""

PRICE = 2.5
"""Dollars for an hour of one accelerator, as an order of size."""

_FAULTY = 1
_MEASURE = r"""
import json, re, sys, time
from pathlib import Path
from acc_compare.comparison import compare
start = time.perf_counter()
found = compare(sys.argv[1], sys.argv[2], keep_rows=False)
suspect = found.suspects[0]
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "memory": 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]),
    "verdict": found.verdict, "suspects": len(found.suspects), "first": [suspect.name, suspect.rank],
    "calls": found.overall.coverage.calls,
}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A comparison of two jobs: seconds of wall time, peak bytes of memory, the bytes of a rank's dump on one side, the
    calls that were compared, and what was named first."""

    ranks: int
    seconds: float
    memory: int
    disk: int
    calls: int
    suspects: int
    first: tuple[str, int | None]

    @property
    def per_call(self) -> float:
        """Seconds."""
        return self.seconds / self.calls


def record(folder: Path) -> tuple[Path, Path]:
    """Record the small job twice, faulty and healthy.  Raises RuntimeError where a run fails."""
    job = JOBS[0]
    wrong = Kernel("aten::gelu", "scale", 1.01, (0,), rank=_FAULTY)
    for name, side in (("npu", job.side(wrong)), ("bench", job.side())):
        problem = recording.record(recording.Recording(folder / name, job.model, side, "statistics", "L1"))
        if problem:
            raise RuntimeError(problem)
    return tuple(folder / name / recording.DUMP / "step0" for name in ("npu", "bench"))  # type: ignore[return-value]


def multiply(npu: Path, bench: Path, into: Path, ranks: int) -> int:
    """Two jobs of so many ranks; the bytes of one rank's dump.  Only one rank of the NPU side is the faulty one."""
    members = json.dumps(list(range(ranks)), separators=(",", ":"))
    size = 0
    for name, side in (("npu", npu), ("bench", bench)):
        for rank in range(ranks):
            source = side / f"rank{_FAULTY if rank == _FAULTY else 0}"
            target = into / name / "step0" / f"rank{rank}"
            target.mkdir(parents=True)
            for file in source.iterdir():
                text = file.read_text(encoding="utf-8")
                if file.name == "dump.json":
                    text = re.sub(r'"(ranks|group_ranks)":\s?\[0,\s?1\]', rf'"\1":{members}', text)
                    text = re.sub(r'"world_size":\s?2', f'"world_size":{ranks}', text)
                    size = len(text)
                (target / file.name).write_text(text, encoding="utf-8")
    return size


def measure(npu: Path, bench: Path, ranks: int) -> Measured:
    """Compare two jobs of so many ranks in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        size = multiply(npu, bench, Path(folder), ranks)
        told = subprocess.run(
            [sys.executable, "-c", _MEASURE, f"{folder}/npu", f"{folder}/bench"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(told.stdout.splitlines()[-1])
    first = (str(found["first"][0]), found["first"][1])
    memory, seconds = int(found["memory"]), float(found["seconds"])
    return Measured(ranks, seconds, memory, size, int(found["calls"]), int(found["suspects"]), first)


def page(rows: Sequence[Measured], load: float) -> str:
    """docs/scale.md."""
    last = rows[-1]
    calls = LAYERS * CALLS_A_LAYER
    in_a_call = last.disk / (last.calls / last.ranks)
    seconds, size = last.per_call * calls * 1024, in_a_call * calls
    table = "\n".join(
        f"| {row.ranks:,} | {row.seconds:.0f} s | {row.seconds / row.ranks * 1e3:.0f} ms | {row.memory / 1e6:.0f} MB |"
        f" {row.disk / 1e3:.0f} kB | {row.calls:,} | `{row.first[0]}`, rank {row.first[1]} |"
        for row in rows
    )
    return f"""# Very many ranks

Written by `python benchmarks/scale/run.py --write`. A job of two ranks (DistributedDataParallel, one step, statistics,
level L1) was recorded and its dumps made those of as many ranks as the table says: one rank of the NPU side is that of
a run in which one call of gelu was 1 % too large, the reduction of gradients takes in all ranks. One process compared
them (`--jobs 1`), on {os.cpu_count()} cores with a load of {load:.0f} beside it, so times are upper bounds.

| ranks | time | a rank | peak memory | a rank's dump | calls compared | named first |
| --- | --- | --- | --- | --- | --- | --- |
{table}

A rank is read, judged and let go before the next, so that memory follows what ranks gave each other and not their
number of calls. Ranks of long dumps are shared out among cores (`--jobs`).

## What that makes of 70 billion parameters

Not measured, but multiplied: {LAYERS} layers of about {CALLS_A_LAYER} calls, forward and backward, are
{calls:,} calls a step on each rank; by the last line of the table a call takes {last.per_call * 1e3:.1f} ms to compare
and {in_a_call / 1e3:.1f} kB on disk for each side.

| of 1,024 ranks, one step | statistics |
| --- | --- |
| disk, each side | {size / 1e6:.0f} MB a rank, {size * 1024 / 1e9:.0f} GB in all |
| comparing, one core | {seconds / 3600:.1f} hours |
| comparing, 64 cores | {seconds / 3600 / 64 * 60:.0f} min |
| one minute of recording on 1,024 accelerators at ${PRICE:.2f} an hour | ${PRICE * 1024 / 60:.0f}, on each side |

Whole tensors take as many bytes as a rank reads and writes in a step, each distinct one once, so record those of the
calls that statistics have named alone (`--task tensor --list NAME`).

## What to record

By default every rank records every call of the steps asked for, as statistics. Of a large job record less:

- `--rank 0,8,...` of one rank in each group of replicas: data-parallel ranks differ by their data alone. What a rank
  that was not recorded gave is not known, so of a collective with such ranks nothing is judged.
- `--step 0` first: what is wrong from the start shows there, before anything has grown.
- level L0 records modules alone; then L1 within the module that was named (`--scope`).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default=",".join(map(str, RANKS)), help="how many ranks, one after the other")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        npu, bench = record(Path(folder))
        started = time.perf_counter()
        for ranks in map(int, options.ranks.split(",")):
            rows.append(measure(npu, bench, ranks))
            print(f"{time.perf_counter() - started:.0f} s: {rows[-1]}", flush=True)
    if options.write:
        PAGE.write_text(page(rows, os.getloadavg()[0]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
