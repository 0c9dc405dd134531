"""Does the advisor name the operator that is wrong?  Planted faults, and healthy pairs that must stay silent.

    python benchmarks/localisation/run.py                        everything, statistics, tensors and checksums
    python benchmarks/localisation/run.py --only gelu --tasks statistics --levels L1
    python benchmarks/localisation/run.py --recompare            judge the kept dumps again: for work on the judge
    python benchmarks/localisation/run.py --sweep --peer PYTHON --peer-advisor PYTHON --write
                                                                 with msprobe beside it, and the pages in docs

Dumps and verdicts are kept below --out, and what is there already is not made again unless the code that makes it has
changed.  Exits with 1 where a fault is not named first or a healthy pair is accused, with 2 where a case is no test:
its fault did not fire, or a run failed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.localisation import peers, results, running, sweep, tables  # noqa: E402
from benchmarks.localisation.faults import FAULTS  # noqa: E402
from benchmarks.localisation.healthy import HEALTHY  # noqa: E402
from benchmarks.localisation.rows import LEVELS, TASKS, Case  # noqa: E402
from benchmarks.localisation.running import Work  # noqa: E402
from benchmarks.localisation.scoring import Outcome  # noqa: E402
from benchmarks.localisation.sweep import Point  # noqa: E402


def chosen(pattern: str) -> list[Case]:
    """The cases whose name, model or group matches.  Raises re.error."""
    wanted = re.compile(pattern)
    return [c for c in (*FAULTS, *HEALTHY) if any(wanted.search(text) for text in (c.name, c.model, c.group))]


def _peers(options: argparse.Namespace, todo: Sequence[Work]) -> dict[str, list[Outcome]]:
    asked = [
        peers.Peer("msprobe-advisor", "advisor", options.peer_advisor),
        peers.Peer("msprobe-first-difference", "first difference", options.peer),
    ]
    rows = {case.name for case in (*FAULTS[:: options.peer_every], *HEALTHY[:: options.peer_every])}
    # msprobe has its own dumps to make and takes ten seconds to compare two: statistics at level L1 alone.
    chosen = [work for work in todo if work.case.name in rows and (work.task, work.level) == ("statistics", "L1")]
    return {
        f"msprobe {peers.peer_version(peer)}, {peer.how}": peers.run_peer(peer, chosen, workers=options.workers)
        for peer in asked
        if peer.python is not None
    }


def _sweep(options: argparse.Namespace) -> list[Point]:
    if not options.sweep:
        return []
    return sweep.run_sweep(
        options.out.absolute(), workers=options.workers, keep=options.keep_dumps, again=options.recompare
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases whose name, model or group matches")
    parser.add_argument("--tasks", default=",".join(TASKS), help="some of statistics,tensor,md5")
    parser.add_argument("--levels", default=",".join(LEVELS), help="some of L1,mix")
    parser.add_argument("--modes", default="", metavar="TASK-LEVEL,...", help="these alone: statistics-L1,tensor-mix")
    parser.add_argument("--out", type=Path, default=ROOT / ".localisation", help="where dumps and verdicts are kept")
    parser.add_argument("--recompare", action="store_true", help="keep the dumps, run acc compare on all of them again")
    parser.add_argument("--keep-dumps", action="store_true", help="take dumps that are there, whatever code made them")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--sweep", action="store_true", help="also let the faults shrink, with the sketch and without")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="an interpreter with mindstudio-probe 26.2.0")
    parser.add_argument("--peer-advisor", type=Path, metavar="PYTHON", help="one with mindstudio-probe 8.3.3")
    parser.add_argument("--peer-every", type=int, default=1, metavar="N", help="only every Nth row, for msprobe")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md and docs/localisation.md")
    parser.add_argument("--failures", type=Path, help="write the list of failures here too")
    options = parser.parse_args(arguments)
    options.keep_dumps |= options.recompare
    tasks = [task for task in TASKS if task in options.tasks.split(",")]
    levels = [level for level in LEVELS if level in options.levels.split(",")]
    modes = [(task, level) for task in tasks for level in levels]
    modes = [mode for mode in modes if not options.modes or "-".join(mode) in options.modes.split(",")]
    cases = chosen(options.only)
    if not (modes and cases):
        parser.error("no case, task or level is left")
    out = options.out.absolute()
    todo = [work for task, level in modes for work in running.works(out, cases, (task,), (level,))]
    problems = running.record_all(todo, workers=options.workers, keep=options.keep_dumps)
    running.compare_all(todo, problems, workers=options.workers, again=options.recompare)
    outcomes = [running.outcome(work, problems) for work in todo]
    failures = tables.failures(outcomes)
    for path in filter(None, (options.out / "failures.txt", options.failures)):
        path.write_text(failures, encoding="utf-8")
    print(failures)
    print(tables.scores(outcomes))
    found = results.Results(outcomes, _peers(options, todo), _sweep(options))
    for tool, theirs in found.peers.items():
        print(f"\n{tool}\n{tables.scores(theirs)}")
    if options.write:
        (HERE / "RESULTS.md").write_text(results.page(found), encoding="utf-8")
        (ROOT / "docs" / "localisation.md").write_text(results.guide(found), encoding="utf-8")
    if any(each.unsound for each in outcomes):
        return 2
    return 0 if all(each.is_first for each in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
