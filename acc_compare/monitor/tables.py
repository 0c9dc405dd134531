"""Rows to tables: one kind of one rank as series by steps, and two such tables as a pair with the same axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acc_compare.monitor.rows import OPS, Numbers, Tensors, describe, read_chunks
from acc_compare.monitor.runs import RankFiles, StepFile
from dump.format import names
from dump.format.errors import DumpError

Key = tuple[int, str, int]
"""vpp stage, name, micro step."""

_MOST_CELLS = 1 << 27


@dataclass(frozen=True, slots=True)
class StepRange:
    """The steps that are wanted, both ends included."""

    first: int = 0
    last: int = 2**62

    def holds(self, file: StepFile) -> bool:
        return file.first <= self.last and file.last >= self.first


EVERY_STEP = StepRange()


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of one rank.  `steps` (t,) ascending; `values` one (s, t) float64 an op; `seen` (s, t) where a row is.

    `keys` are in the order in which the names first occur: that of the model for most kinds.
    """

    kind: str
    keys: tuple[Key, ...]
    steps: npt.NDArray[np.int64]
    values: dict[str, Numbers]
    seen: npt.NDArray[np.bool_]
    tensors: Tensors


@dataclass(frozen=True, slots=True)
class Pair:
    """The series and steps that both sides have.  `npu` and `bench` are tables with the same keys and steps."""

    kind: str
    npu: Table
    bench: Table
    only_npu: tuple[str, ...]
    only_bench: tuple[str, ...]

    @property
    def keys(self) -> tuple[Key, ...]:
        return self.bench.keys

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        return self.bench.steps


def read_table(
    rank: RankFiles, kind: str, *, steps: StepRange = EVERY_STEP, told: Callable[[int], None] | None = None
) -> Table:
    """All rows of a kind.  Where a step of a series occurs twice, the later row counts.

    Raises:
        DumpCorrupt, DumpError: as `read_chunks`; or series times steps are more than 134 million.
    """
    files = [file for file in rank.of_kind(kind) if steps.holds(file)]
    keys: dict[Key, int] = {}
    series: list[npt.NDArray[np.int32]] = []
    moments: list[npt.NDArray[np.int64]] = []
    columns: dict[str, list[Numbers]] = {op: [] for op in OPS}
    for chunk in read_chunks(files, told):
        numbers = np.array([keys.setdefault(_bare(key), len(keys)) for key in chunk.names], np.int32)
        wanted = (chunk.steps >= steps.first) & (chunk.steps <= steps.last)
        part = slice(None) if wanted.all() else wanted
        if len(numbers):
            series.append(numbers[chunk.series][part])
        moments.append(chunk.steps[part])
        for op in [*columns]:
            if op in chunk.values:
                columns[op].append(chunk.values[op][part])
            else:
                del columns[op]  # a statistic that a part of the files lacks is not compared
    rows = np.concatenate(series) if series else np.zeros(0, np.int32)
    times = np.concatenate(moments) if moments else np.zeros(0, np.int64)
    moments.clear()
    axis, places = _axis(times)
    cells = len(keys) * len(axis)
    if cells > _MOST_CELLS:
        raise DumpError(
            f"{rank.folders[-1]}: {len(keys):,} series of {kind} by {len(axis):,} steps are more than"
            f" {_MOST_CELLS:,} cells. Give --kind or --steps."
        )
    flat = rows.astype(np.int64) * len(axis) + places
    values: dict[str, Numbers] = {}
    for op in [*columns]:
        filled = np.full(cells, np.nan)
        filled[flat] = np.concatenate(columns.pop(op) or [np.zeros(0)])
        values[op] = filled.reshape(len(keys), len(axis))
    seen = np.zeros(cells, np.bool_)
    seen[flat] = True
    return Table(kind, tuple(keys), axis, values, seen.reshape(len(keys), len(axis)), describe(files))


