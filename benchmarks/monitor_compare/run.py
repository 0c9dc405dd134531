"""How long `acc monitor compare` takes for long runs: 10,000 steps by 400 parameters unless told otherwise.

    python benchmarks/monitor_compare/run.py [--steps N] [--series N] [--per-file N] [--work FOLDER]

Two runs are written that differ by growing noise, as the monitor writes them ("ops": norm, min, max, nans).  The
command runs in a process of its own; seconds are wall time, memory is the process's peak.  msprobe has no such command,
so there is no ratio to give.  Exits with 1 where the default size takes longer than 10 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 10.0
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")
HEADER = "vpp_stage,name,step,norm,min,max,nans,shape,dtype\n"


def write_run(root: Path, *, steps: int, series: int, per_file: int, kind: str, noise: float) -> None:
    """One rank's folder with numbers like a training's."""
    folder = root / "Jan01_00-00-00-rank0"
    folder.mkdir(parents=True)
    heads = [f"0,model.layers.{number // 4}.{PARTS[number % 4]}.weight," for number in range(series)]
    for first in range(0, steps, per_file):
        lines = [HEADER]
        for step in range(first, min(first + per_file, steps)):
            curve = np.random.default_rng(step).uniform(0.5, 1.5, (3, series)) / (1 + step) ** 0.2
            drawn = np.random.default_rng((step, 1)).standard_normal((3, series))
            norm, low, high = (curve * (1 + noise * (1 + step / 100) * drawn)).tolist()
            lines += [
                f'{head}{step},{a!r},{-b!r},{c!r},0,"[4096, 4096]",torch.float32\n'
                for head, a, b, c in zip(heads, norm, low, high, strict=True)
            ]
        text = "".join(lines)
        (folder / f"{kind}_{first}-{first + per_file - 1}.csv").write_text(text, encoding="ascii")


def measure(folder: Path) -> tuple[float, float, float, str]:
    """Wall seconds, seconds of all cores, peak memory in MB, and the advisor's first line."""
    script = "import sys; from acc_compare.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "monitor", "compare", "npu", "bench", "-o", f"out{time.time_ns()}"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    seconds = time.perf_counter() - began
    if ran.returncode not in (0, 1):
        raise SystemExit(ran.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cores, after.ru_maxrss / 1024, ran.stdout.partition("\n")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--per-file", type=int, default=1000, help="step_count_per_record")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--work", type=Path, help="keeps the runs; what is there is not written again")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        for side, noise in (("npu", 1e-6), ("bench", 0.0)):
            if (folder / side).exists():
                continue
            write_run(
                folder / side,
                steps=options.steps,
                series=options.series,
                per_file=options.per_file,
                kind="grad_reduced",
                noise=noise,
            )
        size = sum(path.stat().st_size for path in folder.glob("*/*/*.csv"))
        runs = [measure(folder) for _ in range(options.repeat)]
    best, _, peak, line = min(runs)
    heads = ["steps", "parameters", "steps a file", "both sides, MB", f"seconds, best of {options.repeat}", "all, s"]
    heads += ["seconds of all cores", "peak memory, MB"]
    cells = [f"{options.steps:,}", f"{options.series:,}", f"{options.per_file:,}", f"{size / 1e6:,.0f}", f"{best:.1f}"]
    cells += [", ".join(f"{run[0]:.1f}" for run in runs), f"{min(run[1] for run in runs):.1f}", f"{peak:,.0f}"]
    page = "\n".join(
        [
            "# What comparing two monitored runs costs\n",
            "Written by `python benchmarks/monitor_compare/run.py`; do not edit.\n",
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python"
            f" {platform.python_version()}, numpy {version('numpy')}, pandas {version('pandas')}.\n",
            *(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), cells)),
            f"\nWanted: at most {LIMIT:g} s. The advisor said: {line}\n",
        ]
    )
    options.output.write_text(page, encoding="utf-8")
    print(page)
    return int(best > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
