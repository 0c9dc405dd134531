"""Two arrays of one shape as a stream of wide, flat blocks, in C order, in bounded memory.

Large arrays are first cut into parts, for several threads to take one each.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]

BLOCK = 1 << 16
"""Elements of a block.  A block and its temporaries take 2 MiB, which stay in the caches; up to four times as
much is as fast, a quarter is a third slower."""

PART_BLOCKS = 64
"""Blocks of a part, 16 MiB of float32 a side: much more than it takes to hand it to a thread."""

_INTEGERS = "biu"
_Taken = TypeVar("_Taken")
_Given = TypeVar("_Given")


class Spread(Protocol):
    """`map`, or the same by several threads: results in the order of the arguments."""

    def __call__(self, function: Callable[[_Taken], _Given], arguments: Iterable[_Taken], /) -> Iterable[_Given]: ...


class Part(NamedTuple):
    """The same elements of both arrays; `start` is the flat index of the first in the whole, `whole` says that there
    are no others."""

    npu: AnyArray
    bench: AnyArray
    start: int = 0
    whole: bool = True

    def done(self) -> None:
        """Nobody looks at it any more.  (The pages of a whole array go when its file is unmapped.)"""
        if not self.whole:
            release(self.npu)
            release(self.bench)


def parts(npu: AnyArray, bench: AnyArray, *, size: int) -> Iterator[Part]:
    """The arrays in parts of `size` elements; in one, where they are short or not contiguous in C order.

    Raises ValueError where the shapes differ.
    """
    if npu.shape != bench.shape:
        raise ValueError(f"expected two tensors of one shape, found {npu.shape} and {bench.shape}")
    if npu.size <= size or not (npu.flags.c_contiguous and bench.flags.c_contiguous):
        yield Part(npu, bench)
        return
    flat_npu, flat_bench = npu.reshape(-1), bench.reshape(-1)
    for start in range(0, npu.size, size):
        yield Part(flat_npu[start : start + size], flat_bench[start : start + size], start, whole=False)


def release(array: AnyArray) -> None:
    """Give the memory of a mapped file's pages back, so that a process never holds more of it than it looks at.

    The content stays: a page that is asked for again is read again.  Nothing happens to an array that is not mapped,
    or where the system has no such call.
    """
    owner: object = array
    while isinstance(owner, (np.ndarray, memoryview)):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if not isinstance(owner, mmap.mmap) or not hasattr(owner, "madvise") or not array.flags.c_contiguous:
        return
    first = np.frombuffer(owner, np.uint8, count=1).ctypes.data
    begin = array.ctypes.data - first
    # Whole pages within: the first and the last may be a neighbour's too.
    page = mmap.PAGESIZE
    begin, end = -(-begin // page) * page, (begin + array.nbytes) // page * page
    if end > begin:
        owner.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def wide_dtype(npu: np.dtype[Any], bench: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which elements of both are compared, exactly but in one case.

    complex128 where a side is complex; int64 or uint64 where both are integers and one has 64 bits; else
    float64, which holds every float dtype and every shorter integer.  The case that is not exact: a 64-bit
    integer against a float, or uint64 against a signed integer, beyond 2**53.
    """
    if "c" in (npu.kind, bench.kind):
        return np.dtype(np.complex128)
    if npu.kind in _INTEGERS and bench.kind in _INTEGERS:
        common = np.result_type(npu, bench)
        if common.kind in _INTEGERS and common.itemsize == 8:
            return common
    return np.dtype(np.float64)


def paired_blocks(npu: AnyArray, bench: AnyArray, *, block: int = BLOCK) -> Iterator[tuple[AnyArray, AnyArray]]:
    """Pairs of 1-d arrays of at most `block` elements each, in `wide_dtype`, element beside element.

    Any layout (views, maps of files, strides of zero or below) is walked without being copied as a whole.
    The arrays are contiguous views of the inputs or of buffers that the next step overwrites: read them, do
    not keep them.  Raises ValueError where the shapes differ.
    """
    if npu.shape != bench.shape:
        raise ValueError(f"expected two tensors of one shape, found {npu.shape} and {bench.shape}")
    wide = wide_dtype(npu.dtype, bench.dtype)
    walk = np.nditer(  # type: ignore[call-overload]  # numpy's stubs know "contig" as "config"
        [npu, bench],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly", "contig", "aligned"]] * 2,
        op_dtypes=[wide, wide],
        # bfloat16 and float8 know no casting rule but this; every cast here is to something wider.
        casting="unsafe",
        order="C",
        buffersize=block,
    )
    with walk:
        yield from walk
