"""The page that `run.py` writes."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone

import torch

from benchmarks.pages import cell, table
from benchmarks.reliability.cases import Row

_INTRODUCTION = """# What a recording survives

This page is written by `make bench-reliability` (`benchmarks/reliability/run.py`), the numbers included. Each line is
real processes and real signals: a small training of ten steps recorded with `acc dump --task tensor --step all`, and
for the kills a training under `PrecisionDebugger` at level mix, killed at moments drawn evenly over its recording.
Every dump that is left is opened, and every tensor file that it names is read; after a kill both are compared byte for
byte with an undisturbed recording. Paths are given below the folder of the case. Signals that end a process at once
(SIGKILL, SIGTERM) lose what was not yet on disk: records are handed over every half second, or 64 at a time.
"Goes on" means that the script came to its end with the losses of an unrecorded run.
"""


def page(rows: Sequence[Row], *, seconds: float) -> str:
    """The table with its setting, as Markdown; what was not as promised stands below it."""
    heads = ("what happened", "tried", "what was kept", "what the user reads", "does the training go on")
    cells = [(row.what, f"{row.times:,}", row.kept, row.reads, row.goes_on) for row in rows]
    lines = [_INTRODUCTION, _setting(seconds), "", table(heads, cells)]
    failed = [row for row in rows if row.failure]
    lines += ["", f"{len(rows) - len(failed)} of {len(rows)} lines are as promised."]
    lines += [f"- **Not as promised**, {row.what}: {cell(row.failure)}" for row in failed]
    return "\n".join(lines) + "\n"


def _setting(seconds: float) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {platform.system()} {platform.machine()}, {cores} cores,"
        f" Python {platform.python_version()}, torch {torch.__version__}; {seconds:.0f} s in all."
    )
