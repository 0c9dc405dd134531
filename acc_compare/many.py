"""One pair of dumps to its finding, and many pairs side by side.

The steps of a rank follow each other, because a step is judged by what the one before it came to.  Ranks that do not
know of each other may have a process each for all of their steps.  Ranks that gave each other anything are a job: a
step of all of them is gone through twice, once for what each gave, and once to judge each with what the others gave;
the next step is judged by what all of them came to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

from acc_compare.align.calls import align
from acc_compare.align.rules import Rules
from acc_compare.joining import Joined, join, knows_parts, wholes
from acc_compare.judge.job_graph import collective_calls, linked
from acc_compare.judge.origins import Previous
from acc_compare.judge.ranks import Given, JobStep, communicating, given_by
from acc_compare.judge.reference import References, reference_errors
from acc_compare.judge.verdict import Setting, judge
from acc_compare.load import PlacedPair, PlacedWorlds, is_other_world, mode_of, refuse_other_world
from acc_compare.measured.errors import TensorError
from acc_compare.measured.pairs import MeasuredPair, measure_pairs
from acc_compare.measured.panels import panels_of
from acc_compare.measured.profile import profile_of
from acc_compare.model import Alignment, Finding
from dump.format.errors import IncomparableError
from dump.format.layout import DUMP_FILE
from dump.format.reader import read_dump, without_collecting
from dump.format.schema import Dump

Progress: TypeAlias = "Callable[[str, int, int], None]"
"""Told of (what is being done, how much is done, of how much).  What is done is one of `steps`, `dumps` (read),
`calls`, `bytes` (measured), `judging`; of how much is 0 where nobody knows."""

_COLLECTIVES = b'"collectives":'

WORTH_A_PROCESS = 8 << 20
"""Bytes of dump.json for each rank, below which a process takes longer to start than its work does."""


@dataclass(frozen=True, slots=True)
class Task:
    """What all pairs of one comparison share.  `floors` and `references` are second bench runs and runs in a wider
    type, by the folder of the bench's dump; `one_world` says that both sides must be of one number of ranks, `profile`
    how many calls of each pair a short profile of it has, 0 for none."""

    rules: Rules = field(default_factory=Rules)
    floors: Mapping[Path, PlacedPair] = field(default_factory=dict)
    references: Mapping[Path, PlacedPair] | None = None
    one_world: bool = False
    keep_rows: bool = True
    profile: int = 0


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
    earlier: dict[int | None, list[_Outcome]] = {}
    for number, pair in enumerate(pairs):
        if progress is not None and len(pairs) > 1:
            progress("steps", number, len(pairs))
        outcomes = earlier.setdefault(pair.rank, [])
        known = _previous(outcomes, pair)
        setting = Setting(step=pair.step, rank=pair.rank, previous=known, lowered=_lowered(outcomes))
        with without_collecting():
            finding = _compare_pair(pair, setting, task, jobs=jobs, progress=progress)
        outcomes.append(_Outcome.of(finding))
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
    outcomes: list[_Outcome] = []
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
                    lowered=_lowered([outcome for outcome in outcomes if outcome.rank == rank]),
                )
                for pair, rank in zip(step, ranks, strict=True)
            ]
            judged = []
            for pair, finding in zip(
                step, run(partial(_judge_one, task=task, jobs=share), step, settings), strict=True
            ):
                judged.append(_Outcome.of(finding))
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
        return _compare_pair(pair, setting, task, jobs=jobs, progress=None)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a later step must know of a step."""

    step: int | None
    rank: int | None
    poisoned: bool
    suspect: bool
    optimizer: bool
    lowered: str

    @classmethod
    def of(cls, finding: Finding) -> _Outcome:
        return cls(
            finding.step,
            finding.rank,
            poisoned=any(suspect.kind == "nan_inf" for suspect in finding.suspects),
            suspect=bool(finding.suspects),
            optimizer=any(row.of_optimizer for row in finding.rows),
            lowered=finding.lowered,
        )


