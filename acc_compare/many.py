"""Many pairs of dumps to their findings.

The steps of a rank follow each other, because a step is judged by what the one before it came to.  Ranks that do not
know of each other may have a process each for all of their steps.  Ranks that gave each other anything are a job: a
step of all of them is gone through twice, once for what each gave, and once to judge each with what the others gave;
the next step is judged by what all of them came to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from acc_compare.align.calls import align
from acc_compare.judge.origins import Previous
from acc_compare.judge.ranks import Given, JobStep, communicating, given_by
from acc_compare.judge.verdict import Setting
from acc_compare.load import PlacedPair, mode_of
from acc_compare.measured.pairs import measure_pairs
from acc_compare.model import Finding
from acc_compare.one_pair import Outcome, Progress, Task, before, compare_pair, lowered_in
from dump.format.errors import IncomparableError
from dump.format.layout import DUMP_FILE
from dump.format.reader import read_dump, without_collecting

_COLLECTIVES = b'"collectives":'

WORTH_A_PROCESS = 8 << 20
"""Bytes of dump.json for each rank, below which a process takes longer to start than its work does."""


def compare_all(
    pairs: Sequence[PlacedPair], task: Task, *, jobs: int = 1, progress: Progress | None = None
) -> list[Finding]:
    """A finding for each of `pairs`, in their order, by `jobs` cores.  Raises DumpError, IncomparableError."""
    chains = _chains(pairs)
    workers = min(jobs, len(chains)) if _is_long(pairs, len(chains)) else 1
    if len(chains) > 1 and _is_job(pairs):
        by_pair = _compare_job(pairs, task, workers=workers, jobs=jobs, progress=progress)
    elif workers == 1:
        by_pair = dict(_compare_one_by_one(pairs, task, jobs=jobs, progress=progress))
    else:
        by_pair = _compare_by_processes(chains, task, workers=workers, jobs=max(1, jobs // workers), progress=progress)
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
    for number, pair in enumerate(pairs):
        if progress is not None and len(pairs) > 1:
            progress("steps", number, len(pairs))
        outcomes = earlier.setdefault(pair.rank, [])
        known = _previous(outcomes, pair)
        setting = Setting(step=pair.step, rank=pair.rank, previous=known, lowered=lowered_in(outcomes))
        with without_collecting():
            finding = compare_pair(pair, setting, task, jobs=jobs, progress=progress)
        outcomes.append(Outcome.of(finding))
        yield pair, finding if task.keep_rows else replace(finding, rows=())
    if progress is not None and len(pairs) > 1:
        progress("steps", len(pairs), len(pairs))


def _compare_chain(chain: Sequence[PlacedPair], task: Task, jobs: int) -> list[tuple[PlacedPair, Finding]]:
    return list(_compare_one_by_one(chain, task, jobs=jobs, progress=None))


def _compare_by_processes(
    chains: Sequence[Sequence[PlacedPair]], task: Task, *, workers: int, jobs: int, progress: Progress | None
) -> dict[PlacedPair, Finding]:
    total = sum(map(len, chains))
    found: dict[PlacedPair, Finding] = {}
    with _processes(workers) as pool:
        for future in as_completed([pool.submit(_compare_chain, chain, task, jobs) for chain in chains]):
            found.update(future.result())
            if progress is not None:
                progress("steps", len(found), total)
    return found


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned: a fork would take along locks that the threads of this process hold.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise IncomparableError(
                "a process that compared one of the ranks was killed, most likely for want of memory. Compare with"
                " fewer at a time: --jobs 1."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _compare_job(
    pairs: Sequence[PlacedPair], task: Task, *, workers: int, jobs: int, progress: Progress | None
) -> dict[PlacedPair, Finding]:
    """Step by step, each of all ranks."""
    steps: dict[int | None, list[PlacedPair]] = {}
    for pair in pairs:
        steps.setdefault(pair.step, []).append(pair)
    outcomes: list[Outcome] = []
    found: dict[PlacedPair, Finding] = {}
    share = max(1, jobs // workers)
    with _processes(workers) if workers > 1 else nullcontext() as pool:
        run = map if pool is None else pool.map
        for step in steps.values():
            ranks = [pair.rank if pair.rank is not None else 0 for pair in step]
            job = JobStep.of(dict(zip(ranks, run(partial(_gather, task=task, jobs=share), step), strict=True)))
            settings = [
                Setting(
                    step=pair.step,
                    rank=rank,
                    previous=_previous(outcomes, pair, rank=rank),
                    job=job.seen_by(rank),
                    lowered=lowered_in([outcome for outcome in outcomes if outcome.rank == rank]),
                )
                for pair, rank in zip(step, ranks, strict=True)
            ]
            judged = []
            for pair, finding in zip(
                step, run(partial(_judge_one, task=task, jobs=share), step, settings), strict=True
            ):
                judged.append(Outcome.of(finding))
                found[pair] = finding if task.keep_rows else replace(finding, rows=())
                if progress is not None:
                    progress("steps", len(found), len(pairs))
            outcomes += judged
    return found


def _gather(pair: PlacedPair, *, task: Task, jobs: int) -> tuple[Given, ...]:
    """What one rank gave to the collectives of a step."""
    with without_collecting():
        ours, theirs = read_dump(pair.npu.path), read_dump(pair.bench.path)
        part = communicating(align(ours, theirs, task.rules))
        measured = measure_pairs(part, mode_of(ours, theirs), jobs=jobs)
        return given_by(pair.rank if pair.rank is not None else 0, part, measured)


def _judge_one(pair: PlacedPair, setting: Setting, *, task: Task, jobs: int) -> Finding:
    with without_collecting():
        return compare_pair(pair, setting, task, jobs=jobs, progress=None)


def _previous(outcomes: Sequence[Outcome], pair: PlacedPair, *, rank: int | None = None) -> Previous:
    """What is known of the steps before this one on the same rank; with `rank`, on all ranks of its job."""
    earlier = [outcome for outcome in outcomes if outcome.step != pair.step]
    own = earlier if rank is None else [outcome for outcome in earlier if outcome.rank == rank]
    return before(earlier, pair.step, own)
