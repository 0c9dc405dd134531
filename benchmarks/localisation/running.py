"""Records what is not recorded yet, compares what is not compared yet, and gathers the outcomes.

Everything lies below one folder, so that a second run starts where the first was:

    dumps/<model>-<side>/<task>-<level>/    dump/, truth.jsonl, log.txt, done
    compared/<case>/<task>-<level>/         accuracy_compare/, log.txt, done
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.localisation import judging, pool, recording
from benchmarks.localisation.events import Event, read_events, recorded_calls
from benchmarks.localisation.recording import DONE, DUMP, EVENTS, TIME_LIMIT, Recording
from benchmarks.localisation.rows import Case, Level, Side, Task
from benchmarks.localisation.scoring import Outcome, right_names, score

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
_PLANTING = (
    "truth.py",
    "launches.py",
    "kernels.py",
    "edits.py",
    "formulas.py",
    "plant.py",
    "recording.py",
    "models/setting.py",
)


@dataclass(frozen=True, slots=True)
class Work:
    """A case at one task and level, and where its parts lie below `out`."""

    out: Path
    case: Case
    task: Task
    level: Level

    def recording(self, side: Side) -> Recording:
        label = "bench" if side == Side() else side.key
        folder = self.out / "dumps" / f"{self.case.model}-{label}" / self.mode
        return Recording(folder, self.case.model, side, self.task, self.level)

    @property
    def mode(self) -> str:
        return f"{self.task}-{self.level}"

    @property
    def recordings(self) -> tuple[Recording, Recording]:
        """The NPU's and the bench's.  A healthy pair of the same run twice gets it twice."""
        return self.recording(self.case.npu), self.recording(self.case.bench)

    @property
    def compared(self) -> Path:
        return self.out / "compared" / self.case.name / self.mode


def works(out: Path, cases: Iterable[Case], tasks: Sequence[Task], levels: Sequence[Level]) -> list[Work]:
    return [Work(out, case, task, level) for case in cases for task in tasks if case.applies(task) for level in levels]


def record_all(todo: Sequence[Work], *, workers: int, keep: bool) -> dict[Path, str]:
    """Make the recordings that are missing or made by other code, and say by folder what went wrong.

    With `keep`, a dump that is there is taken as it is.
    """
    needed = {part.folder: part for work in todo for part in work.recordings}
    missing = [part for part in needed.values() if not _is_recorded(part, keep=keep)]
    if missing:
        # Once, for all the processes forked from here.  The first optimizer of a process imports torch._dynamo, which
        # takes four times as long as recording one of the models.
        import torch._dynamo  # noqa: F401

        from benchmarks.localisation import plant  # noqa: F401
        from dump import session  # noqa: F401
        from dump.cli import launch  # noqa: F401
    problems: dict[Path, str] = {}
    done = 0

    def told(part: Recording, code: int) -> None:
        nonlocal done
        done += 1
        _tell("recorded", done, len(missing), f"{part.folder.parent.name} {part.folder.name}")
        if code or not (part.folder / DONE).is_file():
            problem = part.folder / "problem.txt"
            problems[part.folder] = problem.read_text(encoding="utf-8") if problem.is_file() else f"ended with {code}"
        else:
            (part.folder / DONE).write_text(_recipe(part), encoding="utf-8")

    pool.run_each(missing, _record, told, workers=workers, limit=TIME_LIMIT + 10)
    return problems


def compare_all(todo: Sequence[Work], problems: dict[Path, str], *, workers: int, again: bool) -> None:
    """Compare what is not compared yet by this code; all of it with `again`."""
    ready = [work for work in todo if not any(part.folder in problems for part in work.recordings)]
    missing = [work for work in ready if again or _read(work.compared / DONE) != judged_by(work)]
    done = 0
    judging.preload()

    def told(work: Work, code: int) -> None:
        nonlocal done
        done += 1
        _tell("compared", done, len(missing), f"{work.case.name} {work.mode}")
        if code in (0, 1, 2):  # INCOMPLETE is a verdict; where there is none, the outcome says so
            (work.compared / DONE).write_text(judged_by(work), encoding="utf-8")

    pool.run_each(missing, _compare, told, workers=workers, limit=TIME_LIMIT)


def outcome(work: Work, problems: dict[Path, str]) -> Outcome:
    """What came of one case."""
    npu, bench = work.recordings
    events = events_of(work)
    problem = problems.get(npu.folder) or problems.get(bench.folder) or ""
    verdict = judging.Verdict(error=problem) if problem else judging.read_verdict(work.compared)
    place, unsound = score(work.case, verdict, *events)
    right = right_names(work.case, *events)
    effects = [event.effect for event in right if event.effect is not None]
    return Outcome(
        case=work.case.name,
        task=work.task,
        level=work.level,
        place=place,
        suspects=verdict.suspects,
        expected=tuple(dict.fromkeys(f"{event.name} (step {event.step})" for event in right)) or work.case.kinds,
        effect=max(effects, default=None),
        unsound=unsound,
        npu=str(npu.folder / DUMP),
        bench=str(bench.folder / DUMP),
        healthy=work.case.is_healthy,
    )


def events_of(work: Work) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """What happened in the two runs, as far as the case asks for it."""
    npu, bench = (
        recorded_calls(part.folder / DUMP) if work.case.answer == "one side" else read_events(part.folder / EVENTS)
        for part in work.recordings
    )
    return npu, bench


def _record(part: Recording) -> None:
    import shutil

    shutil.rmtree(part.folder, ignore_errors=True)
    problem = recording.record(part)
    if problem:
        (part.folder / "problem.txt").write_text(problem, encoding="utf-8")
        raise SystemExit(1)


def _compare(work: Work) -> None:
    npu, bench = work.recordings
    judging.compare(npu.folder / DUMP, bench.folder / DUMP, work.compared)


def _is_recorded(part: Recording, *, keep: bool) -> bool:
    told = _read(part.folder / DONE)
    return told is not None and (keep or told == _recipe(part))


def _recipe(part: Recording) -> str:
    sources = [HERE / name for name in _PLANTING] + [part.script]
    return f"{_digest(*sources)} {_recorder()}"


def judged_by(work: Work) -> str:
    """What a comparison depends on: the judging code, and the two recordings."""
    made = [_read(part.folder / DONE) for part in work.recordings]
    return f"{_judge()} {made}"


@cache
def _recorder() -> str:
    return _digest(*sorted((ROOT / "dump").rglob("*.py")))


@cache
def _judge() -> str:
    return _digest(*sorted((ROOT / "acc_compare").rglob("*.py")), *sorted((ROOT / "dump" / "format").rglob("*.py")))


@cache
def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _tell(what: str, done: int, total: int, which: str) -> None:
    print(f"{what} {done}/{total}  {which}", file=sys.stderr, flush=True)