def _axis(times: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The steps that occur, ascending, and the place of each row's step among them."""
    if not len(times):
        return times, times
    low, high = int(times.min()), int(times.max())
    if high - low < 1 << 24:  # counting beats sorting
        there = np.zeros(high - low + 1, np.bool_)
        there[times - low] = True
        axis = np.flatnonzero(there) + low
        return axis, (np.cumsum(there) - 1)[times - low]
    axis, places = np.unique(times, return_inverse=True)
    return axis, places


def _bare(key: Key) -> Key:
    """Without the prefixes that wrappers of a module put in, which one side may have and the other not."""
    stage, name, micro = key
    return stage, names.without_wrappers(name), micro


def pair_tables(npu: Table, bench: Table) -> Pair:
    """The part of two tables that both have, in the bench's order.

    `module.`, which DDP puts before every name, is passed over where only one side has it.
    """
    npu_names, bench_names = _names(npu, bench)
    answers = {key: number for number, key in enumerate(npu_names)}
    mine, theirs = [], []
    for number, key in enumerate(bench_names):
        if key in answers:
            theirs.append(number)
            mine.append(answers[key])
    paired = set(mine)
    only_npu = [key for number, key in enumerate(npu.keys) if number not in paired]
    only_bench = [bench.keys[number] for number in sorted(set(range(len(bench.keys))) - set(theirs))]
    _, at_npu, at_bench = np.intersect1d(npu.steps, bench.steps, assume_unique=True, return_indices=True)
    keys = tuple(bench.keys[number] for number in theirs)
    return Pair(
        bench.kind,
        _taken(npu, mine, at_npu, keys),
        _taken(bench, theirs, at_bench, keys),
        tuple(label(key) for key in only_npu),
        tuple(label(key) for key in only_bench),
    )


def _names(npu: Table, bench: Table) -> tuple[list[Key], list[Key]]:
    outer = f"{names.DATA_PARALLEL}."
    has = [all(name.startswith(outer) for _, name, _ in table.keys) for table in (npu, bench)]
    cut = [outer if mine and not other else "" for mine, other in (has, has[::-1])]
    return tuple(  # type: ignore[return-value]
        [(stage, name.removeprefix(prefix), micro) for stage, name, micro in table.keys]
        for table, prefix in zip((npu, bench), cut, strict=True)
    )


def _taken(table: Table, rows: Sequence[int], steps: npt.NDArray[np.int64], keys: tuple[Key, ...]) -> Table:
    if len(rows) == len(table.keys) and list(rows) == list(range(len(rows))) and len(steps) == len(table.steps):
        return Table(table.kind, keys, table.steps, table.values, table.seen, _tensors(table, rows, keys))
    grid = np.ix_(np.asarray(rows, np.int64), steps)
    values = {op: numbers[grid] for op, numbers in table.values.items()}
    return Table(table.kind, keys, table.steps[steps], values, table.seen[grid], _tensors(table, rows, keys))


def _tensors(table: Table, rows: Sequence[int], keys: tuple[Key, ...]) -> Tensors:
    """What is known of the tensors, under the names of the pair."""
    old = [table.keys[row][1] for row in rows]
    bare = {_bare((0, name, 0))[1]: name for name in table.tensors.dtypes}
    found = {key[1]: bare.get(name, name) for key, name in zip(keys, old, strict=True)}
    known = table.tensors
    return Tensors(
        {new: known.dtypes.get(name, "") for new, name in found.items()},
        {new: known.counts[name] for new, name in found.items() if name in known.counts},
        {new: known.sides[name] for new, name in found.items() if name in known.sides},
    )


def label(key: Key) -> str:
    """A series' name for a person: which of the models that were watched only where it is not the first, the micro step
    only where it is not 0.

    A file counts models by their vpp stage: chunks of a pipeline, or several models of one script.
    """
    stage, name, micro = key
    parts = [f"model {stage + 1}"] * bool(stage) + [f"micro step {micro}"] * bool(micro)
    return f"{name} ({', '.join(parts)})" if parts else name
