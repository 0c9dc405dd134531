"""Two jobs of different numbers of ranks to one finding for each step: each side's ranks are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from acc_compare.judge.origins import Previous
from acc_compare.judge.verdict import Setting
from acc_compare.load import PlacedWorlds
from acc_compare.model import Finding
from acc_compare.one_pair import Outcome, Progress, Task, before, compare_dumps, joined, tell_nobody
from dump.format.reader import read_dump, without_collecting


def compare_worlds(
    steps: Sequence[PlacedWorlds], task: Task, *, jobs: int = 1, progress: Progress | None = None
) -> list[Finding]:
    """A finding for each step of two jobs of different numbers of ranks, each side's ranks put together.

    Raises DumpError, IncomparableError.
    """
    tell = progress if progress is not None else tell_nobody
    findings: list[Finding] = []
    outcomes: list[Outcome] = []
    for number, step in enumerate(steps):
        tell("steps", number, len(steps))
        with without_collecting():
            npu = {rank: read_dump(location.path) for rank, location in step.npu.items()}
            bench = {rank: read_dump(location.path) for rank, location in step.bench.items()}
            ours, theirs = joined(npu, bench)
            # What a step left open may have led to anything in the next.
            is_open = any(earlier.verdict != "same" for earlier in findings)
            known = before(outcomes, step.step)
            previous: Previous = "suspect" if is_open and known != "poisoned" else known
            setting = Setting(step=step.step, previous=previous, other_world=True)
            finding = compare_dumps(ours.dump, theirs.dump, setting, task, jobs=jobs, tell=tell_nobody)
        finding = _on_ranks(finding, ours.odd)
        outcomes.append(Outcome.of(finding))
        findings.append(finding if task.keep_rows else replace(finding, rows=()))
    tell("steps", len(steps), len(steps))
    return findings


def _on_ranks(finding: Finding, odd: Mapping[tuple[str, str], int]) -> Finding:
    """The suspects with the rank that they were seen on, where one alone is off."""
    suspects = tuple(
        replace(suspect, rank=odd.get((suspect.name, suspect.tensor), suspect.rank)) for suspect in finding.suspects
    )
    return replace(finding, suspects=suspects)
