"""Memory of arrays to the native core (`dump.native`), where it is built and knows both dtypes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from acc_compare.metrics.blocks import AnyArray, Part, wide_dtype
from acc_compare.metrics.nonfinite import NonFinite
from acc_compare.metrics.sums import SplitSums, Sums, dtype_edges
from dump import native

_CODES = {name: code for code, name in enumerate(native.DTYPES)}


class Gathered(NamedTuple):
    """What one pass over a part gives; places are counted from its first element."""

    sums: SplitSums
    nonfinite: NonFinite
    max_abs: float
    max_abs_index: int | None
    max_relative: float
    max_relative_index: int | None
    within: list[int]


def takes(npu: AnyArray, bench: AnyArray) -> bool:
    """Can the core compare these two?  It does so in float64, and reads aligned memory of this machine's byte order."""
    if native.core is None or wide_dtype(npu.dtype, bench.dtype) != np.float64:
        return False
    return all(
        side.dtype.name in _CODES and side.dtype.isnative and side.flags.aligned and side.ndim <= native.MOST_DIMENSIONS
        for side in (npu, bench)
    )


def gather(part: Part) -> Gathered:
    """One pass over a part of arrays that the core `takes`, of at least one element."""
    assert native.core is not None
    edges = dtype_edges(part.npu.dtype, part.bench.dtype)
    sums, counts, largest, within = native.core.distance(_memory(part.npu), _memory(part.bench), edges or None)
    live, *held = (Sums(*each) for each in sums)
    max_abs, max_abs_index, max_relative, max_relative_index = largest
    return Gathered(
        SplitSums(live, tuple(held)),
        NonFinite(*counts),
        max_abs,
        max_abs_index,
        max_relative,
        max_relative_index,
        list(within),
    )


def _memory(array: AnyArray) -> tuple[object, ...]:
    start = (array.__array_interface__["data"][0], _CODES[array.dtype.name], array.size)
    if array.flags.c_contiguous:
        return start
    return (*start, array.shape, tuple(stride // array.itemsize for stride in array.strides))
