"""Many pairs of dumps to their findings.

The steps of a rank follow each other, because a step is judged by what the one before it came to.  Ranks that do not
know of each other may have a process each for all of their steps.  Ranks that gave each other anything are a job: a
step of all of them is gone through twice, once for what each gave, and once to judge each with what the others gave;
the next step is judged by what all of them came to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acc_compare.align.calls import align
from acc_compare.judge.origins import Leavings, Previous
from acc_compare.judge.ranks import Given, JobStep, communicating, given_by
from acc_compare.judge.since import left_by
from acc_compare.load import PlacedPair, mode_of
from acc_compare.measured.pairs import measure_pairs
from acc_compare.messages import Message, say
from acc_compare.model import Finding
from acc_compare.one_pair import Outcome, Progress, Task, before, compare_pair, known_from
from acc_compare.runners import Runner, cluster, processes
from dump.format.layout import DUMP_FILE
from dump.format.reader import read_dump, without_collecting

_COLLECTIVES = b'"collectives":'

WORTH_A_PROCESS = 8 << 20
"""Bytes of dump.json for each rank, below which a process takes longer to start than its work does."""


def compare_all(
    pairs: Sequence[PlacedPair],
    task: Task,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    scheduler: str | None = None,
) -> list[Finding]:
    """A finding for each of `pairs`, in their order, by `jobs` cores, or by the workers of the Dask `scheduler` where
    there are several ranks.  Raises DumpError, IncomparableError, ConfigError."""
    chains = _chains(pairs)
    several = len(chains) > 1
    is_job, is_long = several and _is_job(pairs), several and _is_long(pairs, len(chains))
    if several and (is_job or is_long or scheduler):
        workers = min(jobs, len(chains)) if is_long else 1
        running = cluster(scheduler) if scheduler else processes(workers, jobs)
        with running as runner:
            by_pair = (_compare_job if is_job else _compare_chains)(pairs, task, runner, progress)
    else:
        by_pair = dict(_compare_one_by_one(pairs, task, jobs=jobs, progress=progress))
    return [by_pair[pair] for pair in pairs]


def _chains(pairs: Sequence[PlacedPair]) -> list[list[PlacedPair]]:
    """The pairs of each rank, in the order of their steps."""
    chains: dict[int | None, list[PlacedPair]] = {}
    for pair in pairs:
        chains.setdefault(pair.rank, []).append(pair)
    return list(chains.values())


def _is_job(pairs: Sequence[PlacedPair]) -> bool:
    """Did these ranks give each other anything that the recorder has noted?"""
    step = pairs[0].step
    return any(_mentions_collectives(pair.npu.path) for pair in pairs if pair.step == step and pair.rank is not None)


def _mentions_collectives(path: Path) -> bool:
    file = path / DUMP_FILE if path.is_dir() else path
    try:
        with file.open("rb") as lines:
            return any(_COLLECTIVES in line for line in lines)
    except OSError:
        return False  # said when it is read


def _is_long(pairs: Sequence[PlacedPair], ranks: int) -> bool:
    sizes = [_size(side.path) for pair in pairs for side in (pair.npu, pair.bench)]
    return sum(sizes) >= WORTH_A_PROCESS * ranks


def _size(path: Path) -> int:
    file = path / DUMP_FILE if path.is_dir() else path
    return file.stat().st_size if file.is_file() else 0


def _compare_one_by_one(
    pairs: Sequence[PlacedPair], task: Task, *, jobs: int, progress: Progress | None
) -> Iterator[tuple[PlacedPair, Finding]]:
    earlier: dict[int | None, list[Outcome]] = {}
    left: dict[int | None, Leavings] = {}
    for number, pair in enumerate(pairs):
        if progress is not None and len(pairs) > 1:
            progress("steps", number, len(pairs))
        outcomes = earlier.setdefault(pair.rank, [])
        previous = _previous(outcomes, pair)
        known = replace(known_from(outcomes), left=left.get(pair.rank, Leavings()))
        setting = replace(known, step=pair.step, rank=pair.rank, previous=previous)
        with without_collecting():
            finding = compare_pair(pair, setting, task, jobs=jobs, progress=progress)
        outcomes.append(Outcome.of(finding))
        if any(later.rank == pair.rank for later in pairs[number + 1 :]):
            left[pair.rank] = left_by(finding.rows)
        yield pair, finding if task.keep_rows else replace(finding, rows=())
    if progress is not None and len(pairs) > 1:
        progress("steps", len(pairs), len(pairs))


def _compare_chains(
    pairs: Sequence[PlacedPair], task: Task, runner: Runner, progress: Progress | None
) -> dict[PlacedPair, Finding]:
    """The steps of each rank for themselves."""
    found: dict[PlacedPair, Finding] = {}
    for compared in runner.each(_compare_chain, (task, runner.cores), _chains(pairs)):
        found.update(compared)
        if progress is not None:
            progress("steps", len(found), len(pairs))
    return found


def _compare_chain(shared: tuple[Task, int], chain: Sequence[PlacedPair]) -> list[tuple[PlacedPair, Finding]]:
    task, jobs = shared
    return list(_compare_one_by_one(chain, task, jobs=jobs, progress=None))


def _compare_job(
    pairs: Sequence[PlacedPair], task: Task, runner: Runner, progress: Progress | None
) -> dict[PlacedPair, Finding]:
    """Step by step, each of all ranks."""
    steps: dict[int | None, list[PlacedPair]] = {}
    for pair in pairs:
        steps.setdefault(pair.step, []).append(pair)
    outcomes: list[Outcome] = []
    found: dict[PlacedPair, Finding] = {}
    left: dict[int, Leavings] = {}
    for number, step in enumerate(steps.values()):
        gathered = runner.each(_gather, (task, runner.cores), step)
        job = JobStep.of({_rank(pair): given for pair, given in zip(step, gathered, strict=True)})
        shared = _Shared(task, runner.cores, job, tuple(outcomes), is_last=number + 1 == len(steps))
        told = tuple(job.odd_replicas())
        given = [(pair, left.get(_rank(pair), Leavings())) for pair in step]
        for pair, (finding, outcome, leaves) in zip(step, runner.each(_judge_one, shared, given), strict=True):
            left[_rank(pair)] = leaves
            finding, told = _with_replicas(finding, told), ()
            outcomes.append(outcome)
            found[pair] = finding
            if progress is not None:
                progress("steps", len(found), len(pairs))
    return found


def _with_replicas(finding: Finding, told: Sequence[Message]) -> Finding:
    """The finding with what ranks should hold alike and do not: where it is so on one side alone, that is no SAME."""
    finding = replace(finding, notes=(*told, *finding.notes))
    if len(told) != 1 or finding.verdict != "same":
        return finding
    return replace(finding, verdict="incomplete", summary=say("summary.replicas", told=told[0]))


@dataclass(frozen=True, slots=True)
class _Shared:
    """What judging the ranks of one step has in common; `outcomes` are those of the steps before."""

    task: Task
    jobs: int
    job: JobStep
    outcomes: tuple[Outcome, ...]
    is_last: bool


def _rank(pair: PlacedPair) -> int:
    return pair.rank if pair.rank is not None else 0


def _gather(shared: tuple[Task, int], pair: PlacedPair) -> tuple[Given, ...]:
    """What one rank gave to the collectives of a step."""
    task, jobs = shared
    with without_collecting():
        ours, theirs = read_dump(pair.npu.path), read_dump(pair.bench.path)
        part = communicating(align(ours, theirs, task.rules))
        measured = measure_pairs(part, mode_of(ours, theirs), jobs=jobs)
        return given_by(_rank(pair), part, measured)


def _judge_one(shared: _Shared, given: tuple[PlacedPair, Leavings]) -> tuple[Finding, Outcome, Leavings]:
    pair, left = given
    rank = _rank(pair)
    setting = replace(
        known_from([outcome for outcome in shared.outcomes if outcome.rank == rank]),
        step=pair.step,
        rank=rank,
        previous=_previous(shared.outcomes, pair, rank=rank),
        job=shared.job.seen_by(rank),
        left=left,
    )
    with without_collecting():
        finding = compare_pair(pair, setting, shared.task, jobs=shared.jobs, progress=None)
    kept = finding if shared.task.keep_rows else replace(finding, rows=())
    return kept, Outcome.of(finding), Leavings() if shared.is_last else left_by(finding.rows)


def _previous(outcomes: Sequence[Outcome], pair: PlacedPair, *, rank: int | None = None) -> Previous:
    """What is known of the steps before this one on the same rank; with `rank`, on all ranks of its job."""
    earlier = [outcome for outcome in outcomes if outcome.step != pair.step]
    own = earlier if rank is None else [outcome for outcome in earlier if outcome.rank == rank]
    return before(earlier, pair.step, own)
