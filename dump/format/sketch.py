"""The linear sketch: 16 sums of a tensor's elements under fixed pseudo-random signs.

Write the flattened tensor x of n elements as rows of width T(n).  Element i stands in row r = i // T and column
c = i % T; its sign is COLUMN[c] * ROW[r] and its bucket r % 16.  The sketch is the vector of bucket sums.  It is
linear, so sketch(N) - sketch(B) is the sketch of N - B, and its squared length is an unbiased estimate of
|N - B|^2 (Alon, Matias, Szegedy 1996; buckets as in Charikar, Chen, Farach-Colton 2002).

Width and signs depend on the number of elements and on position alone, and come from an integer hash, so they are
the same on every device and with every version of torch.  Non-finite elements and sentinels are left out.
Changing anything here changes every sketch: raise SKETCH_VERSION.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

SKETCH_VERSION = 1
BUCKETS = 16
MAX_WIDTH = 4096
_ROWS_PER_BUCKET = 16
ROW_PERIOD = 1 << 16

SENTINEL_FLOOR = -5e3
SENTINEL_RATIO = 100.0


def width(count: int) -> int:
    """T(n): the largest power of two that leaves 16 rows for every bucket, between 1 and 4096."""
    share = count // (BUCKETS * _ROWS_PER_BUCKET)
    return min(MAX_WIDTH, 1 << max(0, share.bit_length() - 1))


def _splitmix64(index: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), the finalizer."""
    z = index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@functools.cache
def _signs(seed: int, count: int) -> npt.NDArray[np.float32]:
    index = np.arange(count, dtype=np.uint64) + np.uint64(seed)
    signs = 1.0 - 2.0 * (_splitmix64(index) >> np.uint64(63)).astype(np.float32)
    signs.flags.writeable = False
    return signs


def column_signs() -> npt.NDArray[np.float32]:
    """COLUMN: 4096 signs, float32."""
    return _signs(1, MAX_WIDTH)


def row_signs() -> npt.NDArray[np.float32]:
    """ROW: 65,536 signs, float32, repeated beyond."""
    return _signs(1 << 32, ROW_PERIOD)


def fold(heads: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Row sums (m,) to the 16 bucket sums, in float64."""
    rows = heads.shape[0]
    padded = np.zeros(-(-rows // BUCKETS) * BUCKETS, dtype=np.float64)
    padded[:rows] = heads
    for start in range(0, rows, ROW_PERIOD):
        part = padded[start : start + ROW_PERIOD]
        part *= row_signs()[: part.shape[0]]
    return padded.reshape(-1, BUCKETS).sum(axis=0).astype(np.float32)


def has_sentinel(minimum: float, maximum: float) -> bool:
    """Does the minimum stand for "masked" rather than for a value?

    A mask is a large negative number far outside everything else (-1e9, -1e4, the least float).  It is one
    when min <= -5000 and |min| is over 100 times both 1 and |max|; then all elements at or below min / 2 are
    sentinels.
    """
    return minimum <= SENTINEL_FLOOR and -minimum >= SENTINEL_RATIO * max(1.0, abs(maximum))
