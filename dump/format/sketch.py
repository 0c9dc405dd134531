"""The linear sketch: 16 sums of a tensor's elements under fixed pseudo-random signs.

Write the flattened tensor x of n elements as rows of width T(n).  Element i stands in row r = i // T and
column c = i % T; its sign is COLUMN[c] * ROW[r % 65536] and its bucket r % 16.  The sketch is the vector of
bucket sums.  It is linear, so sketch(N) - sketch(B) is the sketch of N - B, and its squared length is an
unbiased estimate of |N - B|^2 (Alon, Matias, Szegedy 1996; buckets as in Charikar, Chen, Farach-Colton
2002).

Width and signs depend on the number of elements and on position alone, and come from an integer hash, so
they are the same on every device and with every version of torch.  Elements that are not finite, and
sentinels, count as 0.  Changing anything here changes every sketch: raise SKETCH_VERSION.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from .schema import SKETCH_BUCKETS

SKETCH_VERSION = 1
MAX_WIDTH = 4096
ROW_PERIOD = 1 << 16
_ROWS_PER_BUCKET = 16
_FEW_ROWS = 2 * SKETCH_BUCKETS * _ROWS_PER_BUCKET  # more than any tensor below 2**21 elements has

SENTINEL_FLOOR = -5e3
SENTINEL_RATIO = 100.0

Floats = npt.NDArray[np.floating[Any]]


def width(count: int) -> int:
    """T(n): the largest power of two that leaves 16 rows for every bucket, between 1 and 4096."""
    share = count // (SKETCH_BUCKETS * _ROWS_PER_BUCKET)
    return min(MAX_WIDTH, 1 << max(0, share.bit_length() - 1))


def column_signs() -> npt.NDArray[np.float32]:
    """COLUMN: 4096 signs, float32."""
    return _signs(1, MAX_WIDTH)


def row_signs() -> npt.NDArray[np.float32]:
    """ROW: 65,536 signs, float32."""
    return _signs(1 << 32, ROW_PERIOD)


def row_sums(block: Floats, span: int) -> Floats:
    """Each row's sum under COLUMN, in the block's dtype, float32 or float64.

    `block` (k,) starts at the beginning of a row, and its last row may be short; gives (ceil(k / span),).
    """
    columns = _columns(block.dtype.char)
    full, rest = divmod(block.shape[0], span)
    if not rest:
        sums: Floats = block.reshape(full, span).dot(columns[:span])
        return sums
    sums = np.empty(full + 1, dtype=block.dtype)
    block[: full * span].reshape(full, span).dot(columns[:span], out=sums[:full])
    sums[full] = block[full * span :].dot(columns[:rest])
    return sums


def fold(sums: Floats) -> npt.NDArray[np.float64]:
    """The sums of all rows (m,), not under ROW yet, to the 16 bucket sums, in float64."""
    rows = sums.shape[0]
    if rows <= _FEW_ROWS:
        # One small matrix product takes a third of the time of the general way.
        buckets: npt.NDArray[np.float64] = sums.astype(np.float64).dot(_fold_matrix()[:rows])
        return buckets
    padded = np.zeros(-(-rows // SKETCH_BUCKETS) * SKETCH_BUCKETS, dtype=np.float64)
    padded[:rows] = sums
    for start in range(0, rows, ROW_PERIOD):
        part = padded[start : start + ROW_PERIOD]
        part *= row_signs()[: part.shape[0]]
    return np.asarray(padded.reshape(-1, SKETCH_BUCKETS).sum(axis=0), dtype=np.float64)


def has_sentinel(minimum: float, maximum: float) -> bool:
    """Does the minimum stand for "masked" rather than for a value?

    A mask is a large negative number far outside everything else (-1e9, -1e4, the least float).  It is one
    when min <= -5000 and |min| is at least 100 times both 1 and |max|; then all elements at or below min / 2
    are sentinels.  The extremes are those of the finite elements, with 0 in place of each other one.
    """
    return minimum <= SENTINEL_FLOOR and -minimum >= SENTINEL_RATIO * max(1.0, abs(maximum))


def _splitmix64(index: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), the finalizer."""
    z = index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


@functools.cache
def _signs(seed: int, count: int) -> npt.NDArray[np.float32]:
    index = np.arange(count, dtype=np.uint64) + np.uint64(seed)
    signs: npt.NDArray[np.float32] = 1 - 2 * (_splitmix64(index) >> np.uint64(63)).astype(np.float32)
    signs.flags.writeable = False
    return signs


@functools.cache
def _columns(char: str) -> Floats:
    """COLUMN in numpy's dtype of that character, so that no product converts it again."""
    signs: Floats = column_signs().astype(char)
    return signs


@functools.cache
def _fold_matrix() -> npt.NDArray[np.float64]:
    """(512, 16): ROW[r] at (r, r % 16)."""
    rows = np.arange(_FEW_ROWS)
    matrix = np.zeros((_FEW_ROWS, SKETCH_BUCKETS))
    matrix[rows, rows % SKETCH_BUCKETS] = row_signs()[:_FEW_ROWS]
    return matrix
