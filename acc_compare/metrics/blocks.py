"""Two arrays of one shape as a stream of wide, flat blocks, in C order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]

BLOCK = 1 << 16
"""Elements of a block.  A block and its temporaries take 2 MiB, which stay in the caches; up to four times as
much is as fast, a quarter is a third slower."""

_INTEGERS = "biu"


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
