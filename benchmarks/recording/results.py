"""The figures as a page of tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from benchmarks.pages import processor, table
from benchmarks.recording.measuring import Case, Timing

Timings = Mapping[str, Timing]

# What is wanted of a step recorded by ours over the bare step, at most.
LIMITS = {
    ("resnet50", "statistics", "L1"): 1.2,
    ("resnet50", "statistics", "mix"): 1.3,
    ("resnet50", "hash", "L1"): 1.5,
    ("resnet50", "md5", "L1"): 2.5,
    ("resnet50", "tensor", "L1"): 2.0,
    ("llama", "statistics", "L1"): 1.8,
    ("llama-2048", "statistics", "L1"): 2.0,
}
IDLE_LIMIT = 1.01


@dataclass(slots=True)
class Results:
    """`steps` and `idle` hold what each case took; `calls` the seconds of a step by its number of calls; `long`
    one tool's step by step."""

    versions: Mapping[str, str]
    repeat: int
    steps: list[tuple[Case, Timings]] = field(default_factory=list)
    idle: list[tuple[Case, Timings]] = field(default_factory=list)
    calls: list[tuple[int, Timings]] = field(default_factory=list)
    long: Timing | None = None
    notes: list[str] = field(default_factory=list)


def page(results: Results) -> str:
    """The results as Markdown."""
    parts = [
        "# What recording costs",
        "Written by `make bench-recording`; do not edit.",
        _setting(results),
        *results.notes,
    ]
    if results.steps:
        parts += [
            "## A step",
            "Forward, backward and optimizer, recorded, over the same step with no tool, from before the tool's start"
            " to the record on disk (median of the rounds' ratios, and the worst of ours; one step of each in turn)."
            " The first step of a process is not among them: it stands beside, over the first one with no tool. Peak"
            " memory is of the process, or of the device where there is one. msprobe has no task hash.",
            step_table(results.steps),
        ]
    if results.idle:
        parts += [
            "## Installed, not recording",
            f"Every operator patched, nobody listening. At most {IDLE_LIMIT:g} is wanted.",
            _idle_table(results.idle),
        ]
    if results.calls:
        parts += ["## Calls in a step", "Tiny calls, so that the time is the tool's own.", _calls_table(results.calls)]
    if results.long is not None:
        parts += [
            f"## {len(results.long.seconds):,} recorded steps",
            "Resident memory of the process after each tenth of them, and the median step.",
            _long_table(results.long),
        ]
    return "\n\n".join(parts) + "\n"


def step_table(steps: Sequence[tuple[Case, Timings]]) -> str:
    heads = ["workload", "task", "level", "no tool, s", "ours", "worst", "first", "msprobe", "wanted"]
    heads += ["ours, peak", "msprobe, peak"]
    rows = []
    for case, timings in steps:
        bare, ours, theirs = timings["bare"], timings["ours"], timings.get("msprobe")
        rows.append(
            [
                case.workload,
                case.task,
                case.level,
                f"{bare.median:.3f}",
                f"{ours.over(bare):.2f}",
                f"{ours.worst_over(bare):.2f}",
                f"{ours.first / bare.first:.2f}",
                "" if theirs is None else f"{theirs.over(bare):.2f}",
                _wanted(case, ours.over(bare), bare.threads),
                _peak(ours, bare),
                "" if theirs is None else _peak(theirs, bare),
                _disk(ours),
                "" if theirs is None else _disk(theirs),
            ]
        )
    return table([*heads, "ours, on disk", "msprobe, on disk"], rows)


def _wanted(case: Case, found: float, threads: int) -> str:
    """The limits are for two threads: one thread makes the bare step slower and so flatters the ratio."""
    limit = LIMITS.get((case.workload, case.task, case.level))
    if limit is not None and case.device == "cpu" and threads != 2:
        return f"{limit:g}: not judged, {threads} threads"
    return "" if limit is None else f"{limit:g}: {'reached' if found <= limit else 'missed'}"


def _peak(timing: Timing, bare: Timing) -> str:
    return f"{timing.peak / bare.peak:.2f} ({(timing.peak - bare.peak) / 2**20:+,.0f} MiB)" if bare.peak else "unknown"


def _disk(timing: Timing) -> str:
    return f"{timing.nbytes / 2**20:,.1f} MiB, {timing.files} files"


def _idle_table(idle: Sequence[tuple[Case, Timings]]) -> str:
    rows = []
    for case, timings in idle:
        ratio = timings["idle"].over(timings["bare"])
        verdict = "reached" if ratio <= IDLE_LIMIT else "missed"
        rounds = len(timings["bare"].seconds)
        rows.append([case.workload, str(rounds), f"{timings['bare'].median:.4f}", f"{ratio:.4f}", verdict])
    return table(["workload", "rounds", "no tool, s", "patched", f"{IDLE_LIMIT:g}"], rows)


def _calls_table(calls: Sequence[tuple[int, Timings]]) -> str:
    names = list(calls[0][1])
    rows = []
    for count, timings in calls:
        bare = timings["bare"].median
        each = [f"{(timings[name].median - bare) / count * 1e6:.1f}" for name in names if name != "bare"]
        rows.append([f"{count:,}", f"{bare:.3f}", *each])
    return table(["calls", "no tool, s", *(f"{name}, µs a call" for name in names if name != "bare")], rows)


def _long_table(timing: Timing) -> str:
    tenth = max(1, len(timing.rss) // 10)
    rows = [
        [
            f"{end:,}",
            f"{timing.rss[end - 1] / 2**20:,.1f}",
            f"{sorted(timing.seconds[end - tenth : end])[tenth // 2]:.4f}",
        ]
        for end in range(tenth, len(timing.rss) + 1, tenth)
    ]
    return table(["steps", "resident, MiB", "median step, s"], rows)


def _setting(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    stamp = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    devices = {(each.device, each.threads) for _, timings in results.steps for each in timings.values()}
    ran = ", ".join(sorted(f"on {device} with {threads} threads" for device, threads in devices))
    load = f"load average {os.getloadavg()[1]:.1f} at the end (the benchmark's own is up to {os.cpu_count()})"
    lines = [f"- {stamp}, {processor()}, {os.cpu_count()} cores, {platform.system()}, {load}"]
    return "\n".join([*lines, f"- {versions}", f"- {results.repeat} rounds{', ' + ran if ran else ''}"])
