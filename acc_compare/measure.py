"""Pairs of calls to measured calls and to the cells of the workbook: every pair of tensors is measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dump.format.layout import TENSOR_FOLDER
from dump.format.names import parse
from dump.format.schema import Dump, TensorRecord
from dump.format.tensors import read_tensor

from .judge.calls import MeasuredArgument, MeasuredCall
from .judge.classic import is_output
from .judge.errors import tensor_error
from .metrics.distance import REAL_DATA, TensorDistance, measure
from .metrics.registry import RecordPair
from .metrics.sketches import SKETCHED
from .metrics.statistics import STATISTICS
from .model import Alignment, PairedCall

Cells = Mapping[str, "float | int | str | None"]


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """A pair of calls with a cell mapping for each of its arguments, and the measured call where it is matched."""

    pair: PairedCall
    cells: tuple[Cells, ...]
    call: MeasuredCall | None


class TensorFiles:
    """Elementwise distances from tensor files; one for each pair of files, however often they are mentioned."""

    def __init__(self, npu: Dump, bench: Dump) -> None:
        self._folders = (npu.path / TENSOR_FOLDER, bench.path / TENSOR_FOLDER)
        self._seen: dict[tuple[str, str], TensorDistance] = {}

    def distance(self, npu: TensorRecord, bench: TensorRecord) -> TensorDistance | None:
        """None where a side has no file, or shapes differ.  Raises TensorFileError."""
        if npu.data_name is None or bench.data_name is None or npu.shape != bench.shape:
            return None
        key = (npu.data_name, bench.data_name)
        if key not in self._seen:
            ours = read_tensor(Path(self._folders[0]), npu.data_name)
            theirs = read_tensor(Path(self._folders[1]), bench.data_name)
            if ours.shape != theirs.shape:
                return None
            self._seen[key] = measure(ours, theirs)
        return self._seen[key]


def measure_pairs(
    alignment: Alignment, mode: str, on_call: Callable[[], None] | None = None
) -> tuple[MeasuredPair, ...]:
    """Measure every pair of tensors of `alignment`; `on_call` is told of each pair of calls for progress.

    Raises TensorFileError where a tensor file that the dump names cannot be read.
    """
    files = TensorFiles(alignment.npu, alignment.bench) if mode == "tensor" else None
    found = []
    for order, pair in enumerate(alignment.pairs):
        found.append(_measure_call(pair, order, files, alignment.npu))
        if on_call is not None:
            on_call()
    return tuple(found)


def _measure_call(pair: PairedCall, order: int, files: TensorFiles | None, npu: Dump) -> MeasuredPair:
    cells: list[Cells] = []
    read: list[MeasuredArgument] = []
    wrote: list[MeasuredArgument] = []
    for argument in pair.arguments:
        ours, theirs = argument.npu, argument.bench
        if not (isinstance(ours, TensorRecord) and isinstance(theirs, TensorRecord)):
            cells.append({})
            continue
        exact = files.distance(ours, theirs) if files is not None else None
        error = tensor_error(ours, theirs, exact)
        cells.append(_cells(ours, theirs, exact))
        measured = MeasuredArgument(argument.name, ours, theirs, error)
        (wrote if is_output(argument.name) else read).append(measured)
    call = None
    if pair.npu is not None and pair.bench is not None:
        name = parse(pair.npu.name)
        call = MeasuredCall(pair, name, order, tuple(read), tuple(wrote), npu.owners.get(pair.npu.name))
    return MeasuredPair(pair, tuple(cells), call)


def _cells(npu: TensorRecord, bench: TensorRecord, exact: TensorDistance | None) -> Cells:
    if npu.shape != bench.shape:
        return {}
    if exact is not None:
        return REAL_DATA.cells(exact)
    pair = RecordPair(npu, bench)
    return {**STATISTICS.cells(pair), **SKETCHED.cells(pair)}
