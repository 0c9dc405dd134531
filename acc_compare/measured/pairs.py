"""Pairs of calls to measured calls and to the cells of the workbook: every pair of tensors is measured once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

import msgspec

from acc_compare.measured.calls import MeasuredArgument, MeasuredCall, is_output
from acc_compare.measured.errors import TensorError, tensor_error
from acc_compare.measured.files import Distances, file_distances
from acc_compare.metrics.distance import REAL_DATA, TensorDistance
from acc_compare.metrics.registry import RecordPair
from acc_compare.metrics.sketches import SKETCHED
from acc_compare.metrics.statistics import STATISTICS
from acc_compare.model import Alignment, PairedCall
from dump.format.names import parse
from dump.format.schema import Dump, TensorRecord

Cells: TypeAlias = "Mapping[str, float | int | str | None]"
_NO_CELLS: Cells = {}
_TOLD_EVERY = 100


class MeasuredPair(msgspec.Struct, frozen=True, gc=False):
    """A pair of calls with a cell mapping for each of its arguments, and the measured call where it is matched."""

    pair: PairedCall
    cells: tuple[Cells, ...]
    call: MeasuredCall | None


class _Measuring:
    """Measures pairs of tensors, each distinct pair once: most values are written by one call and read by others."""

    def __init__(self, mode: str, distances: Distances) -> None:
        self._mode = mode
        self._distances = distances
        self._seen: dict[Hashable, tuple[TensorError | None, Cells]] = {}
        self._by_identity: dict[tuple[int, int], tuple[TensorError | None, Cells]] = {}

    def pair(self, npu: TensorRecord, bench: TensorRecord) -> tuple[TensorError | None, Cells]:
        """The error and the cells of two tensors."""
        one = (id(npu), id(bench))  # of records that the alignment holds for as long as this measures
        found = self._by_identity.get(one)
        if found is None:
            found = self._by_identity[one] = self._measured(npu, bench)
        return found

    def _measured(self, npu: TensorRecord, bench: TensorRecord) -> tuple[TensorError | None, Cells]:
        key = (_contents(npu), _contents(bench))
        found = self._seen.get(key)
        if found is None:
            exact = self._distances.get((npu.data_name, bench.data_name)) if npu.shape == bench.shape else None
            found = self._seen[key] = (tensor_error(npu, bench, exact), self._cells(npu, bench, exact))
        return found

    def _cells(self, npu: TensorRecord, bench: TensorRecord, exact: TensorDistance | None) -> Cells:
        if exact is not None:
            return REAL_DATA.cells(exact)
        if self._mode != "statistics" or npu.shape != bench.shape:
            return _NO_CELLS
        pair = RecordPair(npu, bench)
        return {**STATISTICS.cells(pair), **SKETCHED.cells(pair)}


def _contents(record: TensorRecord) -> Hashable:
    """All that measuring looks at."""
    return (
        record.shape,
        record.dtype,
        record.norm,
        record.max,
        record.min,
        record.mean,
        record.sketch,
        record.nan,
        record.inf,
        record.md5,
        record.data_name,
    )


def measure_pairs(
    alignment: Alignment, mode: str, told: Callable[[int, int], None] | None = None, *, jobs: int = 1
) -> tuple[MeasuredPair, ...]:
    """Measure every pair of tensors of `alignment`.

    Tensor files are read by `jobs` threads; what comes out does not depend on their number.  `told` hears of progress:
    bytes read of how many where there are tensor files, else calls measured of how many.  Raises TensorFileError where
    a tensor file that the dump names cannot be read.
    """
    distances: Distances = {}
    if mode == "tensor":
        distances = file_distances(alignment, jobs=jobs, told=told)
        told = None
    measuring = _Measuring(mode, distances)
    found = []
    for order, pair in enumerate(alignment.pairs):
        found.append(_measure_call(pair, order, measuring, alignment.npu))
        if told is not None and (order + 1 == len(alignment.pairs) or order % _TOLD_EVERY == 0):
            told(order + 1, len(alignment.pairs))
    return tuple(found)


def _measure_call(pair: PairedCall, order: int, measuring: _Measuring, npu: Dump) -> MeasuredPair:
    cells: list[Cells] = []
    read: list[MeasuredArgument] = []
    wrote: list[MeasuredArgument] = []
    for argument in pair.arguments:
        ours, theirs = argument.npu, argument.bench
        if not (isinstance(ours, TensorRecord) and isinstance(theirs, TensorRecord)):
            cells.append(_NO_CELLS)
            continue
        error, measured = measuring.pair(ours, theirs)
        cells.append(measured)
        (wrote if is_output(argument.name) else read).append(MeasuredArgument.of(argument.name, ours, theirs, error))
    call = None
    if pair.npu is not None and pair.bench is not None:
        name = parse(pair.npu.name)
        call = MeasuredCall(pair, name, order, tuple(read), tuple(wrote), npu.owners.get(pair.npu.name))
    return MeasuredPair(pair, tuple(cells), call)
