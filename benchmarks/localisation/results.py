"""The results as pages: RESULTS.md with every case, docs/localisation.md for readers."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version

from benchmarks.localisation.faults import FAULTS, GROUPS
from benchmarks.localisation.healthy import HEALTHY
from benchmarks.localisation.scoring import Outcome
from benchmarks.localisation.sweep import Point
from benchmarks.localisation.tables import failures, share
from benchmarks.pages import processor, table

OURS = "acc compare"
CASES = (*FAULTS, *HEALTHY)


@dataclass(frozen=True, slots=True)
class Results:
    """`peers` are msprobe's outcomes by the name of the tool, `versions` what to name beside it."""

    ours: Sequence[Outcome]
    peers: Mapping[str, Sequence[Outcome]] = field(default_factory=dict)
    sweep: Sequence[Point] = ()

    def tools(self) -> dict[str, Sequence[Outcome]]:
        return {OURS: self.ours, **self.peers}


def page(results: Results) -> str:
    """RESULTS.md: the scores and every case."""
    parts = [
        "# Naming the operator at fault: results",
        "Written by `python benchmarks/localisation/run.py`; do not edit.  What is measured and how is in"
        " [docs/localisation.md](../../docs/localisation.md).",
        *_scores(results),
        "## Every fault, statistics at level L1",
        "The place at which each tool names the fault, `-` where it does not; the effect is the largest relative L2"
        " error that the fault puts into a tensor by itself, where it is known.",
        _cases_table(results),
        "## What is not right at the first place",
        "```\n" + failures(results.ours, with_paths=False).strip() + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def guide(results: Results) -> str:
    """docs/localisation.md: what is measured, how, and what came of it."""
    return "\n\n".join([_METHOD.strip(), *_scores(results)]) + "\n"


def _scores(results: Results) -> list[str]:
    parts = [_setting(results), "## Scores", _SCORES.strip(), _score_table(results)]
    parts += ["### By class of fault", _GROUPS.strip(), _group_table(results)]
    if results.sweep:
        parts += ["## As the fault shrinks", _SWEEP.strip(), _sweep_table(results.sweep)]
    return parts


def _setting(results: Results) -> str:
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"- {when}, {processor()}, {os.cpu_count()} cores, {platform.system()}, CPU only",
        f"- torch {version('torch')}, numpy {version('numpy')}, Python {platform.python_version()}",
    ]
    for tool, outcomes in results.peers.items():
        lines.append(f"- {tool}: on {len({each.case for each in outcomes})} of {len(CASES)} rows, evenly spread")
    return "\n".join(lines)


def _score_table(results: Results) -> str:
    """Ours on all rows, each peer on the rows that it was given, and ours on the same rows below it."""
    rows = []
    for tool, outcomes in results.tools().items():
        rows += _score_rows(tool, outcomes)
        given = {(each.case, each.task, each.level) for each in outcomes}
        same = [each for each in results.ours if (each.case, each.task, each.level) in given]
        if tool != OURS and len(same) < len(results.ours):
            rows += _score_rows(f"{OURS}, the same rows", same)
    heads = ["tool", "task", "level", "faults", "top-1", "top-3", "healthy pairs accused", "failed"]
    return table(heads, rows)


def _score_rows(tool: str, outcomes: Sequence[Outcome]) -> list[list[str]]:
    rows = []
    for task, level in dict.fromkeys((each.task, each.level) for each in outcomes):
        here = [each for each in outcomes if (each.task, each.level) == (task, level)]
        faults = [each for each in here if not each.healthy]
        healthy = [each for each in here if each.healthy and not each.unsound]
        accused = sum(not each.is_first for each in healthy)
        first, three = sum(each.is_first for each in faults), sum(each.is_in_three for each in faults)
        failed = sum(bool(each.unsound) for each in here)
        scored = [share(first, len(faults)), share(three, len(faults)), f"{accused} of {len(healthy)}", str(failed)]
        rows.append([tool, task, level, str(len(faults)), *scored])
    return rows


def _group_table(results: Results) -> str:
    group_of = {case.name: case.group for case in FAULTS}
    rows = []
    for group in GROUPS:
        cells = []
        for outcomes in results.tools().values():
            here = [each for each in _statistics(outcomes) if group_of.get(each.case) == group]
            cells.append(f"{sum(each.is_first for each in here)} of {len(here)}" if here else "")
        rows.append([group, *cells])
    return table(["class", *results.tools()], rows)


