"""Tensor files to distances: each distinct pair of files once, several at a time.

Small tensors go to helper processes where there is enough to measure and numpy would hold the interpreter's lock (the
native core lets it go), a large one is cut into parts that the threads
of this process work on.  At most `_WAITING` tensors or parts for each are under way, so memory does not grow with the
size or the number of tensors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from acc_compare.measured.workers import Team, file_distance
from acc_compare.metrics.blocks import Spread
from acc_compare.metrics.distance import TensorDistance
from acc_compare.model import Alignment
from dump import native
from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import TensorRecord
from dump.format.tensors import NUMPY_DTYPES

Names: TypeAlias = "tuple[str | None, str | None]"
Distances: TypeAlias = "Mapping[Names, TensorDistance | None]"
"""The distance of two files by their names on the NPU and on the bench side; None where their shapes differ."""

_WAITING = 4
_LARGE = 256 << 20
"""Bytes of both sides of a tensor that all threads work on: enough parts to keep a handful of them busy."""

_MUCH = 512 << 20
"""Bytes of both sides from which on helper processes have paid for their start, a quarter of a second."""

_Measure: TypeAlias = "Callable[[tuple[str, str]], TensorDistance | None]"
_Taken = TypeVar("_Taken")
_Given = TypeVar("_Given")


class _Ways(NamedTuple):
    """How a pair of small files is measured, on any thread, and how a large one, on this."""

    small: _Measure
    large: _Measure


def file_distances(alignment: Alignment, *, jobs: int = 1, told: Callable[[int, int], None] | None = None) -> Distances:
    """The distance of every two tensor files that stand for one pair of tensors of one shape.

    `told` hears how many bytes were measured, both sides counted, of how many.  Raises TensorFileError.
    """
    wanted = _file_pairs(alignment)
    sides = alignment.npu.path / TENSOR_FOLDER, alignment.bench.path / TENSOR_FOLDER
    total, done = sum(wanted.values()), 0
    found: dict[Names, TensorDistance | None] = {}
    with (
        _measuring(sides, total, jobs) as measure_one,
        ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="measure") as pool,
    ):
        spread = _over_threads(pool, jobs)
        ways = _Ways(measure_one, partial(file_distance, sides, spread=spread))
        try:
            distances = _distances(wanted, ways, pool, jobs)
            for names, distance in zip(wanted, distances, strict=True):
                found[names] = distance
                done += wanted[names]
                if told is not None:
                    told(done, total)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def _file_pairs(alignment: Alignment) -> dict[tuple[str, str], int]:
    """Names of files that are compared, with the elements of both; in order of their calls."""
    found: dict[tuple[str, str], int] = {}
    for pair in alignment.pairs:
        for argument in pair.arguments:
            npu, bench = argument.npu, argument.bench
            if not (isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord)) or npu.shape != bench.shape:
                continue
            if npu.data_name is not None and bench.data_name is not None:
                size = npu.numel * (_item_size(npu.dtype) + _item_size(bench.dtype))
                found.setdefault((npu.data_name, bench.data_name), size)
    return found


def _item_size(dtype: str) -> int:
    return NUMPY_DTYPES[dtype].itemsize if dtype in NUMPY_DTYPES else 4


@contextmanager
def _measuring(sides: tuple[Path, Path], total: int, jobs: int) -> Iterator[_Measure]:
    """What measures one pair of files, on any thread."""
    if jobs == 1 or total < _MUCH or native.core is not None:
        yield partial(file_distance, sides)
        return
    with Team(sides, jobs) as team:
        yield team.distance


def _distances(
    wanted: Mapping[tuple[str, str], int], ways: _Ways, pool: ThreadPoolExecutor, jobs: int
) -> Iterator[TensorDistance | None]:
    """One for each of `wanted`, in order: small ones side by side, a large one by all threads together."""
    waiting: deque[Future[TensorDistance | None]] = deque()
    for names, size in wanted.items():
        if size >= _LARGE:
            while waiting:
                yield waiting.popleft().result()
            yield ways.large(names)
            continue
        waiting.append(pool.submit(ways.small, names))
        if len(waiting) > jobs * _WAITING:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _over_threads(pool: ThreadPoolExecutor, jobs: int) -> Spread:
    """`map` over the threads of `pool`, with a few arguments ahead."""

    def spread(function: Callable[[_Taken], _Given], arguments: Iterable[_Taken]) -> Iterator[_Given]:
        left = iter(arguments)
        waiting = deque(pool.submit(function, each) for each in islice(left, jobs * _WAITING))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, each) for each in islice(left, 1))
            yield result

    return spread
