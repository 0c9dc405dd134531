"""Tensor files to distances: each distinct pair of files once, several at a time.

numpy lets go of the interpreter's lock while it works, so threads are enough.  A small tensor is one thread's; a large
one is cut into parts that all threads work on.  At most `_WAITING` tensors or parts for each thread are under way, so
memory does not grow with the size or the number of tensors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import TensorRecord
from dump.format.tensors import NUMPY_DTYPES, read_tensor

from .metrics.blocks import Spread
from .metrics.distance import TensorDistance, measure
from .model import Alignment

Names: TypeAlias = "tuple[str | None, str | None]"
Distances: TypeAlias = "Mapping[Names, TensorDistance | None]"
"""The distance of two files by their names on the NPU and on the bench side; None where their shapes differ."""

_WAITING = 4
_LARGE = 256 << 20
"""Bytes of both sides of a tensor that all threads work on: enough parts to keep a handful of them busy."""

_Taken = TypeVar("_Taken")
_Given = TypeVar("_Given")


def file_distances(alignment: Alignment, *, jobs: int = 1, told: Callable[[int, int], None] | None = None) -> Distances:
    """The distance of every two tensor files that stand for one pair of tensors of one shape.

    `told` hears how many bytes were measured, both sides counted, of how many.  Raises TensorFileError.
    """
    wanted = _file_pairs(alignment)
    sides = Path(alignment.npu.path) / TENSOR_FOLDER, Path(alignment.bench.path) / TENSOR_FOLDER
    total, done = sum(wanted.values()), 0
    found: dict[Names, TensorDistance | None] = {}
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="measure") as pool:
        spread = _over_threads(pool, jobs)
        try:
            for names, distance in zip(wanted, _distances(wanted, sides, pool, spread, jobs), strict=True):
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


def _distances(
    wanted: Mapping[tuple[str, str], int],
    sides: tuple[Path, Path],
    pool: ThreadPoolExecutor,
    spread: Spread,
    jobs: int,
) -> Iterator[TensorDistance | None]:
    """One for each of `wanted`, in order: small ones side by side, a large one by all threads together."""
    waiting: deque[Future[TensorDistance | None]] = deque()
    for names, size in wanted.items():
        if size >= _LARGE:
            while waiting:
                yield waiting.popleft().result()
            yield _distance(sides, names, spread)
            continue
        waiting.append(pool.submit(_distance, sides, names, map))
        if len(waiting) > jobs * _WAITING:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _distance(sides: tuple[Path, Path], names: tuple[str, str], spread: Spread) -> TensorDistance | None:
    npu, bench = (read_tensor(folder, name) for folder, name in zip(sides, names, strict=True))
    return measure(npu, bench, spread=spread) if npu.shape == bench.shape else None


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
