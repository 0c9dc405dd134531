"""What watching the gradients costs a training step, beside msprobe's TrainerMon.

    python benchmarks/monitor/run.py --peer-python PATH      PATH is a python that has mindstudio-probe 26.2.0
    python benchmarks/monitor/run.py                         makes such an environment in .peer first

Each tool trains bare and monitored in turn in a process of its own; a ratio is that of the medians of its steps.
Writes RESULTS.md, and exits with 1 where ours is above 1.05.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.parity import running  # noqa: E402

LIMIT = 1.05
CONFIG = {"targets": {}, "wg_distribution": True, "format": "csv", "ops": ["norm", "min", "max", "nans"]}
SIZES = {"resnet50": (6, 3), "llama": (15, 5)}  # rounds, and steps of each round


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians in seconds by the clock; `cpu_ratio` is that of processor time, which other work disturbs less."""

    workload: str
    tool: str
    bare: float
    monitored: float
    cpu_ratio: float
    ops: str

    @property
    def ratio(self) -> float:
        return self.monitored / self.bare


def measure(recorder: running.Recorder, workload: str, ops: Sequence[str]) -> Timing:
    """Raises ParityError where the process fails."""
    rounds, steps = SIZES[workload]
    with tempfile.TemporaryDirectory(prefix="bench-monitor-") as folder:
        config = Path(folder) / "monitor_config.json"
        config.write_text(json.dumps({**CONFIG, "ops": list(ops)}), encoding="utf-8")
        script = str(Path(__file__).with_name("timed.py"))
        command = [str(recorder.python), script, recorder.module, workload, str(rounds), str(steps), str(config)]
        environment = {**recorder.environment, "MONITOR_OUTPUT_DIR": folder}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise running.ParityError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    seconds = json.loads(done.stdout.strip().splitlines()[-1])
    bare, monitored = (_medians(seconds[name]) for name in ("bare", "monitored"))
    return Timing(workload, recorder.name, bare[0], monitored[0], monitored[1] / bare[1], ", ".join(ops))


def _medians(pairs: Sequence[Sequence[float]]) -> tuple[float, float]:
    clock, processor = zip(*pairs, strict=True)
    return statistics.median(clock), statistics.median(processor)


def page(timings: Sequence[Timing], versions: dict[str, dict[str, str]]) -> str:
    rows = [
        f"| {each.workload} | {each.ops} | {each.tool} | {each.bare * 1e3:.1f} ms | {each.monitored * 1e3:.1f} ms "
        f"| {each.ratio:.3f} | {each.cpu_ratio:.3f} |"
        for each in timings
    ]
    found = "; ".join(
        f"{name}: {its['package']}, torch {its['torch']}, Python {its['python']}" for name, its in versions.items()
    )
    return "\n".join(
        [
            "# What watching the gradients costs",
            "",
            "Written by `make bench-monitor`. A step is forward, backward and optimizer on the CPU; with the monitor",
            "every weight gradient is measured before and after reduction and written to csv. Times are medians; bare",
            "and monitored steps alternate in one process.",
            "",
            f"Machine: {platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end.",
            f"{found}.",
            "",
            "| workload | ops | tool | bare step | monitored step | ratio | ratio of CPU time |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"Limit for ours with norm, min, max and nans: {LIMIT}.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a python that has msprobe")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    options = parser.parse_args(arguments)
    timings: list[Timing] = []
    try:
        python = options.peer_python or running.make_peer(ROOT / ".peer")
        peer, ours = running.peer(python.absolute()), running.ours()
        with tempfile.TemporaryDirectory() as work:
            versions = {each.name: running.versions(each, Path(work)) for each in (ours, peer)}
        if versions[peer.name]["package"] == running.NOT_INSTALLED:
            raise running.ParityError(f"{peer.python} has no mindstudio-probe; leave --peer-python out to install it")
        for workload in SIZES:
            timings.append(measure(ours, workload, CONFIG["ops"]))
            timings.append(measure(peer, workload, CONFIG["ops"]))
            timings.append(measure(ours, workload, [*CONFIG["ops"], "mean", "sketch"]))
    except (running.ParityError, OSError) as error:
        print(f"bench-monitor: error: {error}", file=sys.stderr)
        return 2
    text = page(timings, versions)
    options.results.write_text(text, encoding="utf-8")
    print(text)
    within = [each.ratio <= LIMIT for each in timings if each.tool == "ours" and "sketch" not in each.ops]
    return 0 if all(within) else 1


if __name__ == "__main__":
    raise SystemExit(main())
