"""Jobs of several ranks, as they are and against others that are cut otherwise: healthy pairs, and faults in one rank.

    python benchmarks/localisation/ranks.py                        statistics, level L1
    python benchmarks/localisation/ranks.py --only ring --mode tensor-L1
    python benchmarks/localisation/ranks.py --seed new --write     writes RANKS.md, of weights and data that are new

Exits with 1 where a healthy pair is not SAME or a fault is not named first with its rank, step and call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.localisation import jobs, running, tables  # noqa: E402
from benchmarks.localisation.rows import LEVELS, TASKS, Case, Level, Side, Task  # noqa: E402
from benchmarks.localisation.scoring import Outcome  # noqa: E402
from benchmarks.pages import processor, table  # noqa: E402

PAGE = HERE / "RANKS.md"
_ABOUT = """
Written by `python benchmarks/localisation/ranks.py --write`; do not edit. The jobs are in `jobs.py`: two to eight
ranks over gloo, DistributedDataParallel, FSDP1, FSDP2, ZeRO, tensor and sequence parallel, pipelines, experts, ring
attention, Megatron's autograd functions, and stages of FSDP2 of tensor parallel blocks, each healthy and with one fault
in one rank. A healthy pair is right where it is SAME, a fault where the first suspect is its call, with its step and
its rank (or none, where parts were put together).
"""
_GROUPS = {
    "again": "the same job twice",
    jobs.NOISY: "the same job by kernels that round otherwise",
    jobs.GROUP: "a fault in one rank, the same cut on both sides",
    jobs.OTHERWISE: "jobs that are cut in two ways: healthy, in noise, and with a fault in one rank",
}


def chosen(pattern: str) -> list[Case]:
    """The cases whose name matches.  Raises re.error."""
    return [case for case in (*jobs.HEALTHY, *jobs.FAULTS) if re.search(pattern, case.name)]


def seeded(case: Case, seed: int) -> Case:
    """The case with other weights and data."""
    drawn = (("SEED", str(seed)), ("DATA_SEED", str(seed + 1)))

    def with_them(side: Side) -> Side:
        return replace(side, variables=(*side.variables, *drawn))

    return replace(case, npu=with_them(case.npu), bench=with_them(case.bench))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one pair.  A healthy one is right where the verdict is SAME: silence alone is not enough."""

    outcome: Outcome
    verdict: str

    @property
    def is_right(self) -> bool:
        return self.outcome.is_first and (self.verdict == "same" or not self.outcome.healthy)


def verdict_of(folder: Path) -> str:
    """The verdict of the comparison below `folder`, "none" where there is none."""
    found = sorted(folder.rglob("advisor_*.json"))
    return str(json.loads(found[-1].read_bytes())["verdict"]) if found else "none"


def page(cases: Sequence[Case], answers: Sequence[Answer], mode: str, only: str = "") -> str:
    """RANKS.md: how many of each class are right, and every pair; of jobs whose name matches `only`."""
    right = {answer.outcome.case: answer.is_right for answer in answers}
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    rows = [
        (text, _share(right, [c for c in found if c.is_healthy]), _share(right, [c for c in found if not c.is_healthy]))
        for group, text in _GROUPS.items()
        if (found := [case for case in cases if case.group == group])
    ]
    every = [(a.outcome.case, "yes" if a.is_right else "no", a.verdict, _said(a.outcome)) for a in answers]
    not_right = [" ".join(row[:1] + row[2:]) for row in every if row[1] == "no"]
    parts = [
        "# Jobs of several ranks: results",
        _ABOUT.strip(),
        f"{when}, {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, torch {version('torch')}, "
        f"Python {platform.python_version()}; {mode}.",
        *([f"Only pairs whose name matches `{only}` were run."] if only else ()),
        table(("pairs", "healthy ones SAME", "faults named first"), rows),
        "## What is not right",
        "\n".join(f"- {row}" for row in not_right) or "Nothing.",
        "## Every pair",
        table(("pair", "right", "verdict", "first suspect"), every),
    ]
    return "\n\n".join(parts) + "\n"


def _share(right: dict[str, bool], cases: Iterable[Case]) -> str:
    found = [right[case.name] for case in cases if case.name in right]
    return f"{sum(found)} of {len(found)}" if found else ""


def _said(outcome: Outcome) -> str:
    if outcome.unsound or not outcome.suspects:
        return "none"
    first = outcome.suspects[0]
    return f"`{first.name}`, step {first.step}" + (f", rank {first.rank}" if first.rank is not None else "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases whose name matches")
    parser.add_argument("--mode", default="statistics-L1", help=f"of {', '.join(TASKS)}, and {', '.join(LEVELS)}")
    parser.add_argument("--seed", default="0", help="of weights and data; `new` draws one now")
    parser.add_argument("--out", type=Path, default=ROOT / ".localisation", help="where dumps and verdicts are kept")
    parser.add_argument("--keep-dumps", action="store_true", help="take dumps that are there, whatever code made them")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args(arguments)
    task, _, level = options.mode.partition("-")
    if options.seed != "new" and not options.seed.isdecimal():
        parser.error("--seed is a number or new")
    seed = random.SystemRandom().randrange(1_000, 10_000_000) if options.seed == "new" else int(options.seed)
    cases = [seeded(case, seed) for case in chosen(options.only)]
    if task not in TASKS or level not in LEVELS or not cases:
        parser.error("no case, task or level is left")
    todo = running.works(options.out.absolute(), cases, (cast("Task", task),), (cast("Level", level),))
    problems = running.record_all(todo, workers=options.workers, keep=options.keep_dumps)
    running.compare_all(todo, problems, workers=options.workers, again=False)
    outcomes = [running.outcome(work, problems) for work in todo]
    answers = [Answer(each, verdict_of(w.compared)) for each, w in zip(outcomes, todo, strict=True)]
    print(tables.failures(outcomes))
    right = sum(answer.is_right for answer in answers)
    print(f"{right} of {len(answers)} right")
    if options.write:
        PAGE.write_text(page(cases, answers, f"{options.mode}, seed {seed}", options.only), encoding="utf-8")
    return 0 if right == len(answers) else 1


if __name__ == "__main__":
    raise SystemExit(main())