def _lowered(outcomes: Sequence[_Outcome]) -> str:
    """The type that earlier steps found one side's products to be computed in."""
    return next((outcome.lowered for outcome in outcomes if outcome.lowered), "")


def _previous(outcomes: Sequence[_Outcome], pair: PlacedPair, *, rank: int | None = None) -> Previous:
    """What is known of the steps before this one on the same rank; with `rank`, on all ranks of its job."""
    earlier = [outcome for outcome in outcomes if outcome.step != pair.step]
    own = earlier if rank is None else [outcome for outcome in earlier if outcome.rank == rank]
    return _before(earlier, pair.step, own)


def _before(earlier: Sequence[_Outcome], step: int | None, own: Sequence[_Outcome] | None = None) -> Previous:
    """What is known of the steps before `step`; `own` are those of one rank, where there are several."""
    if any(outcome.poisoned for outcome in earlier):
        return "poisoned"
    if any(outcome.suspect for outcome in earlier):
        return "suspect"
    own = earlier if own is None else own
    last = own[-1] if own else None
    if last is None or last.step is None or step is None or last.step != step - 1:
        return "none"
    return "judged" if last.optimizer else "unjudged"


def _compare_pair(pair: PlacedPair, setting: Setting, task: Task, *, jobs: int, progress: Progress | None) -> Finding:
    tell = progress if progress is not None else _tell_nobody
    tell("dumps", 0, 2)
    ours = read_dump(pair.npu.path)
    tell("dumps", 1, 2)
    theirs = read_dump(pair.bench.path)
    tell("dumps", 2, 2)
    if task.one_world:
        refuse_other_world(ours, theirs)
    elif is_other_world(ours, theirs) and (knows_parts(ours) or knows_parts(theirs)):
        one, two = _joined({pair.npu.rank or 0: ours}, {pair.bench.rank or 0: theirs})
        ours, theirs = one.dump, two.dump
        setting = replace(setting, other_world=True)
    floor = task.floors.get(pair.bench.path)
    reference = (task.references or {}).get(pair.bench.path)
    return _compare_dumps(ours, theirs, setting, task, jobs=jobs, tell=tell, floor=floor, reference=reference)


def _compare_dumps(
    ours: Dump,
    theirs: Dump,
    setting: Setting,
    task: Task,
    *,
    jobs: int,
    tell: Progress,
    floor: PlacedPair | None = None,
    reference: PlacedPair | None = None,
) -> Finding:
    mode = mode_of(ours, theirs)
    alignment = align(ours, theirs, task.rules)
    measured = measure_pairs(alignment, mode, partial(tell, "bytes" if mode == "tensor" else "calls"), jobs=jobs)
    if floor is not None:
        bench_to_npu = {p.bench.name: p.npu.name for p in alignment.pairs if p.npu is not None and p.bench is not None}
        second = read_dump(floor.bench.path)
        setting = replace(setting, floor=_measured_floor(theirs, second, bench_to_npu, jobs=jobs))
    if task.references is not None:
        setting = replace(setting, references=_references(alignment, measured, reference, task.rules, jobs=jobs))
    tell("judging", 0, 0)
    finding = judge(alignment, measured, mode, setting)
    tell("judging", 1, 1)
    profile = None
    if task.profile:
        profile = linked(profile_of(finding.rows, task.profile, collective_calls(alignment.npu)), alignment.npu)
    return replace(
        finding,
        worst_excess=max((row.excess for row in finding.rows if row.excess is not None), default=None),
        panels=panels_of(finding, ours.path, theirs.path) if mode == "tensor" and task.keep_rows else (),
        profile=profile,
    )