def _cases_table(results: Results) -> str:
    by_tool = {tool: {each.case: each for each in _statistics(found)} for tool, found in results.tools().items()}
    rows = []
    for case in FAULTS:
        mine = by_tool[OURS].get(case.name)
        if mine is None:
            continue
        cells = [_place(found.get(case.name)) for found in by_tool.values()]
        effect = "" if mine.effect is None else f"{mine.effect:.1e}"
        rows.append([case.name, case.model, case.group, effect, *cells])
    return table(["fault", "model", "class", "effect", *by_tool], rows)


def _place(each: Outcome | None) -> str:
    if each is None:
        return ""
    return "failed" if each.unsound else str(each.place) if each.place else "-"


def _sweep_table(points: Sequence[Point]) -> str:
    rows = [
        [
            point.change,
            f"{point.size:.0e}",
            str(point.cases),
            share(point.with_sketch, point.cases),
            share(point.without, point.cases),
        ]
        for point in points
    ]
    return table(["change", "size", "faults", "top-1 with the sketch", "top-1 without"], rows)


def _statistics(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if (each.task, each.level) == ("statistics", "L1")]


_METHOD = """
# Does it name the operator at fault?

This page is written by `make bench-localisation` (`benchmarks/localisation/run.py`), the numbers included. Every case
by name, and what is not right yet, is in
[RESULTS.md](../benchmarks/localisation/RESULTS.md).

The cases of this page are fixed: they keep what works from breaking. A score on cases that nothing was mended on comes
from models, precisions, kernels and faults that are drawn from seeds on the day, by a fault's size over noise:
[faults](../benchmarks/localisation/DRAWN.md), with msprobe beside, and
[the first of them in whole tensors](../benchmarks/localisation/DRAWN-tensor.md);
[pairs in good health](../benchmarks/localisation/HEALTHY.md) alone; and
[models of transformers and diffusers](../benchmarks/localisation/LIBRARIES.md).

## What is measured

Small training scripts run twice under `acc dump`, which records them as they are: once as they should, once with one
fault put in from outside. `acc compare` then sees the two dumps and nothing else. It is right where its first suspect
is the fault (top-1), and half right where one of the first three is (top-3). Pairs of healthy runs that differ in
threads, kernels, precision, memory format, device or order of sums are compared too: there the only right answer is
to accuse nobody.

- **Where faults sit.** Behind torch's dispatcher: the genuine CPU kernel is replaced by one in numpy that gets it
  wrong, or runs and then edits the result. No hook of a recorder can see that. Or in the simulated NPU
  (`--simulated-fault`), or in the script itself, for calls that are extra, missing or in another order.
- **What the right answer is** is not written down by hand. While the faulty run is recorded, each firing of the fault
  is traced to the recorded call that holds it; in backward by the autograd node that runs. A fault counts for a call
  only if it changed the result there. Lines of a script that only one variant runs carry a mark, and the calls that
  they make are the answer. An optimizer with wrong constants, other data, other weights or another seed are no call's
  fault: there the kind of suspect is the answer (`optimizer`, `input`, `random`).
- **What counts as right.** The call's name, its step and rank, and a kind that fits. At level mix the module that
  holds that one call and no other is right too. For a buffer that was overwritten, the call that overwrote it is right
  and so is the first that reads it.
- **msprobe** records the same scripts with the same wrong kernels by its own `PrecisionDebugger`, level L1, and
  compares its own dumps: 8.3.3 with the advisor, 26.2.0 with `compare -da`. Each step is compared, and the first in
  which anything is named counts. Neither tells a kind, so they are held to the name. Faults of the simulated NPU
  become the same faults in CPU kernels for it. An advisor that names a call's input says that what it read differs:
  that is right for other data and weights and for a changed line of the script, and wrong for an operator's fault.
  Within an optimizer, which msprobe records operator by operator, the operator that is wrong is right.
- A case in which the fault fires in no recorded call, or in which a tool fails, counts as a miss and is listed as
  failed.
"""

_SCORES = """
`top-1`: the first suspect is the fault. `top-3`: one of the first three is. `failed`: the tool gave no answer.
Checksums (md5) are asked only of healthy pairs that are equal to the bit.
"""

_GROUPS = "Top-1 from statistics at level L1."

_SWEEP = """
The same faults in eight operators of seven models, in one call each, from statistics at level L1: `noise` moves every
element by a random share of itself, as rounding does; `scale` moves all by the same share. `size` is that share.
"""
