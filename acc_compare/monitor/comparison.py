"""Two monitored runs in, one finding out: a table of one rank at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acc_compare.monitor.distances import measure
from acc_compare.monitor.drawing import curves_of, heat_map_of
from acc_compare.monitor.model import Coverage, Curve, Furthest, HeatMap, MonitorFinding, Origin
from acc_compare.monitor.noise import GRADIENTS, GradientsSeen, expect, gradients_seen
from acc_compare.monitor.origins import PHASES, Parting, earliest, furthest, origin_of, partings
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.runs import MonitoredRun, RankFiles, open_run
from acc_compare.monitor.tables import EVERY_STEP, Pair, StepRange, pair_tables, read_table
from acc_compare.monitor.trends import Drift, drifts, parted_at
from acc_compare.report.formatting import plural
from acc_compare.report.i18n import quantity
from dump.format.errors import ConfigError, IncomparableError

Progress = Callable[[str, int, int], None]

MOST_ORIGINS = 5
_NAMED = 20


@dataclass(frozen=True, slots=True)
class _TableFound:
    """What one table of one rank leaves behind when its numbers are let go."""

    table: str
    rank: int
    series: int
    steps: int
    first: int
    last: int
    cells: int
    loudest: float
    equal: bool
    only_npu: tuple[str, ...]
    only_bench: tuple[str, ...]
    partings: tuple[Parting, ...]
    parted: int | None
    drifts: tuple[Drift, ...]
    curves: tuple[Curve, ...]
    heat_map: HeatMap | None
    furthest: Furthest | None
    both_bad: int


@dataclass(slots=True)
class _Work:
    npu: RankFiles
    bench: RankFiles
    again: RankFiles | None
    steps: StepRange
    told: Callable[[int], None] | None
    gradients: GradientsSeen = field(default_factory=GradientsSeen)
    suspected: int = -1


def compare_monitored(
    npu: Path | str,
    bench: Path | str,
    *,
    floor: Path | str | None = None,
    kinds: Sequence[str] = (),
    steps: StepRange = EVERY_STEP,
    progress: Progress | None = None,
) -> MonitorFinding:
    """Where two monitored runs part beyond noise: the first step, and the series in it.

    `floor` is a second bench run; its distance from the first is normal.  `kinds` (`grad_reduced`, ...) and `steps`
    restrict what is read.

    Raises:
        DumpNotFound, DumpCorrupt, DumpError: a side cannot be read.
        IncomparableError: the sides have no kind, series or step in common.
        ConfigError: a kind that neither side has.
    """
    sides = open_run(Path(npu)), open_run(Path(bench))
    again = open_run(Path(floor)) if floor is not None else None
    pairs, notes = _rank_pairs(*sides)
    notes += [note for side in (*sides, again) if side is not None for note in side.notes]
    _refuse_unknown(kinds, sides)
    found: list[_TableFound] = []
    told = _counter(progress, pairs, kinds, steps)
    for ours, theirs in pairs:
        third = next((rank for rank in again.ranks if rank.rank == theirs.rank), again.ranks[0]) if again else None
        work = _Work(ours, theirs, third, steps, told)
        for kind in _common_kinds(ours, theirs, kinds):
            table = _compare_table(work, kind)
            if table is not None:
                found.append(table)
    if not found:
        raise IncomparableError(
            f"{npu} and {bench} have no kind, series and step in common, so nothing can be compared. Check that both"
            " watched the same model, and the same steps, with ops that have norm, min or max."
        )
    return _finding(sides, found, tuple(notes))


def _compare_table(work: _Work, kind: str) -> _TableFound | None:
    with ThreadPoolExecutor(2) as pool:
        reading = [
            pool.submit(read_table, side, kind, steps=work.steps, told=work.told) for side in (work.npu, work.bench)
        ]
        pair = pair_tables(*(each.result() for each in reading))
    if not pair.keys or not len(pair.steps):
        return None
    distances = measure(pair)
    if not np.isfinite(distances.apart).any() and not (distances.bad_npu | distances.bad_bench).any():
        return None
    expected = expect(pair, distances, gradients=work.gradients, measured=_measured(work, pair))
    if kind in GRADIENTS:
        work.gradients = gradients_seen(pair, expected, work.gradients)
    parted = partings(pair, distances, expected, rank=work.bench.rank)
    parting = min(parted, key=lambda part: part.place, default=None)
    if kind in GRADIENTS and parting is not None:  # they are read first
        work.suspected = parting.step if work.suspected < 0 else min(work.suspected, parting.step)
    place = None if parted else parted_at(pair, expected)
    return _TableFound(
        table=kind,
        rank=work.bench.rank,
        series=len(pair.keys),
        steps=len(pair.steps),
        first=int(pair.steps[0]),
        last=int(pair.steps[-1]),
        cells=int(distances.seen.sum()),
        loudest=float(np.nanmax(expected.kin)),
        equal=not np.nan_to_num(distances.apart).any(),
        only_npu=pair.only_npu,
        only_bench=pair.only_bench,
        partings=tuple(parted),
        parted=None if place is None else int(pair.steps[place]),
        drifts=() if place is None else tuple(drifts(pair, distances, expected, place)),
        curves=curves_of(pair, distances, expected, parting, rank=work.bench.rank),
        heat_map=heat_map_of(pair, distances, expected, parting, rank=work.bench.rank),
        furthest=furthest(pair, distances, expected, work.suspected) if kind == "param_origin" else None,
        both_bad=int((distances.bad_npu & distances.bad_bench).any(axis=0).sum()),
    )


def _measured(work: _Work, pair: Pair) -> Numbers | None:
    """(s, t): how far the second bench run had come from the first, 0 where it does not say."""
    if work.again is None or pair.kind not in work.again.kinds:
        return None
    third = pair_tables(read_table(work.again, pair.kind, steps=work.steps, told=work.told), pair.bench)
    apart = np.nan_to_num(measure(third).apart, nan=0.0)
    measured = np.zeros((len(pair.keys), len(pair.steps)))
    rows = {key: row for row, key in enumerate(pair.keys)}
    grid = np.ix_(np.array([rows[key] for key in third.keys], np.int64), np.searchsorted(pair.steps, third.steps))
    measured[grid] = apart
    level: Numbers = np.maximum.accumulate(measured, axis=1)
    return level


def _rank_pairs(npu: MonitoredRun, bench: MonitoredRun) -> tuple[list[tuple[RankFiles, RankFiles]], list[str]]:
    ours, theirs = ({rank.rank: rank for rank in side.ranks} for side in (npu, bench))
    if len(ours) == len(theirs) == 1:
        return [(npu.ranks[0], bench.ranks[0])], []
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        raise IncomparableError(
            f"{npu.path} has ranks {_listed(ours)}, {bench.path} has {_listed(theirs)}: none in common."
            " Give two rank folders to compare them whatever their numbers."
        )
    notes = [
        f"Ranks that only the {name} side has are not compared: {_listed(lone)}."
        for name, lone in (("NPU", ours.keys() - theirs.keys()), ("bench", theirs.keys() - ours.keys()))
        if lone
    ]
    return [(ours[rank], theirs[rank]) for rank in common], notes


def _listed(ranks: object) -> str:
    numbers = sorted(ranks)  # type: ignore[call-overload]
    return ", ".join(str(number) for number in numbers[:_NAMED]) + (", ..." if len(numbers) > _NAMED else "")


def _common_kinds(npu: RankFiles, bench: RankFiles, wanted: Sequence[str]) -> list[str]:
    """Gradients first: what is known of them is needed to judge what an optimizer made of them."""
    common = [kind for kind in npu.kinds if kind in bench.kinds and (not wanted or kind in wanted)]
    return sorted(common, key=lambda kind: (kind not in GRADIENTS, PHASES.get(kind, len(PHASES)), kind))


def _refuse_unknown(kinds: Sequence[str], sides: tuple[MonitoredRun, MonitoredRun]) -> None:
    known = list(dict.fromkeys(kind for side in sides for rank in side.ranks for kind in rank.kinds))
    for kind in kinds:
        if kind not in known:
            raise ConfigError(f"--kind: neither side has {kind!r}; found: {', '.join(known)}")


def _counter(
    progress: Progress | None, pairs: list[tuple[RankFiles, RankFiles]], kinds: Sequence[str], steps: StepRange
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    total = sum(
        file.path.stat().st_size
        for ours, theirs in pairs
        for kind in _common_kinds(ours, theirs, kinds)
        for side in (ours, theirs)
        for file in side.of_kind(kind)
        if steps.holds(file)
    )
    done = 0

    def told(size: int) -> None:
        nonlocal done
        done += size
        progress("bytes read", min(done, total), total)

    return told


def _finding(
    sides: tuple[MonitoredRun, MonitoredRun], found: list[_TableFound], notes: tuple[str, ...]
) -> MonitorFinding:
    watched = tuple(dict.fromkeys(table.table for table in found))
    first, later = earliest([part for table in found for part in table.partings])
    parameters = {table.rank: table.furthest for table in found if table.furthest is not None}
    origins = [
        origin_of(part, watched, later if part is first[0] else (), parameters.get(part.rank))
        for part in first[:MOST_ORIGINS]
    ]
    parted = min((table.parted for table in found if table.parted is not None), default=None)
    if not origins:
        origins = [_drift(table, table.drifts[0]) for table in found if table.drifts][:MOST_ORIGINS]
    more = list(notes)
    if not first and parted is not None:
        more.append(_parted_note(parted, drifted=bool(origins)))
    both = max(table.both_bad for table in found)
    if both:
        more.append(f"Both sides hold NaN or Inf at {plural(both, 'step')}; nothing is compared there.")
    pick = next((table for table in found if origins and _is_of(table, origins[0])), found[0])
    coverage = _coverage(found)
    is_thin = _lone(coverage) * len(coverage.ranks) > coverage.series
    if sides[0].path.resolve() == sides[1].path.resolve():
        more.append("A run was compared with itself: both paths lead to the same folder.")
    return MonitorFinding(
        verdict="different" if origins else "incomplete" if is_thin else "same",
        summary=_thin(coverage) if is_thin and not origins else _summary(origins, found, parted),
        npu_path=sides[0].path,
        bench_path=sides[1].path,
        coverage=coverage,
        origins=tuple(origins),
        notes=tuple(more),
        parted=parted,
        loudest=max(table.loudest for table in found),
        curves=pick.curves + tuple(curve for table in found if table is not pick for curve in table.curves[:2]),
        heat_maps=tuple(
            table.heat_map for table in (pick, *(t for t in found if t is not pick)) if table.heat_map is not None
        ),
    )


def _is_of(table: _TableFound, origin: Origin) -> bool:
    return (table.table, table.rank) == (origin.table, origin.rank)


def _drift(table: _TableFound, drift: Drift) -> Origin:
    times = float(np.exp(drift.shift))
    return Origin(
        kind="drift",
        name=drift.name,
        table=table.table,
        step=drift.step,
        rank=table.rank,
        apart=abs(times - 1),
        expected=float(np.expm1(3 * drift.spread)),
        message=(
            f"the curves run apart: from step {drift.step} on the NPU's {table.table} is {quantity(times)} times the"
            f" bench's in the median, and it varies by {quantity(float(np.expm1(drift.spread)))} from step to step. The"
            " runs had parted gradually before, as noise does: whether a fault or chance led them apart, these numbers"
            " do not say."
        ),
        alike=tuple(other.name for other in table.drifts[1:13]),
        alike_count=len(table.drifts) - 1,
        series=table.series,
        advice=(
            "run the bench a second time with another number of threads and give it with --floor: that shows how far"
            " apart healthy runs are by then",
        ),
    )


def _parted_note(parted: int, *, drifted: bool) -> str:
    rest = "some do not take the same course" if drifted else "they take the same course"
    return (
        f"From step {parted} on the runs cannot be compared step by step: the distance grew gradually from rounding"
        f" noise, as it does between healthy runs. After that only the course of the curves was judged: {rest}."
    )


def _summary(origins: Sequence[Origin], found: list[_TableFound], parted: int | None) -> str:
    if origins:
        first = origins[0]
        if first.kind == "drift":
            return f"The runs parted gradually, and their curves run apart: {first.name} ({first.table})."
        if first.kind == "input":
            return f"The runs differ from their first step on, step {first.step}: they were not started alike."
        return f"The runs part at step {first.step}: {first.name} ({first.table})."
    loudest = max(table.loudest for table in found)
    if parted is not None:
        return "No fault is to be seen: the runs part gradually, as healthy runs do, and keep the same course."
    if all(table.equal for table in found):
        return "All series are equal throughout."
    if loudest == 0:
        return "Nine of ten series are equal throughout, and the rest agrees to noise."
    return f"The runs agree: nine of ten series are never more than {quantity(loudest)} apart, as noise explains."


def _thin(coverage: Coverage) -> str:
    return f"Nothing suspect in {coverage.series:,} series, but {_lone(coverage):,} of one side have no counterpart."


def _lone(coverage: Coverage) -> int:
    return max(len(coverage.only_npu), len(coverage.only_bench))


def _coverage(found: list[_TableFound]) -> Coverage:
    tables = tuple(dict.fromkeys(table.table for table in found))
    only_npu = dict.fromkeys(f"{name} ({table.table})" for table in found for name in table.only_npu)
    only_bench = dict.fromkeys(f"{name} ({table.table})" for table in found for name in table.only_bench)
    return Coverage(
        ranks=tuple(sorted({table.rank for table in found})),
        tables=tables,
        series=sum(table.series for table in found),
        steps=max(table.steps for table in found),
        first_step=min(table.first for table in found),
        last_step=max(table.last for table in found),
        cells=sum(table.cells for table in found),
        only_npu=tuple(only_npu),
        only_bench=tuple(only_bench),
    )