def compare_worlds(
    steps: Sequence[PlacedWorlds], task: Task, *, jobs: int = 1, progress: Progress | None = None
) -> list[Finding]:
    """A finding for each step of two jobs of different numbers of ranks, each side's ranks put together.

    Raises DumpError, IncomparableError.
    """
    tell = progress if progress is not None else _tell_nobody
    findings: list[Finding] = []
    outcomes: list[_Outcome] = []
    for number, step in enumerate(steps):
        tell("steps", number, len(steps))
        with without_collecting():
            npu = {rank: read_dump(location.path) for rank, location in step.npu.items()}
            bench = {rank: read_dump(location.path) for rank, location in step.bench.items()}
            ours, theirs = _joined(npu, bench)
            # What a step left open may have led to anything in the next.
            is_open = any(earlier.verdict != "same" for earlier in findings)
            known = _before(outcomes, step.step)
            previous: Previous = "suspect" if is_open and known != "poisoned" else known
            setting = Setting(step=step.step, previous=previous, other_world=True)
            finding = _compare_dumps(ours.dump, theirs.dump, setting, task, jobs=jobs, tell=_tell_nobody)
        finding = _on_ranks(finding, ours.odd)
        outcomes.append(_Outcome.of(finding))
        findings.append(finding if task.keep_rows else replace(finding, rows=()))
    tell("steps", len(steps), len(steps))
    return findings


def _on_ranks(finding: Finding, odd: Mapping[tuple[str, str], int]) -> Finding:
    """The suspects with the rank that they were seen on, where one alone is off."""
    suspects = tuple(
        replace(suspect, rank=odd.get((suspect.name, suspect.tensor), suspect.rank)) for suspect in finding.suspects
    )
    return replace(finding, suspects=suspects)


def _joined(npu: Mapping[int, Dump], bench: Mapping[int, Dump]) -> tuple[Joined, Joined]:
    """Both sides, the ranks of each put together."""
    worlds = [max(len(side), *(dump.header.world_size or 1 for dump in side.values())) for side in (npu, bench)]
    return join(npu, worlds[0], wholes(bench, worlds[1])), join(bench, worlds[1], wholes(npu, worlds[0]))


def _tell_nobody(what: str, done: int, total: int) -> None:
    pass


def _measured_floor(bench: Dump, second: Dump, names: Mapping[str, str], *, jobs: int) -> dict[tuple[str, str], float]:
    """The distance of two bench runs at each tensor, under the NPU side's call names."""
    return {
        (names[call], argument): error.relative
        for (call, argument), error in _errors_to(second, bench, Rules(), jobs).items()
        if call in names
    }


def _references(
    apart: Alignment, measured: Sequence[MeasuredPair], reference: PlacedPair | None, rules: Rules, *, jobs: int
) -> References:
    """How far both sides are from a run in a wider type, under the NPU side's call names; of none nothing is known."""
    if reference is None:
        return {}
    third = read_dump(reference.bench.path)
    if mode_of(apart.npu, third) == "md5":
        raise IncomparableError("digests do not say how far a side is from a reference. Record statistics or tensors.")
    ours = _errors_to(third, apart.npu, rules, jobs)
    theirs = _errors_to(third, apart.bench, rules, jobs)
    answers = {p.npu.name: p.bench.name for p in apart.pairs if p.npu is not None and p.bench is not None}
    found = {}
    for (call, argument), between in _errors(measured):
        mine, other = ours.get((call, argument)), theirs.get((answers.get(call, ""), argument))
        if mine is not None and other is not None:
            found[(call, argument)] = reference_errors(mine, other, between)
    return found


def _errors_to(third: Dump, side: Dump, rules: Rules, jobs: int) -> dict[tuple[str, str], TensorError]:
    return dict(_errors(measure_pairs(align(side, third, rules), mode_of(side, third), jobs=jobs)))


def _errors(measured: Iterable[MeasuredPair]) -> Iterator[tuple[tuple[str, str], TensorError]]:
    """The error of every tensor that was measured, by the first side's name of its call, and its own."""
    for part in measured:
        if part.call is None:
            continue
        for argument in (*part.call.read, *part.call.wrote):
            if argument.error is not None:
                yield (part.call.full_name, argument.name), argument.error
