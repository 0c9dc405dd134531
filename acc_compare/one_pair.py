"""One pair of dumps to its finding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from acc_compare.align.calls import align
from acc_compare.align.rules import Rules
from acc_compare.declared import NO_LAYOUTS, Layout, Layouts
from acc_compare.in_order import with_waves_in_order
from acc_compare.joining import Joined, join, knows_parts, wholes
from acc_compare.judge.job_graph import collective_calls, linked
from acc_compare.judge.origins import Previous
from acc_compare.judge.reference import References, reference_errors
from acc_compare.judge.verdict import Setting, judge
from acc_compare.load import PlacedPair, is_other_world, mode_of, refuse_other_world
from acc_compare.measured.errors import TensorError
from acc_compare.measured.pairs import MeasuredPair, measure_pairs
from acc_compare.measured.panels import panels_of
from acc_compare.measured.profile import profile_of
from acc_compare.model import Alignment, Finding
from acc_compare.sharing import shares_out_otherwise
from dump.format.errors import IncomparableError
from dump.format.reader import read_dump
from dump.format.schema import Dump

Progress: TypeAlias = "Callable[[str, int, int], None]"
"""Told of (what is being done, how much is done, of how much).  What is done is one of `steps`, `dumps` (read),
`calls`, `bytes` (measured), `judging`; of how much is 0 where nobody knows."""


@dataclass(frozen=True, slots=True)
class Task:
    """What all pairs of one comparison share.  `floors` and `references` are second bench runs and runs in a wider
    type, by the folder of the bench's dump; `one_world` says that both sides must be of one number of ranks, `profile`
    how many calls of each pair a short profile of it has, 0 for none; `layouts` say how sides are cut."""

    rules: Rules = field(default_factory=Rules)
    floors: Mapping[Path, PlacedPair] = field(default_factory=dict)
    references: Mapping[Path, PlacedPair] | None = None
    one_world: bool = False
    keep_rows: bool = True
    profile: int = 0
    layouts: Layouts = NO_LAYOUTS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a later step must know of a step."""

    step: int | None
    rank: int | None
    poisoned: bool
    suspect: bool
    optimizer: bool
    lowered: str
    drift: float
    parted: float

    @classmethod
    def of(cls, finding: Finding) -> Outcome:
        return cls(
            finding.step,
            finding.rank,
            poisoned=any(suspect.kind == "nan_inf" for suspect in finding.suspects),
            suspect=bool(finding.suspects),
            optimizer=any(row.of_optimizer for row in finding.rows),
            lowered=finding.lowered,
            drift=finding.drift,
            # A narrower type of all products parts parameters as noise does.
            parted=finding.parted or float(any(suspect.kind != "dtype" for suspect in finding.suspects)),
        )


def known_from(outcomes: Sequence[Outcome]) -> Setting:
    """What earlier steps of one rank showed: the type that one side's products are computed in, how far running
    statistics have parted, and how far parameters had when the recording began; 1 after a fault."""
    lowered = next((outcome.lowered for outcome in outcomes if outcome.lowered), "")
    parted = max((outcome.parted for outcome in outcomes), default=0.0)
    return Setting(lowered=lowered, drift=outcomes[-1].drift if outcomes else 0.0, parted=parted)


def before(earlier: Sequence[Outcome], step: int | None, own: Sequence[Outcome] | None = None) -> Previous:
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


def compare_pair(pair: PlacedPair, setting: Setting, task: Task, *, jobs: int, progress: Progress | None) -> Finding:
    tell = progress if progress is not None else tell_nobody
    tell("dumps", 0, 2)
    ours = read_dump(pair.npu.path)
    tell("dumps", 1, 2)
    theirs = read_dump(pair.bench.path)
    tell("dumps", 2, 2)
    if task.one_world:
        refuse_other_world(ours, theirs)
    if not task.one_world and is_other_world(ours, theirs) and (knows_parts(ours) or knows_parts(theirs)):
        one, two = joined({pair.npu.rank or 0: ours}, {pair.bench.rank or 0: theirs}, task.layouts)
        ours, theirs = with_waves_in_order(one.dump, two.dump)
        setting = replace(setting, other_world=True)
    elif setting.rank is not None and shares_out_otherwise(ours, theirs):
        setting = replace(setting, shared_otherwise=True)
    floor = task.floors.get(pair.bench.path)
    reference = (task.references or {}).get(pair.bench.path)
    return compare_dumps(ours, theirs, setting, task, jobs=jobs, tell=tell, floor=floor, reference=reference)


def compare_dumps(
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


def joined(npu: Mapping[int, Dump], bench: Mapping[int, Dump], layouts: Layouts = NO_LAYOUTS) -> tuple[Joined, Joined]:
    """Both sides, the ranks of each put together.  Raises IncomparableError."""
    ours, theirs = (
        (side, max(len(side), *(dump.header.world_size or 1 for dump in side.values())), declared)
        for side, declared in ((npu, layouts.npu), (bench, layouts.bench))
    )
    for _, ranks, declared in (ours, theirs):
        if declared is not None and math.prod(declared.mesh) != ranks:
            raise IncomparableError(
                f"{declared.source}: a mesh of {math.prod(declared.mesh)} ranks, but the job has {ranks}. The extents"
                " of a mesh multiply to the number of ranks."
            )
    return _join(ours, theirs), _join(theirs, ours)


_Side: TypeAlias = "tuple[Mapping[int, Dump], int, Layout | None]"


def _join(side: _Side, other: _Side) -> Joined:
    may_be = wholes(other[0], other[1], declared=other[2])
    return join(side[0], side[1], may_be, declared=side[2])


def tell_nobody(what: str, done: int, total: int) -> None:
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
