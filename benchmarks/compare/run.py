"""How long comparing takes, beside msprobe, on the same dumps in the same run.

    python benchmarks/compare/run.py --peer 26.2.0=PYTHON --peer 8.3.3=PYTHON     pythons that have these versions
    python benchmarks/compare/run.py                                              ours alone, on our own dumps
    python benchmarks/compare/run.py --quick                                      a small net, in a minute

Three pairs of dumps, made here and deleted afterwards (--keep FOLDER keeps them): every tensor of a training step of
ResNet-50 (batch 4, 224x224, level L1); the statistics of 1,243 calls, and of 88,320 calls (`synthesis.py` says how they
are made from a real step).  The first peer records them; without a peer we do.  The two sides differ as two healthy
machines do: their kernels sum by one and by two threads.  The page cache is warm: all files are read before each
timing, and the second reading is timed as the bound of what is possible.

Writes RESULTS.md and the table in docs/comparing.md; exits with 2 where something could not be run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.compare.results import Case, Timing, page, put_table, table  # noqa: E402
from benchmarks.compare.running import BenchError, Measured, Tool, measure, read_all  # noqa: E402
from benchmarks.compare.synthesis import lengthen  # noqa: E402

SIDES = (("npu", 1), ("bench", 2))  # and the threads of each
FULL = ("resnet50", "4", "224")
QUICK = ("resnet18", "2", "64")
CALLS = (1243, 88320)
LIMIT = 900.0
"""Seconds after which a tool is stopped."""
QUICK_CALLS = (1243, 8832)
DOCS = ROOT / "docs" / "comparing.md"


def make_inputs(recorder: Tool, work: Path, *, quick: bool) -> list[Case]:
    """The pairs of dumps below `work`.  Raises BenchError."""
    model = QUICK if quick else FULL
    for task, level in (("tensor", "L1"), ("statistics", "mix")):
        for side, threads in SIDES:
            print(f"recording {task} {side}", flush=True)
            section = {"scope": [], "list": [], "data_mode": ["all"]}
            config = {"task": task, "rank": [], "step": [], "level": level, "extra_info": True, task: section}
            recorder.record(config, work / task / side, model=model, threads=threads)
    cases = [Case(f"every tensor of {model[0]}, batch {model[1]}", work / "tensor")]
    for calls in QUICK_CALLS if quick else CALLS:
        folder = work / f"statistics-{calls}"
        for side, _ in SIDES:
            source = next((work / "statistics" / side).glob("step*/*/dump.json")).parent
            lengthen(source, folder / side / "step0" / "rank0", calls)
        cases.append(Case(f"statistics of {calls:,} calls", folder))
    return cases


def time_all(cases: Sequence[Case], tools: Sequence[Tool], work: Path, *, repeat: int) -> Iterator[Timing]:
    """Every tool on every case; ours `repeat` times, of which the median counts."""
    for case in cases:
        sides = case.folder / "npu", case.folder / "bench"
        read_all(*sides)
        reading, size = read_all(*sides)
        yield Timing(case, "reading the files", reading, size, reading.wall)
        for tool in tools:
            times = repeat if not tool.version else 1
            runs = sorted((_run(tool, case, work / "out") for _ in range(times)), key=lambda run: run.wall)
            middle, worst = runs[len(runs) // 2], runs[-1].wall
            print(f"{case.name}, {tool.name}: {middle.wall:.1f} s, {middle.memory / 1e6:.0f} MB", flush=True)
            yield Timing(case, tool.name, middle, size, worst)


def _run(tool: Tool, case: Case, out: Path) -> Measured:
    read_all(case.folder / "npu", case.folder / "bench")
    out.mkdir()
    limit = LIMIT if tool.version else 600.0
    try:
        command = tool.compare(case.folder / "npu", case.folder / "bench", out / "result")
        # Ours ends with 1 where it finds a suspect.
        return measure(command, tool.environment, out, expected=(0,) if tool.version else (0, 1), limit=limit)
    finally:
        shutil.rmtree(out)


def _peer(text: str) -> Tool:
    version, _, python = text.partition("=")
    if not version or not Path(python).is_file():
        raise argparse.ArgumentTypeError(f"expected VERSION=PYTHON, found {text!r}")
    return Tool(f"msprobe {version}", Path(python).absolute(), version)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=_peer, action="append", default=[], help="VERSION=PYTHON of a msprobe")
    parser.add_argument("--quick", action="store_true", help="a small net; nothing is written but to the terminal")
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours, of which the median counts (3)")
    parser.add_argument("--keep", type=Path, help="keep the dumps in this new folder")
    options = parser.parse_args(arguments)
    ours = Tool("acc compare", Path(sys.executable))
    work = options.keep or Path(tempfile.mkdtemp(prefix="bench-compare-"))
    try:
        work.mkdir(parents=True, exist_ok=options.keep is None)
        cases = make_inputs(next(iter(options.peer), ours), work.absolute(), quick=options.quick)
        timings = list(time_all(cases, [ours, *options.peer], work.absolute(), repeat=options.repeat))
    except (BenchError, OSError) as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    print(table(timings))
    if not options.quick:
        Path(__file__).with_name("RESULTS.md").write_text(page(timings), encoding="utf-8")
        put_table(DOCS, timings)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
