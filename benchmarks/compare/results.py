"""The timings as a page and as a table for the docs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from benchmarks.compare.running import Measured
from benchmarks.pages import processor

OURS = "acc compare"
BEGIN, END = "<!-- timings: begin -->\n", "<!-- timings: end -->\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A pair of dumps: `folder` holds the roots npu and bench."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Timing:
    """One tool on one case; `size` is the bytes of both sides, `worst` the seconds of the slowest of its runs."""

    case: Case
    tool: str
    measured: Measured
    size: int
    worst: float


def page(timings: Sequence[Timing]) -> str:
    """The results as Markdown."""
    parts = [
        "# The time to compare",
        "Written by `python benchmarks/compare/run.py`, whose head says what is compared; do not edit.",
        setting(),
        table(timings),
        "Seconds are by the clock, from the command to its exit, reports included: the median of our runs and the worst"
        " of them, msprobe's only run; CPU is of all cores. `times` is how"
        " many times as long as `acc compare` a tool took. GB/s counts both sides. Memory is the largest resident size"
        " of a process; the helpers that measure tensor files have theirs. Load is the machine's load average before"
        " the run: above 0 others were at work, and all times are too long.",
    ]
    return "\n\n".join(parts) + "\n"


def setting() -> str:
    """Machine, versions and date."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "msgspec", "openpyxl"))
    machine = f"{processor()}, {os.cpu_count()} cores, {platform.system()}"
    return f"{when}, {machine}; Python {platform.python_version()}, {versions}."


def table(timings: Sequence[Timing]) -> str:
    """One line a tool and case."""
    lines = [["what is compared", "by", "s", "at worst", "CPU s", "times", "GB/s", "memory, MB", "load"], ["---"] * 9]
    for timing in timings:
        ours = next(each for each in timings if each.case == timing.case and each.tool == OURS)
        found = timing.measured
        lines.append(
            [
                f"{timing.case.name}, {timing.size / 1e9:.2f} GB",
                timing.tool,
                f"{'' if found.ended else 'over '}{found.wall:.2f}",
                f"{timing.worst:.2f}",
                f"{found.cpu:.2f}",
                f"{'' if found.ended else 'over '}{found.wall / ours.measured.wall:.2f}",
                f"{timing.size / 1e9 / found.wall:.2f}",
                f"{found.memory / 1e6:.0f}",
                f"{found.load:.1f}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put_table(docs: Path, timings: Sequence[Timing]) -> None:
    """Put the table where `docs` marks its place."""
    before, _, rest = docs.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    machine = f"Measured {when} on {processor()}, {os.cpu_count()} cores."
    docs.write_text(f"{before}{BEGIN}{machine}\n\n{table(timings)}\n{END}{after}", encoding="utf-8")
